"""Co-occurrence features as maps on the CPU: against the oracle, by properties, and what is refused."""

from __future__ import annotations

import naive
import numba
import numpy as np
import pytest

from glcm_cuda import GLCMSettings, entropy_map, feature_maps
from glcm_cuda.families.glcm import mcc
from glcm_cuda.families.glcm.cpu import lanes
from glcm_cuda.families.glcm.features import FEATURES
from glcm_cuda.families.offsets import directions

NAMES = tuple(feature.name for feature in FEATURES)
needs_machine_code = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="slow without machine code")

SETTINGS = [
    {},
    {"window": 3, "distance": 2},
    {"symmetric": False},
    {"symmetric": False, "log_base": "e", "first_level": 0},
    {"aggregate": "merge", "log_base": 10},
    {"aggregate": "merge", "symmetric": False},
    {"distance": (1, 2), "directions": "all"},
    {"distance": 3, "directions": "all", "window": 7},
    {"dimensions": 3, "window": 3},
    {"dimensions": 3, "window": (3, 5, 3), "aggregate": "merge"},
    {"dimensions": 3, "window": 3, "symmetric": False},
]


def oracle(levels, chosen, mask=None):
    """Return the oracle's maps of levels of an image whose bins are `chosen.levels`."""
    shared = ("window", "dimensions", "symmetric", "aggregate", "log_base", "masked_window", "first_level")
    fields = {name: getattr(chosen, name) for name in shared}
    offsets = [tuple(offset) for offset in directions(chosen).tolist()]
    return naive.maps(
        levels, NAMES, mask=mask, number_of_levels=chosen.levels, image_levels=2, offsets=offsets, **fields
    )


def assert_equal(found, expected):
    """To 1e-5 relative; near 0 to what float64 leaves of sums and roots of differences in the oracle."""
    for name in NAMES:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=2e-7, err_msg=name)


@pytest.mark.parametrize("masked", ["everywhere", "masked", "unmasked windows"])
@pytest.mark.parametrize("fields", SETTINGS, ids=str)
def test_all_features_match_naive(rng, fields, masked):
    levels = rng.integers(0, 12, (3, 6, 7)) ** 2 // 12
    levels[:, :3, :3] = 5  # windows of one level
    chosen = GLCMSettings(
        **fields, levels=16, intensity_range=(0, 16), masked_window=masked != "unmasked windows"
    )
    mask = None if masked == "everywhere" else rng.random(levels.shape) < 0.6
    assert_equal(feature_maps(levels, "glcm", chosen, mask=mask, backend="cpu"), oracle(levels, chosen, mask))


def test_a_case_worked_by_hand():
    """Pairs 0-0, 0-1, 1-1 to the right of 0 0 1 1: cells 00 and 11 are 2/6, 01 and 10 are 1/6."""
    chosen = GLCMSettings(levels=2, window=7)
    found = feature_maps([[0, 0, 1, 1]], "glcm", chosen, backend="cpu")
    expected = {
        "autocorrelation": (2 * 1 + 2 * 2 + 2 * 4) / 6,
        "joint_average": 1.5,
        "contrast": 1 / 3,
        "correlation": 1 / 3,  # covariance 1/12, variance 1/4
        "joint_energy": 10 / 36,
        "maximum_probability": 1 / 3,
        "id": 2 / 3 + 1 / 3 / 2,
        "idn": 2 / 3 + 1 / 3 / 1.5,
        "inverse_variance": 1 / 3,
        "sum_average": 3,
        "sum_entropy": np.log2(3),
        "mcc": 1 / 3,  # of two levels, the correlation
    }
    for name, value in expected.items():
        assert found[name][0, 1] == pytest.approx(value, rel=1e-6), name


@pytest.mark.parametrize("levels", [300, 4000, 65536])
@pytest.mark.parametrize(
    "fields", [{}, {"symmetric": False}, {"aggregate": "merge"}, {"dimensions": 3}], ids=str
)
def test_more_levels_than_codes_have_bits(rng, levels, fields):
    """Entropy needs to know what is equal alone: ranks of few values give the same map."""
    few = rng.integers(0, 20, (3, 20, 21))
    many = np.sort(rng.choice(levels, 20, replace=False))[few]
    chosen = {"window": 3, **fields}
    np.testing.assert_array_equal(
        entropy_map(many, GLCMSettings(**chosen, levels=levels, intensity_range=(0, levels)), backend="cpu"),
        entropy_map(few, GLCMSettings(**chosen, levels=20, intensity_range=(0, 20)), backend="cpu"),
    )


@pytest.mark.slow
def test_features_of_many_levels_match_naive(rng):
    levels = rng.integers(0, 700, (5, 6)) // 3
    levels[0, 0] = 699
    chosen = GLCMSettings(levels=700, intensity_range=(0, 700), window=3)
    assert_equal(feature_maps(levels, "glcm", chosen, backend="cpu"), oracle(levels, chosen))


