"""Families that count window after window on CUDA devices, against the CPU.

Without a device they run in Numba's simulator: see `test_entropy_map`.
"""

from __future__ import annotations

import numpy as np
import pytest

from glcm_cuda import GLCMSettings, feature_maps
from glcm_cuda.engines.choice import available_backends
from glcm_cuda.levels.bins import bins_of_levels

if "cuda" not in available_backends():
    pytest.skip("no CUDA device or simulator", allow_module_level=True)

from glcm_cuda.families import counted_cuda

FAMILIES = ("glrlm", "glszm", "gldm", "ngtdm")
CASES = [
    ({}, (1, 4, 5), False),
    ({"window": 3, "log_base": "e"}, (2, 4, 5), True),
    ({"dimensions": 3, "window": 3}, (2, 3, 3), True),
    ({"dimensions": 3, "window": (3, 5, 3)}, (2, 4, 3), False),
    ({"aggregate": "merge", "gldm_a": 1, "distance": 2}, (1, 3, 4), True),
    ({"masked_window": False, "slice_axis": 2}, (2, 3, 3), True),
]


def maps_on(backend, levels, names, fields, mask):
    settings = GLCMSettings(levels=300, **fields)
    return feature_maps(levels, names, settings, mask=mask, bins=bins_of_levels(300), backend=backend)


@pytest.mark.parametrize(("fields", "shape", "masked"), CASES, ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_cuda_equals_the_cpu(rng, family, fields, shape, masked):
    levels = rng.choice([0, 1, 2, 290], shape).astype(np.uint16)
    mask = rng.random(shape) < 0.7 if masked else None
    wanted = maps_on("cpu", levels, family, fields, mask)
    for name, values in maps_on("cuda", levels, family, fields, mask).items():
        np.testing.assert_allclose(values, wanted[name], rtol=1e-6, atol=1e-9, err_msg=name)


def test_cuda_has_the_same_bits_for_any_division_of_the_work(monkeypatch, rng):
    levels = rng.choice([0, 1, 2, 290], (2, 3, 5)).astype(np.uint16)
    names = ["glrlm_LongRunEmphasis", "glszm_ZoneEntropy", "gldm_DependenceVariance", "ngtdm"]
    wanted = maps_on("cpu", levels, names, {"window": 3}, None)
    monkeypatch.setattr(counted_cuda, "_VOXELS", 7)  # several launches a block
    monkeypatch.setattr(counted_cuda, "_THREADS", 5)  # several voxels a thread
    for name, values in maps_on("cuda", levels, names, {"window": 3}, None).items():
        np.testing.assert_array_equal(values, wanted[name])
