"""Joint entropy in space on the CPU: tallies of sixteen neighbouring windows at once slide along x.

The windows of a patch, four slices by four rows, share most of their pairs. A code has a vector of counts,
one for each window (`exchange`). A pair that enters changes the sum of ``n * log2(n)`` of its windows by what
a table gives for the count of its code, and one that leaves changes it back; one look-up serves both.

In a symmetric matrix every pair of two different levels also adds one bit to the numerator of the entropy.
The table takes these off the sum: the counts of pairs of equal levels begin at `Tables.offset`, where its
entries have no such bit.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit
from numba.core.config import DISABLE_JIT

from glcm_cuda.base.cache import can_cache, versioned
from glcm_cuda.base.threads import run_in_parts
from glcm_cuda.families.fixed_point import LOG_ONE, log_steps, log_table
from glcm_cuda.families.glcm.cpu.exchange import SIDE, WINDOWS, exchange
from glcm_cuda.families.glcm.cpu.tally import number_code
from glcm_cuda.families.glcm.definition import mean_entropy, pair_code, scaled_entropy
from glcm_cuda.families.offsets import directions
from glcm_cuda.families.stage import Task
from glcm_cuda.settings import GLCMSettings

ROWS, COLUMNS = 16, 256
"""Rows and columns of a tile, which has `SIDE` slices; its codes fit into the second-level cache."""

GAIN = 4
"""How many times as fast as `tally` these loops are, about."""

LARGEST_EDGE = 15
"""Largest edge of a window for which this is worth while. The codes of a plane of pairs are in lines of the
first-level cache of their own, one for each pair."""

_OUTSIDE = np.uint16(0xFFFF)
"""Number of the level of a voxel that does not count."""

_NUMBERS = 1 << 16
"""Numbers that a code can have."""


class Tables(NamedTuple):
    """What the loops look up."""

    logs: Any  # (pairs + 1,) int64: fixed-point logarithms
    changes: Any  # int64: changes by a pair that enters and one that leaves; or by either, if they are many
    offset: Any  # where the counts of equal levels begin


def fits(settings: GLCMSettings, number_of_levels: int) -> bool:
    """Return whether the windows can be counted here: in space, with counts and codes of 16 bits."""
    if DISABLE_JIT or settings.dimensions == 2 or max(settings.edges) > LARGEST_EDGE:
        return False
    if 2 * (_most_pairs(settings) + 1) >= _NUMBERS:
        return False
    # With many levels the codes of a tile are numbered, and the last number is that of non-pairs.
    few_levels = number_of_levels <= _most_plain(settings.symmetric)
    return few_levels or math.prod(_tile(settings.edges)) * _group(settings) < _NUMBERS


def map_levels(
    levels: npt.NDArray[np.integer],
    out: npt.NDArray[np.float32],
    task: Task,
    origin: tuple[int, int],
) -> None:
    """Write the joint entropy around every voxel of a block, for a window that `fits`.

    `out` is its plane (N, M, X); see `stage.CPUStage.map`.
    """
    settings, number_of_levels = task.settings, task.bins.levels
    offsets, tables, scale = directions(settings), _tables(settings), settings.log_unit / LOG_ONE
    heights = sorted({settings.edges[1] - abs(int(dy)) for _, dy, _ in offsets})
    map_tiles = _compiled(settings.edges, " ".join(map(str, heights)), _group(settings), _radix(settings))
    grid = (-(-out.shape[0] // SIDE), -(-out.shape[1] // ROWS), -(-out.shape[2] // COLUMNS))
    plain = number_of_levels <= _most_plain(settings.symmetric)
    numbers = min(number_of_levels**2 + 1, _NUMBERS) if plain else _NUMBERS

    def map_some(start: int, stop: int) -> None:
        counts = np.zeros(numbers * WINDOWS, np.uint16)
        map_tiles(
            levels, offsets, origin, settings.symmetric, number_of_levels, tables, scale, counts, out, grid,
            start, stop,
        )  # fmt: skip

    run_in_parts(map_some, math.prod(grid))


def _tile(edges: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return slices, rows and columns of the buffers of a tile.

    They hold what the tile's windows reach, and a margin on both sides in which windows have no pairs.
    """
    depth, height, width = edges
    return SIDE + depth - 1, ROWS + height - 1, COLUMNS + 3 * width


def _group(settings: GLCMSettings) -> int:
    """Return how many directions share a matrix."""
    return len(directions(settings)) if settings.aggregate == "merge" else 1


