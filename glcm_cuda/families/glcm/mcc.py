"""Haralick's maximal correlation coefficient (MCC): the second largest singular value of a matrix per window.

Let C be the counts of a matrix, and d and e the sums of its rows and columns. The eigenvalues of Haralick's
``Q(i, j) = sum_k p(i, k) p(j, k) / (px(i) py(k))`` are the squares of the singular values of
``N(i, j) = C(i, j) / sqrt(d(i) e(j))``, the largest of which is 1, with the roots of the marginals as its
vectors. MCC is the second largest.

The singular values of a symmetric matrix are the absolute values of its eigenvalues. If the matrix is not
symmetric, the eigenvalues of ``[[0, N], [N', 0]]`` are the singular values and their negatives. In both cases
the known vectors are subtracted, so that MCC is the largest absolute value of the eigenvalues that are left.

1. The value is 1 if and only if the levels fall into parts without a pair between them: the ends of pairs are
   joined (union and find), an end as the first being another node than the same level as the second, and more
   than one part is left. Nothing is computed then.
2. Otherwise the matrix is reduced to tridiagonal form by Householder reflections (Golub and Van Loan, Matrix
   Computations, section 8.3), and Laguerre's method goes down to the largest root of
   ``det(x - T) det(x + T)`` from above. It never passes the root, and the distance that is left is bounded
   by the number of roots over the logarithmic derivative, which is the rule to stop. N is never squared, so
   that small values stay exact.

The functions for one window are compiled for the CPU and for CUDA devices alike.
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

_RELATIVE, _NOTHING = 2.0**-28, 2.0**-40
"""Relative precision of a value; value below which it is 0."""

_MOST_STEPS = 100
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
    parents: Any  # (2 kinds,) int32: another end of the same part, or the end itself
    rows: Any  # (2 kinds,) int32: row of each end in the matrix, -1 for none


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
            window_integers(settings, number_of_levels, frame) + 6 * kinds + kinds * kinds, edge * (edge + 4)
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
    graph, start = graph_of(integers, start, plan.kinds)
    counts = integers[start : start + plan.kinds * plan.kinds]
    found = gather(levels, centre, plan.frame, window)
    pairs = 0
    for k in range(len(plan.jumps)):
        if k == 0 or not plan.merge:
            empty(graph, counts, found.levels, plan.kinds)
            pairs = 0
        pairs += count_pairs(window, found, plan.jumps[k], graph, counts, plan.symmetric)
        if k == len(plan.jumps) - 1 or not plan.merge:
            matrix = 0 if plan.merge else k
            sums[matrix, 0] = pairs
            sums[matrix, 1] = mcc_of(graph, counts, found.levels, pairs, reals, plan)
    release(window, found)


@njit
def graph_of(integers, start, kinds):  # type: ignore[no-untyped-def]
    """Return the `Graph` in scratch memory from the integer at `start` on, and its end."""
    ends = 2 * kinds
    return (
        Graph(
            integers[start : start + ends],
            integers[start + ends : start + 2 * ends],
            integers[start + 2 * ends : start + 3 * ends],
        ),
        start + 3 * ends,
    )


@njit
def empty(graph, counts, levels, kinds):  # type: ignore[no-untyped-def]
    """Remove all pairs: no end has any, and each is a part of its own."""
    for end in range(np.uint64(2 * levels)):
        graph.sums[end] = 0
        graph.parents[end] = end
    for cell in range(np.uint64(levels * levels)):
        counts[cell] = 0


@njit
def count_pairs(window, found, jump, graph, counts, symmetric):  # type: ignore[no-untyped-def]
    """Count the pairs of one direction into the cells (first, second), and join their ends.

    Return the number of pairs.
    """
    pairs, size = 0, np.uint64(found.levels)
    for at in range(np.uint64(found.voxels)):
        place = np.uint64(window.places[at])
        level = window.values[place + jump]
        if level >= 0:
            pairs += 1
            first = np.uint64(window.names[np.uint64(window.values[place])])
            second = np.uint64(window.names[np.uint64(level)])
            graph.sums[first] += 1
            graph.sums[size + second] += 1
            cell = first * size + second
            if counts[cell] == 0:
                join(graph.parents, first, size + second)
                if symmetric:
                    join(graph.parents, second, size + first)
            counts[cell] += 1
    return pairs


@njit
def join(parents, one, other):  # type: ignore[no-untyped-def]
    """Make one part of those of two ends."""
    one, other = part_of(parents, one), part_of(parents, other)
    if one < other:
        parents[other] = one
    else:
        parents[one] = other


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
def mcc_of(graph, counts, levels, pairs, reals, plan):  # type: ignore[no-untyped-def]
    """Return the MCC of a matrix of counted pairs; see the module for the method."""
    if plan.flat or pairs == 0:
        return 1.0
    symmetric, size = plan.symmetric, np.uint64(levels)
    # Ends that occur: in a symmetric matrix every level of a pair is both.
    firsts, seconds, parts = 0, 0, 0
    for level in range(size):
        first, second = graph.sums[level] > 0, graph.sums[size + level] > 0
        if symmetric:
            first = second = first or second
        firsts += int(first)
        seconds += int(second)
        parts += int(first and np.uint64(graph.parents[level]) == level)
        parts += int(second and np.uint64(graph.parents[size + level]) == size + level)
    # With one level at an end there is no second singular value.
    if min(firsts, seconds) < 2:
        return 0.0
    if parts > 1:
        return 1.0
    edge = firsts if symmetric else firsts + seconds
    matrix = matrix_of(reals, edge)
    fill(matrix, edge, graph, counts, size, pairs, symmetric)
    tridiagonalise(matrix, edge)
    return largest_size(matrix.diagonal, matrix.beside, edge)


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
    ends = size if symmetric else size + size
    row = np.uint64(0)
    for end in range(ends):
        total = graph.sums[end] + (graph.sums[size + end] if symmetric else 0)
        graph.rows[end] = -1
        if total > 0:
            graph.rows[end] = row
            matrix.vector[row] = math.sqrt(float(total))
            matrix.product[row] = 1.0 / matrix.vector[row]
            row += np.uint64(1)
    scale = 1.0 / (2.0 * pairs if symmetric else float(pairs))
    for cell in range(np.uint64(edge * edge)):
        matrix.cells[cell] = 0.0
    for first in range(size):
        if graph.rows[first] >= 0:
            i = np.uint64(graph.rows[first])
            for second in range(first + np.uint64(1) if symmetric else size):
                column = graph.rows[second if symmetric else size + second]
                if column >= 0:
                    j = np.uint64(column)
                    count = counts[first * size + second]
                    if symmetric:
                        count += counts[second * size + first]
                    value = count * matrix.product[i] * matrix.product[j]
                    value -= matrix.vector[i] * matrix.vector[j] * scale
                    matrix.cells[i * np.uint64(edge) + j] = value
                    matrix.cells[j * np.uint64(edge) + i] = value


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
    `_RELATIVE`, finer than a float32; below `_NOTHING` it is 0.
    """
    size, roots = np.uint64(edge), 2.0 * edge
    # The root of the sum of squares is an upper bound.
    squares = 0.0
    for i in range(size):
        squares += diagonal[i] * diagonal[i]
    for i in range(size - np.uint64(1)):
        squares += 2.0 * beside[i]
    x = min(math.sqrt(squares), 1.0)
    for _ in range(_MOST_STEPS):
        if x < _NOTHING:
            return 0.0
        # Pivots of x - T and of x + T with their first two derivatives divided by themselves. They are
        # positive above the largest root; one that is not means that x is the root, as far as numbers tell.
        up, down = x - diagonal[0], x + diagonal[0]
        if up <= 0.0 or down <= 0.0:
            return x
        up_inverse, down_inverse = 1.0 / up, 1.0 / down
        up_first, down_first, up_second, down_second = up_inverse, down_inverse, 0.0, 0.0
        slope = up_first + down_first
        curve = up_first * up_first + down_first * down_first
        for i in range(np.uint64(1), size):
            square = beside[i - np.uint64(1)]
            up_ratio, down_ratio = square * up_inverse, square * down_inverse
            up, down = x - diagonal[i] - up_ratio, x + diagonal[i] - down_ratio
            if up <= 0.0 or down <= 0.0:
                return x
            up_inverse, down_inverse = 1.0 / up, 1.0 / down
            up_second = up_ratio * (up_second - 2.0 * up_first * up_first) * up_inverse
            down_second = down_ratio * (down_second - 2.0 * down_first * down_first) * down_inverse
            up_first = (1.0 + up_ratio * up_first) * up_inverse
            down_first = (1.0 + down_ratio * down_first) * down_inverse
            slope += up_first + down_first
            curve += up_first * up_first - up_second + down_first * down_first - down_second
        # The largest root lies at most roots / slope below x.
        if roots <= _RELATIVE * x * slope:
            return x
        x -= roots / (slope + math.sqrt((roots - 1.0) * max(roots * curve - slope * slope, 0.0)))
    return x


MCC = Counted(Sums, {"mcc": lambda s: s.value}, counting)
"""What the stages of the feature are made of."""
