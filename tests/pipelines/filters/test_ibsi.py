"""IBSI's filters: its consensus responses, and properties that need no data."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from pipelines.filters.contract import Scope
from pipelines.filters.ibsi.responses import pooled
from pipelines.filters.specification import filter_of
from pipelines.images.reading import read_image
from pipelines.images.volume import Volume

pytest.importorskip("pywt", reason="the extra `filters`")

DATA = Path(os.environ.get("RADSYNTH_DATA", Path(__file__).parents[4] / "shared" / "data")) / "ibsi" / "ibsi2"
SPACE, PLANE = Scope(), Scope(flat=True)
CASES = {
    "1A1": ("checkerboard", "ibsi-mean:size=15,boundary=zero", SPACE),
    "1A2": ("checkerboard", "ibsi-mean:size=15,boundary=nearest", SPACE),
    "1A4": ("checkerboard", "ibsi-mean:size=15,boundary=mirror", SPACE),
    "1B1": ("impulse", "ibsi-mean:size=15,boundary=zero", PLANE),
    "2A": ("impulse", "ibsi-log:sigma=3,boundary=zero", SPACE),
    "2B": ("checkerboard", "ibsi-log:sigma=5,boundary=mirror", SPACE),
    "3A1": ("impulse", "ibsi-laws:E5L5S5,boundary=zero", SPACE),
    "3A2": ("impulse", "ibsi-laws:E5L5S5,pooling=max,boundary=zero", SPACE),
    "3A3": ("impulse", "ibsi-laws:E5L5S5,pooling=max,energy=7,boundary=zero", SPACE),
    "3B1": ("checkerboard", "ibsi-laws:E3W5R5,boundary=mirror", SPACE),
    "3B2": ("checkerboard", "ibsi-laws:E3W5R5,pooling=max,boundary=mirror", SPACE),
    "3B3": ("checkerboard", "ibsi-laws:E3W5R5,pooling=max,energy=7,boundary=mirror", SPACE),
    "3C1": ("checkerboard", "ibsi-laws:L5S5,boundary=mirror", PLANE),
    "3C2": ("checkerboard", "ibsi-laws:L5S5,pooling=max,boundary=mirror", PLANE),
    "5A1": ("impulse", "ibsi-wavelet:db2,band=LHL,boundary=zero", SPACE),
    "6A1": ("sphere", "ibsi-wavelet:coif1,band=HHL,boundary=periodic", SPACE),
    "7A1": ("checkerboard", "ibsi-wavelet:haar,band=LLL,level=2,pooling=average,boundary=mirror", SPACE),
}


def volume(array, spacing=None):
    axes = array.ndim
    return Volume(array, spacing or (1.0,) * axes, (0.0,) * axes, tuple(np.eye(axes).ravel()))


def response(text, image, scope):
    one = filter_of(text)
    one.check(image, scope)
    (derived,) = one.images(image, scope)
    assert one.names(image.array.ndim, scope) == (derived.name,)
    return derived.volume.array


@pytest.mark.skipif(not DATA.is_dir(), reason="no response maps of IBSI; set RADSYNTH_DATA")
@pytest.mark.parametrize("test", CASES)
def test_the_consensus_response_is_reproduced(test):
    """IBSI's tolerance is 1 % of the range; the maps are float32, and nothing else is between."""
    phantom, text, scope = CASES[test]
    (reference,) = DATA.glob(f"response_*_CT_{test}_*.nii.gz")
    expected = read_image(reference).array.astype(np.float64)
    found = response(text, read_image(DATA / f"{phantom}.nii.gz"), scope)
    assert np.abs(found - expected).max() <= 1e-6 * np.ptp(expected)


@pytest.mark.parametrize(
    ("boundary", "beyond"),
    [("zero", (0, 0)), ("nearest", (1, 1)), ("periodic", (5, 9)), ("mirror", (2, 1))],
)
def test_what_lies_beyond_the_image(boundary, beyond):
    rows = volume(np.array([[1, 2, 5, 9]], np.int16).repeat(5, axis=0))
    found = response(f"ibsi-mean:5,boundary={boundary}", rows, PLANE)[2, 0]
    assert found == pytest.approx((sum(beyond) + 1 + 2 + 5) / 5)


