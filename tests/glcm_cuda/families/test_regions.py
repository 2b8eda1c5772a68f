"""Whole regions, all families but the co-occurrence matrix (`test_roi`): the oracle, what has no value."""

from __future__ import annotations

import naive_families as oracle
import numpy as np
import pytest

from glcm_cuda import GLCMSettings, feature_maps
from glcm_cuda.families.cells import cells_of, values_of
from glcm_cuda.families.gldzm.region import border_distances
from glcm_cuda.families.registry import REGION_FAMILIES, features_named
from glcm_cuda.roi import roi_features

FAMILIES = [family.name for family in REGION_FAMILIES if family.name != "glcm"]
SPACES = {"2D": (2, False), "2.5D": (2, True), "3D": (3, False)}
LEVELS = 6


def holes(rng):
    return rng.random((3, 6, 7)) < 0.7


def components(rng):
    """Lone voxels, one of them alone in its slice, and a block."""
    mask = np.zeros((4, 7, 6), bool)
    mask[0, 0, 0] = mask[1, 6, 5] = mask[1, 0, 4] = mask[3, 2, 2] = True
    mask[1:3, 2:5, 1:4] = True
    return mask


def solid(_):
    return np.ones((5, 5, 6), bool)


def of_oracle(family, image, levels, mask, settings, pool_slices, **options):
    """Return the oracle's features by our names."""
    known = {
        "firstorder": {"shift": settings.intensity_shift} | options,
        "ih": {"number_of_levels": settings.levels},
        "glrlm": {"merge": settings.aggregate == "merge"},
        "gldm": {"distances": settings.distances, "alpha": settings.gldm_a},
        "ngldm": {"distances": settings.distances, "alpha": settings.gldm_a},
        "ngtdm": {"distances": settings.distances, "isolated": settings.ngtdm_isolated},
    }
    found = oracle.region(
        family,
        image,
        levels + 1,
        mask,
        dimensions=settings.dimensions,
        pool_slices=pool_slices,
        **known.get(family, {}),
    )
    return {f"{family}_{name}": value for name, value in found.items()}


def assert_as_the_oracle(family, image, mask, settings, *, pool_slices=False, spacing=(1.0, 1.0, 1.0)):
    """Integers from 0 to 5 are their own levels."""
    found = roi_features(image, family, settings, mask=mask, pool_slices=pool_slices, spacing=spacing)
    expected = of_oracle(
        family, image, image, mask, settings, pool_slices, voxel_volume=float(np.prod(spacing))
    )
    own = {name: value for name, value in found.items() if name.startswith(f"{family}_")}
    assert set(own) == set(expected)
    for name, value in own.items():
        assert value == pytest.approx(expected[name], rel=1e-12, abs=1e-14, nan_ok=True), name


@pytest.mark.parametrize("aggregate", ["mean", "merge"])
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("region", [holes, components, solid])
@pytest.mark.parametrize("family", FAMILIES)
def test_regions_match_naive(rng, family, region, space, aggregate):
    dimensions, pool_slices = SPACES[space]
    mask = region(rng)
    image = rng.integers(0, LEVELS, mask.shape)
    settings = GLCMSettings(
        levels=LEVELS, intensity_range=(0, LEVELS), dimensions=dimensions, aggregate=aggregate
    )
    assert_as_the_oracle(family, image, mask, settings, pool_slices=pool_slices, spacing=(3.0, 0.7, 0.9))


@pytest.mark.parametrize(
    ("family", "fields"),
    [
        ("gldm", {"gldm_a": 2}),
        ("gldm", {"distance": 2}),
        ("ngldm", {"distance": (1, 3), "gldm_a": 1, "window": 7}),
        ("ngtdm", {"distance": (1, 2), "directions": "all"}),
        ("ngtdm", {"ngtdm_isolated": False}),
        ("glrlm", {"distance": 2}),  # without effect
        ("glszm", {"distance": 2}),
        ("firstorder", {"intensity_shift": 7.5}),
    ],
)
@pytest.mark.parametrize("space", SPACES)
def test_settings(rng, family, fields, space):
    dimensions, pool_slices = SPACES[space]
    mask = components(rng)
    image = rng.integers(0, LEVELS, mask.shape)
    settings = GLCMSettings(levels=LEVELS, intensity_range=(0, LEVELS), dimensions=dimensions, **fields)
    assert_as_the_oracle(family, image, mask, settings, pool_slices=pool_slices)


