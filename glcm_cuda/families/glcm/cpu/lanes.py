"""Joint entropy of 2D windows on the CPU: vector lanes, one per voxel, count the pairs, tile by tile.

Windows with at most twenty pairs per direction (5x5) get the name of their partition (`partitions`), and a
table gives the sum of ``n * log2(n)`` for the name.

Larger windows slide down the rows of a tile. When a row of pairs enters, each of its pairs adds to the
window's sum a number that a table gives for the count of equal pairs already in the window. A row that
leaves subtracts in the same way.

The sums are integers below 2**53, kept in float64, so that both ways and all other backends give the same
bits.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit
from numba.core.config import DISABLE_JIT

from glcm_cuda.base.cache import can_cache, versioned
from glcm_cuda.base.threads import run_in_parts
from glcm_cuda.families.fixed_point import LOG_ONE, fixed_log2, log_steps
from glcm_cuda.families.glcm.definition import mean_entropy, scaled_entropy
from glcm_cuda.families.glcm.partitions import MOST_PAIRS, sums_by_name
from glcm_cuda.families.glcm.vectors import (
    COLUMNS,
    LANES,
    ROWS,
    STRIDE,
    buffer_size,
    count_equal,
    multiply_ranks,
    shapes,
)
from glcm_cuda.families.offsets import directions
from glcm_cuda.families.stage import Task
from glcm_cuda.settings import GLCMSettings

MOST_COUNTED = 255
"""Most pairs in a window that slides: two counts share 16 bits (`_change`), and so do the two counts of a
mark."""

LARGEST_EDGE = 15
"""Largest edge of a window that fits into the margins of the buffers."""

NON_PAIR_CODE = np.uint16(0x00FF)
"""Code of a non-pair. No pair has it: it would be (0, 255), which is (255, 0) in a symmetric matrix, and
which takes 256 levels otherwise; see `fits`."""

NO_WINDOW = np.uint16(0x01FF)
"""Code in the margin above a tile, where no window has pairs. It differs from the codes of pairs and of
non-pairs: it would be (1, 255)."""

_HIGH = 256
"""A code is one level times this, plus the other."""

NON_PAIR = 256
"""A mark counts a window's non-pairs times this, plus its pairs of two different levels in a symmetric
matrix."""

_BLOCK = 32
"""Columns that are tested together for windows that hold non-pairs. It divides `COLUMNS`."""


def fits(settings: GLCMSettings, number_of_levels: int) -> bool:
    """Return whether the windows can be counted here: 2D, not too large, with codes of 16 bits."""
    if DISABLE_JIT or settings.dimensions == 3 or settings.edge > LARGEST_EDGE:
        return False
    if len(settings.distances) > 1 or len(directions(settings)) > len(shapes(3, 2)):
        return False
    few_levels = number_of_levels < (257 if settings.symmetric else 256)
    return few_levels and _most_pairs(*_specification(settings)) <= MOST_COUNTED


def map_levels(
    levels: npt.NDArray[np.int16],
    out: npt.NDArray[np.float32],
    task: Task,
    origin: tuple[int, int],
) -> None:
    """Write the joint entropy around every voxel of a block, for a window that `fits`.

    `out` is its plane (N, M, X); see `stage.CPUStage.map`. The time does not depend on the number of levels.
    """
    settings, specification = task.settings, _specification(task.settings)
    map_tiles, (tables, log_table) = compiled(settings), _tables(*specification)
    offsets, scale = directions(settings), settings.log_unit / LOG_ONE
    grid = (-(-out.shape[1] // ROWS), -(-out.shape[2] // COLUMNS))

    def map_some(start: int, stop: int) -> None:
        map_tiles(
            levels, offsets, origin, settings.symmetric, tables, log_table, scale, out, grid, start, stop
        )

    run_in_parts(map_some, len(out) * math.prod(grid))


def compiled(settings: GLCMSettings) -> Any:
    """Return the loop over tiles for a window that `fits`, compiled or read from Numba's cache."""
    specification = _specification(settings)
    return _compiled(*specification, int(_is_named(*specification)))


def _most_pairs(edge: int, short: int, merge: int) -> int:
    """Return how many pairs of a window are counted together: of all directions, or of the one with most."""
    pairs = [high * wide for high, wide in shapes(edge, short)]
    return sum(pairs) if merge else max(pairs)


def _specification(settings: GLCMSettings) -> tuple[int, int, int]:
    """Return what the loops are compiled for: edge, edge minus distance, and 1 if merged, else 0."""
    return settings.edge, settings.edge - settings.distances[0], int(settings.aggregate == "merge")