@pytest.mark.parametrize("pooling", ["max", "average"])
@pytest.mark.parametrize("text", ["ibsi-laws:E5L5S5", "ibsi-wavelet:db2,band=LHL,level=2"])
@pytest.mark.parametrize("axes", [(0, 1), (0, 2), (1, 2)])
def test_pooled_responses_turn_with_the_image(text, pooling, axes):
    array = np.random.default_rng(1).integers(0, 99, (7, 8, 9)).astype(np.float64)
    text = f"{text},pooling={pooling},boundary=periodic"
    turned = response(text, volume(np.rot90(array, axes=axes)), SPACE)
    np.testing.assert_allclose(turned, np.rot90(response(text, volume(array), SPACE), axes=axes), atol=1e-9)


@pytest.mark.parametrize(("axes", "count"), [((0, 1, 2), 24), ((1, 2), 4)])
def test_every_rotation_is_taken_once(axes, count):
    seen = []
    array = np.random.default_rng(2).normal(size=(3, 3, 3))

    def noted(image):
        seen.append(image.tobytes())
        return image

    np.testing.assert_allclose(pooled(array, noted, axes, "average"), array, rtol=1e-14)
    assert len(seen) == len(set(seen)) == count


def test_the_mean_of_a_slice_keeps_to_it():
    array = np.zeros((5, 7, 7))
    array[2] = 9
    assert response("ibsi-mean:3", volume(array), Scope(flat=True, slice_axis=0))[2, 3, 3] == 9
    assert response("ibsi-mean:3", volume(array), SPACE)[2, 3, 3] == 3


def test_all_bands_of_a_wavelet_have_names():
    one = filter_of("ibsi-wavelet:haar,level=2,pooling=average")
    assert one.names(3, PLANE) == tuple(
        f"ibsi-wavelet-haar-{band}-level-2-average" for band in ("LL", "LH", "HL", "HH")
    )
    assert len(list(one.images(volume(np.eye(6)), PLANE))) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ibsi-mean", "size is missing; it must be a whole number"),
        ("ibsi-mean:4", "size must be odd, got 4"),
        ("ibsi-mean:0", "size must be 1 or more, got 0"),
        ("ibsi-mean:3,boundary=wrap", "boundary must be one of .* got 'wrap'"),
        ("ibsi-log:sigma=0", "sigma must be a number above 0, got 0"),
        ("ibsi-log:sigma=1,cutoff=-1", "cutoff must be a number above 0, got -1"),
        ("ibsi-laws:E5L6", "kernels must be two or three of L3, E3, .* got 'E5L6'"),
        ("ibsi-laws:E5", "kernels must be two or three of"),
        ("ibsi-laws:E5L5S5,pooling=min", "pooling must be one of .* got 'min'"),
        ("ibsi-laws:E5L5S5,energy=-1", "energy must be 0 or more, got -1"),
        ("ibsi-wavelet:hara", "no wavelet 'hara' .did you mean 'haar'"),
        ("ibsi-wavelet:haar,band=LHX", "band must be two or three of the letters L and H"),
    ],
)
def test_a_wrong_specification_is_refused(text, message):
    with pytest.raises(ValueError, match=f"^--filter {text}: {message}"):
        filter_of(text)


@pytest.mark.parametrize(
    ("text", "scope", "message"),
    [
        ("ibsi-log:3", SPACE, "ibsi-log needs one spacing along the axes it works along, got 1, 1, 2 mm"),
        ("ibsi-laws:E5L5S5", PLANE, "E5L5S5 is for 3 axes, the filter works along 2; .* --dimensions 3"),
        ("ibsi-wavelet:haar,band=LH", SPACE, "band LH is for 2 axes, the filter works along 3"),
    ],
)
def test_an_image_that_a_filter_does_not_fit_is_refused(text, scope, message):
    with pytest.raises(ValueError, match=message):
        filter_of(text).check(volume(np.ones((6, 6, 6)), (1.0, 1.0, 2.0)), scope)


@pytest.mark.parametrize("text", ["ibsi-mean:3", "ibsi-log:1", "ibsi-laws:E5L5", "ibsi-wavelet:haar"])
def test_an_image_that_is_not_finite_is_refused(text):
    image = np.ones((6, 6, 6))
    image[0, 0, 0] = np.inf
    with pytest.raises(ValueError, match="needs finite intensities, got NaN or infinity at 1 voxels"):
        filter_of(text).check(volume(image), PLANE)
