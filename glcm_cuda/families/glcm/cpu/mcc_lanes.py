"""MCC on the CPU: four matrices of one size at once, in the lanes of vectors.

The matrices of a window are counted one after another. Some have their value at once, by their levels and the
parts into which these fall; any other waits for three more of its size. The method is that of
`families.glcm.mcc`. Each lane is computed from its own matrix alone, so that a value does not depend on the
matrices beside it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from glcm_cuda.base.cache import can_cache, versioned
from glcm_cuda.families.glcm.cpu.four import FOUR, MINORS, add_minors, combine, dot, multiply, scale, subtract
from glcm_cuda.families.glcm.mcc import GROW, MOST_STEPS, NOTHING, RELATIVE, SMALL, count_mcc, name_voxels
from glcm_cuda.families.windows import gather, leave_out, release, window_of

_MOST = 64
"""Most rows of a matrix that is computed here, and most levels at an end: there is a bit for each."""

_NO_CELL = _MOST * _MOST
"""Cell of non-pairs; that of a pair is one level times `_MOST`, plus the other."""

_LEFT = -1.0
"""Number of pairs of a window that is not counted yet."""

_TINY = 2.0**-900
"""Sum of squares below which a row is taken for tridiagonal."""

_ROWS = 8
"""Rows of a tridiagonal matrix between two looks at the size of its minors."""


class Ends(NamedTuple):
    """Levels at the first ends of the pairs of a matrix, or at the second; in a symmetric one, at both."""

    pairs: Any  # (_MOST,) int64: pairs of each level of the window
    partners: Any  # (_MOST,) uint64: a bit for each level at the other end
    rows: Any  # (_MOST,) int64: row of each level in the matrix


class Waiting(NamedTuple):
    """Matrices that wait, by their size."""

    numbers: Any  # flat float64 array; see `Places`
    starts: Any  # (sizes,) int64: where the numbers of a size begin
    filled: Any  # (sizes,) int64: how many matrices wait
    values: Any  # (sizes, FOUR) int64: place of the value of each
    roots: Any  # (ends, 2) float64: root of every number of pairs, and its inverse


class Places(NamedTuple):
    """Where the elements of four matrices of n rows are; see `four`."""

    cells: Any  # n * n, row after row; those left of the diagonal are not used
    diagonal: Any  # n: of the tridiagonal matrix
    beside: Any  # n: squares beside its diagonal
    product: Any  # n
    inverse: Any  # n: one over the root of the marginal of each row
    first: Any  # n: root of the marginal over the pairs, for rows of first ends
    second: Any  # n: root of the marginal, for rows of second ends
    state: Any  # see `add_minors`
    x: Any  # 1
    one: Any  # 1
    other: Any  # 1
    end: Any


@functools.cache
def count_in_lanes() -> Callable[..., None]:
    """Return the function that counts the windows of rows for MCC; see `CPUCountedStage.count_rows`."""
    count_small, count_left = _compiled(), _compiled_for_left()

    def count_rows(levels, z, y, plan, integers, reals, sums):  # type: ignore[no-untyped-def]
        if count_small(levels, z, y, plan, integers, sums) > 0:
            count_left(levels, z, y, plan, integers, reals, sums)

    return count_rows


@functools.cache
def count_one_by_one() -> Callable[..., None]:
    """Return a function that does the same without vectors, as CUDA devices do."""
    count_left = _compiled_for_left()

    def count_rows(levels, z, y, plan, integers, reals, sums):  # type: ignore[no-untyped-def]
        sums[0, 0] = _LEFT
        count_left(levels, z, y, plan, integers, reals, sums)

    return count_rows


def _compiled_for_left() -> Any:
    """Return the loop over the windows that are `_LEFT`, compiled or read from Numba's cache."""

    @njit(nogil=True, cache=can_cache(), error_model="numpy")
    @versioned(__name__)
    def count_left(levels, z, y, plan, integers, reals, sums):  # type: ignore[no-untyped-def]
        for row in range(sums.shape[2]):
            for x in range(sums.shape[3]):
                if sums[0, 0, row, x] == _LEFT:
                    count_mcc(levels, (z, y + row, x), plan, integers, reals, sums[:, :, row, x])

    return count_left


