"""Quantisation against the oracle, its edges, and what it refuses."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glcm_cuda import GLCMSettings, intensity_range, quantize


@pytest.mark.parametrize("levels", [2, 6, 64, 256])
@pytest.mark.parametrize("dtype", ["u1", "i2", ">i2", "f2", "f4", ">f8"])
def test_matches_naive(rng, levels, dtype):
    image = rng.integers(0, 200, (4, 5)).astype(dtype)
    got = quantize(image, GLCMSettings(levels=levels))
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, naive.quantize(image, levels))


@given(st.lists(st.integers(-(2**15), 2**15), min_size=2, max_size=30), st.integers(2, 256))
def test_integers_fall_in_the_exact_bin(values, levels):
    low, high = min(values), max(values)
    span = max(high - low, 1)
    expected = [min(levels * (value - low) // span, levels - 1) for value in values]
    assert quantize(np.array(values), GLCMSettings(levels=levels)).tolist() == expected


def test_the_maximum_is_in_the_top_bin():
    assert quantize([0.0, 0.5, 1.0]).tolist() == [0, 32, 63]


def test_constant_image_is_level_zero():
    assert not quantize(np.full((3, 3), 7.0)).any()


def test_a_given_range_clips():
    settings = GLCMSettings(levels=4, intensity_range=(0, 4))
    assert quantize([-9, 0, 1.5, 3, 4, 99], settings).tolist() == [0, 0, 1, 3, 3, 3]


def test_range_over_the_mask():
    image, mask = np.array([0.0, 10.0, 20.0, 100.0]), [0, 1, 1, 0]
    settings = GLCMSettings(levels=2, range_over="mask")
    assert intensity_range(image, settings, mask=mask) == (10.0, 20.0)
    assert quantize(image, settings, mask=mask).tolist() == [0, 0, 1, 1]
    with pytest.raises(ValueError, match="needs a mask, got none"):
        quantize(image, settings)


def test_not_finite_is_refused_inside_and_allowed_outside_the_mask():
    image = np.array([0.0, 1.0, np.nan, np.inf])
    with pytest.raises(ValueError, match="the image must hold finite intensities, got 2 NaN"):
        quantize(image)
    with pytest.raises(
        ValueError, match="finite intensities inside the mask, got 1 NaN or infinite voxel; mask out"
    ):
        quantize(image, mask=[1, 1, 1, 0])
    with pytest.raises(ValueError, match="finite intensities inside the mask, got 2 NaN or infinite voxels;"):
        quantize(image, mask=[1, 1, 1, 1])
    assert quantize(image, mask=[1, 1, 0, 0])[:2].tolist() == [0, 63]


@pytest.mark.parametrize(
    ("image", "mask", "error", "message"),
    [
        (np.zeros((0, 4)), None, ValueError, "must not be empty"),
        (np.array(["a"]), None, TypeError, "must hold real numbers"),
        (np.zeros(3, complex), None, TypeError, "must hold real numbers"),
        (np.zeros(3), np.zeros(3), ValueError, "mask must have voxels inside, got none"),
        (np.zeros(3), np.ones(4), ValueError, "mask must have the image's shape"),
        (
            np.zeros(3),
            [1, np.nan, 0],
            ValueError,
            "mask must hold finite numbers, got 1 NaN or infinite voxel;",
        ),
        (np.zeros(3), [1, np.inf, np.nan], ValueError, "mask must hold finite numbers, got 2 NaN"),
    ],
)
def test_unfit_arrays(image, mask, error, message):
    with pytest.raises(error, match=message):
        quantize(image, mask=mask)


def test_intensities_near_the_largest_number_do_not_wrap():
    assert quantize([0.0, 5e306, 1e307]).tolist()[::2] == [0, 63]
