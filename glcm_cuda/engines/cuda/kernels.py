"""CUDA kernels for all families: binning, masking, and the range of intensities of an image."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numba import cuda

from glcm_cuda.base.cache import versioned
from glcm_cuda.levels.binning import bin_level, level_by_edges
from glcm_cuda.levels.bins import OUTSIDE


def bin_kernel(masked: bool, edged: bool) -> Callable[..., None]:
    """Return the kernel that bins intensities, as a Python function; see `bins.Bins`.

    Its arguments: intensities (Z, Y, X); mask (Z, Y, X), read only if `masked`; lower edges of the bins
    (float64), read only if `edged`; the highest level and the fields `low`, `high`, `factor` and `span` of
    `Bins`, of which only `span` is read if `edged`; levels (Z, Y, X) int16 or int32, which the kernel writes,
    OUTSIDE outside the mask.
    """

    @versioned(__name__)
    def bin_voxels(source, mask, edges, top, low, high, factor, span, out):  # type: ignore[no-untyped-def]
        x, y, z = cuda.grid(3)
        depth, height, width = out.shape
        if x >= width or y >= height or z >= depth:
            return
        # One thread per voxel. `edged` and `masked` are constants: the other branch is not compiled.
        value = np.float64(source[z, y, x])
        if edged:
            level = np.int32(level_by_edges(value, edges, span))
        else:
            level = np.int32(bin_level(value, top, low, high, factor, span) if span > 0 else 0.0)
        if masked and mask[z, y, x] == 0:
            level = np.int32(OUTSIDE)
        out[z, y, x] = level

    return bin_voxels


def blank_kernel() -> Callable[..., None]:
    """Return the kernel that writes NaN outside a mask that does not limit the windows, as a Python function.

    Its arguments: mask (Z, Y, X) of the region that the windows reach; slice and row of it at which the maps
    start; maps (F, Z, Y, X) float32.
    """

    def blank(mask, origin_z, origin_y, out):  # type: ignore[no-untyped-def]
        x, y, z = cuda.grid(3)
        features, depth, height, width = out.shape
        if x >= width or y >= height or z >= depth:
            return
        if mask[z + origin_z, y + origin_y, x] == 0:
            for feature in range(features):
                out[feature, z, y, x] = np.nan

    return blank


def extent_kernel(masked: bool) -> Callable[..., None]:
    """Return the kernel that looks for the range of intensities, as a Python function.

    Its arguments: intensities (Z, Y, X); mask (Z, Y, X), read only if `masked`; ends (2, threads) float64,
    for the lowest and the highest finite intensity that each thread sees, +inf and -inf if it sees none;
    counts (2, threads) int64, for its numbers of finite and of other intensities.
    """

    @versioned(__name__)
    def extent(source, mask, ends, counts):  # type: ignore[no-untyped-def]
        thread = cuda.grid(1)
        depth, height, width = source.shape
        low, high, finite, wrong = np.inf, -np.inf, 0, 0
        # A thread takes every row whose number is its own modulo the number of threads.
        for line in range(thread, depth * height, ends.shape[1]):
            for x in range(width):
                if not masked or mask[line // height, line % height, x] != 0:
                    value = np.float64(source[line // height, line % height, x])
                    if math.isfinite(value):
                        low, high, finite = min(low, value), max(high, value), finite + 1
                    else:
                        wrong += 1
        # The host combines what the threads found.
        ends[0, thread], ends[1, thread] = low, high
        counts[0, thread], counts[1, thread] = finite, wrong

    return extent
