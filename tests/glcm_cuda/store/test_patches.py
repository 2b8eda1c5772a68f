"""Where samples are drawn, and what is kept of them."""

from __future__ import annotations

import numpy as np
import pytest

from glcm_cuda.store.patches import sample_voxels, take_samples

SHAPE = (3, 20, 16)


@pytest.fixture
def labels():
    """Background, a large tissue, a medium and one of six voxels inside the interior."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[:, 2:18, 2:10] = 1
    labels[:, 2:6, 10:14] = 2
    labels[0, 8:10, 5:8] = 3
    return labels


def counts(labels, voxels):
    return {
        int(k): int(n) for k, n in zip(*np.unique(labels[tuple(voxels.T)], return_counts=True), strict=True)
    }


def test_equal_shares_per_tissue(labels, rng):
    voxels = sample_voxels(labels, SHAPE, 2, 24, rng)
    assert counts(labels, voxels) == {0: 6, 1: 6, 2: 6, 3: 6}


def test_share_of_a_small_tissue_goes_to_other_tissues_but_not_to_the_background(labels, rng):
    voxels = sample_voxels(labels, SHAPE, 2, 120, rng)
    assert counts(labels, voxels) == {0: 30, 1: 42, 2: 42, 3: 6}


def test_no_more_voxels_than_there_are(labels, rng):
    voxels = sample_voxels(labels, SHAPE, 2, 10**6, rng)
    interior = labels[:, 2:-2, 2:-2]
    assert len(voxels) == interior.size
    assert len(np.unique(voxels, axis=0)) == interior.size


def test_fewer_samples_than_tissues(labels, rng):
    assert len(sample_voxels(labels, SHAPE, 2, 2, rng)) == 2


def test_no_labels_draws_everywhere_inside(rng):
    voxels = sample_voxels(None, SHAPE, 3, 10**6, rng)
    assert len(voxels) == 3 * 14 * 10
    assert voxels.min(axis=0).tolist() == [0, 3, 3]
    assert voxels.max(axis=0).tolist() == [2, 16, 12]


def test_tissue_outside_the_interior_is_not_drawn(rng):
    labels = np.zeros(SHAPE, np.uint8)
    labels[:, 0, 0] = 3
    voxels = sample_voxels(labels, SHAPE, 2, 50, rng)
    assert counts(labels, voxels) == {0: 50}


def test_order_is_random_not_by_tissue(labels, rng):
    drawn = labels[tuple(sample_voxels(labels, SHAPE, 2, 80, rng).T)]
    assert np.count_nonzero(np.diff(drawn.astype(int))) > 20


def test_equal_state_of_chance_gives_equal_voxels(labels):
    first, again, other = (
        sample_voxels(labels, SHAPE, 2, 60, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_samples_are_windows_values_and_labels_of_their_voxels(labels, rng):
    levels = rng.integers(0, 64, SHAPE).astype(np.uint8)
    entropy = rng.random(SHAPE, np.float32)
    voxels = sample_voxels(labels, SHAPE, 2, 40, rng)
    samples = take_samples(levels, entropy, labels, voxels, 2)
    for i, (z, y, x) in enumerate(voxels):
        np.testing.assert_array_equal(samples.patches[i], levels[z, y - 2 : y + 3, x - 2 : x + 3])
        assert samples.entropy[i] == entropy[z, y, x]
        assert samples.label[i] == labels[z, y, x]
        assert (samples.slice[i], samples.row[i], samples.column[i]) == (z, y, x)
    assert [field.dtype for field in samples] == ["u1", "f4", "i4", "i4", "i4", "u1"]


def test_samples_without_labels_have_label_zero(rng):
    voxels = sample_voxels(None, SHAPE, 1, 5, rng)
    samples = take_samples(np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.float32), None, voxels, 1)
    assert samples.label.tolist() == [0] * 5


def test_window_larger_than_the_image_is_refused(rng):
    with pytest.raises(ValueError, match="whole 17x17 window, got slices of 20x16"):
        sample_voxels(None, SHAPE, 8, 10, rng)


@pytest.mark.parametrize(
    ("labels", "error", "words"),
    [
        (np.full(SHAPE, 256), ValueError, "from 0 to 255, got 256 to 256"),
        (np.full(SHAPE, -1), ValueError, "from 0 to 255, got -1"),
        (np.zeros(SHAPE), TypeError, "must be integers, got dtype float64"),
        (np.zeros((3, 20, 15), int), ValueError, "image's shape"),
    ],
)
def test_unfit_labels_are_refused(labels, error, words, rng):
    with pytest.raises(error, match=words):
        sample_voxels(labels, SHAPE, 2, 10, rng)


def test_count_below_one_is_refused(rng):
    with pytest.raises(ValueError, match="at least 1, got 0"):
        sample_voxels(None, SHAPE, 2, 0, rng)