def _most_pairs(settings: GLCMSettings) -> int:
    """Return how many pairs a window has in one matrix, at most."""
    pairs = np.prod(settings.edges - np.abs(directions(settings)), axis=1)
    return int(pairs.sum() if settings.aggregate == "merge" else pairs.max())


def _most_plain(symmetric: bool) -> int:
    """Return for how many levels one level times their number, plus the other, is a code of 16 bits.

    A code must be left for non-pairs. In a symmetric matrix not all are used.
    """
    return 256 if symmetric else 255


def _radix(settings: GLCMSettings) -> int:
    """Return by what the second of two counts in a key is multiplied; 0 if two are too much for a key."""
    radix = 2 * (_most_pairs(settings) + 1)
    return radix if radix * radix <= _NUMBERS else 0


@functools.lru_cache(maxsize=2)
def _tables(settings: GLCMSettings) -> Tables:
    """Return what the loops look up for these settings."""
    logs = log_table(_most_pairs(settings))
    steps = np.append(log_steps(logs), 0)  # nothing enters a full window
    steps = np.concatenate((steps - (LOG_ONE if settings.symmetric else 0), steps))
    changes = (steps - steps[:, np.newaxis]).reshape(-1) if _radix(settings) else steps
    return Tables(logs, changes, len(logs))


