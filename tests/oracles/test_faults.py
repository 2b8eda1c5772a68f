"""What docs/conventions.md, section 8, says about pyradiomics and flash-radiomics, beside what they agree in.

A test that fails here is news about a tool, and a line of that page to change.
"""

from __future__ import annotations

import tracemalloc
from math import gcd

import numpy as np
import pytest
from voxel_mode import flash_maps, voxel_mode

PLANE = {"force2D": True, "kernelRadius": 2, "binWidth": 1}


@pytest.fixture
def noise():
    return np.random.default_rng(0).integers(0, 4, (1, 5, 5)).astype(np.int16)


def everywhere(image):
    return np.ones(image.shape, bool)


def at_centre(tool, image, family, name, **told):
    """Return a feature of the whole of a 5x5 image, in the middle of its map."""
    mask = everywhere(image)
    return tool(image, mask, family, {**PLANE, **told}, names=[name])[name].reshape(5, 5)[2, 2]


# Rounding


@pytest.mark.parametrize(("tool", "kurtosis"), [(voxel_mode, 1), (flash_maps, -2)])
def test_flat_windows_of_float64(tool, kurtosis):
    image = np.full((1, 6, 6), 0.1)
    image[0, 0, 0] = 5
    names = ["Skewness", "Kurtosis", "Variance"]
    told = {"force2D": True, "kernelRadius": 1, "binWidth": 0.5}
    found = tool(image, everywhere(image), "firstorder", told, names=names)
    flat = {name: values.reshape(6, 6)[3:, 3:] for name, values in found.items()}
    assert 0 < flat["Variance"].max() < 1e-33
    assert np.abs(flat["Skewness"]).max() == 1
    assert set(np.unique(flat["Kurtosis"])) == {0, kurtosis}


def two_levels(low, high, lows, highs):
    """Return a 5x5 image with so many voxels of two levels, and their mask."""
    image, mask = np.zeros((1, 5, 5), np.int16), np.zeros((1, 5, 5), bool)
    image.ravel()[: lows + highs] = [low] * lows + [high] * highs
    mask.ravel()[: lows + highs] = True
    return image, mask


