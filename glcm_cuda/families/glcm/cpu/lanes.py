"""2D windows on the CPU: pairs are counted in vector lanes, one lane per voxel, tile by tile.

Windows of at most twenty pairs (5x5) are looked up by the name of their partition (`partitions`).
Larger ones slide down the rows of a tile. A row of pairs that enters changes a window's sum of
``n * log2(n)`` by what a table gives for each of its pairs, from how many equal ones are in the window
already; a row that leaves takes the same off. The sums are whole numbers below 2**53 in float64, so
that both ways, and every other backend, give the same bits.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit
from numba.core.config import DISABLE_JIT

from glcm_cuda.base.cache import fingerprint
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
"""Pairs of a window that slides: what is counted of them shares 16 bits, and so do two counts."""

LARGEST_EDGE = 15
"""Edge of a window whose columns fit into the buffers, whatever its distance leaves of its pairs."""

NO_CODE = np.uint16(0x00FF)
"""Code of what is no pair; it would be (0, 255), which is (255, 0) in a symmetric matrix."""

OUTSIDE = np.uint16(0x01FF)
"""Code above a tile, where no window has its pairs; no pair equals it, nor what is no pair."""

_HIGH = 256
"""A code is one level times this and the other."""

NONE = 256
"""What is no pair adds this to the marks of a window, a pair of two different levels 1."""

_BLOCK = 32
"""Columns that are looked through together for windows with less than all their pairs."""


def fits(settings: GLCMSettings, number_of_levels: int) -> bool:
    """Whether windows can be counted here: in a slice, not too large, with codes of 16 bits."""
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
    first: tuple[int, int],
) -> None:
    """Write the joint entropy around every voxel of a block, for a window that `fits`.

    The time does not depend on the number of levels. See `stage.CPUStage.map`.
    """
    settings, specification = task.settings, _specification(task.settings)
    map_tiles, (tables, log_table) = compiled(settings), _tables(*specification)
    offsets, scale = directions(settings), settings.log_unit / LOG_ONE
    grid = (-(-out.shape[1] // ROWS), -(-out.shape[2] // COLUMNS))

    def map_some(start: int, stop: int) -> None:
        map_tiles(
            levels, offsets, first, settings.symmetric, tables, log_table, scale, out, grid, start, stop
        )

    run_in_parts(map_some, len(out) * math.prod(grid))


def compiled(settings: GLCMSettings) -> Any:
    """Return the loop over tiles for a window that `fits`, compiled or read from Numba's cache."""
    specification = _specification(settings)
    return _compiled(*specification, int(_is_named(*specification)))


def _most_pairs(edge: int, short: int, merge: int) -> int:
    """Pairs that are counted together in a window: of all directions, or of the one that has most."""
    pairs = [high * wide for high, wide in shapes(edge, short)]
    return sum(pairs) if merge else max(pairs)


def _specification(settings: GLCMSettings) -> tuple[int, int, int]:
    """Return what the loops are compiled for: the edge, less the distance, and whether directions merge."""
    return settings.edge, settings.edge - settings.distances[0], int(settings.aggregate == "merge")


def _is_named(edge: int, short: int, merge: int) -> bool:
    return not merge and _most_pairs(edge, short, merge) <= MOST_PAIRS


