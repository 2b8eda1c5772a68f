"""Windows of many pairs: how often every code occurs in the columns of the windows, then in the windows.

For every code there is a row of counts: the pairs with this code in a column of the windows of a row. Down
the rows these move by one line of pairs. The counts of neighbouring columns add up to the count of a window,
for many windows at once, and a table gives its ``n log2 n``. Codes that a tile of columns does not hold take
no time.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from glcm_cuda.base.cache import can_cache, versioned
from glcm_cuda.families.fixed_point import fixed_log2
from glcm_cuda.families.glcm.cpu.kinds import Counted, code_of, codes_of
from glcm_cuda.families.glcm.cpu.pairs import Box, Ends
from glcm_cuda.families.glcm.cpu.tally import ENDS, FIRST, JOINT, SECOND
from glcm_cuda.families.glcm.definition import Scale, Sums

_MOST_PAIRS = (1 << 14) - 1
"""Most pairs in a window: both ends of all of them are counted with 16 bits."""

_MOST_CODES = 512
"""Most codes of which counts are kept; with more, most counts are 0."""

_CODES_PER_PAIR = 4
"""Most codes of pairs for each pair that enters a window: a tally is faster with more."""

_MOST_PAIRED = 180
"""Largest count of which two make a key: the square of one more is below 2**15."""

_BATCH = 4
"""Codes that are looked up together."""

_ENERGY, _LARGEST = Sums._fields.index("energy"), Sums._fields.index("largest")

TILE = 128
"""Columns of windows of a tile: few, so that it holds few codes, many compared with the window's edge."""


def fits(box: Box, kind: int, number_of_levels: int, *, symmetric: bool) -> bool:
    """Return whether codes of a kind are counted here in windows with this box of pairs."""
    codes = codes_of(kind, number_of_levels)
    # Half of the codes of pairs do not occur in a symmetric matrix.
    occurring = codes // 2 if symmetric and kind == JOINT else codes
    few = kind != JOINT or occurring <= _CODES_PER_PAIR * box.planes * box.rows
    return few and codes <= _MOST_CODES and math.prod(box) <= _MOST_PAIRS


@functools.lru_cache(maxsize=16)
def _table(most: int, log_one: int) -> tuple[npt.NDArray[np.int64], int]:
    """Return what is looked up for counts up to `most`, and the radix of its keys.

    Two counts make a key, if both fit into 16 bits: the first plus the radix times the second. The table has
    the sum of their ``n log2 n``. Otherwise the radix is 0, and one count is a key.
    """
    terms = np.arange(most + 1) * fixed_log2(np.arange(most + 1), log_one)
    if most > _MOST_PAIRED:
        return terms, 0
    return (terms + terms[:, np.newaxis]).reshape(-1), most + 1


def counter(counted: Counted, box: Box, number_of_levels: int, scale: Scale) -> Callable[..., None]:
    """Return a function that counts codes of one kind in all windows of a band; see `named.counter`."""
    count_band, symmetric = _compiled(counted.kind), scale.orders == 2
    table, radix = _table(math.prod(box) * (2 if counted.kind == ENDS else 1), scale.log_one)
    codes, field = codes_of(counted.kind, number_of_levels), -1 if counted.field is None else counted.field

    def count(sums: npt.NDArray[np.int64], ends: Ends, *_: object) -> None:
        count_band(
            sums, field, counted.weights, *ends, box.rows, box.columns, codes, number_of_levels, symmetric,
            table, radix,
        )  # fmt: skip

    return count


@functools.cache
def _compiled(kind: int) -> Any:
    """Return the loop over the rows of a band; compiled, or read from Numba's cache.

    It writes the logarithmic sum to `field` unless that is -1, and energy and maximum with `weights`.
    """

    @njit(nogil=True, cache=can_cache())
    @versioned(__name__)
    def count_band(  # type: ignore[no-untyped-def]
        sums, field, weights, first, second, high, wide, codes, number_of_levels, symmetric, table, radix
    ):
        rows, _, width = sums.shape
        # For both ends the first planes are those of first ends.
        parts = 2 if kind == ENDS else 1
        places = np.empty((parts * first.shape[0], *first.shape[1:]), np.int32)
        for plane in range(first.shape[0]):
            for line in range(first.shape[1]):
                a, b = first[plane, line], second[plane, line]
                one = FIRST if kind == ENDS else kind
                _write_codes(places[plane, line], a, b, one, codes, number_of_levels, symmetric)
                if kind == ENDS:
                    other = places[first.shape[0] + plane, line]
                    _write_codes(other, a, b, SECOND, codes, number_of_levels, symmetric)
        counts = np.empty((codes + 1, TILE + wide - 1), np.int16)
        windows = np.zeros((_BATCH, TILE), np.int16)
        single = number_of_levels if symmetric else 0  # codes below are counted twice in one cell
        for left in range(0, width, TILE):
            columns = min(TILE, width - left)
            of_tile = places[:, :, left : left + columns + wide - 1]
            counts.fill(0)
            for line in range(rows + high - 1):
                _count_line(counts, of_tile[:, line], 1)
                row = line - high + 1
                if row < 0:
                    continue
                out = sums[row, :, left : left + columns]
                if field >= 0:
                    _sum_logs(out[field], counts, windows, codes, wide, table, radix)
                if kind == JOINT and weights:
                    _weigh(out[_ENERGY], out[_LARGEST], counts, windows[0], codes, wide, single)
                _count_line(counts, of_tile[:, row], -1)

    return count_band


