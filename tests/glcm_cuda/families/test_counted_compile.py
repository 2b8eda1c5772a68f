"""The kernels of families that count window after window, compiled for real devices without one."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import pytest

from glcm_cuda import GLCMSettings
from glcm_cuda.families.registry import features_named
from glcm_cuda.families.stage import Task
from glcm_cuda.levels.bins import bins_of_levels

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
# 168 registers let 384 threads, six blocks of ours, live on a multiprocessor with 65,536.
MOST_REGISTERS = 168


def kernels_of(family, settings):
    """Yield the two kernels of a family as functions, and the types of their arguments."""
    from numba import types
    from numba.cuda.typing.typeof import typeof

    chosen = list(enumerate(features_named(family)))
    task = Task(settings, bins_of_levels(64), tuple(feature for _, feature in chosen))
    stage = importlib.import_module(f"glcm_cuda.families.{family}.cuda.stages")
    (stage_class,) = stage.STAGES.values()
    plan = typeof(stage_class(task, chosen)._plan)
    array, whole, real = kernel_counts.array, types.int64, types.float64
    levels, sums = array(types.int16, 3), array(real, 3)
    memory = array(types.int32, 2), array(real, 2)
    yield stage_class.count_kernel(), (levels, *[whole] * 5, plan, *memory, sums)
    planes = tuple(range(len(stage_class.counted.formulas)))
    yield stage_class.mean_kernel(planes), (sums, whole, whole, array(types.float32, 4))


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)
@pytest.mark.parametrize("family", ["glrlm", "glszm", "gldm", "ngtdm"])
def test_no_spills_and_no_local_memory(architecture, family):
    for kernel, signature in kernels_of(family, GLCMSettings()):
        log = kernel_counts.linked(kernel, signature, architecture)[1]
        assert kernel_counts.registers_of(log) <= MOST_REGISTERS
