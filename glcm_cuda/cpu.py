"""The CPU backend: a tally of the pairs in the window that slides along each row.

From one voxel to the next, one plane of pairs enters the window and one leaves it. Each changes the
count n of its code by one, and with it the sum of ``n * log2(n)`` by a difference that is read from
a table. The cost grows linearly with the window's edge in 2D and does not depend on the number of
levels.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import get_num_threads, njit, prange

from .definition import NO_PAIR, fixed_log2, is_distinct, pair_code, scaled_entropy

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
    _map_bands(
        levels, offsets, np.array(radii), number_of_levels, symmetric, merge, log_table, log_unit, out
    )
    return out


def threads() -> int:
    """Return how many threads the backend uses; `numba.set_num_threads` changes it."""
    return int(get_num_threads())


@njit(parallel=True, cache=True)
def _map_bands(levels, offsets, radii, number_of_levels, symmetric, merge, log_table, log_unit, out):  # type: ignore[no-untyped-def]
    depth, height, width = levels.shape
    bands = (height + _BAND - 1) // _BAND
    counts = np.arange(len(log_table))
    steps = np.diff(counts * log_table)
    for task in prange(depth * bands):
        z = task // bands
        top = task % bands * _BAND
        bottom = min(top + _BAND, height)
        entropy = np.zeros((bottom - top, width), np.float64)
        terms = np.zeros((bottom - top, width), np.int32)
        tally = np.zeros(number_of_levels * number_of_levels, np.int32)
        group = len(offsets) if merge else 1
        for first in range(0, len(offsets), group):
            chosen = offsets[first : first + group]
            codes = _band_codes(levels, chosen, radii, z, top, bottom, number_of_levels, symmetric)
            for y in range(top, bottom):
                _slide_row(
                    codes, chosen, radii, z, y, top, levels.shape, number_of_levels, symmetric,
                    tally, steps, log_table, entropy[y - top], terms[y - top],
                )  # fmt: skip
        for y in range(top, bottom):
            for x in range(width):
                n = terms[y - top, x]
                mean = entropy[y - top, x] / n if n > 0 else np.nan
                out[z, y, x] = mean * (log_unit / 4294967296.0)


@njit
def _band_codes(levels, offsets, radii, z, top, bottom, number_of_levels, symmetric):  # type: ignore[no-untyped-def]
    """Codes of all pairs that start in the rows of a band or its halo, by direction, z, y and x."""
    depth, height, width = levels.shape
    z_low = max(z - radii[0], 0)
    z_high = min(z + radii[0] + 1, depth)
    y_low = max(top - radii[1], 0)
    y_high = min(bottom + radii[1], height)
    codes = np.full((len(offsets), z_high - z_low, y_high - y_low, width), NO_PAIR, np.int32)
    for k in range(len(offsets)):
        dz, dy, dx = offsets[k]
        for zz in range(max(z_low, -dz), min(z_high, depth - dz)):
            for yy in range(max(y_low, -dy), min(y_high, height - dy)):
                for xx in range(max(0, -dx), min(width, width - dx)):
                    codes[k, zz - z_low, yy - y_low, xx] = pair_code(
                        levels[zz, yy, xx], levels[zz + dz, yy + dy, xx + dx], number_of_levels, symmetric
                    )
    return codes


@njit
def _slide_row(  # type: ignore[no-untyped-def]
    codes, offsets, radii, z, y, top, shape, number_of_levels, symmetric, tally, steps, log_table,
    entropy, terms,
):  # fmt: skip
    """Add the entropy of every window along a row; the tally is empty before and after."""
    depth, height, width = shape
    z_low = max(z - radii[0], 0)
    y_low = max(top - radii[1], 0)
    radius = radii[2]
    pairs = 0
    distinct = 0
    log_sum = 0
    for x in range(-2 * radius, width + 2 * radius + 1):
        for k in range(len(offsets)):
            dz, dy, dx = offsets[k]
            z_first = max(z - radii[0] + max(0, -dz), 0) - z_low
            z_last = min(z + radii[0] - max(0, dz), depth - 1) - z_low
            y_first = max(y - radii[1] + max(0, -dy), 0) - y_low
            y_last = min(y + radii[1] - max(0, dy), height - 1) - y_low
            leaving = x - 1 - radius + max(0, -dx)
            if 0 <= leaving < width:
                for zz in range(z_first, z_last + 1):
                    for yy in range(y_first, y_last + 1):
                        code = codes[k, zz, yy, leaving]
                        if code >= 0:
                            tally[code] -= 1
                            log_sum -= steps[tally[code]]
                            distinct -= is_distinct(code, number_of_levels, symmetric)
                            pairs -= 1
            entering = x + radius - max(0, dx)
            if 0 <= entering < width:
                for zz in range(z_first, z_last + 1):
                    for yy in range(y_first, y_last + 1):
                        code = codes[k, zz, yy, entering]
                        if code >= 0:
                            log_sum += steps[tally[code]]
                            tally[code] += 1
                            distinct += is_distinct(code, number_of_levels, symmetric)
                            pairs += 1
        if 0 <= x < width and pairs > 0:
            entropy[x] += scaled_entropy(pairs, log_sum, distinct, log_table)
            terms[x] += 1
