"""The kernels compiled for real devices, without one: registers, local memory and spills."""

from __future__ import annotations

import os
import re

import numpy as np
import pytest

from glcm_cuda import GLCMSettings
from glcm_cuda.offsets import directions

pytestmark = pytest.mark.skipif(
    os.environ.get("NUMBA_ENABLE_CUDASIM") == "1", reason="the simulator replaces the compiler"
)
nvjitlink = pytest.importorskip("cuda.bindings.nvjitlink", reason="needs the extra 'cuda'")

ARCHITECTURES = [(7, 5), (9, 0), (12, 0)]
# 128 registers let 512 threads live on a multiprocessor with 65,536: two blocks of ours.
MOST_REGISTERS = 128


def compiler_log(kernel, signature, architecture):
    """Return what ptxas says of a kernel: compiled to PTX, then linked for the architecture."""
    from numba import cuda

    ptx, _ = cuda.compile(kernel, signature, cc=architecture, device=False, abi="numba", output="ptx")
    target = "-arch=sm_{}{}".format(*architecture)
    linker = nvjitlink.create(3, [target, "-verbose", "-Xptxas=-v"])
    try:
        nvjitlink.add_data(linker, nvjitlink.InputType.PTX, ptx.encode(), len(ptx), "kernel")
        nvjitlink.complete(linker)
        log = bytearray(nvjitlink.get_info_log_size(linker))
        nvjitlink.get_info_log(linker, log)
    finally:
        nvjitlink.destroy(linker)
    return log.decode()


def signatures():
    from numba import types

    def array(kind, dimensions):
        return types.Array(kind, dimensions, "C")

    codes = array(types.int32, 4)
    return [
        (array(types.int16, 3), codes),
        (codes, array(types.int64, 1), types.float64, array(types.float32, 3)),
    ]


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)
@pytest.mark.parametrize("fields", [{}, {"aggregate": "merge"}, {"dimensions": 3}], ids=str)
def test_no_spills_and_no_local_memory(architecture, fields):
    from glcm_cuda.cuda import kernels

    chosen = GLCMSettings(**fields)
    offsets = tuple(map(tuple, directions(chosen.dimensions, chosen.distance).tolist()))
    radii = chosen.radii
    specification = (offsets, radii, chosen.levels, chosen.symmetric, chosen.aggregate == "merge")
    for kernel, signature in zip(kernels(*specification), signatures(), strict=True):
        log = compiler_log(kernel, signature, architecture)
        assert "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads" in log
        assert int(re.search(r"Used (\d+) registers", log)[1]) <= MOST_REGISTERS


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