@pytest.mark.parametrize("axis", [1, 2])
def test_slices_along_another_axis(rng, axis):
    mask = holes(rng)
    image = rng.integers(0, LEVELS, mask.shape)
    settings = {"levels": LEVELS, "intensity_range": (0, LEVELS)}
    found = roi_features(image, "all", GLCMSettings(slice_axis=axis, **settings), mask=mask)
    turned, turned_mask = (np.moveaxis(array, axis, 0) for array in (image, mask))
    assert found == roi_features(turned, "all", GLCMSettings(**settings), mask=turned_mask)


@pytest.mark.parametrize("space", SPACES)
def test_a_region_of_one_voxel(space):
    """Families without pairs or lines have values."""
    dimensions, pool_slices = SPACES[space]
    image, mask = np.full((3, 4, 5), 7.5), np.zeros((3, 4, 5))
    mask[1, 2, 3] = 1
    settings = GLCMSettings(dimensions=dimensions)
    found = roi_features(image, "all", settings, mask=mask, pool_slices=pool_slices)
    undefined = {name for name, value in found.items() if np.isnan(value)}
    assert undefined == {
        feature.name for family in ("glcm", "glrlm") for feature in features_named(family, region=True)
    }
    expected = {
        "firstorder_Mean": 7.5, "firstorder_Skewness": 0, "stat_ExcessKurtosis": 0, "ih_Mode": 1,
        "glszm_ZonePercentage": 1, "gldzm_LargeDistanceEmphasis": 1, "gldm_LargeDependenceEmphasis": 1,
        "ngldm_DependenceEnergy": 1, "ngtdm_Coarseness": 1e6, "ngtdm_Strength": 0,
    }  # fmt: skip
    assert {name: found[name] for name in expected} == expected
    isolated = GLCMSettings(dimensions=dimensions, ngtdm_isolated=False)
    values = roi_features(image, "ngtdm", isolated, mask=mask, pool_slices=pool_slices).values()
    assert np.isnan(list(values)).all()


def test_what_has_no_value_of_its_own():
    """Means and quartiles of 0, and a histogram of one level."""
    found = roi_features(
        [[-1.0, 1.0, 0.0, 0.0]],
        ["7TET", "9S40", "12CE", "RHQZ", "1128"],
        GLCMSettings(bin_width=5),
    )
    assert np.isnan([found[name] for name in ("7TET", "9S40", "12CE", "RHQZ")]).all()
    assert np.isnan(roi_features([[1.0, 2.0]], "1128")["1128"])  # nothing lies between the deciles


def test_the_mode_of_several_levels():
    """The nearest to the mean, and of two the lower."""
    settings = GLCMSettings(levels=8, intensity_range=(0, 8))
    assert roi_features([[0, 0, 5, 5, 6]], "AMMC", settings) == {"AMMC": 6.0}
    assert roi_features([[0, 0, 5, 5]], "AMMC", settings) == {"AMMC": 1.0}


@pytest.mark.parametrize("dimensions", [2, 3])
def test_border_distances(rng, dimensions):
    inside = rng.random((5, 9, 8)) < 0.9
    inside[:, 2:8, 1:7] = True
    parts = [range(5)] if dimensions == 3 else [[z] for z in range(5)]
    found = border_distances(inside, dimensions)
    for part in parts:
        places = {place: 1 for place in zip(*map(list, np.nonzero(inside)), strict=True) if place[0] in part}
        for place, distance in oracle.border_distances(places, dimensions).items():
            assert found[place] == distance
    assert not found[~inside].any()