@functools.cache
def _tables(edge: int, short: int, merge: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return what is looked up: sums by name, or changes by what enters and what leaves; logarithms."""
    most = _most_pairs(edge, short, merge)
    if _is_named(edge, short, merge):
        tables = [sums_by_name(edge * short), sums_by_name(short * short)]
    else:
        tables = [changes_by_counts(most), -changes_by_counts(most)]
    return np.stack(tables), fixed_log2(np.arange(most + 1))


def changes_by_counts(pairs: int) -> npt.NDArray[np.float64]:
    """What two pairs add to a window's sum of ``n * fixed_log2(n)``.

    Parameters
    ----------
    pairs : int
        Pairs in the window.

    Returns
    -------
    (pairs**2,) float64 array
        At ``a + pairs * b`` for pairs that meet a and b equal ones.
    """
    change = log_steps(fixed_log2(np.arange(pairs + 1))).astype(np.float64)
    return (change + change[:, np.newaxis]).reshape(-1)


@functools.cache
def _compiled(edge: int, short: int, merge: int, named: int) -> Any:
    sources = fingerprint(__name__)
    plane, begin = buffer_size(edge), edge * STRIDE

    @njit(nogil=True, cache=True, error_model="numpy")
    def map_tiles(  # type: ignore[no-untyped-def]
        levels, offsets, first, symmetric, tables, log_table, scale, out, grid, start_tile, stop_tile
    ):
        _ = sources
        _, height, width = out.shape
        down, across = grid
        flat = out.reshape(-1)
        group = len(offsets) if merge else 1
        for task in range(start_tile, stop_tile):
            z, top, left = task // (down * across), task // across % down * ROWS, task % across * COLUMNS
            rows, columns = min(ROWS, height - top), min(COLUMNS, width - left)
            padded = (columns + _BLOCK - 1) // _BLOCK * _BLOCK
            codes = np.empty(group * plane, np.uint16)
            work = np.empty(plane, np.uint16)  # names, or counts
            keys = np.empty((edge + 1) // 2 * COLUMNS, np.uint16)
            below = np.empty(group * STRIDE, np.uint16)
            marks = np.empty(COLUMNS, np.uint16)
            log_sums = np.empty(COLUMNS, np.float64)
            totals, terms = np.empty(ROWS * COLUMNS, np.float64), np.empty(ROWS * COLUMNS, np.uint16)
            _fill(totals, 0, len(totals), 0.0)
            _fill(terms, 0, len(terms), len(offsets) // group)
            for k in range(0, len(offsets), group):
                for j in range(group):
                    _, dy, dx = offsets[k + j]
                    start = np.uint64(j * plane + begin)
                    y, x = first[1] + top - edge // 2, left - edge // 2 - min(dx, 0)
                    reach = (rows + edge - abs(dy) - 1, padded + edge - abs(dx) - 1)
                    _fill_codes(codes, start, levels, first[0] + z, y, x, reach, dy, dx, symmetric)
                    _fill(codes, j * plane, begin, OUTSIDE)
                if named:
                    high = edge - abs(offsets[k, 1])
                    _name_windows(codes, work, begin, rows + high - 1, padded, k, edge, short)
                _fill(log_sums, 0, COLUMNS, 0.0)
                _fill(below, 0, len(below), 0)
                for row in range(1 - edge, rows):
                    # Rows of pairs enter at the bottom, the windows are whole, rows leave at the top.
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
    for place in range(np.uint64(start), np.uint64(start + count)):
        array[place] = value


@njit
def _fill_codes(codes, begin, levels, z, y, x, reach, dy, dx, symmetric):  # type: ignore[no-untyped-def]
    """Codes of the pairs of slice z that start in row y and column x, or after."""
    _, height, width = levels.shape
    rows, columns = reach
    flat = levels.reshape(-1)
    first = max(0, -x, -x - dx)
    last = max(first, min(columns, width - x, width - x - dx))
    for row in range(rows):
        line = begin + np.uint64(row * STRIDE)
        inside = y + row >= 0 and y + row + dy < height
        if first > 0 or last < columns or not inside:
            for column in range(np.uint64(columns)):
                codes[line + column] = NO_CODE
        if inside:
            one = np.uint64((z * height + y + row) * width + x)
            other = one + np.uint64(dy * width + dx)
            for column in range(np.uint64(first), np.uint64(last)):
                codes[line + column] = _code(flat[one + column], flat[other + column], symmetric)


@njit(inline="always")
def _code(first, second, symmetric):  # type: ignore[no-untyped-def]
    """16 bits that are equal for the pairs that `pair_code` takes for equal."""
    low, high = min(first, second), max(first, second)
    one, other = (high, low) if symmetric else (first, second)
    code = np.uint16(np.uint16(one) * np.uint16(_HIGH) + np.uint16(other))
    return code if low >= 0 else NO_CODE


@njit(inline="always")
def _name_windows(codes, names, begin, rows, columns, direction, edge, short):  # type: ignore[no-untyped-def]
    for row in range(rows):
        start = np.uint64(begin + row * STRIDE)
        for at in range(start, start + np.uint64(columns), np.uint64(LANES)):
            multiply_ranks(codes, names, at, direction, edge, short)


@njit(inline="always")
def _count_row(codes, counts, at, columns, direction, entering, edge, short, merge):  # type: ignore[no-untyped-def]
    for column in range(np.uint64(0), np.uint64(columns), np.uint64(LANES)):
        count_equal(codes, counts, np.uint64(at) + column, column, direction, entering, edge, short, merge)


@njit
def _mark_row(below, j, codes, at, columns, symmetric, entering):  # type: ignore[no-untyped-def]
    """Add the marks of a row of pairs to what is below the top of the windows, or take them off.

    NONE for what is no pair, 1 for two different levels of a symmetric matrix, else 0.
    """
    start = np.uint64(j * STRIDE)
    sign = np.uint16(1 if entering else 0xFFFF)
    for column in range(np.uint64(columns)):
        code = codes[np.uint64(at) + column]
        difference = np.uint16((code >> np.uint16(8)) ^ (code & np.uint16(255)))
        distinct = np.uint16(min(difference, np.uint16(symmetric)))
        mark = np.uint16(NONE) if code == NO_CODE else distinct
        below[start + column] += sign * mark


@njit
def _spread(marks, below, offsets, edge, columns):  # type: ignore[no-untyped-def]
    """Sum the marks of the columns of every window; return how many pairs it may have."""
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
    for column in range(np.uint64(columns)):
        log_sums[column] = table[np.uint64(names[np.uint64(at) + column])]


@njit
def _change(log_sums, keys, counts, table, columns, wide, radix):  # type: ignore[no-untyped-def]
    """Add to the sum of every window what the pairs of a row change, two pairs to a key of the table."""
    columns = np.uint64(columns)
    for j in range(wide // 2):
        one, key = np.uint64(2 * j * (STRIDE + 1)), np.uint64(j * COLUMNS)
        for column in range(columns):
            other = one + np.uint64(STRIDE + 1) + column
            keys[key + column] = counts[one + column] + np.uint16(radix) * counts[other]
    if wide % 2:
        one, key = np.uint64((wide - 1) * (STRIDE + 1)), np.uint64(wide // 2 * COLUMNS)
        for column in range(columns):
            keys[key + column] = counts[one + column]
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
    """Add the entropies of a row of windows.

    Where all windows of a block hold nothing but pairs, the loop becomes vectors; the others, at a
    border or the edge of a mask, are done one by one.
    """
    line = np.uint64(row * COLUMNS)
    for block in range(np.uint64(0), np.uint64(columns), np.uint64(_BLOCK)):
        stop = block + np.uint64(_BLOCK)
        any_mark = np.uint16(0)
        for column in range(block, stop):
            any_mark |= marks[column]
        if any_mark < NONE:
            for column in range(block, stop):
                distinct = np.float64(marks[column])
                totals[line + column] += scaled_entropy(pairs, log_sums[column], distinct, log_table)
        else:
            for column in range(block, stop):
                none = np.int64(marks[column] // NONE)
                if none < pairs:
                    log_sum = log_sums[column] - none * log_table[none]
                    distinct = np.float64(marks[column] % NONE)
                    totals[line + column] += scaled_entropy(pairs - none, log_sum, distinct, log_table)
                else:
                    terms[line + column] -= np.uint16(1)


@njit(error_model="numpy")
def _write_means(out, place, totals, terms, row, columns, scale):  # type: ignore[no-untyped-def]
    line = np.uint64(row * COLUMNS)
    for column in range(np.uint64(columns)):
        total, count = totals[line + column], np.int32(terms[line + column])
        out[place + column] = np.float32(mean_entropy(total, count, scale))
