"""The kernels compiled for real devices, without one: registers, local memory and spills."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from glcm_cuda import GLCMSettings
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
# 128 registers let 512 threads live on a multiprocessor with 65,536: four blocks of ours.
MOST_REGISTERS = 128
WIDE = GLCMSettings(levels=1000)


def compiler_log(kernel, signature, architecture):
    """Return what ptxas says of a kernel: compiled to PTX, then linked for the architecture."""
    return kernel_counts.linked(kernel, signature, architecture)[1]


def kernels_of(chosen):
    """Yield the kernels that a map launches, as functions, and the types of their arguments."""
    from numba import types

    from glcm_cuda.engines.cuda import kernels
    from glcm_cuda.families.glcm.cuda import entropy_kernels

    array = kernel_counts.array
    wide = bins_of_levels(chosen.levels).wide
    image, whole, real = array(types.float32, 3), types.int64, types.float64
    levels = array(types.int32 if wide else types.int16, 3)
    if chosen in (GLCMSettings(), WIDE):  # the others' are the same
        mask, numbers = array(types.uint8, 3), [real] * 5
        for edged in (False, True):
            yield kernels.bin_kernel(True, edged), (image, mask, array(real, 1), *numbers, levels)
        yield kernels.blank_kernel(), (mask, whole, whole, array(types.float32, 4))
        yield kernels.extent_kernel(masked=True), (image, mask, array(real, 2), array(whole, 2))
        way = types.UniTuple(whole, 3)
        words = array(types.uint32, 4)
        yield entropy_kernels.word_kernel(wide), (levels, way, way, whole, types.boolean, whole, words)
    for march in dict.fromkeys(entropy_kernels.marches(chosen, wide)):
        yield entropy_kernels.count_kernel(march), kernel_counts.signature_of(march)


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)
@pytest.mark.parametrize(
    "fields",
    [
        {},
        pytest.param({"window": 11}, marks=pytest.mark.slow),
        pytest.param({"window": 255}, marks=pytest.mark.slow),
        pytest.param({"aggregate": "merge", "symmetric": False}, marks=pytest.mark.slow),
        pytest.param({"dimensions": 3}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_no_spills_and_no_local_memory(architecture, fields):
    for kernel, signature in kernels_of(GLCMSettings(**fields)):
        registers = kernel_counts.registers_of(compiler_log(kernel, signature, architecture))
        assert registers <= MOST_REGISTERS


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [
        {"levels": 1000},
        {"levels": 1000, "aggregate": "merge", "symmetric": False},
        {"distance": 2, "directions": "all"},
    ],
    ids=str,
)
def test_less_usual_settings_need_no_local_memory(fields):
    test_no_spills_and_no_local_memory((9, 0), fields)


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)
@pytest.mark.parametrize("name", ["contrast", pytest.param("all but MCC", marks=pytest.mark.slow)])
def test_other_features_need_no_local_memory(architecture, name):
    """Registers for two blocks of 128 threads, for four without ranks."""
    kernel, signature = kernel_counts.other_kernels()[name]
    registers = kernel_counts.registers_of(compiler_log(kernel, signature, architecture))
    assert registers <= (96 if name == "contrast" else 224)


@pytest.mark.slow
def test_less_usual_features_need_no_local_memory():
    from numba import types

    wide = {"all but MCC": kernel_counts.feature_signature(types.int32)}
    for name, (kernel, signature) in kernel_counts.other_kernels().items():
        kernel_counts.registers_of(compiler_log(kernel, wide.get(name, signature), (9, 0)))


def test_a_spill_is_seen():
    """The check above can fail: an array that is indexed at run time lies in local memory."""
    from numba import cuda, types

    def kernel(places, out):
        x = cuda.grid(1)
        scratch = cuda.local.array(64, np.int32)
        for i in range(64):
            scratch[i] = places[i] * x
        out[x] = scratch[places[x]]

    array = types.Array(types.int32, 1, "C")
    assert " 0 bytes stack frame" not in compiler_log(kernel, (array, array), (9, 0))
