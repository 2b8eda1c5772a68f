"""The CPU backend: a tally of the pairs in the window that slides along each row.

From one voxel to the next, one plane of pairs enters the window and one leaves it. Each changes the
count n of its code by one, and with it the sum of ``n * log2(n)`` by a difference that is read from
a table. The cost grows linearly with the window's edge in 2D and does not depend on the number of
levels.
"""

from __future__ import annotations

import functools
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import get_num_threads, njit, prange

from . import definition
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

_BAND = 16
"""Rows that share one buffer of pair codes: small enough for the cache, large against the halo."""


def map_levels(
    levels: npt.NDArray[np.int32],
    offsets: npt.NDArray[np.int32],
    *,
    radii: tuple[int, int, int],
    number_of_levels: int,
    symmetric: bool,
    merge: bool,
    log_unit: float,
) -> npt.NDArray[np.float32]:
    """Entropy around every voxel of a stack of levels, NO_PAIR marking voxels that do not count.

    Parameters
    ----------
    levels : (Z, Y, X) int32 array
        Grey levels in ``[0, number_of_levels)`` or NO_PAIR.
    offsets : (K, 3) int32 array
        See `offsets.directions`.
    radii : (int, int, int)
        Radius of the window along z, y and x.
    symmetric, merge, log_unit
        See `GLCMSettings`.

    Returns
    -------
    (Z, Y, X) float32 array
        NaN where the window holds no pair.
    """
    most = len(offsets) * int(np.prod([2 * radius + 1 for radius in radii]))
    log_table = fixed_log2(np.arange(most + 1))
    out = np.empty(levels.shape, np.float32)
    scale = log_unit / LOG_ONE
    _compiled()(levels, offsets, np.array(radii), number_of_levels, symmetric, merge, log_table, scale, out)
    return out


def threads() -> int:
    """Return how many threads the backend uses; `numba.set_num_threads` changes it."""
    return int(get_num_threads())


@functools.cache
def _compiled() -> Any:
    """Return the parallel loop over bands, read from Numba's cache if that is up to date.

    Numba looks at the date of this file alone. The fingerprint of the definition, which it does see
    as the content of a closure, keeps it from using machine code of an older definition.
    """
    fingerprint = zlib.crc32(Path(definition.__file__).read_bytes())

    @njit(parallel=True, cache=True)
    def map_bands(levels, offsets, radii, number_of_levels, symmetric, merge, log_table, scale, out):  # type: ignore[no-untyped-def]
        _ = fingerprint
        depth, height, width = levels.shape
        bands = (height + _BAND - 1) // _BAND
        steps = np.empty(len(log_table) - 1, np.int64)
        for n in range(len(steps)):
            steps[n] = (n + 1) * log_table[n + 1] - n * log_table[n]
        group = len(offsets) if merge else 1
        for task in prange(depth * bands):
            z = task // bands
            top = task % bands * _BAND
            bottom = min(top + _BAND, height)
            z_low, z_stop = max(z - radii[0], 0), min(z + radii[0] + 1, depth)
            y_low, y_stop = max(top - radii[1], 0), min(bottom + radii[1], height)
            codes = np.empty((group, z_stop - z_low, width, y_stop - y_low), np.int32)
            tally = np.zeros(number_of_levels * number_of_levels, np.int32)
            entropy = np.zeros((bottom - top, width), np.float64)
            terms = np.zeros((bottom - top, width), np.int32)
            for first in range(0, len(offsets), group):
                chosen = offsets[first : first + group]
                fill_codes(codes, levels, chosen, z_low, y_low, number_of_levels, symmetric)
                for y in range(top, bottom):
                    planes = _planes(chosen, radii, z, y, z_low, y_low, depth, height)
                    _slide_row(
                        codes, planes, radii[2], number_of_levels, symmetric, tally, steps, log_table,
                        entropy[y - top], terms[y - top],
                    )  # fmt: skip
            for y in range(top, bottom):
                for x in range(width):
                    out[z, y, x] = mean_entropy(entropy[y - top, x], terms[y - top, x], scale)

    return map_bands


@njit
def fill_codes(codes, levels, offsets, z_low, y_low, number_of_levels, symmetric):  # type: ignore[no-untyped-def]
    """Codes by direction, z, x and y (a plane of pairs that enters a window lies together)."""
    depth, height, width = levels.shape
    for k in range(len(offsets)):
        dz, dy, dx = offsets[k]
        for z in range(codes.shape[1]):
            for y in range(codes.shape[3]):
                z_end, y_end = z + z_low + dz, y + y_low + dy
                inside = 0 <= z_end < depth and 0 <= y_end < height
                for x in range(width):
                    code = NO_PAIR
                    if inside and 0 <= x + dx < width:
                        code = pair_code(
                            levels[z + z_low, y + y_low, x], levels[z_end, y_end, x + dx],
                            number_of_levels, symmetric,
                        )  # fmt: skip
                    codes[k, z, x, y] = code


@njit
def _planes(offsets, radii, z, y, z_low, y_low, depth, height):  # type: ignore[no-untyped-def]
    """Bounds of the plane of pairs in each direction: z, z stop, y, y stop, x leaving, x entering."""
    planes = np.empty((len(offsets), 6), np.int64)
    for k in range(len(offsets)):
        dz, dy, dx = offsets[k]
        planes[k, 0] = first_start(z, radii[0], dz) - z_low
        planes[k, 1] = last_start(z, radii[0], dz, depth) + 1 - z_low
        planes[k, 2] = first_start(y, radii[1], dy) - y_low
        planes[k, 3] = last_start(y, radii[1], dy, height) + 1 - y_low
        planes[k, 4] = -radii[2] - min(dx, 0) - 1
        planes[k, 5] = radii[2] - max(dx, 0)
    return planes


@njit
def _slide_row(  # type: ignore[no-untyped-def]
    codes, planes, radius, number_of_levels, symmetric, tally, steps, log_table, entropy, terms
):
    """Add the entropy of every window along a row; the tally is empty before and after."""
    width = len(entropy)
    pairs = 0
    distinct = 0
    log_sum = 0
    for x in range(-2 * radius, width + 2 * radius + 1):
        for k in range(len(planes)):
            z_first, z_stop, y_first, y_stop = planes[k, 0], planes[k, 1], planes[k, 2], planes[k, 3]
            leaving = x + planes[k, 4]
            if 0 <= leaving < width:
                for z in range(z_first, z_stop):
                    for y in range(y_first, y_stop):
                        code = codes[k, z, leaving, y]
                        if code >= 0:
                            cell = np.uint64(code)  # unsigned: no check for negative indices
                            tally[cell] -= 1
                            log_sum -= steps[tally[cell]]
                            distinct -= is_distinct(code, number_of_levels, symmetric)
                            pairs -= 1
            entering = x + planes[k, 5]
            if 0 <= entering < width:
                for z in range(z_first, z_stop):
                    for y in range(y_first, y_stop):
                        code = codes[k, z, entering, y]
                        if code >= 0:
                            cell = np.uint64(code)
                            log_sum += steps[tally[cell]]
                            tally[cell] += 1
                            distinct += is_distinct(code, number_of_levels, symmetric)
                            pairs += 1
        if 0 <= x < width and pairs > 0:
            entropy[x] += scaled_entropy(pairs, log_sum, distinct, log_table)
            terms[x] += 1
