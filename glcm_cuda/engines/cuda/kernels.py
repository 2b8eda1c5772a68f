"""CUDA kernels that every family needs: binning, masking, the range of an image."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numba import cuda

from glcm_cuda.base.cache import fingerprint
from glcm_cuda.levels.binning import bin_level, level_by_edges
from glcm_cuda.levels.bins import OUTSIDE


def bin_kernel(masked: bool, edged: bool) -> Callable[..., None]:
    """Levels (Z, Y, X) int16 or int32 of intensities, OUTSIDE outside a mask; see `quantize.Bins`.

    `edged` says that `edges` is used, and of the numbers `span` alone.
    """
    sources = fingerprint(__name__)

    def bins(source, inside, edges, top, low, high, factor, span, out):  # type: ignore[no-untyped-def]
        _ = sources
        x, y, z = cuda.grid(3)
        depth, height, width = out.shape
        if x >= width or y >= height or z >= depth:
            return
        value = np.float64(source[z, y, x])
        if edged:
            level = np.int32(level_by_edges(value, edges, span))
        else:
            level = np.int32(bin_level(value, top, low, high, factor, span) if span > 0 else 0.0)
        if masked and inside[z, y, x] == 0:
            level = np.int32(OUTSIDE)
        out[z, y, x] = level

    return bins


def blank_kernel() -> Callable[..., None]:
    """NaN in maps (F, Z, Y, X) outside a mask that does not mark the levels; see `bins.OUTSIDE`."""

    def blank(inside, first_z, first_y, out):  # type: ignore[no-untyped-def]
        x, y, z = cuda.grid(3)
        features, depth, height, width = out.shape
        if x >= width or y >= height or z >= depth:
            return
        if inside[z + first_z, y + first_y, x] == 0:
            for feature in range(features):
                out[feature, z, y, x] = np.nan

    return blank


def extent_kernel(masked: bool) -> Callable[..., None]:
    """What each thread finds in its part of an array: ends (2, threads) float64, counts (2, threads) int64.

    Lowest and highest of the finite numbers; how many there are, and how many are not finite.
    """
    sources = fingerprint(__name__)

    def extent(source, inside, ends, counts):  # type: ignore[no-untyped-def]
        _ = sources
        thread = cuda.grid(1)
        depth, height, width = source.shape
        low, high, finite, wrong = np.inf, -np.inf, 0, 0
        for line in range(thread, depth * height, ends.shape[1]):
            for x in range(width):
                if not masked or inside[line // height, line % height, x] != 0:
                    value = np.float64(source[line // height, line % height, x])
                    if math.isfinite(value):
                        low, high, finite = min(low, value), max(high, value), finite + 1
                    else:
                        wrong += 1
        ends[0, thread], ends[1, thread] = low, high
        counts[0, thread], counts[1, thread] = finite, wrong

    return extent