def _compiled() -> Any:
    """Return the loop over the windows with few levels, compiled or read from Numba's cache.

    It returns how many others are `_LEFT`.
    """

    @njit(nogil=True, cache=can_cache(), error_model="numpy")
    @versioned(__name__)
    def count_small(levels, z, y, plan, integers, sums):  # type: ignore[no-untyped-def]
        first = _no_ends()
        second = first if plan.symmetric else _no_ends()
        # A matrix: its number of pairs in every cell, and the cells that have pairs.
        counts, cells = np.zeros(_NO_CELL + 1, np.int32), np.empty(_NO_CELL + 1, np.int32)
        waiting = none_waiting(plan.frame.size * (len(plan.jumps) if plan.merge else 1))
        most = _MOST if plan.symmetric else _MOST // 2
        matrices, _, rows, width = sums.shape
        values = np.zeros(matrices * rows * width)
        left = 0
        for row in range(rows):
            for x in range(width):
                centre, here = (z, y + row, x), sums[:, :, row, x]
                if levels[centre] < 0:
                    leave_out(here)
                    continue
                window, _ = window_of(integers, plan.frame, plan.kinds, plan.levels)
                found = gather(levels, centre, plan.frame, window)
                if found.levels > most:
                    release(window, found)
                    here[0, 0] = _LEFT
                    left += 1
                    continue
                name_voxels(window, found.voxels)
                filled, number = np.int64(0), np.int64(0)
                for k in range(len(plan.jumps)):
                    filled, number = _count_pairs(
                        counts, cells, filled, number, window, found, plan.jumps[k], plan.symmetric
                    )
                    if k == len(plan.jumps) - 1 or not plan.merge:
                        matrix = 0 if plan.merge else k
                        here[matrix, 0] = number
                        place = (matrix * rows + row) * width + x
                        if plan.flat:
                            values[place] = 1.0
                        else:
                            _find(
                                values, place, counts, cells[:filled], number, found.levels, plan.symmetric,
                                first, second, waiting,
                            )  # fmt: skip
                        for cell in cells[:filled]:
                            counts[cell] = 0
                        filled, number = np.int64(0), np.int64(0)
                release(window, found)
        for size in range(len(waiting.filled)):
            _compute(waiting, size, values)
        for matrix in range(matrices):
            for row in range(rows):
                for x in range(width):
                    sums[matrix, 1, row, x] = values[(matrix * rows + row) * width + x]
        return left

    return count_small


@njit
def _no_ends():  # type: ignore[no-untyped-def]
    """Return arrays for the ends of pairs."""
    return Ends(np.zeros(_MOST, np.int64), np.zeros(_MOST, np.uint64), np.zeros(_MOST, np.int64))


@njit
def none_waiting(pairs):  # type: ignore[no-untyped-def]
    """Return room for matrices of up to `_MOST` rows and this many pairs."""
    starts = np.zeros(_MOST + 2, np.int64)
    for size in range(_MOST + 1):
        starts[size + 1] = places_of(starts[size], size).end
    roots = np.empty((2 * pairs + 1, 2))
    for number in range(1, len(roots)):
        roots[number, 0] = math.sqrt(float(number))
        roots[number, 1] = 1.0 / roots[number, 0]
    return Waiting(
        np.empty(starts[_MOST + 1]), starts, np.zeros(_MOST + 1, np.int64),
        np.zeros((_MOST + 1, FOUR), np.int64), roots,
    )  # fmt: skip


@njit
def places_of(start, size):  # type: ignore[no-untyped-def]
    """Return the `Places` of four matrices of a size, from a start on."""
    row = size * FOUR
    diagonal = start + size * row
    state = diagonal + 6 * row
    x = state + MINORS * FOUR
    return Places(
        start, diagonal, diagonal + row, diagonal + 2 * row, diagonal + 3 * row, diagonal + 4 * row,
        diagonal + 5 * row, state, x, x + FOUR, x + 2 * FOUR, x + 3 * FOUR,
    )  # fmt: skip


@njit
def _count_pairs(counts, cells, filled, number, window, found, jump, symmetric):  # type: ignore[no-untyped-def]
    """Count the pairs of a direction; return how many cells have pairs, and the number of pairs.

    Both are counted on from what they were before.
    """
    counts[_NO_CELL] = 1  # it is never new
    for at in range(np.uint64(found.voxels)):
        place = np.uint64(window.places[at])
        one, other = window.values[place], window.values[place + jump]
        high, low = (max(one, other), min(one, other)) if symmetric else (one, other)
        cell = np.uint64(high * _MOST + low if other >= 0 else _NO_CELL)
        cells[filled] = cell
        filled += int(counts[cell] == 0)
        counts[cell] += 1
        number += int(other >= 0)
    return filled, number


