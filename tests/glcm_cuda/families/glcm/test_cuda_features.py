"""Features on CUDA devices against the CPU and the oracle.

Without a device they run in Numba's simulator: see `test_entropy_map`.
"""

from __future__ import annotations

import naive
import numpy as np
import pytest
from helpers.simulator import slow_if_simulated

from glcm_cuda import GLCMSettings, entropy_map, feature_maps, quantize
from glcm_cuda.engines.choice import available_backends
from glcm_cuda.engines.cuda import slabs
from glcm_cuda.families import counted_cuda
from glcm_cuda.families.glcm.features import FEATURES
from glcm_cuda.families.registry import features_named

if "cuda" not in available_backends():
    pytest.skip("no CUDA device or simulator", allow_module_level=True)


from glcm_cuda.families.glcm.cuda.feature_kernels import walk_of

NAMES = tuple(feature.name for feature in FEATURES)
FLAT, SOLID = (4, 5), (2, 3, 4)
CASES = [
    ({}, FLAT, False),
    ({"window": 3, "log_base": "e", "first_level": 0}, (2, 3, 4), True),
    ({"symmetric": False}, FLAT, True),
    ({"symmetric": False, "aggregate": "merge", "window": 3}, FLAT, False),
    ({"aggregate": "merge"}, FLAT, True),
    ({"masked_window": False}, FLAT, True),
    ({"dimensions": 3, "window": 3}, SOLID, True),
    pytest.param(
        {"dimensions": 3, "window": 3, "aggregate": "merge", "symmetric": False},
        (2, 3, 2),
        False,
        marks=slow_if_simulated,
    ),
    ({"slice_axis": 2, "window": 3}, SOLID, True),
    ({"levels": 300}, FLAT, True),
    ({"bin_width": 7.0}, FLAT, False),
    ({"bin_width": 7.0, "bin_edges": "pyradiomics", "window": 3}, FLAT, True),
    ({"bin_edges": "pyradiomics", "percentiles": (5, 90)}, FLAT, False),
    ({"distance": (1, 2), "directions": "all"}, FLAT, True),
    ({"range_over": "crop", "masked_window": False, "window": 3}, FLAT, True),
]


def assert_near(found, expected):
    """Sums are the same whole numbers; what is made of them need not have the same bits.

    Devices contract products and sums of float64 and have their own exponential. The absolute tolerance is
    for differences of large terms that are 0, as a cluster shade.
    """
    assert list(found) == list(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-6, atol=1e-9, err_msg=name)


def image_of(rng, shape):
    return rng.integers(0, 60, shape).astype(np.float32)


@pytest.mark.parametrize(("fields", "shape", "masked"), CASES, ids=str)
def test_all_features_are_the_cpus(rng, fields, shape, masked):
    chosen = GLCMSettings(**{"levels": 8, **fields})
    image = image_of(rng, shape)
    mask = rng.random(shape) < 0.7 if masked else None
    found = feature_maps(image, "glcm", chosen, mask=mask, backend="cuda")
    assert_near(found, feature_maps(image, "glcm", chosen, mask=mask, backend="cpu"))
    np.testing.assert_array_equal(
        found["joint_entropy"], entropy_map(image, chosen, mask=mask, backend="cpu")
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"levels": 1000, "symmetric": False},
        {"levels": 58_000},
        {"levels": 58_000, "aggregate": "merge", "symmetric": False},
        {"levels": 400, "dimensions": 3, "window": 3},
        pytest.param({"distance": (1, 2), "directions": "all", "dimensions": 3}, marks=slow_if_simulated),
        {"distance": (1, 2), "directions": "all", "aggregate": "merge"},
        {"bin_width": 7.0, "bin_edges": "pyradiomics"},
    ],
    ids=str,
)
def test_joint_entropy_has_the_bits_of_the_cpu(rng, fields):
    chosen = GLCMSettings(**fields)
    image = image_of(rng, (2, 2, 3))
    mask = rng.random(image.shape) < 0.8
    found = entropy_map(image, chosen, mask=mask, backend="cuda")
    np.testing.assert_array_equal(found, entropy_map(image, chosen, mask=mask, backend="cpu"))


