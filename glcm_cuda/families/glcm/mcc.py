"""Haralick's maximal correlation coefficient (MCC): the second largest singular value of a matrix per window.

Let C be the counts of a matrix, and d and e the sums of its rows and columns. The eigenvalues of Haralick's
``Q(i, j) = sum_k p(i, k) p(j, k) / (px(i) py(k))`` are the squares of the singular values of
``N(i, j) = C(i, j) / sqrt(d(i) e(j))``, the largest of which is 1, with the roots of the marginals as its
vectors. MCC is the second largest.

The singular values of a symmetric matrix are the absolute values of its eigenvalues. If the matrix is not
symmetric, the eigenvalues of ``[[0, N], [N', 0]]`` are the singular values and their negatives. In both cases
the known vectors are subtracted, so that MCC is the largest absolute value of the eigenvalues that are left.

1. The matrix is reduced to tridiagonal form T by Householder reflections (Golub and Van Loan, Matrix
   Computations, section 8.3).
2. Laguerre's method goes down to the largest root of ``det(x - T) det(x + T)`` from above. It never passes
   the root, and the distance that is left is at most the number of roots over the logarithmic derivative,
   which is the rule to stop. N is never squared, so that small values stay exact.

The value is 1 if and only if the levels fall into parts without a pair between them, a level as the first end
of pairs being another node than the same level as the second. In real images few windows do, so that this is
looked at (union and find) only where the reduction would take long.

The functions for one window are compiled for the CPU and for CUDA devices alike. On the CPU, windows of at
most 64 levels go through `cpu.mcc_lanes` instead, which computes four matrices of one size at once.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from glcm_cuda.families.counting import Counted, Counting, Memory
from glcm_cuda.families.offsets import directions
from glcm_cuda.families.stage import Chosen, Task
from glcm_cuda.families.windows import (
    Frame,
    frame_of,
    gather,
    jumps,
    leave_out,
    most_levels,
    release,
    window_integers,
    window_of,
)

RELATIVE, NOTHING = 2.0**-28, 2.0**-40
"""Relative precision of a value; value below which it is 0."""

_MOST_REDUCED = 12
"""Most rows of a matrix that is reduced at once: that takes less time than to look for parts first."""

SMALL, GROW = 2.0**-200, 2.0**200
"""Size below which minors are multiplied, and by what."""

MOST_STEPS = 100
"""Steps of Laguerre's method that are never reached: the slowest gain, at a root of many, is a bit a step."""


class Sums(NamedTuple):
    """What is found of a matrix."""

    pairs: Any  # their number; 0 where there is no matrix
    value: Any  # its MCC


class Plan(NamedTuple):
    """What is counted, over which windows."""

    frame: Frame
    jumps: Any  # (K,) uint64: steps along the directions in a window's array
    kinds: Any  # most levels of a window
    levels: Any  # levels of the image
    symmetric: Any
    merge: Any
    flat: Any  # whether the whole image has one level


class Graph(NamedTuple):
    """Scratch memory for the ends of pairs: each level of the window as a first end, then as a second."""

    sums: Any  # (2 kinds,) int32: pairs of each end
    names: Any  # (2 kinds,) int32: another end of the same part or the end itself, then its row or -1


class Matrix(NamedTuple):
    """Scratch memory for a symmetric matrix, row after row, and for its tridiagonal form."""

    cells: Any  # (edge**2,) float64
    diagonal: Any  # (edge,) float64
    beside: Any  # (edge,) float64: squares of the first off-diagonal; the last element is not used
    vector: Any  # (edge,) float64
    product: Any  # (edge,) float64


