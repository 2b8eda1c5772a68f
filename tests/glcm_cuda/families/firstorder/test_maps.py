"""First-order maps on the CPU: against the oracle, by properties, and what is refused."""

from __future__ import annotations

import naive_families as oracle
import numpy as np
import pytest
from helpers.ibsi import PHANTOM
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from glcm_cuda import GLCMSettings, feature_maps, quantize
from glcm_cuda.base import threads
from glcm_cuda.engines import cpu
from glcm_cuda.families.firstorder.features import FEATURES
from glcm_cuda.families.firstorder.intensities import FORMULAS, unit_of
from glcm_cuda.families.firstorder.sorting import sort

SPACING = (2.5, 0.5, 0.75)
CASES = [
    {},
    {"window": 3, "log_base": "e", "intensity_shift": -7.5},
    {"window": 9},
    {"dimensions": 3, "window": 3},
    {"dimensions": 3, "window": (3, 5, 7)},
    {"slice_axis": 1},
    {"slice_axis": 2, "window": 3, "log_base": 10},
]


def found(image, names="firstorder", mask=None, **fields):
    """Return the maps by pyradiomics' names."""
    chosen = GLCMSettings(**{"levels": 8, **fields})
    maps = feature_maps(image, names, chosen, mask=mask, spacing=SPACING, backend="cpu")
    return {name.removeprefix("firstorder_"): values for name, values in maps.items()}


def expected(image, mask=None, **fields):
    """Return the oracle's maps."""
    chosen = GLCMSettings(**{"levels": 8, **fields})
    levels = quantize(image, chosen, mask=mask).astype(int) + 1
    axis = chosen.slice_axis
    image, levels, inside = (
        None if array is None else np.moveaxis(array, axis, 0) for array in (image, levels, mask)
    )
    maps = oracle.maps(
        "firstorder",
        image,
        levels,
        window=chosen.window,
        dimensions=chosen.dimensions,
        mask=inside,
        masked_window=chosen.masked_window,
        voxel_volume=float(np.prod(SPACING)),
        shift=chosen.intensity_shift,
    )
    maps["Entropy"] *= chosen.log_unit
    return {name: np.moveaxis(values, 0, axis) for name, values in maps.items()}


def assert_equal(maps, wanted):
    """To two steps of float32; a skewness near 0 is a difference of larger numbers."""
    assert set(maps) == set(wanted)
    for name, values in wanted.items():
        np.testing.assert_allclose(maps[name], values, rtol=1.3e-7, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("masked", ["whole", "masked", "sparse", "unmasked windows"])
@pytest.mark.parametrize("fields", CASES, ids=str)
def test_oracle(rng, fields, masked):
    image = rng.gamma(2, 40, (3, 6, 7)).astype(np.float32)
    image[:, :3, :4] = 0.1  # flat windows of a number that float64 does not hold
    mask = None if masked == "whole" else rng.random(image.shape) < (0.15 if masked == "sparse" else 0.7)
    fields = {**fields, "masked_window": masked != "unmasked windows"}
    assert_equal(found(image, mask=mask, **fields), expected(image, mask, **fields))


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int16", "uint16", "int64", "uint64", "float16", "float64"]
)
def test_types_of_images(rng, dtype):
    image = rng.integers(0, 2 if dtype == "bool" else 200, (1, 6, 7)).astype(dtype)
    image[0, 0, 0] = 1
    if dtype == "int16":
        image *= -150
    elif dtype in ("int64", "uint64"):
        image[0, 2, 6] = 2**60 + 1  # which float64 rounds
    assert_equal(found(image), expected(image.astype(np.float64)))


def test_the_largest_window_holds_the_whole_image(rng):
    """Neither time nor memory is spent on what lies beside a small image."""
    image = rng.normal(size=(2, 3, 4))
    levels = quantize(image, GLCMSettings(levels=8)).astype(int) + 1
    wanted = oracle.region(
        "firstorder", image, levels, np.ones(image.shape), voxel_volume=float(np.prod(SPACING))
    )
    whole = {name: np.full(image.shape, value) for name, value in wanted.items()}
    assert_equal(found(image, window=255, dimensions=3), whole)


