"""The image types of pyradiomics: by hand, by properties, and by values that pyradiomics gave."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from pipelines.filters.contract import Scope
from pipelines.filters.specification import FILTERS, filter_of, refuse_same_names
from pipelines.images.volume import Volume

pytest.importorskip("pywt", reason="the extra `filters`")
pytest.importorskip("skimage", reason="the extra `filters`")

REFERENCE = json.loads((Path(__file__).parents[2] / "reference" / "filters.json").read_text())
FLAT = Scope(flat=True)


def volume(array, spacing=None):
    array = np.asarray(array)
    axes = array.ndim
    return Volume(array, spacing or (1.0,) * axes, (0.0,) * axes, tuple(np.eye(axes).ravel()))


def images(text, image, scope=FLAT):
    one = filter_of(text)
    one.check(image, scope)
    found = {derived.name: derived.volume for derived in one.images(image, scope)}
    assert sorted(found) == sorted(one.names(image.array.ndim, scope))
    for derived in found.values():
        assert derived.array.shape == image.array.shape
        assert derived.spacing_mm == image.spacing_mm
    return {name: derived.array for name, derived in found.items()}


@pytest.fixture
def noise():
    values = np.random.default_rng(5).integers(-50, 200, (7, 12, 9))
    return volume(values.astype(np.int16), (0.7, 0.9, 2.5))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("square", [16.0, 0.0, 1.0]),
        ("squareroot", [-16.0, 0.0, 8.0]),
        ("logarithm", [-16.0, 0.0, 16 * math.log(5) / math.log(17)]),
        ("exponential", [1 / 16, 1.0, 2.0]),
    ],
)
def test_functions_of_intensities_by_hand(text, expected):
    values = images(text, volume(np.array([[-16, 0, 4]], np.int16)))[text]
    np.testing.assert_allclose(values, [expected], rtol=1e-15)


def test_the_haar_wavelet_by_hand():
    row = np.array([[1, 3, 8, 2]], np.int16).repeat(2, axis=0)
    found = images("wavelet:haar", volume(row))
    # Neighbours are added, or subtracted, and divided by sqrt 2 along each axis; the last one's is the first.
    np.testing.assert_allclose(found["wavelet-LL"], np.array([[4, 11, 10, 3]] * 2), rtol=1e-14)
    np.testing.assert_allclose(np.abs(found["wavelet-HL"]), np.array([[2, 5, 6, 1]] * 2), rtol=1e-14)
    for flat_along_y in ("wavelet-LH", "wavelet-HH"):
        np.testing.assert_allclose(found[flat_along_y], 0, atol=1e-14)


def test_the_first_letter_is_x():
    stripes = np.zeros((6, 6, 6), np.int16)
    stripes[:, :, ::2] = 10
    found = images("wavelet:haar", volume(stripes), Scope())
    largest = {name: np.abs(values).max() for name, values in found.items()}
    assert {name for name, value in largest.items() if value > 1e-9} == {"wavelet-LLL", "wavelet-HLL"}


@pytest.mark.parametrize(("axis", "name"), [(0, "wavelet-HL"), (1, "wavelet-HL"), (2, "wavelet-LL")])
def test_wavelets_in_slices_leave_out_the_axis_across_them(axis, name):
    stripes = np.zeros((6, 6, 6), np.int16)
    stripes[:, :, ::2] = 10
    found = images("wavelet:haar", volume(stripes), Scope(flat=True, slice_axis=axis))
    assert np.ptp(found[name]) > 9


def test_levels_of_wavelets_have_names_of_their_own(noise):
    found = images("wavelet:name=db1,level=2,start_level=1", noise)
    assert list(found) == [
        *("wavelet-LH", "wavelet-HL", "wavelet-HH"),
        *("wavelet2-LH", "wavelet2-HL", "wavelet2-HH", "wavelet2-LL"),
    ]


def test_the_energy_of_a_wavelet_is_that_of_the_image():
    values = np.random.default_rng(2).normal(size=(8, 8, 8))
    found = images("wavelet:db3", volume(values), Scope())
    assert sum(np.sum(band**2) for band in found.values()) == pytest.approx(8 * np.sum(values**2), rel=1e-9)


def test_the_laplacian_of_a_parabola(noise):
    z, y, x = (np.indices((40, 40, 40)) - 20) * 0.5
    found = images("log:1.5", volume((x**2 + 2 * y**2 - z**2).astype(np.float64), (0.5,) * 3), Scope())
    middle = found["log-sigma-1-5-mm-3D"][18:22, 18:22, 18:22]
    np.testing.assert_allclose(middle, 1.5**2 * (2 + 4 - 2), rtol=5e-3)  # the recursion approximates


def test_the_laplacian_of_a_2d_image_is_defined():
    assert list(images("log:sigma=2,4", volume(np.eye(30, dtype=np.float32)))) == [
        "log-sigma-2-0-mm-3D", "log-sigma-4-0-mm-3D",
    ]  # fmt: skip


def test_gradients_are_per_mm_unless_spacing_is_left_out():
    ramp = volume(np.arange(8, dtype=np.int16)[None, None].repeat(3, 0).repeat(4, 1), (0.5, 1.0, 2.0))
    assert images("gradient", ramp)["gradient"][1, 1, 3] == 2
    assert images("gradient:use_spacing=no", ramp)["gradient"][1, 1, 3] == 1


def test_patterns_of_a_peak_an_edge_and_a_flat_part():
    image = np.zeros((9, 9), np.int16)
    image[2, 2] = 5
    found = images("lbp-2d", volume(image))["lbp-2D"]
    assert found[2, 2] == 0  # no sample is as high
    assert found[6, 6] == 8  # all are
    assert found.max() <= 9


def test_patterns_on_spheres_outside_the_mask_are_missing_not_whatever_memory_held(noise):
    needed = np.zeros(noise.array.shape, bool)
    needed[2:5, 3:8, 1:6] = True
    everywhere, some = (images("lbp-3d", noise, Scope(needed=part)) for part in (None, needed))
    for name, values in some.items():
        np.testing.assert_array_equal(values[needed], everywhere[name][needed])
        assert np.isnan(values[~needed]).all()


def test_patterns_on_spheres_of_a_peak_and_a_flat_part():
    image = np.zeros((9, 9, 9), np.int16)
    image[4, 4, 4] = 90
    found = images("lbp-3d", volume(image), Scope())
    assert found["lbp-3D-m1"][4, 4, 4] == 0
    # All 42 signs are 1: the mean of degree 0 has the norm 42 sqrt(42) / (4 pi).
    assert found["lbp-3D-m1"][1, 1, 1] == pytest.approx(42 * math.sqrt(42) / (4 * math.pi), rel=1e-12)
    assert found["lbp-3D-k"][1, 1, 1] == -3


def test_patterns_on_spheres_do_not_depend_on_how_many_are_computed_together(noise, monkeypatch):
    whole = images("lbp-3d", noise, Scope())
    monkeypatch.setattr("pipelines.filters.lbp3d._AT_ONCE", 7)
    for name, values in images("lbp-3d", noise, Scope()).items():
        np.testing.assert_allclose(values, whole[name], rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("text", REFERENCE["images"])
def test_values_are_those_that_pyradiomics_gave(text):
    """Recorded by tests/oracles/record.py from the image by this formula."""
    image = volume((np.arange(6 * 7 * 8) * 7919 % 97).reshape(6, 7, 8).astype(np.int16), (0.7, 0.9, 2.5))
    for name, expected in REFERENCE["images"][text].items():
        found = images(text, image, Scope())[name][tuple(np.array(REFERENCE["places"]).T)]
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lgo:sigma=2", "no filter 'lgo' \\(did you mean 'log'\\?\\)"),
        ("log", "sigma is missing; it must be numbers separated by commas"),
        ("log:sigma=0", "sigma must be a width in mm above 0, got 0"),
        ("log:sigma=nan", "sigma must be a width in mm above 0, got nan"),
        ("log:sigma=2;4", "sigma must be numbers separated by commas, got '2;4'"),
        ("log:sigma=2,sigma=4", "sigma is given twice"),
        ("log:width=2", "no setting 'width'; its settings are sigma"),
        ("square:2", "expected SETTING=VALUE, got '2'; it has no settings"),
        ("gradient:use_spacing=maybe", "use_spacing must be yes or no, got 'maybe'"),
        ("wavelet:cof1", "no wavelet 'cof1' \\(did you mean 'coif1'\\?\\)"),
        ("wavelet:morl", "no wavelet 'morl'"),
        ("wavelet:level=0", "level must be 1 or more, got 0"),
        ("wavelet:level=1.5", "level must be a whole number, got '1.5'"),
        ("lbp-2d:samples=99", "samples must be from 1 to 24, got 99"),
        ("lbp-2d:method=uniformly", "method must be one of"),
        ("lbp-3d:radius=-1", "radius must be a number of voxels above 0, got -1"),
        ("lbp-3d:levels=0", "levels must be 1 or more, got 0"),
    ],
)
def test_a_wrong_specification_is_refused_by_its_text(text, message):
    with pytest.raises(ValueError, match=f"^--filter {text}: {message}"):
        filter_of(text)


@pytest.mark.parametrize(
    ("text", "shape", "spacing", "message"),
    [
        ("log:2", (3, 40, 40), (1.0, 1.0, 1.0), "needs at least 4 voxels along z, 1 mm apart, got 3"),
        ("log:9", (6, 40, 40), (1.0, 1.0, 1.5), "sigma 9 mm needs at least 7 voxels along z, 1.5 mm apart"),
        ("lbp-3d", (40, 40), (1.0, 1.0), "lbp-3D needs a volume, got a 2D image"),
        ("square", (5, 5, 5), (1.0, 1.0, 1.0), "square needs an image that is not 0 everywhere"),
    ],
)
def test_an_image_without_values_is_refused(text, shape, spacing, message):
    with pytest.raises(ValueError, match=message):
        filter_of(text).check(volume(np.zeros(shape, np.int16), spacing), FLAT)


@pytest.mark.parametrize(
    "text", [*sorted({name for name in FILTERS if "ibsi" not in name} - {"original", "log"}), "log:2"]
)
def test_an_image_that_is_not_finite_is_refused(text):
    image = np.ones((6, 6, 6))
    image[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="needs finite intensities, got NaN or infinity at 1 voxels"):
        filter_of(text).check(volume(image), FLAT)


@pytest.mark.parametrize(
    ("text", "missing", "message"),
    [
        ("wavelet", "pywt", "wavelet needs PyWavelets"),
        ("lbp-2d", "skimage", "lbp-2D needs scikit-image"),
        ("lbp-3d", "scipy", "lbp-3D needs SciPy"),
        ("ibsi-mean:3", "scipy", "a filter of IBSI needs SciPy"),
    ],
)
def test_a_missing_library_is_named_with_how_to_install_it(text, missing, message, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(
        ModuleNotFoundError, match=rf"{message}, which is not installed: pip install 'radsynth\[filters\]'"
    ):
        filter_of(text).check(volume(np.ones((6, 6, 6))), FLAT)


def test_two_filters_with_images_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two filters give an image the name wavelet-LH"):
        refuse_same_names(2 * filter_of("wavelet:db2").names(2, FLAT))
    refuse_same_names(filter_of("wavelet:level=2").names(3, Scope()))