def counting(task: Task, chosen: Chosen) -> Counting:
    """Return how the matrices of a task are counted."""
    settings, number_of_levels = task.settings, task.bins.levels
    offsets = directions(settings)
    frame = frame_of(settings, int(np.abs(offsets).max()))
    kinds = most_levels(settings, number_of_levels)
    edge = kinds if settings.symmetric else 2 * kinds

    def make_plan() -> Plan:
        places, flat = jumps(offsets, frame), task.bins.flat
        return Plan(frame, places, kinds, number_of_levels, settings.symmetric, task.merge, flat)

    voxels = math.prod(settings.edges)
    return Counting(
        make_plan=make_plan,
        memory=Memory(
            window_integers(settings, number_of_levels, frame) + 4 * kinds + kinds * kinds, edge * (edge + 4)
        ),
        matrices=1 if task.merge else len(offsets),
        steps=(1 if task.merge else len(offsets)) * (voxels + edge**2),
    )


@njit
def count_mcc(levels, centre, plan, integers, reals, sums):  # type: ignore[no-untyped-def]
    """Write `Sums` of every matrix of the window around a voxel into `sums` (matrices, fields)."""
    if levels[centre] < 0:
        leave_out(sums)
        return
    window, start = window_of(integers, plan.frame, plan.kinds, plan.levels)
    found = gather(levels, centre, plan.frame, window)
    name_voxels(window, found.voxels)
    cells = found.levels * found.levels
    counts = integers[start : start + cells]
    start += plan.kinds * plan.kinds
    graph = Graph(integers[start : start + 2 * plan.kinds], integers[start + 2 * plan.kinds :])
    pairs = 0
    for k in range(len(plan.jumps)):
        if k == 0 or not plan.merge:
            for cell in range(np.uint64(cells)):
                counts[cell] = 0
            pairs = 0
        pairs += count_pairs(window, found, plan.jumps[k], counts)
        if k == len(plan.jumps) - 1 or not plan.merge:
            matrix = 0 if plan.merge else k
            sums[matrix, 0] = pairs
            sums[matrix, 1] = 1.0 if plan.flat else mcc_of(graph, counts, found.levels, pairs, reals, plan)
    release(window, found)


@njit
def name_voxels(window, voxels):  # type: ignore[no-untyped-def]
    """Put the place of its level among those of the window at each voxel, instead of the level."""
    for at in range(np.uint64(voxels)):
        place = np.uint64(window.places[at])
        window.values[place] = window.names[np.uint64(window.values[place])]


@njit
def count_pairs(window, found, jump, counts):  # type: ignore[no-untyped-def]
    """Count the pairs of one direction into the cells (first, second); return their number."""
    pairs, size = 0, np.uint64(found.levels)
    for at in range(np.uint64(found.voxels)):
        place = np.uint64(window.places[at])
        second = window.values[place + jump]
        if second >= 0:
            counts[np.uint64(window.values[place]) * size + np.uint64(second)] += 1
            pairs += 1
    return pairs


@njit
def mcc_of(graph, counts, levels, pairs, reals, plan):  # type: ignore[no-untyped-def]
    """Return the MCC of a matrix of counted pairs; see the module for the method."""
    symmetric, size = plan.symmetric, np.uint64(levels)
    firsts, seconds = add_ends(graph.sums, counts, size, symmetric)
    # With one level at an end there is no second singular value.
    if min(firsts, seconds) < 2:
        return 0.0
    edge = firsts if symmetric else firsts + seconds
    if edge > _MOST_REDUCED and parts_of(graph, counts, size, symmetric) > 1:
        return 1.0
    matrix = matrix_of(reals, edge)
    fill(matrix, edge, graph, counts, size, pairs, symmetric)
    tridiagonalise(matrix, edge)
    return largest_size(matrix.diagonal, matrix.beside, edge)


@njit
def add_ends(sums, counts, size, symmetric):  # type: ignore[no-untyped-def]
    """Count the pairs of every end into `sums`; return how many levels are first ends, and second ends.

    In a symmetric matrix every level of a pair is both, with the pairs of both.
    """
    for end in range(size + size):
        sums[end] = 0
    for first in range(size):
        for second in range(size):
            count = counts[first * size + second]
            sums[first] += count
            sums[size + second] += count
    firsts, seconds = 0, 0
    for level in range(size):
        if symmetric:
            sums[level] += sums[size + level]
            sums[size + level] = sums[level]
        firsts += int(sums[level] > 0)
        seconds += int(sums[size + level] > 0)
    return firsts, seconds


