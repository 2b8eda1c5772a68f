"""The kernels of families that count window after window, compiled for real devices without one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from glcm_cuda import GLCMSettings

pytestmark = pytest.mark.skipif(
    os.environ.get("NUMBA_ENABLE_CUDASIM") == "1", reason="the simulator replaces the compiler"
)
pytest.importorskip("cuda.bindings.nvjitlink", reason="needs the extra 'cuda'")
sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))

import kernel_counts  # noqa: E402

ARCHITECTURES = [
    pytest.param((7, 5), marks=pytest.mark.slow),
    pytest.param((8, 0), marks=pytest.mark.slow),
    (9, 0),
    pytest.param((12, 0), marks=pytest.mark.slow),
]
# A multiprocessor has 65,536: 168 for each thread let six blocks of 64 live there, 192 five.
MOST_REGISTERS = {"mcc": 192, "matrix": 168, "differences": 168}


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)
@pytest.mark.parametrize(
    ("family", "stage"),
    [
        pytest.param(*each, marks=() if each == ("glrlm", "matrix") else pytest.mark.slow)
        for each in kernel_counts.COUNTED
    ],
)
def test_no_spills_and_no_local_memory(architecture, family, stage):
    for kernel, signature in kernel_counts.counted_kernels(family, stage):
        log = kernel_counts.linked(kernel, signature, architecture)[1]
        assert kernel_counts.registers_of(log) <= MOST_REGISTERS[stage]


@pytest.mark.slow
@pytest.mark.parametrize(("family", "stage"), kernel_counts.COUNTED)
def test_less_usual_settings_need_no_local_memory(family, stage):
    settings = GLCMSettings(dimensions=3, distance=2, aggregate="merge", symmetric=False)
    for kernel, signature in kernel_counts.counted_kernels(family, stage, settings, 1000):
        kernel_counts.registers_of(kernel_counts.linked(kernel, signature, (9, 0))[1])
