"""Which voxels are checked."""

from __future__ import annotations

import numpy as np
import pytest

from glcm_cuda import GLCMSettings
from surrogate.honesty import sampling
from surrogate.honesty.sampling import (
    is_textured,
    local_entropy,
    part_of_mask,
    parts_by_texture,
    parts_by_tissue,
    surroundings,
)

GLCM = GLCMSettings(levels=16)


def test_local_entropy_by_hand():
    windows = np.array([[[3, 3], [3, 3]], [[0, 0], [1, 1]], [[0, 1], [2, 3]], [[9, 9], [9, 1]]], np.uint8)
    expected = [0, 1, 2, -(0.75 * np.log2(0.75) + 0.25 * np.log2(0.25))]
    np.testing.assert_allclose(local_entropy(windows), expected)


def test_surroundings_stay_in_the_slice():
    levels = np.arange(70, dtype=np.uint8).reshape(1, 7, 10)
    z, y, x = np.array([0, 0]), np.array([0, 3]), np.array([9, 4])
    around = surroundings(levels, (z, y, x), 1)
    np.testing.assert_array_equal(around[0], levels[0, 0:3, 7:10])
    np.testing.assert_array_equal(around[1], levels[0, 2:5, 3:6])
    assert surroundings(levels, (z, y, x), 5).shape == (2, 7, 7)


@pytest.mark.parametrize(
    ("entropy", "textured"),
    [
        ([0.0, 0.1, 0.2, 3.0, 3.5], [False, False, False, True, True]),
        ([3.0, 3.1, 3.2, 3.3], [True] * 4),
        ([2.0, 2.0, 2.0], [True] * 3),
        ([1.0], [True]),
        ([0.0, 0.0, 0.0, 4.0], [False, False, False, True]),
    ],
)
def test_the_background_is_told_by_its_local_entropy(entropy, textured):
    assert is_textured(np.array(entropy)).tolist() == textured


def test_background_and_texture_are_found(rng):
    levels = np.zeros((2, 100, 100), np.uint8)
    levels[:, 30:60, 30:60] = rng.integers(0, 16, (2, 30, 30))
    texture, background = parts_by_texture(levels, GLCM, rng)
    assert (texture.name, background.name) == ("texture", "background")
    assert not texture.is_background
    assert background.is_background
    z, y, x = texture.voxels
    # The squares around have 11 voxels along an edge: a little of the background beside counts as texture.
    assert np.mean((y >= 30) & (y < 60) & (x >= 30) & (x < 60)) > 0.7
    assert background.voxels[0].size == sampling.VOXELS
    z, y, x = background.voxels
    assert not np.any((y >= 33) & (y < 57) & (x >= 33) & (x < 57))
    assert min(y.min(), x.min()) >= 2
    assert max(y.max(), x.max()) < 98
    assert len(set(zip(z, y, x, strict=True))) == z.size


@pytest.mark.parametrize(
    "levels",
    [
        np.full((1, 30, 30), 5, np.uint8),
        np.random.default_rng(0).integers(0, 16, (1, 30, 30), dtype=np.uint8),
    ],
)
def test_an_image_of_one_kind_has_no_background(levels, rng):
    (part,) = parts_by_texture(levels, GLCM, rng)
    assert (part.name, part.voxels[0].size) == ("image", 26 * 26)


def test_large_windows_take_no_more_memory(rng, monkeypatch):
    monkeypatch.setattr(sampling, "VOXELS", 10)
    drawn = []

    def counted(windows):
        drawn.append(windows.size)
        return local_entropy(windows)

    monkeypatch.setattr(sampling, "local_entropy", counted)
    for window in (5, 27):
        parts_by_texture(np.zeros((4, 120, 120), np.uint8), GLCMSettings(window=window), rng)
    assert max(drawn) <= sampling._MOST_AROUND


def test_tissues_have_equal_shares(rng):
    labels = np.zeros((3, 90, 90), np.uint8)
    labels[:, :80], labels[:, 80:], labels[0, 50:53, 50:55] = 1, 4, 7
    parts = parts_by_tissue(labels, {4: "fat"}, GLCM, rng)
    assert [(part.name, part.label, part.voxels[0].size) for part in parts] == [
        ("label 1", 1, 666),
        ("fat", 4, 666),
        ("label 7", 7, 15),
    ]
    for part in parts:
        assert (labels[part.voxels] == part.label).all()


def test_a_mask_is_drawn_from_inside_alone(rng):
    mask = rng.random((2, 40, 40)) < 0.1
    (part,) = part_of_mask(mask, GLCM, rng)
    assert mask[part.voxels].all()
    assert part.voxels[0].size == mask[:, 2:-2, 2:-2].sum()
    mask[:, 2:-2, 2:-2] = False
    assert part_of_mask(mask, GLCM, rng) == ()
