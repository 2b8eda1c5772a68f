"""The kernels compiled for real devices, without one: registers, local memory and spills."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from glcm_cuda import GLCMSettings
from glcm_cuda.families.firstorder import intensities, levels
from glcm_cuda.families.firstorder.rows import along_y
from glcm_cuda.families.registry import features_named
from glcm_cuda.families.stage import Task
from glcm_cuda.levels.bins import bins_of_levels

pytestmark = pytest.mark.skipif(
    os.environ.get("NUMBA_ENABLE_CUDASIM") == "1", reason="the simulator replaces the compiler"
)
pytest.importorskip("cuda.bindings.nvjitlink", reason="needs the extra 'cuda'")
sys.path.insert(0, str(Path(__file__).parents[4] / "benchmarks"))

import kernel_counts  # noqa: E402

ARCHITECTURES = [
    pytest.param((7, 5), marks=pytest.mark.slow),
    pytest.param((8, 0), marks=pytest.mark.slow),
    (9, 0),
    pytest.param((12, 0), marks=pytest.mark.slow),
]
# 128 registers let 512 threads, eight blocks of ours, live on a multiprocessor with 65,536; 80 let 768.
MOST_REGISTERS = {"intensities": 128, "levels": 80, "margins": 40}


def kernels():
    """Return what a map launches: kind, kernel as a function, and the types of its arguments."""
    from numba import types
    from numba.cuda.typing.typeof import typeof

    from glcm_cuda.families.firstorder.cuda import kernels

    features = features_named("firstorder")
    task = Task(GLCMSettings(), bins_of_levels(64), features)
    chosen = list(enumerate(features))
    plan = typeof(intensities.plan_of(task, chosen))
    level_plan = typeof(levels.plan_of(task, chosen, 25))
    array, whole, real = kernel_counts.array, types.int64, types.float64
    narrow, maps, rows = types.int16, array(types.float32, 4), typeof(along_y((1, 64, 64), (0, 2, 2), 16))
    scratch = array(real, 2), array(real, 2)
    image, mask = array(types.float32, 3), array(types.uint8, 3)
    return [
        ("margins", kernels.margin_kernel(True), (image, mask, whole, whole, whole, array(real, 3))),
        ("margins", kernels.level_margin_kernel(), (array(narrow, 3), whole, whole, whole, array(narrow, 3))),
        (
            "intensities",
            kernels.intensities_kernel(),
            (array(real, 1), rows, whole, plan, *scratch, maps),
        ),
        (
            "levels",
            kernels.levels_kernel(),
            (array(narrow, 1), rows, whole, level_plan, array(types.int32, 2), maps),
        ),
    ]


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)
def test_no_spills_and_no_local_memory(architecture):
    for kind, kernel, signature in kernels():
        log = kernel_counts.linked(kernel, signature, architecture)[1]
        assert kernel_counts.registers_of(log) <= MOST_REGISTERS[kind], kind
