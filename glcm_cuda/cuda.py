"""The CUDA backend: one thread per voxel compares the codes of all pairs in its window.

A first kernel writes the code of every pair of voxels; a second counts, for every pair in a window,
the pairs with the same code. There is no matrix, no atomic and no local memory; the codes that
neighbouring threads share come from the cache. ``NUMBA_ENABLE_CUDASIM=1`` with
``NUMBA_DISABLE_JIT=1`` runs the same kernels in Numba's simulator.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import cuda, njit

from .definition import (
    LOG_ONE,
    NO_PAIR,
    first_start,
    fixed_log2,
    is_distinct,
    last_start,
    mean_entropy,
    pair_code,
    scaled_entropy,
)
from .offsets import directions
from .settings import GLCMSettings

BLOCK = (32, 8, 1)
"""Threads along x, y and z: a warp reads a row."""


def map_levels(
    levels: npt.NDArray[np.int16],
    out: npt.NDArray[np.float32],
    settings: GLCMSettings,
    first: tuple[int, int],
) -> None:
    """Map a block of a stack of levels; the arguments, the result and its bits are `cpu.map_levels`'s."""
    offsets = directions(settings.dimensions, settings.distance)
    most = len(offsets) * math.prod(settings.edges)
    code_kernel, count_kernel = compiled_kernels(
        tuple(map(tuple, offsets.tolist())),
        settings.radii,
        settings.levels,
        settings.symmetric,
        settings.aggregate == "merge",
    )
    grid = tuple(-(-size // block) for size, block in zip(levels.shape[::-1], BLOCK, strict=True))
    codes = cuda.device_array((len(offsets), *levels.shape), np.int32)
    entropy = cuda.device_array(levels.shape, np.float32)
    log_table = cuda.to_device(fixed_log2(np.arange(most + 1)))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Grid size")  # a small image fills no device: no fault
        code_kernel[grid, BLOCK](cuda.to_device(levels), codes)
        count_kernel[grid, BLOCK](codes, log_table, settings.log_unit / LOG_ONE, entropy)
    z, y = first
    out[...] = entropy.copy_to_host()[z : z + out.shape[0], y : y + out.shape[1]]


@functools.cache
def compiled_kernels(*specification: Any) -> tuple[Any, Any]:
    """Return the two kernels for a specification (see `kernels`), compiled when first launched."""
    code_kernel, count_kernel = kernels(*specification)
    return cuda.jit(code_kernel), cuda.jit(count_kernel)


def kernels(
    offsets: tuple[tuple[int, int, int], ...],
    radii: tuple[int, int, int],
    number_of_levels: int,
    symmetric: bool,
    merge: bool,
) -> tuple[Callable[..., None], Callable[..., None]]:
    """Return the Python functions of the two kernels, everything in the specification constant.

    The first maps levels (Z, Y, X) int16 to codes (K, Z, Y, X) int32; the second maps codes, the
    table of logarithms (int64) and the scale of the result (float64) to entropies (Z, Y, X) float32.
    """
    steps = np.array(offsets, np.int32)
    number_of_offsets = len(offsets)
    group = number_of_offsets if merge else 1
    rz, ry, rx = radii

    def code_kernel(levels, codes):  # type: ignore[no-untyped-def]
        x, y, z = cuda.grid(3)
        depth, height, width = levels.shape
        if x >= width or y >= height or z >= depth:
            return
        offset = cuda.const.array_like(steps)
        for k in range(number_of_offsets):
            zz = z + offset[k, 0]
            yy = y + offset[k, 1]
            xx = x + offset[k, 2]
            code = NO_PAIR
            if 0 <= zz < depth and 0 <= yy < height and 0 <= xx < width:
                code = pair_code(
                    np.int32(levels[z, y, x]), np.int32(levels[zz, yy, xx]), number_of_levels, symmetric
                )
            codes[k, z, y, x] = code

    @njit(inline="always")
    def count_same(codes, code, z, y, x, first):  # type: ignore[no-untyped-def]
        offset = cuda.const.array_like(steps)
        _, depth, height, width = codes.shape
        same = 0
        for k in range(first, first + group):
            dz, dy, dx = offset[k, 0], offset[k, 1], offset[k, 2]
            for zz in range(first_start(z, rz, dz), last_start(z, rz, dz, depth) + 1):
                for yy in range(first_start(y, ry, dy), last_start(y, ry, dy, height) + 1):
                    for xx in range(first_start(x, rx, dx), last_start(x, rx, dx, width) + 1):
                        same += codes[k, zz, yy, xx] == code
        return same

    def count_kernel(codes, log_table, scale, out):  # type: ignore[no-untyped-def]
        x, y, z = cuda.grid(3)
        _, depth, height, width = codes.shape
        if x >= width or y >= height or z >= depth:
            return
        offset = cuda.const.array_like(steps)
        entropy = 0.0
        terms = 0
        for first in range(0, number_of_offsets, group):
            pairs = 0
            distinct = 0
            log_sum = 0
            for k in range(first, first + group):
                dz, dy, dx = offset[k, 0], offset[k, 1], offset[k, 2]
                for zz in range(first_start(z, rz, dz), last_start(z, rz, dz, depth) + 1):
                    for yy in range(first_start(y, ry, dy), last_start(y, ry, dy, height) + 1):
                        for xx in range(first_start(x, rx, dx), last_start(x, rx, dx, width) + 1):
                            code = codes[k, zz, yy, xx]
                            if code >= 0:
                                log_sum += log_table[count_same(codes, code, z, y, x, first)]
                                distinct += is_distinct(code, number_of_levels, symmetric)
                                pairs += 1
            if pairs > 0:
                entropy += scaled_entropy(pairs, log_sum, distinct, log_table)
                terms += 1
        out[z, y, x] = mean_entropy(entropy, terms, scale)

    return code_kernel, count_kernel