def test_as_many_levels_as_there_can_be(rng):
    levels = rng.choice([0, 1, 65_534, 65_535], (4, 5))
    chosen = GLCMSettings(levels=65_536, intensity_range=(0, 65_536))
    found = entropy_map(levels, chosen, backend="cuda")
    np.testing.assert_allclose(found, naive.entropy_map(levels), rtol=1e-6, atol=1e-7)
    ordered = GLCMSettings(levels=65_536, symmetric=False)
    with pytest.raises(
        ValueError, match=r"65536 levels and symmetric=False .*use fewer levels or backend 'cpu'"
    ):
        entropy_map(levels, ordered, backend="cuda")


@pytest.mark.parametrize("fields", [{}, {"symmetric": False, "aggregate": "merge"}], ids=str)
def test_features_are_the_oracles(rng, fields):
    """The CPU's own tests hold it to the oracle closely; this sees what both backends could share."""
    chosen = GLCMSettings(levels=6, window=3, **fields)
    image = image_of(rng, (3, 4))
    levels = quantize(image, chosen)
    found = feature_maps(image, "glcm", chosen, backend="cuda")
    expected = naive.maps(levels, NAMES, window=3, number_of_levels=6, **fields)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=1e-6, err_msg=name)


def test_only_what_is_asked_for_is_counted():
    def counted(names):
        chosen = list(enumerate(features_named(names)))
        return walk_of(chosen, symmetric=True, merge=False).counted

    assert not any(counted(["contrast", "correlation"])[1:])
    assert not counted(["contrast", "idn", "cluster_shade"]).ranked
    assert counted(["sum_entropy"]).totals
    assert not counted(["sum_entropy"]).ends
    assert all(counted("glcm"))


def test_some_features_in_the_order_they_are_asked_for(rng):
    image = image_of(rng, (3, 4))
    names = ["maximum_probability", "joint_entropy", "mcc", "contrast"]
    found = feature_maps(image, names, backend="cuda")
    assert_near(found, feature_maps(image, names, backend="cpu"))


@pytest.mark.parametrize(
    "fields",
    [{}, pytest.param({"dimensions": 3, "masked_window": False}, marks=slow_if_simulated)],
    ids=str,
)
def test_slabs_do_not_change_a_bit(monkeypatch, rng, fields):
    chosen = GLCMSettings(window=3, **fields)
    image = image_of(rng, (2, 4, 3))
    mask = rng.random(image.shape) < 0.8
    names = ["joint_energy", "mcc", "joint_entropy", "idm"]
    expected = feature_maps(image, names, chosen, mask=mask, backend="cuda")
    monkeypatch.setattr(slabs, "_SLAB_VOXELS", dict.fromkeys((2, 3), 4 * 6))
    monkeypatch.setattr(counted_cuda, "_THREADS", 4)
    steps = []
    found = feature_maps(
        image, names, chosen, mask=mask, backend="cuda", progress=lambda done, _: steps.append(done)
    )
    assert steps == [6, 12, 18, 24]
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)


def test_a_launch_takes_few_comparisons(monkeypatch, rng):
    monkeypatch.setattr(slabs, "_MOST_COMPARISONS", 4 * 20 * 20 * 5)
    monkeypatch.setattr(slabs, "_LEAST_VOXELS", 1)
    image, steps = image_of(rng, (3, 4)), []
    for names, expected in (("sum_entropy", [4, 8, 12]), ("contrast", [12])):
        steps.clear()
        feature_maps(image, names, backend="cuda", progress=lambda done, _: steps.append(done))
        assert steps == expected


@slow_if_simulated
def test_memory_is_bounded_by_the_environment(monkeypatch, rng):
    image = image_of(rng, (4, 6, 5))
    names = ["contrast", "mcc", "joint_entropy"]
    expected = feature_maps(image, names, backend="cpu")
    seen = []
    monkeypatch.setenv(slabs.MEMORY_VARIABLE, "0.12")
    found = feature_maps(image, names, backend="cuda", progress=lambda done, _: seen.append(done))
    assert_near(found, expected)
    assert len(seen) > 2
    monkeypatch.setenv(slabs.MEMORY_VARIABLE, "0.001")
    with pytest.raises(RuntimeError, match=r"a row of 5 voxels needs .* MiB"):
        feature_maps(image, names, backend="cuda")


def test_images_of_one_intensity():
    image = np.full((3, 4), 7.0)
    found = feature_maps(image, "glcm", backend="cuda")
    assert_near(found, feature_maps(image, "glcm", backend="cpu"))
    assert np.all(found["mcc"] == 1)


def test_a_voxel_without_pairs_has_no_features():
    for values in feature_maps([[1.0]], "glcm", backend="cuda").values():
        assert np.isnan(values).all()
