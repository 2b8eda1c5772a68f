"""CUDA kernels of the first-order family.

Threads, each with scratch memory of its own on the device, take stretches of rows along y, and call the same
functions as the CPU. Neighbouring threads take neighbouring rows, so that they read, and write, neighbouring
voxels; their scratch memory has the threads along the last axis for the same reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numba import cuda, njit

from glcm_cuda.base.cache import versioned
from glcm_cuda.families.firstorder import intensities, levels
from glcm_cuda.levels.bins import OUTSIDE

_map_intensities, _map_levels = njit(intensities.mapping()), njit(levels.mapping())


def margin_kernel(masked: bool) -> Callable[..., None]:
    """Return the kernel that copies intensities into an array with a margin, as a Python function.

    Its arguments: intensities (Z, Y, X); mask (Z, Y, X), read only if `masked`; where the margin's first
    voxel lies among them, along z, y and x; the array (Z, Y, X), float64, NaN where a voxel does not count.
    """

    @versioned(__name__)
    def read(source, mask, start_z, start_y, start_x, out):  # type: ignore[no-untyped-def]
        x, y, z = cuda.grid(3)
        if z >= out.shape[0] or y >= out.shape[1] or x >= out.shape[2]:
            return
        depth, height, width = source.shape
        at_z, at_y, at_x = z + start_z, y + start_y, x + start_x
        exists = 0 <= at_z < depth and 0 <= at_y < height and 0 <= at_x < width
        value = np.nan
        if exists and (not masked or mask[at_z, at_y, at_x] != 0):
            value = np.float64(source[at_z, at_y, at_x]) + 0.0  # see cpu.stages.read_intensities
        out[z, y, x] = value if math.isfinite(value) else np.nan

    return read


def level_margin_kernel() -> Callable[..., None]:
    """Return the same kernel for levels, whose margin is OUTSIDE; it takes no mask."""

    def read(source, start_z, start_y, start_x, out):  # type: ignore[no-untyped-def]
        x, y, z = cuda.grid(3)
        if z >= out.shape[0] or y >= out.shape[1] or x >= out.shape[2]:
            return
        depth, height, width = source.shape
        at_z, at_y, at_x = z + start_z, y + start_y, x + start_x
        level = OUTSIDE
        if 0 <= at_z < depth and 0 <= at_y < height and 0 <= at_x < width:
            level = source[at_z, at_y, at_x]
        out[z, y, x] = level

    return read


def intensities_kernel() -> Callable[..., None]:
    """Return the kernel of the features of intensities as a Python function.

    Its arguments are those of `intensities.mapping` without the first stretch and the step; scratch memory
    has the threads along one more axis, the last.
    """

    @versioned(__name__)
    def map_intensities(source, rows, stretches, plan, memory, found, out):  # type: ignore[no-untyped-def]
        thread, threads = cuda.grid(1), memory.shape[1]
        if thread < threads:
            _map_intensities(
                source, rows, thread, stretches, threads, plan, memory[:, thread], found[:, thread], out
            )

    return map_intensities


def levels_kernel() -> Callable[..., None]:
    """Return the kernel of the features of levels as a Python function; see `intensities_kernel`."""

    @versioned(__name__)
    def map_levels(source, rows, stretches, plan, counts, out):  # type: ignore[no-untyped-def]
        thread, threads = cuda.grid(1), counts.shape[1]
        if thread < threads:
            _map_levels(source, rows, thread, stretches, threads, plan, counts[:, thread], out)

    return map_levels
