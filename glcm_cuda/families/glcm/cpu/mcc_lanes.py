"""MCC on the CPU: four matrices of one size at once, in the lanes of vectors.

The matrices of a window are counted one after another. Some have their value at once, by their levels and the
parts into which these fall; any other waits for three more of its size. The method is that of
`families.glcm.mcc`. Each lane is computed from its own matrix alone, so that a value does not depend on the
matrices beside it.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from glcm_cuda.base.cache import can_cache, versioned
from glcm_cuda.families.glcm.cpu.four import FOUR, MINORS, add_minors, combine, dot, scale, subtract
from glcm_cuda.families.glcm.mcc import GROW, MOST_STEPS, NOTHING, RELATIVE, SMALL, count_mcc, name_voxels
from glcm_cuda.families.windows import gather, leave_out, release, window_of

_MOST = 64
"""Most rows of a matrix that is computed here, and most levels at an end: there is a bit for each."""

_TINY = 2.0**-900
"""Sum of squares below which a row is taken for tridiagonal."""

_ROWS = 8
"""Rows of a tridiagonal matrix between two looks at the size of its minors."""


class Ends(NamedTuple):
    """Levels at the first ends of the pairs of a matrix, or at the second ones; in a symmetric one, at both."""

    pairs: Any  # (_MOST,) int64: pairs of each level of the window
    partners: Any  # (_MOST,) uint64: a bit for each level at the other end
    rows: Any  # (_MOST,) int64: row of each level in the matrix


class Waiting(NamedTuple):
    """Matrices that wait, by their size."""

    numbers: Any  # flat float64 array; see `Places`
    starts: Any  # (sizes,) int64: where the numbers of a size begin
    filled: Any  # (sizes,) int64: how many matrices wait
    values: Any  # (sizes, FOUR) int64: place of the value of each in the sums


class Places(NamedTuple):
    """Where the elements of four matrices of n rows are; see `four`."""

    cells: Any  # n * n
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
def compiled() -> Any:
    """Return the loop over the windows of rows for MCC, compiled or read from Numba's cache."""

    @njit(nogil=True, cache=can_cache(), error_model="numpy")
    @versioned(__name__)
    def count_rows(levels, z, y, plan, integers, reals, sums):  # type: ignore[no-untyped-def]
        first = _no_ends()
        second = first if plan.symmetric else _no_ends()
        waiting = _none_waiting()
        pairs = np.empty((len(plan.jumps) * plan.frame.size, 2), np.int64)
        most = _MOST if plan.symmetric else _MOST // 2
        matrices, _, rows, width = sums.shape
        values = np.zeros(matrices * rows * width)
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
                    count_mcc(levels, centre, plan, integers, reals, here)
                    for matrix in range(matrices):
                        values[(matrix * rows + row) * width + x] = here[matrix, 1]
                    continue
                name_voxels(window, found.voxels)
                number = 0
                for k in range(len(plan.jumps)):
                    number = _list_pairs(pairs, number if plan.merge else 0, window, found, plan.jumps[k])
                    if k == len(plan.jumps) - 1 or not plan.merge:
                        matrix = 0 if plan.merge else k
                        here[matrix, 0] = number
                        place = (matrix * rows + row) * width + x
                        if plan.flat:
                            values[place] = 1.0
                        else:
                            _find(
                                values, place, pairs[:number], found.levels, plan.symmetric, first, second,
                                waiting,
                            )  # fmt: skip
                release(window, found)
        for size in range(len(waiting.filled)):
            _compute(waiting, size, values)
        sums[:, 1] = values.reshape((matrices, rows, width))

    return count_rows


@njit
def _no_ends():  # type: ignore[no-untyped-def]
    """Return arrays for the ends of pairs."""
    return Ends(np.zeros(_MOST, np.int64), np.zeros(_MOST, np.uint64), np.zeros(_MOST, np.int64))