@pytest.mark.parametrize("axis", [1, 2])
def test_windows_across_another_axis(rng, axis):
    volume = rng.random((5, 6, 7))
    mask = rng.random(volume.shape) < 0.8
    names = ["joint_entropy", "contrast", "mcc"]
    found = feature_maps(volume, names, GLCMSettings(slice_axis=axis), mask=mask, backend="cpu")
    turned = feature_maps(np.moveaxis(volume, axis, 0), names, mask=np.moveaxis(mask, axis, 0), backend="cpu")
    for name in names:
        np.testing.assert_array_equal(np.moveaxis(found[name], axis, 0), turned[name])


def test_what_else_is_asked_for_does_not_matter(rng):
    image = rng.random((20, 21))
    together = feature_maps(image, "glcm", backend="cpu")
    for name in NAMES:
        np.testing.assert_array_equal(feature_maps(image, name, backend="cpu")[name], together[name])
    np.testing.assert_array_equal(together["joint_entropy"], entropy_map(image, backend="cpu"))


@pytest.mark.parametrize("fields", [{}, {"dimensions": 3, "window": 3}], ids=str)
def test_blocks_and_bands_do_not_change_a_bit(rng, monkeypatch, fields):
    image, mask = rng.random((4, 18, 8)), rng.random((4, 18, 8)) < 0.9
    chosen = GLCMSettings(**fields)
    whole = feature_maps(image, "glcm", chosen, mask=mask, backend="cpu")
    monkeypatch.setattr("glcm_cuda.engines.cpu._BLOCK_VOXELS", 8 * 40)
    parts = feature_maps(image, "glcm", chosen, mask=mask, backend="cpu")
    for name in NAMES:
        np.testing.assert_array_equal(parts[name], whole[name])


def test_an_image_of_one_level():
    """What the features of pyradiomics are there; MCC is 1, but 0 in a flat window of another image."""
    found = feature_maps(np.full((4, 4), 7.0), "glcm", backend="cpu")
    ones = {
        "autocorrelation",
        "joint_average",
        "correlation",
        "joint_energy",
        "idm",
        "idmn",
        "id",
        "idn",
        "mcc",
    }
    expected = {name: 1.0 if name in ones else 0.0 for name in NAMES} | {
        "maximum_probability": 1.0,
        "sum_average": 2.0,
    }
    assert {name: float(values[1, 1]) for name, values in found.items()} == expected
    corner = np.zeros((9, 9))
    corner[8, 8] = 1
    assert feature_maps(corner, "mcc", backend="cpu")["mcc"][1, 1] == 0


def test_lone_voxels_have_no_value(rng):
    mask = np.zeros((5, 5))
    mask[2, 2] = 1
    for values in feature_maps(rng.random((5, 5)), "glcm", mask=mask, backend="cpu").values():
        assert np.isnan(values).all()


def test_eigenvalues_of_a_matrix(rng):
    """Householder and Laguerre against LAPACK, for matrices of every size, also with roots that are close."""
    for size in range(2, 12):
        for gap in (None, 0.0, 1e-9, 1e-5):
            root = rng.normal(size=(size, size))
            values, vectors = np.linalg.eigh(root + root.T)
            values /= np.abs(values).max()
            if gap is not None:
                values[-1], values[0] = 0.9, -0.9 + gap
            matrix = (vectors * values) @ vectors.T
            scratch = mcc.matrix_of(np.concatenate((matrix.ravel(), np.empty(4 * size))), size)
            mcc.tridiagonalise(scratch, size)
            found = mcc.largest_size(scratch.diagonal, scratch.beside, size)
            assert found == pytest.approx(np.abs(np.linalg.eigvalsh(matrix)).max(), rel=2**-26)


def test_names():
    assert len(FEATURES) == len(set(NAMES)) == 24
    assert sorted(number for feature in FEATURES for number in feature.haralick) == list(range(1, 15))
    assert len({ibsi for feature in FEATURES for ibsi in feature.ibsi}) == 25


@pytest.mark.parametrize(
    ("name", "levels", "most"),
    [
        ("cluster_prominence", 65536, 5478),
        pytest.param("cluster_shade", 65536, 2**16 * 9, marks=pytest.mark.slow),
    ],
)
def test_too_many_levels_for_a_feature(name, levels, most):
    chosen = GLCMSettings(levels=levels, intensity_range=(0, levels))
    image = np.arange(36).reshape(6, 6) * 1800
    if levels <= most:
        assert np.isfinite(feature_maps(image, name, chosen, backend="cpu")[name]).all()
    else:
        with pytest.raises(ValueError, match=f"{name} in windows of 20 pairs allows at most {most} levels"):
            feature_maps(image, name, chosen, backend="cpu")


def test_slice_axis_needs_a_volume():
    with pytest.raises(ValueError, match="slice_axis=1 needs a volume"):
        feature_maps(np.ones((3, 3)), "contrast", GLCMSettings(slice_axis=1))


@needs_machine_code
def test_lanes_are_not_for_other_directions():
    assert lanes.fits(GLCMSettings(), 64)
    assert not lanes.fits(GLCMSettings(slice_axis=0, distance=(1, 2)), 64)