def test_a_case_worked_by_hand():
    """Values 1 2 3 4 10 in one row: mean 4, deviations -3 -2 -1 0 6."""
    maps = found(np.array([[10, 2, 4, 1, 3]], np.int16), window=9, levels=3, intensity_range=(0, 12))
    values = {
        "Minimum": 1, "Maximum": 10, "Range": 9, "Mean": 4, "Median": 3,
        "10Percentile": 1.4, "90Percentile": 7.6, "InterquartileRange": 2,
        "Energy": 130, "TotalEnergy": 130 * 2.5 * 0.5 * 0.75, "RootMeanSquared": 26**0.5,
        "MeanAbsoluteDeviation": 12 / 5, "RobustMeanAbsoluteDeviation": 2 / 3,
        "Variance": 10, "Skewness": (180 / 5) / 10**1.5, "Kurtosis": (1394 / 5) / 100,
        "Uniformity": 9 / 25 + 1 / 25 + 1 / 25,
    }  # fmt: skip
    for name, value in values.items():
        assert maps[name][0, 2] == np.float32(value), name


def test_the_ibsi_digital_phantom():
    """Published values, to their three digits, where a window holds the whole phantom; kurtosis is 3 less."""
    maps = found(PHANTOM, mask=PHANTOM > 0, window=9, dimensions=3, levels=6, intensity_range=(0.5, 6.5))
    published = {
        "Mean": 2.15, "Variance": 3.05, "Skewness": 1.08, "Median": 1, "Minimum": 1, "10Percentile": 1,
        "90Percentile": 4, "Maximum": 6, "InterquartileRange": 3, "Range": 5, "MeanAbsoluteDeviation": 1.55,
        "RobustMeanAbsoluteDeviation": 1.11, "Energy": 567, "RootMeanSquared": 2.77, "Entropy": 1.27,
        "Uniformity": 0.512,
    }  # fmt: skip
    assert {name: float(f"{maps[name][2, 2, 3]:.3g}") for name in published} == published
    assert f"{maps['Kurtosis'][2, 2, 3] - 3:.3g}" == "-0.355"


def test_flat_windows_have_no_deviations():
    """0.1 is no float64: sums of it are rounded, and pyradiomics has a skewness of 1 or -1 here."""
    maps = found(np.full((7, 7), 0.1))
    for name in ("Range", "Variance", "Skewness", "Kurtosis", "MeanAbsoluteDeviation", "Entropy"):
        assert np.all(maps[name] == 0), name
    for name in ("Mean", "Median", "Minimum", "Maximum", "10Percentile", "90Percentile"):
        assert np.all(maps[name] == np.float32(0.1)), name
    assert np.all(maps["Uniformity"] == 1)


def test_one_voxel_and_two():
    alone, two = np.zeros((5, 5)), np.zeros((5, 5))
    alone[2, 2] = two[2, 2] = two[3, 3] = 1
    image = np.arange(25.0).reshape(5, 5)
    maps = found(image, mask=alone)
    assert {name: maps[name][2, 2] for name in ("Mean", "Range", "Kurtosis")} == {
        "Mean": 12, "Range": 0, "Kurtosis": 0,
    }  # fmt: skip
    assert maps["RobustMeanAbsoluteDeviation"][2, 2] == 0
    maps = found(image, mask=two)
    assert np.isnan(
        maps["RobustMeanAbsoluteDeviation"][2, 2]
    )  # no value from the 10th to the 90th percentile
    assert maps["Median"][2, 2] == 15
    assert maps["Kurtosis"][2, 2] == 1
    assert np.isfinite(maps["Mean"][two == 1]).all()
    assert np.isnan(maps["Mean"][two == 0]).all()


@pytest.mark.parametrize("factor", [1e-150, 2.0**-600, 1e100])
def test_shapes_of_very_small_and_very_large_values(rng, factor):
    """Their fourth powers are beyond float64; skewness and kurtosis do not depend on the unit."""
    image = rng.normal(size=(6, 7))
    names = ["firstorder_Skewness", "firstorder_Kurtosis"]
    maps, scaled = found(image, names), found(image * factor, names)
    for name, values in maps.items():
        np.testing.assert_allclose(scaled[name], values, rtol=1e-6)


@pytest.mark.parametrize("span", [5e-324, 1e-200, 1.0, 1e200, 1e308])
def test_units_are_powers_of_two(span):
    unit = unit_of(span)
    assert np.frexp(unit)[0] == 0.5
    assert 2.0**-200 <= span * unit <= 2.0**200