def _is_named(edge: int, short: int, merge: int) -> bool:
    """Return whether the windows have so few pairs that they are looked up by name."""
    return not merge and _most_pairs(edge, short, merge) <= MOST_PAIRS


@functools.cache
def _tables(edge: int, short: int, merge: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return what the loops look up: a stack of two tables, and logarithms.

    The two tables are the sums by name, for the directions along an axis and for the diagonals; or, for
    windows that slide, the changes by rows that enter and by rows that leave.
    """
    most = _most_pairs(edge, short, merge)
    if _is_named(edge, short, merge):
        tables = [sums_by_name(edge * short), sums_by_name(short * short)]
    else:
        tables = [changes_by_counts(most), -changes_by_counts(most)]
    return np.stack(tables), fixed_log2(np.arange(most + 1))


def changes_by_counts(pairs: int) -> npt.NDArray[np.float64]:
    """Changes of a window's sum of ``n * fixed_log2(n)`` when two pairs enter.

    Parameters
    ----------
    pairs : int
        Number of pairs in the window.

    Returns
    -------
    (pairs**2,) float64 array
        Index ``a + pairs * b`` holds the change by a pair with a equal pairs in the window and one with b.
    """
    change = log_steps(fixed_log2(np.arange(pairs + 1))).astype(np.float64)
    return (change + change[:, np.newaxis]).reshape(-1)


@functools.cache
def _compiled(edge: int, short: int, merge: int, named: int) -> Any:
    """Return the loop over tiles for a specification, compiled or read from Numba's cache."""
    # A direction's codes take `plane` words. The first `begin` of them are the margin above the tile.
    plane, begin = buffer_size(edge), edge * STRIDE

    @njit(nogil=True, cache=can_cache(), error_model="numpy")
    @versioned(__name__)
    def map_tiles(  # type: ignore[no-untyped-def]
        levels, offsets, origin, symmetric, tables, log_table, scale, out, grid, start_tile, stop_tile
    ):
        _, height, width = out.shape
        down, across = grid
        flat = out.reshape(-1)
        group = len(offsets) if merge else 1  # directions that share a matrix
        for tile in range(start_tile, stop_tile):
            z, top, left = tile // (down * across), tile // across % down * ROWS, tile % across * COLUMNS
            rows, columns = min(ROWS, height - top), min(COLUMNS, width - left)
            # Whole vectors and blocks are computed; what exceeds the tile is not written to the map.
            padded = (columns + _BLOCK - 1) // _BLOCK * _BLOCK
            codes = np.empty(group * plane, np.uint16)
            work = np.empty(plane, np.uint16)  # names of windows, or counts of equal pairs in a row
            keys = np.empty((edge + 1) // 2 * COLUMNS, np.uint16)  # of the table of changes
            below = np.empty(group * STRIDE, np.uint16)  # marks of every column of pairs
            marks = np.empty(COLUMNS, np.uint16)  # of every window of a row
            log_sums = np.empty(COLUMNS, np.float64)  # sum of n log2 n of every window of a row
            # Sum of the entropies of the matrices, and their number, of every window of the tile.
            totals, terms = np.empty(ROWS * COLUMNS, np.float64), np.empty(ROWS * COLUMNS, np.uint16)
            _fill(totals, 0, len(totals), 0.0)
            _fill(terms, 0, len(terms), len(offsets) // group)
            for k in range(0, len(offsets), group):
                # Codes of all pairs of the tile's windows, such that a window finds its pairs at its own
                # place.
                for j in range(group):
                    _, dy, dx = offsets[k + j]
                    start = np.uint64(j * plane + begin)
                    y, x = origin[1] + top - edge // 2, left - edge // 2 - min(dx, 0)
                    reach = (rows + edge - abs(dy) - 1, padded + edge - abs(dx) - 1)
                    _fill_codes(codes, start, levels, origin[0] + z, y, x, reach, dy, dx, symmetric)
                    _fill(codes, j * plane, begin, NO_WINDOW)
                # All names of the tile at once, from the first row of pairs to the last.
                if named:
                    high = edge - abs(offsets[k, 1])
                    _name_windows(codes, work, begin, rows + high - 1, padded, k, edge, short)
                # Invariant: `below` and, unless named, `log_sums` describe the rows of pairs that are in
                # the windows.
                _fill(log_sums, 0, COLUMNS, 0.0)
                _fill(below, 0, len(below), 0)
                for row in range(1 - edge, rows):
                    # The windows move down to start at `row`, from above the tile where they are empty: a
                    # row of pairs enters at the bottom, the entropies are added, and a row leaves at the
                    # top.
                    for entering in (1, 0):
                        if not entering and row < 0:
                            continue
                        if not entering:
                            if named:
                                _look_up(log_sums, work, begin + row * STRIDE, tables[k % 2], padded)
                            pairs = _spread(marks, below, offsets[k : k + group], edge, padded)
                            _add_entropies(totals, terms, row, log_sums, marks, padded, pairs, log_table)
                        for j in range(group):
                            high, wide = edge - abs(offsets[k + j, 1]), edge - abs(offsets[k + j, 2])
                            moving = row + (high - 1) * entering
                            # Above the tile there are no pairs.
                            if moving < 0:
                                continue
                            at = begin + moving * STRIDE
                            _mark_row(below, j, codes, j * plane + at, padded + wide - 1, symmetric, entering)
                            if not named:
                                _count_row(
                                    codes, work, at, padded + wide - 1, k + j, entering, edge, short, merge
                                )
                                table = tables[1 - entering]
                                _change(log_sums, keys, work, table, padded, wide, len(log_table) - 1)
            for row in range(rows):
                place = np.uint64((z * height + top + row) * width + left)
                _write_means(flat, place, totals, terms, row, columns, scale)

    return map_tiles


@njit
def _fill(array, start, count, value):  # type: ignore[no-untyped-def]
    """Set `count` elements of a flat array, from `start` on, to a value."""
    for place in range(np.uint64(start), np.uint64(start + count)):
        array[place] = value


@njit
def _fill_codes(codes, begin, levels, z, y, x, reach, dy, dx, symmetric):  # type: ignore[no-untyped-def]
    """Write the codes of the pairs of slice z whose first voxels are in a rectangle.

    The rectangle has its corner at (y, x), possibly outside the image, and the size `reach` (rows, columns).
    The code of the pair at the corner goes to index `begin` of the flat buffer.
    """
    _, height, width = levels.shape
    rows, columns = reach
    flat = levels.reshape(-1)
    # Columns in [first, last) have both ends in the image; in other columns, and in rows that are not
    # valid, there are non-pairs.
    first = max(0, -x, -x - dx)
    last = max(first, min(columns, width - x, width - x - dx))
    for row in range(rows):
        line = begin + np.uint64(row * STRIDE)
        valid = y + row >= 0 and y + row + dy < height
        if first > 0 or last < columns or not valid:
            for column in range(np.uint64(columns)):
                codes[line + column] = NON_PAIR_CODE
        if valid:
            one = np.uint64((z * height + y + row) * width + x)
            other = one + np.uint64(dy * width + dx)
            for column in range(np.uint64(first), np.uint64(last)):
                codes[line + column] = _code(flat[one + column], flat[other + column], symmetric)


@njit(inline="always")
def _code(first, second, symmetric):  # type: ignore[no-untyped-def]
    """Return a 16-bit code that is the same for two pairs if and only if `pair_code` is."""
    low, high = min(first, second), max(first, second)
    one, other = (high, low) if symmetric else (first, second)
    code = np.uint16(np.uint16(one) * np.uint16(_HIGH) + np.uint16(other))
    return code if low >= 0 else NON_PAIR_CODE


@njit(inline="always")
def _name_windows(codes, names, begin, rows, columns, direction, edge, short):  # type: ignore[no-untyped-def]
    """Write the names of all windows of a tile; see `multiply_ranks`.

    Names of windows that start above the tile are incomplete and not used.
    """
    for row in range(rows):
        start = np.uint64(begin + row * STRIDE)
        for at in range(start, start + np.uint64(columns), np.uint64(LANES)):
            multiply_ranks(codes, names, at, direction, edge, short)


@njit(inline="always")
def _count_row(codes, counts, at, columns, direction, entering, edge, short, merge):  # type: ignore[no-untyped-def]
    """Write, for all pairs of a row, the counts of equal pairs in their windows; see `count_equal`."""
    for column in range(np.uint64(0), np.uint64(columns), np.uint64(LANES)):
        count_equal(codes, counts, np.uint64(at) + column, column, direction, entering, edge, short, merge)


@njit
def _mark_row(below, j, codes, at, columns, symmetric, entering):  # type: ignore[no-untyped-def]
    """Add the marks of a row of pairs that enters to those of its columns, or subtract them when it leaves.

    A mark is NON_PAIR for a non-pair, 1 for two different levels in a symmetric matrix, else 0.
    """
    start = np.uint64(j * STRIDE)
    sign = np.uint16(1 if entering else 0xFFFF)  # 1 or -1 modulo 2**16
    for column in range(np.uint64(columns)):
        code = codes[np.uint64(at) + column]
        # Not 0 if the two bytes of the code, the levels, differ.
        difference = np.uint16((code >> np.uint16(8)) ^ (code & np.uint16(255)))
        distinct = np.uint16(min(difference, np.uint16(symmetric)))
        mark = np.uint16(NON_PAIR) if code == NON_PAIR_CODE else distinct
        below[start + column] += sign * mark


@njit
def _spread(marks, below, offsets, edge, columns):  # type: ignore[no-untyped-def]
    """Add up the marks over the columns of every window; return how many pairs a window may have."""
    _fill(marks, 0, columns, 0)
    pairs = 0
    for j in range(len(offsets)):
        wide = edge - abs(offsets[j, 2])
        pairs += wide * (edge - abs(offsets[j, 1]))
        for start in range(np.uint64(j * STRIDE), np.uint64(j * STRIDE + wide)):
            for column in range(np.uint64(columns)):
                marks[column] += below[start + column]
    return pairs


@njit
def _look_up(log_sums, names, at, table, columns):  # type: ignore[no-untyped-def]
    """Write the logarithmic sums of a row of windows by their names."""
    for column in range(np.uint64(columns)):
        log_sums[column] = table[np.uint64(names[np.uint64(at) + column])]


@njit
def _change(log_sums, keys, counts, table, columns, wide, radix):  # type: ignore[no-untyped-def]
    """Add to the sum of every window the changes by the pairs of a row that enters or leaves.

    A window that starts in column x has its pair j in column x + j of the row, whose count for column j of
    the window is at ``counts[j * STRIDE + x + j]``. Two pairs make one key of the table: both counts are
    below `radix`, whose square is below 2**16.
    """
    columns = np.uint64(columns)
    for j in range(wide // 2):
        one, key = np.uint64(2 * j * (STRIDE + 1)), np.uint64(j * COLUMNS)
        for column in range(columns):
            other = one + np.uint64(STRIDE + 1) + column
            keys[key + column] = counts[one + column] + np.uint16(radix) * counts[other]
    # A last pair without a partner has the key of a partner with count 0, which changes nothing.
    if wide % 2:
        one, key = np.uint64((wide - 1) * (STRIDE + 1)), np.uint64(wide // 2 * COLUMNS)
        for column in range(columns):
            keys[key + column] = counts[one + column]
    # Look the keys up, three rows of keys at a time, which loads and stores the sums less often.
    last = (wide + 1) // 2 * COLUMNS
    for j in range(0, last - 2 * COLUMNS, 3 * COLUMNS):
        one, two, three = np.uint64(j), np.uint64(j + COLUMNS), np.uint64(j + 2 * COLUMNS)
        for column in range(columns):
            change = table[np.uint64(keys[one + column])] + table[np.uint64(keys[two + column])]
            log_sums[column] += change + table[np.uint64(keys[three + column])]
    for j in range(last - last % (3 * COLUMNS), last, COLUMNS):
        for column in range(columns):
            log_sums[column] += table[np.uint64(keys[np.uint64(j) + column])]


@njit(error_model="numpy")
def _add_entropies(totals, terms, row, log_sums, marks, columns, pairs, log_table):  # type: ignore[no-untyped-def]
    """Add the entropies of a row of windows to `totals`; windows without pairs take 1 off `terms`.

    `pairs` is the number of places for pairs in a window. Blocks of windows without non-pairs are computed by
    vector instructions. The others, at the border of the image or of a mask, are computed one by one.
    """
    line = np.uint64(row * COLUMNS)
    for block in range(np.uint64(0), np.uint64(columns), np.uint64(_BLOCK)):
        stop = block + np.uint64(_BLOCK)
        # Below NON_PAIR in the end only if no window of the block holds a non-pair.
        any_mark = np.uint16(0)
        for column in range(block, stop):
            any_mark |= marks[column]
        if any_mark < NON_PAIR:
            for column in range(block, stop):
                distinct = np.float64(marks[column])
                totals[line + column] += scaled_entropy(pairs, log_sums[column], distinct, log_table)
        else:
            for column in range(block, stop):
                # Non-pairs are counted like pairs of one code, in the name or the sum: take them off.
                none = np.int64(marks[column] // NON_PAIR)
                if none < pairs:
                    log_sum = log_sums[column] - none * log_table[none]
                    distinct = np.float64(marks[column] % NON_PAIR)
                    totals[line + column] += scaled_entropy(pairs - none, log_sum, distinct, log_table)
                else:
                    terms[line + column] -= np.uint16(1)


@njit(error_model="numpy")
def _write_means(out, place, totals, terms, row, columns, scale):  # type: ignore[no-untyped-def]
    """Write the mean entropies of a row of windows to the flat map, from `place` on."""
    line = np.uint64(row * COLUMNS)
    for column in range(np.uint64(columns)):
        total, count = totals[line + column], np.int32(terms[line + column])
        out[place + column] = np.float32(mean_entropy(total, count, scale))
