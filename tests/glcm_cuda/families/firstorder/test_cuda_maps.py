"""First-order maps on CUDA devices against the CPU.

Without a device they run in Numba's simulator: see `test_entropy_map`.
"""

from __future__ import annotations

import numpy as np
import pytest

from glcm_cuda import GLCMSettings, feature_maps
from glcm_cuda.engines.choice import available_backends
from glcm_cuda.engines.cuda import slabs

if "cuda" not in available_backends():
    pytest.skip("no CUDA device or simulator", allow_module_level=True)

from glcm_cuda.families.firstorder.cuda import stages

CASES = [
    ({}, (1, 4, 5), False),
    ({"window": 3, "log_base": "e", "intensity_shift": 3.5}, (2, 4, 5), True),
    ({"dimensions": 3, "window": (3, 5, 3)}, (2, 4, 3), True),
    ({"masked_window": False, "slice_axis": 2, "levels": 300}, (2, 3, 4), True),
]
WHOLE = ("Entropy", "Uniformity", "Energy", "Mean", "Median", "Minimum", "Maximum", "Range")
"""Features in which only whole numbers are summed if the image has no others."""


def maps_on(backend, image, fields, mask=None):
    chosen = GLCMSettings(**{"levels": 8, **fields})
    return feature_maps(image, "firstorder", chosen, mask=mask, spacing=(2, 1, 0.5), backend=backend)


@pytest.mark.parametrize("dtype", ["int16", "float32"])
@pytest.mark.parametrize(("fields", "shape", "masked"), CASES, ids=str)
def test_cuda_equals_the_cpu(rng, fields, shape, masked, dtype):
    image = (rng.normal(size=shape) * 100).astype(dtype)
    mask = rng.random(shape) < 0.7 if masked else None
    wanted = maps_on("cpu", image, fields, mask)
    for name, values in maps_on("cuda", image, fields, mask).items():
        np.testing.assert_allclose(values, wanted[name], rtol=1e-6, atol=1e-12, err_msg=name)
        if dtype != "float32" and name.removeprefix("firstorder_") in WHOLE:
            np.testing.assert_array_equal(values, wanted[name], err_msg=name)


def test_flat_windows_have_no_deviations():
    maps = maps_on("cuda", np.full((9, 4), 0.1), {"window": 3})
    for name in ("Range", "Variance", "Skewness", "Kurtosis", "MeanAbsoluteDeviation", "Entropy"):
        assert np.all(maps[f"firstorder_{name}"] == 0), name


def test_infinities_outside_the_mask_do_not_matter(rng):
    image, mask = rng.normal(size=(4, 6)), np.arange(24).reshape(4, 6) % 6 < 3
    spoiled = np.where(mask, image, np.inf)
    fields = {"intensity_range": (-3, 3), "window": 3}
    wanted = maps_on("cuda", image, fields, mask)
    for name, values in maps_on("cuda", spoiled, fields, mask).items():
        np.testing.assert_array_equal(values, wanted[name], err_msg=name)


def test_no_division_of_the_work_changes_a_bit(monkeypatch, rng):
    image, mask = rng.normal(size=(2, 8, 3)), rng.random((2, 8, 3)) < 0.8
    fields = {"window": 3}
    wanted = maps_on("cuda", image, fields, mask)
    monkeypatch.setattr(stages, "_THREADS", 5)  # several stretches a thread
    monkeypatch.setattr(stages, "_EDGES", 1)  # several stretches a row
    monkeypatch.setattr(stages, "_LONGEST_STRETCH", 3)
    for name, values in maps_on("cuda", image, fields, mask).items():
        np.testing.assert_array_equal(values, wanted[name], err_msg=name)
    monkeypatch.setattr(slabs, "_SLAB_VOXELS", dict.fromkeys((2, 3), 8 * 9))  # blocks of three rows
    for name, values in maps_on("cuda", image, fields, mask).items():
        np.testing.assert_array_equal(values, wanted[name], err_msg=name)