@njit
def _find(  # type: ignore[no-untyped-def]
    values, place, counts, cells, number, levels, symmetric, first, second, waiting
):
    """Write the MCC of a counted matrix at a place, at once or when it has been computed."""
    for level in range(levels):
        first.pairs[level], first.partners[level] = 0, 0
        second.pairs[level], second.partners[level] = 0, 0
    for cell in cells:
        a, b = np.uint64(cell // _MOST), np.uint64(cell % _MOST)
        first.pairs[a] += counts[cell]
        second.pairs[b] += counts[cell]
        first.partners[a] |= np.uint64(1) << b
        second.partners[b] |= np.uint64(1) << a
    firsts = _number_rows(first, levels, np.int64(0))
    size = firsts if symmetric else _number_rows(second, levels, firsts)
    # With one level at an end there is no second singular value.
    if firsts < 2 or (not symmetric and size - firsts < 2):
        return
    if not _is_one_part(first, second, levels):
        values[place] = 1.0
        return
    lane = waiting.filled[size]
    _enter(waiting, size, lane, counts, cells, number, levels, symmetric, first, second)
    waiting.values[size, lane] = place
    waiting.filled[size] = lane + 1
    if lane + 1 == FOUR:
        _compute(waiting, size, values)


@njit
def _number_rows(ends, levels, row):  # type: ignore[no-untyped-def]
    """Number the rows of the levels that have pairs; return the next number."""
    for level in range(levels):
        ends.rows[level] = row
        row += int(ends.pairs[level] > 0)
    return row


@njit
def _is_one_part(first, second, levels):  # type: ignore[no-untyped-def]
    """Return whether pairs lead from any end to all others."""
    one, none = np.uint64(1), np.uint64(0)
    all_firsts, all_seconds = none, none
    for level in range(levels):
        all_firsts |= second.partners[level]
        all_seconds |= first.partners[level]
    # The lowest bit: some level at a first end.
    reached, met, new = all_firsts & (~all_firsts + one), none, all_firsts & (~all_firsts + one)
    while new != none:
        seconds = none
        for level in range(np.uint64(levels)):
            if (new >> level) & one:
                seconds |= first.partners[level]
        seconds &= ~met
        met |= seconds
        new = none
        for level in range(np.uint64(levels)):
            if (seconds >> level) & one:
                new |= second.partners[level]
        new &= ~reached
        reached |= new
    return reached == all_firsts and met == all_seconds


@njit
def _enter(  # type: ignore[no-untyped-def]
    waiting, size, lane, counts, cells, number, levels, symmetric, first, second
):
    """Write counts and marginals of a matrix into a lane."""
    numbers, roots = waiting.numbers, waiting.roots
    at = places_of(waiting.starts[size], size)
    if lane == 0:
        for place in range(np.uint64(at.cells), np.uint64(at.end)):
            numbers[place] = 0.0
    scaled = (0.25 if symmetric else 1.0) / number
    for level in range(levels):
        if first.pairs[level] > 0:
            root, row = roots[first.pairs[level], 0], first.rows[level] * FOUR + lane
            numbers[at.inverse + row] = roots[first.pairs[level], 1]
            numbers[at.first + row] = root * scaled
            numbers[at.second + row] = root if symmetric else 0.0
        if not symmetric and second.pairs[level] > 0:
            root, row = roots[second.pairs[level], 0], second.rows[level] * FOUR + lane
            numbers[at.inverse + row] = roots[second.pairs[level], 1]
            numbers[at.second + row] = root
    for cell in cells:
        i, j = first.rows[cell // _MOST], second.rows[cell % _MOST]
        # The first ends of a matrix that is not symmetric have the first rows.
        element = at.cells + (min(i, j) * size + max(i, j)) * FOUR + lane
        numbers[element] += (2.0 if i == j else 1.0) * counts[cell]


@njit
def _compute(waiting, size, values):  # type: ignore[no-untyped-def]
    """Write the MCC of the matrices of a size that wait; none do then."""
    if waiting.filled[size] == 0:
        return
    numbers, at = waiting.numbers, places_of(waiting.starts[size], size)
    # N, or [[0, N], [N', 0]], without the part of its largest singular value.
    for i in range(size):
        row, element = at.cells + i * (size + 1) * FOUR, i * FOUR
        inverse, first, second = at.inverse + element, at.first + element, at.second + element
        scale(numbers, row, inverse, inverse, size - i)
        subtract(numbers, row, first, second, second, first, size - i)
    tridiagonalise(numbers, at, size)
    find_largest_sizes(numbers, at, size)
    for lane in range(waiting.filled[size]):
        values[waiting.values[size, lane]] = numbers[at.x + lane]
    waiting.filled[size] = 0


@njit(error_model="numpy")
def tridiagonalise(numbers, at, size):  # type: ignore[no-untyped-def]
    """Reduce four matrices to tridiagonal form; see `families.glcm.mcc.tridiagonalise`.

    Here the vector v of a reflection is not scaled, and it is left in the row that it eliminates.
    """
    for k in range(size - 1):
        row, below = at.cells + k * size * FOUR, k + 1
        vector, product = row + below * FOUR, at.product + below * FOUR
        count = size - below
        dot(numbers, at.x, vector + FOUR, vector + FOUR, count - 1)
        for lane in range(FOUR):
            head, tail = numbers[vector + lane], numbers[at.x + lane]
            square = head * head + tail
            numbers[at.diagonal + k * FOUR + lane] = numbers[row + k * FOUR + lane]
            numbers[at.beside + k * FOUR + lane] = square
            length = math.sqrt(square)
            first = head - length if head <= 0.0 else -tail / (head + length)
            numbers[vector + lane] = first
            numbers[at.one + lane] = 2.0 / (tail + first * first) if tail > _TINY else 0.0
        if count == 1:
            break
        corner = at.cells + (below * size + below) * FOUR
        multiply(numbers, product, corner, vector, size, count)
        dot(numbers, at.x, product, vector, count)
        for lane in range(FOUR):
            factor = numbers[at.one + lane]
            numbers[at.other + lane] = 0.5 * factor * factor * numbers[at.x + lane]
        combine(numbers, product, at.one, at.other, vector, count)
        for i in range(count):
            v, w = vector + i * FOUR, product + i * FOUR
            subtract(numbers, corner + i * (size + 1) * FOUR, w, v, v, w, count - i)
    for lane in range(FOUR):
        numbers[at.diagonal + (size - 1) * FOUR + lane] = numbers[at.cells + (size * size - 1) * FOUR + lane]


@njit(error_model="numpy")
def find_largest_sizes(numbers, at, size):  # type: ignore[no-untyped-def]
    """Write the largest absolute values of eigenvalues to `at.x`; see `families.glcm.mcc.largest_size`."""
    dot(numbers, at.one, at.diagonal, at.diagonal, size)
    for lane in range(FOUR):
        squares = numbers[at.one + lane]
        for i in range(size - 1):
            squares += 2.0 * numbers[at.beside + i * FOUR + lane]
        numbers[at.x + lane] = min(math.sqrt(squares), 1.0)
    moving = (1 << FOUR) - 1  # a bit for each lane whose x is not yet the value
    for _ in range(MOST_STEPS):
        _find_minors(numbers, at, size)
        for lane in range(FOUR):
            if (moving >> lane) & 1 and not _step(numbers, at, 2.0 * size, lane):
                moving ^= 1 << lane
        if moving == 0:
            break


@njit
def _find_minors(numbers, at, size):  # type: ignore[no-untyped-def]
    """Write the minors of all rows and their derivatives into the state; see `add_minors`."""
    for lane in range(FOUR):
        state, x, diagonal = at.state + lane, numbers[at.x + lane], numbers[at.diagonal + lane]
        for element in range(MINORS):
            numbers[state + element * FOUR] = 0.0
        for way in range(2):
            minor = x + diagonal if way else x - diagonal
            numbers[state + way * 6 * FOUR] = minor
            numbers[state + (way * 6 + 1) * FOUR] = 1.0
            numbers[state + (way * 6 + 3) * FOUR] = 1.0
        numbers[state + 12 * FOUR] = min(x - diagonal, x + diagonal)
    for row in range(1, size, _ROWS):
        above = (row - 1) * FOUR
        add_minors(
            numbers, at.state, at.x, at.diagonal + above + FOUR, at.beside + above, min(_ROWS, size - row)
        )
        # Only ratios are used: keep small numbers from vanishing.
        for lane in range(FOUR):
            for way in range(2):
                state = at.state + way * 6 * FOUR + lane
                if abs(numbers[state]) < SMALL:
                    for element in range(6):
                        numbers[state + element * FOUR] *= GROW


@njit(error_model="numpy")
def _step(numbers, at, roots, lane):  # type: ignore[no-untyped-def]
    """Move x of a lane towards its largest root; return whether it is still above it."""
    x, state = numbers[at.x + lane], at.state + lane
    if x < NOTHING:
        numbers[at.x + lane] = 0.0
        return False
    # The minors are positive above the largest root.
    if not numbers[state + 12 * FOUR] > 0.0:
        return False
    slope, curve = 0.0, 0.0
    for way in range(2):
        minor = numbers[state + way * 6 * FOUR]
        ratio = numbers[state + (way * 6 + 1) * FOUR] / minor
        slope += ratio
        curve += ratio * ratio - numbers[state + (way * 6 + 2) * FOUR] / minor
    # The largest root lies at most roots / slope below x.
    if roots <= RELATIVE * x * slope:
        return False
    numbers[at.x + lane] = x - roots / (
        slope + math.sqrt((roots - 1.0) * max(roots * curve - slope * slope, 0.0))
    )
    return True
