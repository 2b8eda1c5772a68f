"""The dense baseline equals the exact engine on both of its backends."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from glcm_cuda import GLCMSettings, entropy_map
from pipelines.evaluation.baseline.dense import dense_entropy_map

# Both round an entropy below 8 bits to float32 once: they may differ by one unit in the last place.
TOLERANCE = 1e-6

IMAGES = {
    "random": lambda rng: rng.integers(0, 64, (23, 31)),
    "few levels": lambda rng: rng.integers(0, 3, (17, 12)),
    "constant": lambda _: np.full((9, 8), 7.0),
    "stack": lambda rng: rng.normal(size=(3, 11, 6)),
    "one row": lambda rng: rng.normal(size=(1, 19)),
    "one voxel": lambda _: np.zeros((1, 1)),
}


@pytest.mark.parametrize("name", [pytest.param("random", marks=pytest.mark.slow), *list(IMAGES)[1:]])
@pytest.mark.parametrize("settings", [GLCMSettings(), GLCMSettings(levels=9, window=7, distance=2)])
def test_dense_equals_exact(name, settings, rng):
    image = IMAGES[name](rng)
    dense = dense_entropy_map(image, settings)
    assert dense.dtype == np.float32
    np.testing.assert_allclose(dense, entropy_map(image, settings, backend="cpu"), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    "settings", [{"dimensions": 3}, {"symmetric": False}, {"aggregate": "merge"}, {"log_base": "e"}]
)
def test_other_settings_are_refused(settings):
    with pytest.raises(ValueError, match="the dense baseline computes only"):
        dense_entropy_map(np.zeros((4, 4)), GLCMSettings(**settings))


def test_four_dimensions_are_refused():
    with pytest.raises(ValueError, match=r"two or three dimensions, got shape \(1, 1, 2, 2\)"):
        dense_entropy_map(np.zeros((1, 1, 2, 2)))


SIMULATED = """
import numpy as np
from glcm_cuda import GLCMSettings, entropy_map
from pipelines.evaluation.baseline.dense import dense_entropy_map
settings = GLCMSettings(levels=5, window=3)
image = np.random.default_rng(0).integers(0, 5, (2, 5, 4))
# Room for 7 matrices: six chunks for 40 voxels, the last one partly empty.
dense = dense_entropy_map(image, settings, backend="cuda", scratch_bytes=7 * 100)
exact = entropy_map(image, settings, backend="cpu")
np.testing.assert_allclose(dense, exact, rtol=0, atol=1e-6)
"""


def test_cuda_kernel_equals_exact_in_the_simulator():
    simulator = {"NUMBA_ENABLE_CUDASIM": "1", "NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-W", "error::RuntimeWarning", "-c", SIMULATED]
    result = subprocess.run(command, env=os.environ | simulator, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


COMPILED = """
from numba import cuda, types
from pipelines.evaluation.baseline.dense_cuda import chunk_kernel
signature = (
    types.Array(types.uint8, 3, "C"), types.int64, types.int64,
    types.Array(types.int32, 2, "C"), types.Array(types.int32, 3, "C"), types.Array(types.float32, 3, "C"),
)
ptx, _ = cuda.compile(
    chunk_kernel.py_func, signature, cc=(9, 0), device=False, abi="numba", output="ptx"
)
assert ".target sm_90" in ptx, ptx[:300]
"""


def test_cuda_kernel_compiles_without_a_device():
    pytest.importorskip("cuda.bindings", reason="needs the extra [cuda]")
    result = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_cuda_is_imported_only_when_asked_for():
    code = "import sys, pipelines.evaluation.baseline.dense; sys.exit('numba.cuda.cudadrv' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