@njit
def parts_of(graph, counts, size, symmetric):  # type: ignore[no-untyped-def]
    """Return the number of parts without a pair between them into which the ends fall."""
    parts = 0
    for end in range(size + size):
        graph.names[end] = end
        parts += int(graph.sums[end] > 0)
    for first in range(size):
        for second in range(size):
            if counts[first * size + second] > 0:
                parts -= joined(graph.names, first, size + second)
                if symmetric:
                    parts -= joined(graph.names, second, size + first)
    return parts


@njit
def joined(parents, one, other):  # type: ignore[no-untyped-def]
    """Make one part of those of two ends; return 1 if they were two parts, else 0."""
    one, other = part_of(parents, one), part_of(parents, other)
    parents[max(one, other)] = min(one, other)
    return int(one != other)


@njit
def part_of(parents, end):  # type: ignore[no-untyped-def]
    """Return the end that stands for the part of an end, and shorten the way to it."""
    parent = np.uint64(parents[end])
    while parent != end:
        above = np.uint64(parents[parent])
        parents[end] = above
        end, parent = parent, above
    return end


@njit
def matrix_of(reals, edge):  # type: ignore[no-untyped-def]
    """Return the `Matrix` of this edge at the beginning of scratch memory."""
    cells = edge * edge
    return Matrix(
        reals[:cells],
        reals[cells : cells + edge],
        reals[cells + edge : cells + 2 * edge],
        reals[cells + 2 * edge : cells + 3 * edge],
        reals[cells + 3 * edge : cells + 4 * edge],
    )


@njit
def fill(matrix, edge, graph, counts, size, pairs, symmetric):  # type: ignore[no-untyped-def]
    """Write N, or [[0, N], [N', 0]], without the part of its largest singular value."""
    rows, row, edge = graph.names, np.uint64(0), np.uint64(edge)
    for end in range(size if symmetric else size + size):
        rows[end] = -1
        if graph.sums[end] > 0:
            rows[end] = row
            matrix.vector[row] = math.sqrt(float(graph.sums[end]))
            matrix.product[row] = 1.0 / matrix.vector[row]
            row += np.uint64(1)
    scale = 1.0 / (2.0 * pairs if symmetric else float(pairs))
    if not symmetric:
        for cell in range(edge * edge):
            matrix.cells[cell] = 0.0
    for first in range(size):
        if rows[first] >= 0:
            i = np.uint64(rows[first])
            for second in range(first + np.uint64(1) if symmetric else size):
                column = rows[second if symmetric else size + second]
                if column >= 0:
                    j = np.uint64(column)
                    count = counts[first * size + second]
                    if symmetric:
                        count += counts[second * size + first]
                    value = count * (matrix.product[i] * matrix.product[j])
                    value -= matrix.vector[i] * matrix.vector[j] * scale
                    matrix.cells[i * edge + j] = value
                    matrix.cells[j * edge + i] = value


@njit
def tridiagonalise(matrix, edge):  # type: ignore[no-untyped-def]
    """Reduce a symmetric matrix to tridiagonal form; the matrix is overwritten.

    With the reflection H = I - factor v v' this is A <- H A H = A - v w' - w v', where p = factor A v and
    w = p - (factor / 2) (p' v) v. Whole rows are changed, which vectors of the CPU do at the cost of half.
    """
    cells, v, w, size = matrix.cells, matrix.vector, matrix.product, np.uint64(edge)
    one = np.uint64(1)
    for k in range(size - one):
        row, below = k * size, k + one
        matrix.diagonal[k] = cells[row + k]
        # Right of the diagonal, row k consists of `head` and of elements whose squares add up to `tail`.
        head, tail = cells[row + below], 0.0
        for i in range(below + one, size):
            tail += cells[row + i] * cells[row + i]
        matrix.beside[k] = head * head + tail
        # Nothing to eliminate: the row already has tridiagonal form.
        if tail == 0.0:
            continue
        # The reflection maps the row to (length, 0, 0, ...). `first` is head - length, without cancellation;
        # v is scaled so that its first element is 1.
        length = math.sqrt(head * head + tail)
        first = head - length if head <= 0.0 else -tail / (head + length)
        factor, inverse = 2.0 * first * first / (tail + first * first), 1.0 / first
        v[below] = 1.0
        for i in range(below + one, size):
            v[i] = cells[row + i] * inverse
        for j in range(below, size):
            w[j] = 0.0
        for i in range(below, size):
            start, scaled = i * size, factor * v[i]
            for j in range(below, size):
                w[j] += scaled * cells[start + j]
        shared = 0.0
        for j in range(below, size):
            shared += w[j] * v[j]
        half = 0.5 * factor * shared
        for j in range(below, size):
            w[j] -= half * v[j]
        for i in range(below, size):
            start, a, b = i * size, v[i], w[i]
            for j in range(below, size):
                cells[start + j] -= a * w[j] + b * v[j]
    matrix.diagonal[size - one] = cells[size * size - one]