def test_a_common_offset_costs_no_digits(rng):
    image = rng.integers(0, 1000, (6, 7)) / 1024
    names = [f"firstorder_{name}" for name in ("Variance", "Skewness", "Kurtosis", "MeanAbsoluteDeviation")]
    for name, values in found(image, names).items():
        np.testing.assert_array_equal(found(image + 2.0**40, names)[name], values, err_msg=name)


def test_signs_of_zero_do_not_matter(rng):
    image = rng.choice([0.0, -0.0, 1.0], (6, 7))
    for name, values in found(image).items():
        plus = found(np.abs(image))[name]
        np.testing.assert_array_equal(values.view(np.int32), plus.view(np.int32), err_msg=name)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_outside_the_mask_does_not_matter(rng, value):
    image = rng.normal(size=(3, 12, 13))
    mask = np.zeros(image.shape, bool)
    mask[1, 2:6, 2:9] = True
    for masked in (True, False):
        spoiled = image.copy()
        spoiled[~mask if masked else np.s_[:, :, 12]] = value
        chosen = {"mask": mask, "masked_window": masked, "intensity_range": (-3, 3)}
        clean = found(image, **chosen)
        for name, values in found(spoiled, **chosen).items():
            np.testing.assert_array_equal(values, clean[name], err_msg=name)


@pytest.mark.parametrize("fields", [{}, {"dimensions": 3, "window": (3, 5, 3)}], ids=str)
def test_blocks_and_threads_do_not_change_a_bit(rng, monkeypatch, fields):
    image, mask = rng.normal(size=(4, 9, 8)), rng.random((4, 9, 8)) < 0.8
    whole = found(image, mask=mask, **fields)
    monkeypatch.setattr(cpu, "_BLOCK_VOXELS", 8 * 8 * 3)  # blocks of three rows
    monkeypatch.setattr(threads, "get_num_threads", lambda: 3)
    for name, values in found(image, mask=mask, **fields).items():
        np.testing.assert_array_equal(values, whole[name], err_msg=name)


def test_only_what_is_asked_for_is_computed(rng):
    image = rng.normal(size=(6, 7))
    every = found(image)
    for name, values in every.items():
        np.testing.assert_array_equal(found(image, [f"firstorder_{name}"])[name], values)


def test_every_formula_is_a_feature():
    formulas = [feature.formula for feature in FEATURES if feature.stage == "intensities"]
    assert sorted(formulas) == sorted(FORMULAS)


def test_sorting(rng):
    for count in (0, 1, 2, 3, 4, 5, 25, 121, 1000):
        memory = rng.integers(0, 300, count + 7).astype(float)
        wanted = memory.copy()
        wanted[3 : 3 + count].sort()
        sort(memory, 3, count)
        np.testing.assert_array_equal(memory, wanted)


@pytest.mark.parametrize("spacing", [(1, 1), (1, 1, 0), (1, -1, 1), (1, 1, np.nan), (1, np.inf, 1), 1, "123"])
def test_spacings_that_are_refused(spacing):
    with pytest.raises(ValueError, match="spacing must be three finite positive numbers, along z, y and x"):
        feature_maps(np.ones((4, 4)), "firstorder_TotalEnergy", spacing=spacing, backend="cpu")


fast = settings(max_examples=25, deadline=None)
few = st.sampled_from([-3.5, -1e-3, 0.0, 0.1, 1 / 3, 2.0, 1e5])
volumes = arrays.arrays(np.float64, (3, 6, 7), elements=few)
windows = st.sampled_from([{}, {"dimensions": 3, "window": 3}])


@fast
@given(volumes, windows)
def test_mirrored_images_have_mirrored_maps(image, fields):
    maps = found(image, **fields)
    for axes in [np.s_[::-1], np.s_[:, ::-1], np.s_[..., ::-1]]:
        for name, values in found(np.ascontiguousarray(image[axes]), **fields).items():
            np.testing.assert_array_equal(values[axes], maps[name], err_msg=name)


@fast
@given(volumes, windows)
def test_order_and_bounds(image, fields):
    maps = found(image, **fields)
    ordered = [maps[name] for name in ("Minimum", "10Percentile", "Median", "90Percentile", "Maximum")]
    assert np.all(np.diff(ordered, axis=0) >= 0)
    assert np.all(maps["Kurtosis"] >= np.float32(1 - 1e-6) * (maps["Range"] > 0))
    assert np.all(maps["MeanAbsoluteDeviation"] <= np.sqrt(maps["Variance"]) * np.float32(1 + 1e-6))
    assert np.all(maps["Uniformity"] <= 1)