@pytest.mark.parametrize("space", SPACES)
def test_distances_of_zones_are_from_the_border_before_resegmentation(rng, space):
    """IBSI's morphological mask: zones are those of the voxels left, distances those of all of the region."""
    dimensions, pool_slices = SPACES[space]
    shape = rng.random((5, 7, 8)) < 0.9
    shape[1:4, 1:6, 1:7] = True
    inside = shape & (rng.random(shape.shape) < 0.8)
    inside[2] = False
    levels = rng.integers(0, 3, shape.shape)
    settings = GLCMSettings(levels=3, intensity_range=(0, 3), dimensions=dimensions)
    found = roi_features(
        levels, "gldzm", settings, mask=inside, morphological_mask=shape, pool_slices=pool_slices
    )
    together = dimensions == 3 or pool_slices
    sets = []
    for part in [range(5)] if together else [[z] for z in range(5)]:
        counted, whole = (
            oracle.counted(levels + 1, one, [part, range(7), range(8)]) for one in (inside, shape)
        )
        if counted:
            matrix = oracle.zone_distances(counted, dimensions, whole)
            sets.append(oracle.of_matrix(matrix, len(counted)))
    assert len(sets) == (1 if together else 4)
    expected = oracle.mean_of(sets)
    for key, name in oracle.names_of("gldzm").items():
        assert found[f"gldzm_{name}"] == pytest.approx(expected[key], rel=1e-12), name


def test_a_morphological_mask_that_lacks_voxels_is_refused():
    mask = np.ones((2, 3, 4), bool)
    smaller = mask.copy()
    smaller[0, 0, :2] = False
    with pytest.raises(ValueError, match="must hold all of the mask, got 2 of its voxels outside"):
        roi_features(mask, "gldzm", mask=mask, morphological_mask=smaller)
    with pytest.raises(ValueError, match=r"must have the image's shape \(2, 3, 4\), got \(2, 3\)"):
        roi_features(mask, "gldzm", mask=mask, morphological_mask=mask[:, :, 0])


@pytest.mark.slow  # every family is compiled
@pytest.mark.parametrize("aggregate", ["mean", "merge"])
def test_a_window_over_all_of_a_region_has_its_features(rng, aggregate):
    """In any voxel of the map: two ways of counting, which share no code but formulas."""
    image = rng.normal(size=(4, 5, 5))
    mask = rng.random(image.shape) < 0.8
    mask[2, 2, 2] = True
    settings = GLCMSettings(
        levels=5, range_over="mask", dimensions=3, window=11, distance=(1, 2), aggregate=aggregate, gldm_a=1
    )
    maps = feature_maps(image, "all", settings, mask=mask, spacing=(3.0, 0.7, 0.9), backend="cpu")
    region = roi_features(image, list(maps), settings, mask=mask, spacing=(3.0, 0.7, 0.9))
    for name, values in maps.items():
        assert values[2, 2, 2] == pytest.approx(region[name], rel=1e-6, abs=1e-6), name


def test_whole_numbers_beyond_float64():
    """A variance of large levels, of which the sums of squares have more digits than a float64."""
    levels = np.array([65_534, 65_535] * 50_000)
    (variance,) = values_of(
        cells_of(levels, np.full(levels.shape, 10**7)),
        [feature for feature in features_named("glszm") if feature.formula == "level_variance"],
        len(levels),
        1.0,
    )
    assert variance == 0.25


def test_extreme_intensities():
    """Squares that no float64 holds are infinite; what has no unit stays as it is."""
    image = np.array([[0.0, 1.0, 2.0, 5.0]])
    names = ["firstorder_Skewness", "firstorder_Kurtosis", "7TET", "9S40"]
    usual = roi_features(image, names)
    for scale in (1e-200, 1e200):
        assert roi_features(image * scale, names) == pytest.approx(usual, rel=1e-12)
    assert roi_features(image * 1e200, "N8CA") == {"N8CA": np.inf}
    assert roi_features(np.full((1, 30), 1e154), "N8CA") == {"N8CA": np.inf}
    assert roi_features(np.full((1, 30), 1e308) * [0.5, *[1.0] * 29], "Q4LE")["Q4LE"] == pytest.approx(
        9.833e307, 1e-3
    )