@njit(forceinline=True)
def _write_codes(codes, a, b, kind, absent, number_of_levels, symmetric):  # type: ignore[no-untyped-def]
    """Write the codes of a line; non-pairs have the last code, whose counts are not read."""
    for x in range(np.uint64(len(codes))):
        code = code_of(a[x], b[x], kind, number_of_levels, symmetric)
        codes[x] = code if a[x] >= 0 else absent


@njit
def _count_line(counts, codes, step):  # type: ignore[no-untyped-def]
    """Add `step` to the counts of the codes of a line, (planes, columns)."""
    for plane in range(len(codes)):
        of_plane = codes[plane]
        for x in range(np.uint64(len(of_plane))):
            counts[np.uint64(of_plane[x]), x] += step


@njit(forceinline=True)
def _sum_logs(out, counts, windows, codes, wide, table, radix):  # type: ignore[no-untyped-def]
    """Write the sums of ``n log2 n`` over the codes of a row of windows."""
    out[:] = 0
    found = 0
    for code in range(codes):
        if not _occurs(counts[code], len(out) + wide - 1):
            continue
        _add_columns(windows[found % _BATCH], counts[code], len(out), wide)
        found += 1
        if found % _BATCH == 0:
            _look_up(out, windows, table, radix)
    if found % _BATCH:
        windows[found % _BATCH :] = 0
        _look_up(out, windows, table, radix)


@njit(forceinline=True)
def _occurs(of_code, columns):  # type: ignore[no-untyped-def]
    """Return whether a code has any count."""
    any_count = np.int16(0)
    for x in range(np.uint64(columns)):
        any_count |= of_code[x]
    return any_count != 0


@njit
def _add_columns(window, of_code, columns, wide):  # type: ignore[no-untyped-def]
    """Write the counts of a code in windows that are `wide` columns wide."""
    for x in range(np.uint64(columns)):
        window[x] = of_code[x]
    # Several columns at a time load and store the counts of the windows less often.
    j = np.uint64(1)
    while j + np.uint64(3) <= wide:
        for x in range(np.uint64(columns)):
            window[x] += of_code[x + j] + of_code[x + j + np.uint64(1)] + of_code[x + j + np.uint64(2)]
        j += np.uint64(3)
    while j < wide:
        for x in range(np.uint64(columns)):
            window[x] += of_code[x + j]
        j += np.uint64(1)


@njit
def _look_up(out, windows, table, radix):  # type: ignore[no-untyped-def]
    """Add what a table gives for the counts of `_BATCH` codes, which loads and stores the sums less often."""
    one, two, three, four = windows[0], windows[1], windows[2], windows[3]
    if radix == 0:
        for x in range(np.uint64(len(out))):
            pair = table[np.uint64(one[x])] + table[np.uint64(two[x])]
            out[x] += pair + (table[np.uint64(three[x])] + table[np.uint64(four[x])])
        return
    _make_keys(one, two, radix)
    _make_keys(three, four, radix)
    for x in range(np.uint64(len(out))):
        out[x] += table[np.uint64(one[x])] + table[np.uint64(three[x])]


@njit
def _make_keys(one, other, radix):  # type: ignore[no-untyped-def]
    """Turn counts into keys of two counts."""
    for x in range(np.uint64(len(one))):
        one[x] = np.int16(one[x] + np.int16(radix) * other[x])


@njit
def _weigh(energy, largest, counts, window, codes, wide, single):  # type: ignore[no-untyped-def]
    """Write energy and maximum of a row of windows."""
    energies, heights = np.zeros(len(energy), np.int32), np.zeros(len(energy), np.int32)
    for code in range(codes):
        if _occurs(counts[code], len(energy) + wide - 1):
            _add_columns(window, counts[code], len(energy), wide)
            weight = np.int32(2 if code < single else 1)
            for x in range(np.uint64(len(energy))):
                n = np.int32(window[x])
                energies[x] += weight * n * n
                heights[x] = max(heights[x], weight * n)
    energy[:] = energies
    largest[:] = heights