@njit
def _none_waiting():  # type: ignore[no-untyped-def]
    """Return room for matrices of up to `_MOST` rows."""
    starts = np.zeros(_MOST + 2, np.int64)
    for size in range(_MOST + 1):
        starts[size + 1] = places_of(starts[size], size).end
    return Waiting(
        np.empty(starts[_MOST + 1]),
        starts,
        np.zeros(_MOST + 1, np.int64),
        np.zeros((_MOST + 1, FOUR), np.int64),
    )


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
def _list_pairs(pairs, number, window, found, jump):  # type: ignore[no-untyped-def]
    """Add the pairs of a direction to a list that has a number of them; return the new number."""
    for at in range(np.uint64(found.voxels)):
        place = np.uint64(window.places[at])
        second = window.values[place + jump]
        pairs[number, 0], pairs[number, 1] = window.values[place], second
        number += int(second >= 0)
    return number


@njit
def _find(values, place, pairs, levels, symmetric, first, second, waiting):  # type: ignore[no-untyped-def]
    """Write the MCC of the matrix of these pairs at a place, at once or when it has been computed."""
    for level in range(levels):
        first.pairs[level], first.partners[level] = 0, 0
        second.pairs[level], second.partners[level] = 0, 0
    for k in range(len(pairs)):
        a, b = np.uint64(pairs[k, 0]), np.uint64(pairs[k, 1])
        first.pairs[a] += 1
        second.pairs[b] += 1
        first.partners[a] |= np.uint64(1) << b
        second.partners[b] |= np.uint64(1) << a
    firsts = _number_rows(first, levels, 0)
    size = firsts if symmetric else _number_rows(second, levels, firsts)
    # With one level at an end there is no second singular value.
    if firsts < 2 or (not symmetric and size - firsts < 2):
        return
    if not _is_one_part(first, second, levels):
        values[place] = 1.0
        return
    lane = waiting.filled[size]
    _enter(waiting, size, lane, pairs, levels, symmetric, first, second)
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
def _enter(waiting, size, lane, pairs, levels, symmetric, first, second):  # type: ignore[no-untyped-def]
    """Write counts and marginals of a matrix into a lane."""
    numbers = waiting.numbers
    at = places_of(waiting.starts[size], size)
    if lane == 0:
        numbers[at.cells : at.end] = 0.0
    scaled = (0.25 if symmetric else 1.0) / len(pairs)
    for level in range(levels):
        if first.pairs[level] > 0:
            root, row = math.sqrt(float(first.pairs[level])), first.rows[level] * FOUR + lane
            numbers[at.inverse + row] = 1.0 / root
            numbers[at.first + row] = root * scaled
            numbers[at.second + row] = root if symmetric else 0.0
        if not symmetric and second.pairs[level] > 0:
            root, row = math.sqrt(float(second.pairs[level])), second.rows[level] * FOUR + lane
            numbers[at.inverse + row] = 1.0 / root
            numbers[at.second + row] = root
    cells = at.cells + lane
    for k in range(len(pairs)):
        i, j = first.rows[pairs[k, 0]], second.rows[pairs[k, 1]]
        numbers[cells + (i * size + j) * FOUR] += 1.0
        numbers[cells + (j * size + i) * FOUR] += 1.0


@njit
def _compute(waiting, size, values):  # type: ignore[no-untyped-def]
    """Write the MCC of the matrices of a size that wait; none do then."""
    if waiting.filled[size] == 0:
        return
    numbers, at = waiting.numbers, places_of(waiting.starts[size], size)
    # N, or [[0, N], [N', 0]], without the part of its largest singular value.
    for i in range(size):
        row, element = at.cells + i * size * FOUR, i * FOUR
        scale(numbers, row, at.inverse + element, at.inverse, size)
        subtract(numbers, row, at.first + element, at.second, at.second + element, at.first, size)
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
        for i in range(below, size):
            dot(numbers, at.product + i * FOUR, at.cells + (i * size + below) * FOUR, vector, count)
        dot(numbers, at.x, product, vector, count)
        for lane in range(FOUR):
            factor = numbers[at.one + lane]
            numbers[at.other + lane] = 0.5 * factor * factor * numbers[at.x + lane]
        combine(numbers, product, at.one, at.other, vector, count)
        for i in range(below, size):
            subtract(
                numbers, at.cells + (i * size + below) * FOUR, at.product + i * FOUR, vector,
                vector + (i - below) * FOUR, product, count,
            )  # fmt: skip
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
