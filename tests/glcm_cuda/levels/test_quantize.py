"""Quantisation against the oracle, its edges, and what it refuses."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glcm_cuda import GLCMSettings, entropy_map, find_bins, intensity_range, quantize


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
        (
            np.zeros(2),
            np.array(["1", ""]),
            TypeError,
            "mask must hold real numbers or booleans, got dtype <U1",
        ),
        (
            np.zeros(2),
            np.array([None, 1]),
            TypeError,
            "mask must hold real numbers or booleans, got dtype obj",
        ),
        (
            np.zeros(2),
            np.array([1j, 0]),
            TypeError,
            "mask must hold real numbers or booleans, got dtype compl",
        ),
        (np.zeros(2), np.ma.array([1, 1], mask=[0, 1]), TypeError, "mask must not be a masked array"),
        (np.ma.array([1, 1], mask=[0, 1]), None, TypeError, "image must not be a masked array"),
    ],
)
def test_unfit_arrays(image, mask, error, message):
    with pytest.raises(error, match=message):
        quantize(image, mask=mask)


def test_a_mask_is_inside_where_it_is_not_zero():
    """Fractions and negative numbers count as well; so does a masked array with nothing masked."""
    chosen = GLCMSettings(range_over="mask")
    for mask in ([0.1, -2.0, 0.0], np.ma.array([True, True, False]), np.array([1, 9, 0], ">i2")):
        assert intensity_range([3.0, 7.0, 9.0], chosen, mask=mask) == (3.0, 7.0)


def test_intensities_near_the_largest_number_do_not_wrap():
    assert quantize([0.0, 5e306, 1e307]).tolist()[::2] == [0, 63]
    assert quantize([0.0, 5e306, 1e307]).tolist() == [0, 32, 63]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"bin_width": 1e307},
        {"percentiles": (1, 99)},
        {"deviations": 2},
        {"intensity_range": (-1.7e308, 1.7e308)},
    ],
    ids=str,
)
@pytest.mark.parametrize("bin_edges", ["ibsi", "pyradiomics"])
def test_a_range_that_overflows_is_refused(fields, bin_edges):
    with pytest.raises(ValueError, match=r"intensities .* overflows( float64)?; rescale the image"):
        quantize([-1.7e308, 0.0, 1.7e308], GLCMSettings(**fields, bin_edges=bin_edges))


@pytest.mark.parametrize("fields", [{"bin_width": 0.1}, {"levels": 64}], ids=str)
def test_one_intensity_is_one_level_however_narrow_its_bin(fields):
    """At 1e9 the next float32 is 64 away."""
    chosen, image = GLCMSettings(**fields, bin_edges="pyradiomics"), np.full((6, 6), 1e9, np.float32)
    assert find_bins(image, chosen).levels == 1
    assert not entropy_map(image, chosen, backend="cpu").any()
    two = image.copy()
    two[0] = 1e9 + 64
    with pytest.raises(ValueError, match=r"range 1000000000 to 1000000064 are narrower than float32 numbers"):
        quantize(two, chosen)
    assert quantize(two.astype(float), chosen).max() > 0


@pytest.mark.parametrize("width", [25, 0.1, 7.3])
def test_bins_of_a_width_match_naive(rng, width):
    image = rng.normal(0, 10 * width, (6, 7))
    got = quantize(image, GLCMSettings(bin_width=width))
    np.testing.assert_array_equal(got, naive.quantize_width(image, width))


@pytest.mark.parametrize("dtype", ["int16", "float32", "float64"])
@pytest.mark.parametrize(
    "fields", [{"bin_width": 25}, {"bin_width": 0.7}, {"levels": 32}, {"levels": 7}], ids=str
)
def test_pyradiomics_edges_match_naive(rng, dtype, fields):
    """Ties are many here: whole numbers, and floats that lie on edges."""
    image = (rng.integers(-60, 300, (20, 21)) * 0.7).astype(dtype)
    mask = rng.random(image.shape) < 0.7
    chosen = GLCMSettings(**fields, bin_edges="pyradiomics", range_over="mask")
    how = {"bin_count": fields.get("levels"), "bin_width": fields.get("bin_width")}
    expected = naive.quantize_pyradiomics(image, image[mask], **how)
    np.testing.assert_array_equal(quantize(image, chosen, mask=mask)[mask], expected[mask])


def test_pyradiomics_bins_start_at_multiples_of_their_width():
    """The example of its documentation: 54 to 166 in widths of 25 are the edges 50, 75, ... 175."""
    chosen = GLCMSettings(bin_width=25, bin_edges="pyradiomics")
    assert quantize([54, 74, 75, 100, 166], chosen).tolist() == [0, 0, 1, 2, 4]
    assert quantize([54, 78, 79, 166], GLCMSettings(bin_width=25)).tolist() == [0, 0, 1, 4]


def test_a_flat_region_is_one_bin():
    for fields in ({"bin_width": 25}, {"bin_width": 25, "bin_edges": "pyradiomics"}):
        assert quantize([50, 50], GLCMSettings(**fields)).tolist() == [0, 0]


def test_percentiles_and_deviations(rng):
    image = rng.normal(5, 2, 1000)
    image[0] = 1e6  # an outlier, which would take all levels
    low, high = intensity_range(image, GLCMSettings(percentiles=(1, 99)))
    assert (low, high) == tuple(np.percentile(image, [1, 99]))
    mask = np.arange(1000) > 0
    chosen = GLCMSettings(deviations=1.5, range_over="mask")
    inside = image[mask]
    expected = (inside.mean() - 1.5 * inside.std(), inside.mean() + 1.5 * inside.std())
    assert intensity_range(image, chosen, mask=mask) == pytest.approx(expected)
    wide = intensity_range(image, GLCMSettings(deviations=99, range_over="mask"), mask=mask)
    assert wide == (inside.min(), inside.max())


def test_range_over_the_crop():
    """The box of the mask and the radius of the window around it, across slices too."""
    image = np.arange(7 * 9 * 9.0).reshape(7, 9, 9)
    mask = np.zeros(image.shape)
    mask[3, 4, 4:6] = 1
    box = image[1:6, 2:7, 2:8]
    assert intensity_range(image, GLCMSettings(range_over="crop"), mask=mask) == (box.min(), box.max())
    image[0, 0, 0] = np.nan  # beyond all windows
    chosen = GLCMSettings(range_over="crop", masked_window=False)
    assert intensity_range(image, chosen, mask=mask) == (box.min(), box.max())
    image[2, 3, 3] = np.nan
    with pytest.raises(
        ValueError, match="must hold finite intensities where the mask's windows reach, got 1 NaN"
    ):
        intensity_range(image, chosen, mask=mask)


def test_sixteen_bits_of_levels(rng):
    image = rng.integers(0, 65536, (50, 60)).astype(np.uint16)
    got = quantize(image, GLCMSettings(levels=65536, intensity_range=(0, 65536)))
    assert got.dtype == np.uint16
    np.testing.assert_array_equal(got, image)


def test_a_width_that_needs_too_many_levels():
    with pytest.raises(
        ValueError, match=r"bin_width=0.01 needs 219001 levels over the range 0 to 2190, .* 65536"
    ):
        quantize([0.0, 2190.0], GLCMSettings(bin_width=0.01))


def test_a_width_below_all_numbers_that_divide_the_range():
    with pytest.raises(ValueError, match="needs inf levels over the range 0 to 8, but the maximum is 65536"):
        quantize([0.0, 8.0], GLCMSettings(bin_width=5e-324))


@pytest.mark.parametrize(
    ("image", "fields"),
    [
        (np.array([True, False, True]), {"levels": 8}),
        (np.array([3, 5], np.float16), {"bin_width": 1e30}),
        (np.array([-65504, 0.1, 65504], np.float16), {"levels": 8}),
        (np.array([3, 5], np.float32), {"bin_width": 1e39}),
        (np.array([3, 5], np.longdouble), {"levels": 8}),
        (np.array([np.iinfo(np.int64).max]), {"levels": 8}),
        (np.array([0, np.iinfo(np.uint64).max], np.uint64), {"levels": 8}),
        (np.array([3, 250], np.uint8), {"levels": 8, "intensity_range": (-40, 300)}),
    ],
    ids=lambda value: str(getattr(value, "dtype", value)),
)
def test_pyradiomics_edges_of_types_that_have_no_such_edges(image, fields):
    """Truth values count as 0 and 1; edges that the type cannot hold are found in float64."""
    chosen = GLCMSettings(**fields, bin_edges="pyradiomics")
    np.testing.assert_array_equal(quantize(image, chosen), quantize(image.astype(float), chosen))


def test_intensities_beyond_float64_are_refused():
    image = np.array([0, np.finfo(np.longdouble).max])
    if image.max() == np.finfo(np.float64).max:
        pytest.skip("long double is float64 here")
    for fields in ({}, {"deviations": 1}, {"percentiles": (1, 99)}):
        with pytest.raises(ValueError, match="range of intensities 0 to inf overflows float64"):
            quantize(image, GLCMSettings(**fields))
    given = GLCMSettings(levels=8, intensity_range=(0, 100))
    assert quantize(image, given).tolist() == [0, 7]


def test_the_bins_of_the_whole_give_a_part_the_same_levels(rng):
    image = rng.random((20, 20))
    settings = GLCMSettings(percentiles=(5, 95))
    bins = find_bins(image, settings)
    np.testing.assert_array_equal(quantize(image[3:9], settings, bins=bins), quantize(image, settings)[3:9])
    inner = entropy_map(image[3:12], settings, bins=bins, backend="cpu")[2:-2]
    np.testing.assert_array_equal(inner, entropy_map(image, settings, backend="cpu")[5:10])


def test_what_is_not_finite_is_refused_though_the_bins_are_known():
    image, mask = np.ones((4, 4)), np.ones((4, 4))
    bins = find_bins(image)
    image[0, 0] = np.nan
    with pytest.raises(ValueError, match="got 1 NaN or infinite voxel"):
        entropy_map(image, bins=bins)
    mask[0, 0] = 0
    assert np.isnan(entropy_map(image, mask=mask, bins=bins)[0, 0])