@njit
def largest_size(diagonal, beside, edge):  # type: ignore[no-untyped-def]
    """Return the largest absolute value of the eigenvalues of a tridiagonal matrix T, at most 1.

    `beside` holds the squares beside the diagonal. The value is found to a relative precision of
    `RELATIVE`, finer than a float32; below `NOTHING` it is 0.
    """
    size, roots = np.uint64(edge), 2.0 * edge
    # The root of the sum of squares is an upper bound.
    squares = 0.0
    for i in range(size):
        squares += diagonal[i] * diagonal[i]
    for i in range(size - np.uint64(1)):
        squares += 2.0 * beside[i]
    x = min(math.sqrt(squares), 1.0)
    for _ in range(MOST_STEPS):
        if x < NOTHING:
            return 0.0
        # Leading minors of x - T and of x + T with their first two derivatives, each from the two minors
        # before. They are positive above the largest root; one that is not means that x is the root, as far
        # as numbers tell.
        up, up_first, up_second = x - diagonal[0], 1.0, 0.0
        down, down_first, down_second = x + diagonal[0], 1.0, 0.0
        up_before, up_first_before, up_second_before = 1.0, 0.0, 0.0
        down_before, down_first_before, down_second_before = 1.0, 0.0, 0.0
        if min(up, down) <= 0.0:
            return x
        for i in range(np.uint64(1), size):
            square, to_up, to_down = beside[i - np.uint64(1)], x - diagonal[i], x + diagonal[i]
            second = to_up * up_second + 2.0 * up_first - square * up_second_before
            first = to_up * up_first + up - square * up_first_before
            minor = to_up * up - square * up_before
            up_before, up_first_before, up_second_before = up, up_first, up_second
            up, up_first, up_second = minor, first, second
            second = to_down * down_second + 2.0 * down_first - square * down_second_before
            first = to_down * down_first + down - square * down_first_before
            minor = to_down * down - square * down_before
            down_before, down_first_before, down_second_before = down, down_first, down_second
            down, down_first, down_second = minor, first, second
            if min(up, down) <= 0.0:
                return x
            # Only ratios are used: keep small numbers from vanishing.
            if up < SMALL:
                up, up_first, up_second = up * GROW, up_first * GROW, up_second * GROW
                up_before, up_first_before = up_before * GROW, up_first_before * GROW
                up_second_before *= GROW
            if down < SMALL:
                down, down_first, down_second = down * GROW, down_first * GROW, down_second * GROW
                down_before, down_first_before = down_before * GROW, down_first_before * GROW
                down_second_before *= GROW
        up_slope, down_slope = up_first / up, down_first / down
        slope = up_slope + down_slope
        curve = up_slope * up_slope - up_second / up + down_slope * down_slope - down_second / down
        # The largest root lies at most roots / slope below x.
        if roots <= RELATIVE * x * slope:
            return x
        x -= roots / (slope + math.sqrt((roots - 1.0) * max(roots * curve - slope * slope, 0.0)))
    return x


MCC = Counted(Sums, {"mcc": lambda s: s.value}, counting)
"""What the stages of the feature are made of."""