BALANCED = [
    (low, high, high // gcd(low, high), low // gcd(low, high))
    for low in range(1, 20)
    for high in range(low + 1, 21)
    if 13 <= (low + high) // gcd(low, high) <= 25  # so many that the window's centre is among them
]
"""Two levels i and j, and numbers of voxels with i n_i = j n_j."""


def busyness(tool, low, high, lows, highs):
    image, mask = two_levels(low, high, lows, highs)
    if low > 1:  # a voxel that lies in no window of the centre's, so that `low` keeps its number
        image, mask = (np.pad(array, ((0, 0), (0, 1), (0, 1))) for array in (image, mask))
        image[0, 5, 5], mask[0, 5, 5] = 1, True
    values = np.full(mask.shape, np.nan)
    values[mask] = tool(image, mask, "ngtdm", PLANE, names=["Busyness"])["Busyness"]
    return values[0, 2, 2]


def test_busyness_with_a_denominator_of_0():
    assert busyness(flash_maps, 1, 13, 13, 1) > 1e16
    found = [busyness(voxel_mode, *numbers) for numbers in BALANCED]
    assert len(found) == 79
    assert sum(value > 1e15 for value in found) == 15
    assert sum(value == 0 for value in found) == 64


# Where a formula is not defined


def test_windows_of_one_voxel():
    image, mask = np.arange(49).reshape(1, 7, 7).astype(np.int16), np.zeros((1, 7, 7), bool)
    mask[0, 0, 0] = mask[0, 4, 4] = mask[0, 4, 5] = True
    told = {"force2D": True, "binWidth": 5}
    expected = {
        ("glrlm", "RunEntropy"): (np.nan, np.nan),
        ("glszm", "ZonePercentage"): (1, 1),
        ("ngtdm", "Coarseness"): (1e6, np.nan),
        ("ngtdm", "Contrast"): (0, np.nan),
        ("ngtdm", "Complexity"): (0, np.nan),
        ("ngtdm", "Strength"): (0, np.nan),
        ("ngtdm", "Busyness"): (0, 0),
        ("firstorder", "Kurtosis"): (0, 0),
    }
    for (family, name), values in expected.items():
        found = [tool(image, mask, family, told, names=[name])[name][0] for tool in (voxel_mode, flash_maps)]
        np.testing.assert_array_equal(found, values, name)
    name = "RobustMeanAbsoluteDeviation"
    found = [
        tool(image, mask, "firstorder", told, names=[name])[name][1] for tool in (voxel_mode, flash_maps)
    ]
    np.testing.assert_array_equal(found, [np.nan, 0])
    entropy = voxel_mode(image, mask, "gldm", told, names=["DependenceEntropy"])["DependenceEntropy"][0]
    assert -4e-16 < entropy < 0


def test_windows_of_one_level():
    image = np.zeros((1, 6, 6), np.int16)
    image[0, 5, 5] = 9
    names = ["Coarseness", "Contrast", "Strength"]
    for tool, expected in ((voxel_mode, [1e6, 0, 0]), (flash_maps, [1e6, np.nan, np.nan])):
        found = tool(image, everywhere(image), "ngtdm", {"force2D": True, "binWidth": 1}, names=names)
        np.testing.assert_array_equal([found[name][0] for name in names], expected)


# Settings


def test_weightings_of_runs(noise):
    norms = (None, "no_weighting", "euclidean", "infinity")
    theirs = [at_centre(voxel_mode, noise, "glrlm", "RunEntropy", weightingNorm=norm) for norm in norms]
    np.testing.assert_allclose(theirs, [2.4711, 2.6475, 2.6052, 2.6475], atol=1e-4)
    flash = [at_centre(flash_maps, noise, "glrlm", "RunEntropy", weightingNorm=norm) for norm in norms]
    np.testing.assert_allclose(flash, theirs[0])


@pytest.mark.parametrize(("family", "name"), [("glrlm", "RunEntropy"), ("glszm", "ZoneEntropy")])
@pytest.mark.parametrize("tool", [voxel_mode, flash_maps])
def test_runs_and_zones_ignore_distances(noise, tool, family, name):
    one, two = (at_centre(tool, noise, family, name, distances=[step]) for step in (1, 2))
    assert one == two


def scaled_dependence_entropy(levels, step):
    """Return the entropy of dependences on the 8 voxels at the unit offsets times `step`."""
    cells = {}
    for (y, x), level in np.ndenumerate(levels):
        around = [(y + step * a, x + step * b) for a in (-1, 0, 1) for b in (-1, 0, 1) if a or b]
        inside = [place for place in around if min(place) >= 0 and max(place) < 5]
        key = level, sum(levels[place] == level for place in inside)
        cells[key] = cells.get(key, 0) + 1
    p = np.array([*cells.values()]) / levels.size
    return -(p * np.log2(p)).sum()


def test_neighbours_at_distance_2_are_other_voxels_in_flash(noise):
    name = "DependenceEntropy"
    theirs = at_centre(voxel_mode, noise, "gldm", name, distances=[2])
    flash = at_centre(flash_maps, noise, "gldm", name, distances=[2])
    assert flash == pytest.approx(scaled_dependence_entropy(noise[0], 2))
    assert abs(theirs - flash) > 0.4


def test_alpha_must_be_whole(noise):
    with pytest.raises(TypeError, match="float"):
        at_centre(voxel_mode, noise, "gldm", "DependenceEntropy", gldm_a=1.0)


def test_images_of_two_dimensions(noise):
    assert len(voxel_mode(noise[0], everywhere(noise[0]), "glrlm", {"binWidth": 1})) == 16
    with pytest.raises(ValueError, match="dimensions"):
        voxel_mode(noise[0], everywhere(noise[0]), "firstorder", {"binWidth": 1})


@pytest.mark.parametrize("name", ["DependencePercentage", "GrayLevelNonUniformityNormalized"])
def test_deprecated_features_are_maps_of_0(noise, name):
    assert at_centre(voxel_mode, noise, "gldm", name) == 0


@pytest.mark.parametrize(("family", "name"), [("glrlm", "RunEntropy"), ("gldm", "DependenceEntropy")])
def test_memory_grows_with_the_highest_level(family, name):
    image = np.random.default_rng(0).integers(0, 4, (1, 24, 24)).astype(np.int16)
    few = peak_bytes(image, family, name)
    image[0, 0, 0] = 399
    assert peak_bytes(image, family, name) > 40 * few


def peak_bytes(image, family, name):
    """Return the bytes that a map of pyradiomics takes at most."""
    tracemalloc.start()
    voxel_mode(image, everywhere(image), family, PLANE, names=[name])
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most