@functools.cache
def _compiled(edges: tuple[int, int, int], heights: str, group: int, radix: int) -> Any:
    """Return the loop over tiles, compiled for windows with these edges or read from Numba's cache."""
    depth, height, width = edges
    deep, high, row = _tile(edges)
    plane, size = high * row, deep * high * row

    @njit(nogil=True, cache=can_cache(), error_model="numpy")
    @versioned(__name__)
    def map_tiles(  # type: ignore[no-untyped-def]
        levels, offsets, origin, symmetric, number_of_levels, tables, scale, counts, out, grid,
        start_tile, stop_tile
    ):  # fmt: skip
        _, down, across = grid
        numbers, met = np.full(number_of_levels, -1, np.int32), np.empty(number_of_levels, np.int32)
        local, codes = np.empty(size, np.uint16), np.empty(group * size, np.uint16)
        keys = np.empty(2 * group * depth * height * WINDOWS, np.uint16)
        log_sums = np.empty(WINDOWS, np.int64)  # sum of n log2 n of every window, less its distinct pairs
        # Sum of the entropies of the matrices, and their number, of every window of the tile.
        totals, terms = np.empty(SIDE * ROWS * COLUMNS, np.float64), np.empty(SIDE * ROWS * COLUMNS, np.int32)
        for tile in range(start_tile, stop_tile):
            z = tile // (down * across) * SIDE
            top, left = tile // across % down * ROWS, tile % across * COLUMNS
            columns = min(COLUMNS, out.shape[2] - left)
            patches = (min(ROWS, out.shape[1] - top) + SIDE - 1) // SIDE
            reach = (deep, patches * SIDE + height - 1, columns + width - 1)
            corner = (origin[0] + z - depth // 2, origin[1] + top - height // 2, left - width // 2)
            kinds = _number_levels(local, levels, corner, reach, plane, row, numbers, met)
            absent = _non_pair(kinds, symmetric)
            totals[:] = 0.0
            terms[:] = len(offsets) // group
            for k in range(0, len(offsets), group):
                chosen = offsets[k : k + group]
                equal = _fill_codes(
                    codes,
                    size,
                    local,
                    chosen,
                    reach,
                    plane,
                    row,
                    width,
                    kinds,
                    symmetric,
                    absent,
                    counts,
                    tables.offset,
                )
                most = _pairs_in_window(chosen, edges)
                # At the start of a row the windows are beside the tile: all their pairs are non-pairs.
                _fill(counts, absent * WINDOWS, WINDOWS, tables.offset + most)
                for patch in range(patches):
                    line = patch * SIDE * row + width
                    log_sums[:] = most * tables.logs[most]
                    for x in range(1 - width, columns + width):
                        to = 0
                        for j in range(group):
                            dz, dy, dx = offsets[k + j]
                            at = line + j * size + x - 1
                            shape = (depth - abs(dz), height - abs(dy), width - abs(dx))
                            _move(codes, at, counts, keys, to, shape, heights, plane, row, radix)
                            to += shape[0] * shape[1]
                        _look_up(log_sums, keys, to, tables.changes, radix)
                        if 0 <= x < columns:
                            place = (patch * COLUMNS + x) * WINDOWS
                            _add_entropies(
                                totals, terms, place, log_sums, counts, absent * WINDOWS, most, tables
                            )
                # The windows have left the tile again, and with them all pairs.
                _fill(counts, absent * WINDOWS, WINDOWS, 0)
                _begin(counts, equal, 0)
            _write_means(out, z, top, left, totals, terms, scale)

    return map_tiles


@njit(inline="always")
def _move(codes, at, counts, keys, to, shape, heights, plane, row, radix):  # type: ignore[no-untyped-def]
    """Move the windows of a patch on by one voxel, for the pairs of one direction; see `exchange`.

    The first pair that leaves is `at` an index; a window has pairs of this shape.
    """
    deep, high, wide = shape
    to_of_slice = to
    for z in range(deep + SIDE - 1):
        exchange(codes, at, at + wide, counts, keys, to_of_slice, z - deep + 1, z, high, heights, row, radix)
        at += plane
        to_of_slice = to_of_slice + high if (z + 1) % deep else to


@njit
def _fill(array, start, count, value):  # type: ignore[no-untyped-def]
    """Set `count` elements of a flat array, from `start` on, to a value."""
    for place in range(np.uint64(start), np.uint64(start + count)):
        array[place] = value


@njit
def _number_levels(local, levels, corner, reach, plane, row, numbers, met):  # type: ignore[no-untyped-def]
    """Number the levels of a tile in the order in which they are met; return how many there are.

    The fewer numbers, the closer together are the counts of codes.
    """
    depth, height, width = levels.shape
    z0, y0, x0 = corner
    kinds = 0
    for dz in range(reach[0]):
        for dy in range(reach[1]):
            line = dz * plane + dy * row
            z, y = z0 + dz, y0 + dy
            inside = 0 <= z < depth and 0 <= y < height
            for dx in range(reach[2]):
                level = np.int64(-1)
                if inside and 0 <= x0 + dx < width:
                    level = np.int64(levels[z, y, x0 + dx])
                number = _OUTSIDE
                if level >= 0:
                    if numbers[level] < 0:
                        numbers[level] = kinds
                        met[kinds] = level
                        kinds += 1
                    number = np.uint16(numbers[level])
                local[line + dx] = number
    for kind in range(kinds):
        numbers[met[kind]] = -1
    return kinds


@njit
def _non_pair(kinds, symmetric):  # type: ignore[no-untyped-def]
    """Return the code of non-pairs if so many levels have plain codes, else the last code."""
    if kinds * kinds < _NUMBERS:
        return kinds * kinds
    # In a symmetric matrix the first level is not the lower one.
    return kinds - 1 if symmetric and kinds * kinds == _NUMBERS else _NUMBERS - 1


@njit
def _pairs_in_window(offsets, edges):  # type: ignore[no-untyped-def]
    """Return the number of places for pairs in a window, all these directions together."""
    total = 0
    for j in range(len(offsets)):
        dz, dy, dx = offsets[j]
        total += (edges[0] - abs(dz)) * (edges[1] - abs(dy)) * (edges[2] - abs(dx))
    return total


@njit
def _fill_codes(  # type: ignore[no-untyped-def]
    codes, size, local, offsets, reach, plane, row, margin, kinds, symmetric, absent, counts, offset
):
    """Write the codes of the pairs of a tile, each at the corner of its box, and begin their counts.

    Beside the tile there are non-pairs. Return the end and the step of a range that holds the codes of equal
    levels.
    """
    plain = absent < _NUMBERS - 1
    used = np.int64(0)
    slots = np.full((1 if plain else 2 * _NUMBERS, 2), np.int64(-1))
    for j in range(len(offsets)):
        dz, dy, dx = offsets[j]
        one = max(0, -dz) * plane + max(0, -dy) * row + max(0, -dx)
        other = one + dz * plane + dy * row + dx
        columns = reach[2] - abs(dx)
        for z in range(reach[0] - abs(dz)):
            for y in range(reach[1] - abs(dy)):
                line = z * plane + y * row
                to = j * size + line
                _fill(codes, to, margin, absent)
                _fill(codes, to + margin + columns, row - margin - columns, absent)
                if plain:
                    _code_row(
                        codes, to + margin, local, line + one, line + other, columns, kinds, symmetric, absent
                    )
                else:
                    used = _number_row(
                        codes, to + margin, local, line + one, line + other, columns, symmetric, absent,
                        slots, used, counts, offset,
                    )  # fmt: skip
    if not plain:
        return used, 1
    equal = (kinds * kinds, kinds + 1)
    _begin(counts, equal, offset)
    return equal


@njit
def _begin(counts, codes, value):  # type: ignore[no-untyped-def]
    """Set the counts of codes to a value; `codes` is the end and the step of their range."""
    stop, step = codes
    for code in range(0, stop, step):
        _fill(counts, code * WINDOWS, WINDOWS, value)


@njit
def _code_row(codes, to, local, one, other, columns, kinds, symmetric, absent):  # type: ignore[no-untyped-def]
    """Write the codes of a row of pairs: one level times the number of levels, plus the other."""
    to, one, other = np.uint64(to), np.uint64(one), np.uint64(other)
    for x in range(np.uint64(columns)):
        first, second = local[one + x], local[other + x]
        high, low = max(first, second), min(first, second)
        a, b = (high, low) if symmetric else (first, second)
        code = np.uint16(np.uint16(a * np.uint16(kinds)) + b)
        codes[to + x] = code if high != _OUTSIDE else np.uint16(absent)


@njit
def _number_row(  # type: ignore[no-untyped-def]
    codes, to, local, one, other, columns, symmetric, absent, slots, used, counts, offset
):
    """Write the codes of a row of pairs, numbered in the order in which they are met; return the next number.

    `slots` is the hash table of `number_code`.
    """
    for x in range(columns):
        first, second = np.int64(local[one + x]), np.int64(local[other + x])
        code = np.int64(absent)
        if max(first, second) < np.int64(_OUTSIDE):
            pair = pair_code(first, second, np.int64(_NUMBERS), symmetric)
            code, after = number_code(pair, slots, used)
            if after > used and first == second:
                _fill(counts, code * WINDOWS, WINDOWS, offset)
            used = after
        codes[to + x] = code
    return used


@njit(inline="always")
def _look_up(log_sums, keys, pairs, changes, radix):  # type: ignore[no-untyped-def]
    """Change the sums of the windows of a patch by what a table gives for their keys.

    Four windows are summed side by side, so that no addition waits for the one before.
    """
    step = np.uint64(WINDOWS if radix > 0 else 2 * WINDOWS)
    for lane in range(np.uint64(0), np.uint64(WINDOWS), np.uint64(4)):
        a, b, c, d = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
        for pair in range(np.uint64(pairs)):
            at = pair * step + lane
            a += changes[np.uint64(keys[at])]
            b += changes[np.uint64(keys[at + np.uint64(1)])]
            c += changes[np.uint64(keys[at + np.uint64(2)])]
            d += changes[np.uint64(keys[at + np.uint64(3)])]
            # Without a radix the counts of codes that leave have vectors of their own.
            if radix == 0:
                at = pair * step + lane + np.uint64(WINDOWS)
                a -= changes[np.uint64(keys[at])]
                b -= changes[np.uint64(keys[at + np.uint64(1)])]
                c -= changes[np.uint64(keys[at + np.uint64(2)])]
                d -= changes[np.uint64(keys[at + np.uint64(3)])]
        log_sums[lane] += a
        log_sums[lane + np.uint64(1)] += b
        log_sums[lane + np.uint64(2)] += c
        log_sums[lane + np.uint64(3)] += d


@njit(error_model="numpy", inline="always")
def _add_entropies(totals, terms, place, log_sums, counts, absent, most, tables):  # type: ignore[no-untyped-def]
    """Add the entropies of the windows of a patch to `totals`; windows without pairs take 1 off `terms`."""
    place, absent = np.uint64(place), np.uint64(absent)
    # Where no window holds a non-pair, all counts are the offset.
    largest = np.uint16(0)
    for lane in range(np.uint64(WINDOWS)):
        largest = max(largest, counts[absent + lane])
    if largest == tables.offset:
        for lane in range(np.uint64(WINDOWS)):
            totals[place + lane] += scaled_entropy(most, log_sums[lane], 0, tables.logs)
    else:
        for lane in range(np.uint64(WINDOWS)):
            none = np.int64(counts[absent + lane]) - tables.offset
            if none < most:
                log_sum = log_sums[lane] - none * tables.logs[none]
                totals[place + lane] += scaled_entropy(most - none, log_sum, 0, tables.logs)
            else:
                terms[place + lane] -= 1


@njit
def _write_means(out, z, top, left, totals, terms, scale):  # type: ignore[no-untyped-def]
    """Write the mean entropies of the windows of a tile."""
    for slice_ in range(min(SIDE, out.shape[0] - z)):
        for row in range(min(ROWS, out.shape[1] - top)):
            lane = slice_ * SIDE + row % SIDE
            line = row // SIDE * COLUMNS * WINDOWS + lane
            for x in range(min(COLUMNS, out.shape[2] - left)):
                place = line + x * WINDOWS
                out[z + slice_, top + row, left + x] = mean_entropy(totals[place], terms[place], scale)
