"""Runs, zones and dependences on the CPU against the oracle."""

from __future__ import annotations

import naive_families as oracle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from glcm_cuda import GLCMSettings, feature_maps
from glcm_cuda.families import counting
from glcm_cuda.levels.bins import bins_of_levels

FAMILIES = ("glrlm", "glszm", "gldm")
CASES = [
    {},
    {"window": 3, "log_base": "e"},
    {"window": 7, "aggregate": "merge"},
    {"dimensions": 3, "window": 3},
    {"dimensions": 3, "window": 3, "aggregate": "merge"},
    {"dimensions": 3, "window": (3, 5, 7)},
    {"gldm_a": 2},
    {"distance": 2},
    {"dimensions": 3, "window": 5, "distance": (1, 2), "gldm_a": 1},
    {"slice_axis": 1},
]


def expected(family, levels, settings, mask):
    """Return the oracle's maps by our names."""
    axis = settings.slice_axis
    moved, inside = (np.moveaxis(array, axis, 0) for array in (levels, mask))
    options = {
        "glrlm": {"merge": settings.aggregate == "merge"},
        "glszm": {},
        "gldm": {"distances": settings.distances, "alpha": settings.gldm_a},
    }[family]
    maps = oracle.maps(
        family,
        moved,
        moved + 1,
        window=settings.window,
        dimensions=settings.dimensions,
        mask=inside,
        masked_window=settings.masked_window,
        **options,
    )
    unit = {name: settings.log_unit if name.endswith("Entropy") else 1.0 for name in maps}
    return {f"{family}_{name}": np.moveaxis(unit[name] * one, 0, axis) for name, one in maps.items()}


def found(family, levels, settings, mask=None, backend="cpu"):
    bins = bins_of_levels(settings.levels)
    return feature_maps(levels, family, settings, mask=mask, bins=bins, backend=backend)


def assert_equal(maps, wanted):
    assert set(maps) == set(wanted)
    for name, values in wanted.items():
        np.testing.assert_allclose(maps[name], values, rtol=2e-7, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("masked", [None, 0.7, 0.15], ids=["whole", "dense", "sparse"])
@pytest.mark.parametrize("fields", CASES, ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_oracle(rng, family, fields, masked):
    levels = rng.integers(0, 5, (3, 6, 7)).astype(np.uint8)
    mask = np.ones(levels.shape, bool) if masked is None else rng.random(levels.shape) < masked
    chosen = GLCMSettings(levels=5, **fields)
    maps = found(family, levels, chosen, None if masked is None else mask)
    assert_equal(maps, expected(family, levels, chosen, mask))


@pytest.mark.parametrize("family", FAMILIES)
def test_unmasked_windows(rng, family):
    levels, mask = rng.integers(0, 5, (2, 6, 7)).astype(np.uint8), rng.random((2, 6, 7)) < 0.5
    chosen = GLCMSettings(levels=5, masked_window=False)
    assert_equal(found(family, levels, chosen, mask), expected(family, levels, chosen, mask))


@pytest.mark.parametrize("family", FAMILIES)
def test_smooth_levels_in_a_large_window(rng, family):
    """Long runs, large zones and many dependences."""
    levels = (np.add.outer(np.arange(12), np.arange(13)) // 5 + rng.integers(0, 2, (12, 13))).astype(np.uint8)
    chosen = GLCMSettings(levels=8, window=11)
    mask = np.ones((1, 12, 13), bool)
    assert_equal(
        found(family, levels[np.newaxis], chosen), expected(family, levels[np.newaxis], chosen, mask)
    )


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_many_levels(rng, family):
    levels = rng.integers(0, 65_536, (1, 6, 6)).astype(np.uint16)
    levels[0, :, 3] = 65_535
    chosen, mask = GLCMSettings(levels=65_536), np.ones(levels.shape, bool)
    # A variance is a difference of sums that are exact below 2**53.
    assert_equal(found(family, levels, chosen), expected(family, levels.astype(int), chosen, mask))


def test_runs_of_lone_voxels_are_undefined_and_zones_are_not():
    levels, mask = np.full((5, 5), 2, np.uint8), np.zeros((5, 5), bool)
    mask[2, 2] = True
    chosen = GLCMSettings(levels=4)
    runs = found("glrlm", levels, chosen, mask)
    assert all(np.isnan(values).all() for values in runs.values())
    zones = found("glszm", levels, chosen, mask)
    assert zones["glszm_HighGrayLevelZoneEmphasis"][2, 2] == 9
    assert zones["glszm_ZoneEntropy"][2, 2] == 0


def test_two_voxels_in_a_line_make_a_matrix_though_they_do_not_touch():
    levels, mask = np.zeros((1, 5), np.uint8), np.array([[1, 0, 1, 0, 0]])
    runs = found("glrlm", levels, GLCMSettings(levels=2), mask)
    assert runs["glrlm_RunPercentage"][0, 0] == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_a_window_too_large_for_memory_is_refused(monkeypatch, family):
    monkeypatch.setattr(counting, "_MOST_BYTES", 1 << 10)
    with pytest.raises(ValueError, match=f"{family} in windows of 225 voxels with 64 levels needs"):
        found(family, np.zeros((2, 2), np.uint8), GLCMSettings(window=15))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_window_much_larger_than_the_image_costs_no_more_than_the_image(rng, family):
    levels = rng.integers(0, 5, (2, 4, 3)).astype(np.uint8)
    large, small = (GLCMSettings(levels=5, dimensions=3, window=window) for window in (255, 7))
    wanted = found(family, levels, small)
    for name, values in found(family, levels, large).items():
        np.testing.assert_allclose(values, wanted[name], rtol=2e-7)


def test_only_what_is_asked_for_is_computed(rng):
    levels = rng.integers(0, 5, (1, 8, 8)).astype(np.uint8)
    chosen = GLCMSettings(levels=5)
    for family in FAMILIES:
        every = found(family, levels, chosen)
        name = next(name for name in every if "Entropy" not in name)
        alone = feature_maps(levels, name, chosen, bins=bins_of_levels(5), backend="cpu")
        np.testing.assert_array_equal(alone[name], every[name])


volumes = arrays.arrays(np.uint8, (3, 6, 7), elements=st.integers(0, 4))
fast = settings(max_examples=10, deadline=None)


@fast
@given(volumes, st.sampled_from(FAMILIES), st.sampled_from([{}, {"dimensions": 3, "window": 3}]))
def test_mirrored_images_have_mirrored_maps(levels, family, fields):
    chosen = GLCMSettings(levels=5, **fields)
    for axes in [(slice(None), slice(None, None, -1)), (..., slice(None, None, -1))]:
        turned = found(family, np.ascontiguousarray(levels[axes]), chosen)
        for name, values in found(family, levels, chosen).items():
            np.testing.assert_allclose(turned[name][axes], values, rtol=2e-7, atol=1e-9)


@fast
@given(volumes, st.sampled_from(FAMILIES), st.integers(1, 4))
def test_a_part_with_its_halo_has_the_bits_of_the_whole(levels, family, column):
    chosen = GLCMSettings(levels=5, window=3)
    whole = found(family, levels, chosen)
    part = found(family, np.ascontiguousarray(levels[:, :, column - 1 : column + 2]), chosen)
    for name, values in whole.items():
        np.testing.assert_array_equal(part[name][:, :, 1], values[:, :, column])
