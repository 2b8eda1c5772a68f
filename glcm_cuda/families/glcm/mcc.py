"""Haralick's maximal correlation coefficient (MCC): the second largest singular value of a matrix per window.

Let P be the co-occurrence matrix, and Dx and Dy the diagonal matrices of its marginals px and py. The
eigenvalues of Haralick's ``Q(i, j) = sum_k P(i, k) P(j, k) / (px(i) py(k))`` are the squares of the
singular values of ``N = Dx**-1/2 P Dy**-1/2``, the largest of which is 1. MCC is the second largest
singular value.

If P is symmetric, so is N, and its singular values are the absolute values of its eigenvalues. If not, the
positive eigenvalues of the symmetric matrix ``[[0, N], [N', 0]]`` are the singular values, and the negative
ones mirror them. Levels that a window does not have only add zeros, so that the matrix has one row for each
level in the window. It is reduced to tridiagonal form by Householder reflections, and the eigenvalue is
found by bisection (Golub and Van Loan, Matrix Computations, sections 8.3 and 8.4). N is never squared, so
that small values stay exact.

The functions for one window are compiled for the CPU here and for CUDA devices in `cuda.feature_kernels`.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from glcm_cuda.base.cache import can_cache, fingerprint
from glcm_cuda.base.threads import run_in_parts
from glcm_cuda.families.glcm.definition import first_start, last_start, mean_entropy
from glcm_cuda.families.glcm.scales import most_pairs
from glcm_cuda.families.offsets import directions
from glcm_cuda.families.stage import Task
from glcm_cuda.settings import GLCMSettings

_RELATIVE, _NOTHING, _TINY = 2.0**-27, 2.0**-40, 2.0**-500
"""Relative precision of a value; value below which it is 0; least absolute value of a pivot."""


def map_levels(
    levels: npt.NDArray[np.integer],
    out: npt.NDArray[np.float32],
    task: Task,
    origin: tuple[int, int],
) -> None:
    """Write MCC around every voxel of a block into its plane `out` (N, M, X); see `stage.CPUStage.map`."""
    settings, flat, merge = task.settings, task.bins.flat, task.merge
    offsets, radii = directions(settings), np.array(settings.radii)
    sizes = (task.bins.levels, *scratch_sizes(settings, task.bins.levels))
    map_rows = _compiled()

    def map_some(start: int, stop: int) -> None:
        map_rows(levels, offsets, origin, radii, sizes, settings.symmetric, merge, flat, out, start, stop)

    run_in_parts(map_some, out.shape[0] * out.shape[1])


class Scratch(NamedTuple):
    """Working memory for a window of at most P pairs and a matrix of at most n rows; see `scratch_sizes`."""

    pairs: Any  # (2, P) int32: levels of the first and of the second ends
    names: Any  # (2, levels) int32: row of a level, column of a level; -1 between windows
    matrix: Any  # (n, n) float64
    diagonal: Any  # (n,) float64: of the tridiagonal matrix
    beside: Any  # (n,) float64: its first off-diagonal; the last element is not used


def scratch_sizes(settings: GLCMSettings, number_of_levels: int) -> tuple[int, int]:
    """Return P and n of `Scratch`; n is doubled if the matrix is not symmetric."""
    most = min(number_of_levels, math.prod(settings.edges))
    return most_pairs(settings), most if settings.symmetric else 2 * most


@functools.cache
def _compiled() -> Any:
    """Return the loop over the rows of a block, compiled or read from Numba's cache."""
    sources = fingerprint(__name__)

    @njit(nogil=True, cache=can_cache())
    def map_rows(levels, offsets, origin, radii, sizes, symmetric, merge, flat, out, start, stop):  # type: ignore[no-untyped-def]
        _ = sources
        _, height, width = out.shape
        number_of_levels, pairs, edge = sizes
        scratch = Scratch(
            np.empty((2, pairs), np.int32),
            np.full((2, number_of_levels), np.int32(-1)),
            np.empty((edge, edge)),
            np.empty(edge),
            np.empty(edge),
        )
        for row in range(start, stop):
            z, y = row // height, row % height
            for x in range(width):
                centre = origin[0] + z, origin[1] + y, x
                out[z, y, x] = mcc_of_window(levels, centre, offsets, radii, scratch, symmetric, merge, flat)

    return map_rows


@njit
def mcc_of_window(levels, centre, offsets, radii, scratch, symmetric, merge, flat):  # type: ignore[no-untyped-def]
    """Return the mean MCC over the matrices of the window around a voxel; NaN if it holds no pair."""
    group = len(offsets) if merge else 1  # directions that share a matrix
    total, terms = 0.0, 0
    for start in range(0, len(offsets), group):
        count = 0
        for k in range(start, start + group):
            count = gather_pairs(levels, centre, offsets[k], radii, scratch.pairs, count)
        # A matrix without pairs has no value and does not count in the mean.
        if count > 0:
            total += mcc_of_pairs(scratch, count, symmetric, flat)
            terms += 1
    return mean_entropy(total, terms, 1.0)


@njit
def gather_pairs(levels, centre, offset, radii, pairs, count):  # type: ignore[no-untyped-def]
    """Append the levels of the pairs of one direction to the first `count` pairs; return the new count."""
    (z, y, x), (depth, height, width) = centre, levels.shape
    dz, dy, dx = offset[0], offset[1], offset[2]
    # Both ends of these pairs are in the window; the second may still be outside the image.
    for z0 in range(first_start(z, radii[0], dz), last_start(z, radii[0], dz, depth) + 1):
        for y0 in range(first_start(y, radii[1], dy), last_start(y, radii[1], dy, height) + 1):
            for x0 in range(first_start(x, radii[2], dx), last_start(x, radii[2], dx, width) + 1):
                if inside_image(z0 + dz, y0 + dy, x0 + dx, depth, height, width):
                    a, b = levels[z0, y0, x0], levels[z0 + dz, y0 + dy, x0 + dx]
                    if a >= 0 and b >= 0:
                        pairs[0, count], pairs[1, count] = a, b
                        count += 1
    return count


@njit(inline="always")
def inside_image(z, y, x, depth, height, width):  # type: ignore[no-untyped-def]
    """Return whether a voxel is in the image."""
    return 0 <= z < depth and 0 <= y < height and 0 <= x < width


@njit
def mcc_of_pairs(scratch, count, symmetric, flat):  # type: ignore[no-untyped-def]
    """Return the MCC of the first `count` pairs; `flat` says that the whole image has one level.

    `scratch.names` must be -1 everywhere, and is again afterwards.
    """
    if flat:
        return 1.0
    # Number the levels that occur: rows and columns share the numbers in a symmetric matrix.
    rows = number_levels(scratch.pairs[0], scratch.names[0], count, 0)
    if symmetric:
        size = number_levels(scratch.pairs[1], scratch.names[0], count, rows)
        rows, columns = size, size
    else:
        columns = number_levels(scratch.pairs[1], scratch.names[1], count, 0)
        size = rows + columns
    # The matrix has the columns after the rows, as [[0, N], [N', 0]], unless it is symmetric itself.
    fill_matrix(scratch, count, size, symmetric, 0 if symmetric else rows)
    forget_levels(scratch, count, symmetric)
    # With one level at an end there is no second singular value.
    if min(rows, columns) < 2:
        return 0.0
    normalise(scratch.matrix, scratch.diagonal, size)
    tridiagonalise(scratch.matrix, scratch.diagonal, scratch.beside, size)
    # Every singular value is the absolute value of one eigenvalue, or of two of [[0, N], [N', 0]].
    return size_of_eigenvalue(scratch.diagonal, scratch.beside, size, 2 if symmetric else 4)


@njit
def number_levels(levels, names, count, next_number):  # type: ignore[no-untyped-def]
    """Number those of the first `count` levels that have no number yet; return the next free number."""
    for i in range(count):
        if names[levels[i]] < 0:
            names[levels[i]] = next_number
            next_number += 1
    return next_number


@njit
def fill_matrix(scratch, count, size, symmetric, first_column):  # type: ignore[no-untyped-def]
    """Count the pairs at (row, column) and at (column, row); columns are numbered from `first_column`."""
    matrix, pairs, names = scratch.matrix, scratch.pairs, scratch.names
    for i in range(size):
        for j in range(size):
            matrix[i, j] = 0.0
    for i in range(count):
        row = names[0, pairs[0, i]]
        column = first_column + names[0 if symmetric else 1, pairs[1, i]]
        matrix[row, column] += 1.0
        matrix[column, row] += 1.0


@njit
def forget_levels(scratch, count, symmetric):  # type: ignore[no-untyped-def]
    """Reset the numbers of the levels to -1; only those of the pairs are visited."""
    for i in range(count):
        scratch.names[0, scratch.pairs[0, i]] = -1
        scratch.names[0 if symmetric else 1, scratch.pairs[1, i]] = -1


@njit
def normalise(matrix, roots, size):  # type: ignore[no-untyped-def]
    """Divide every element of a symmetric matrix by the roots of the sums of its row and its column.

    `roots` is scratch. All sums are positive, since every level occurs in a pair.
    """
    for i in range(size):
        total = 0.0
        for j in range(size):
            total += matrix[i, j]
        roots[i] = math.sqrt(total)
    for i in range(size):
        for j in range(size):
            matrix[i, j] /= roots[i] * roots[j]


@njit
def tridiagonalise(matrix, diagonal, beside, size):  # type: ignore[no-untyped-def]
    """Reduce a symmetric matrix to tridiagonal form: `diagonal` and `beside`, its first off-diagonal.

    Only the lower triangle is read, and it is overwritten.
    """
    for k in range(size):
        diagonal[k] = matrix[k, k]
        if k + 1 == size:
            break
        # Below the diagonal, column k consists of `head` and of elements whose squares add up to `tail`.
        tail = 0.0
        for i in range(k + 2, size):
            tail += matrix[i, k] * matrix[i, k]
        head = matrix[k + 1, k]
        # Nothing to eliminate: the column already has tridiagonal form.
        if tail == 0.0:
            beside[k] = head
            continue
        # The reflection maps the column to (length, 0, 0, ...). `first` is head - length, without
        # cancellation, and the column becomes the vector of the reflection, scaled so that its first
        # element is 1.
        length = math.sqrt(head * head + tail)
        first = head - length if head <= 0.0 else -tail / (head + length)
        factor = 2.0 * first * first / (tail + first * first)
        matrix[k + 1, k] = 1.0
        for i in range(k + 2, size):
            matrix[i, k] /= first
        reflect(matrix, diagonal, k, factor, size)
        beside[k] = length


@njit
def reflect(matrix, product, k, factor, size):  # type: ignore[no-untyped-def]
    """Apply the reflection with the vector v in column k to the part of the matrix below and right of k.

    With H = I - factor v v' this is A <- H A H = A - v w' - w v', with p = factor A v and
    w = p - (factor / 2) (p' v) v. `product` holds p, then w; its first k + 1 elements stay as they are.
    """
    shared = 0.0  # p' v
    for i in range(k + 1, size):
        # Row i of A v, read from the lower triangle: left of the diagonal, then below it.
        total = 0.0
        for j in range(k + 1, i + 1):
            total += matrix[i, j] * matrix[j, k]
        for j in range(i + 1, size):
            total += matrix[j, i] * matrix[j, k]
        product[i] = factor * total
        shared += product[i] * matrix[i, k]
    for i in range(k + 1, size):
        product[i] -= 0.5 * factor * shared * matrix[i, k]
    for i in range(k + 1, size):
        for j in range(k + 1, i + 1):
            matrix[i, j] -= matrix[i, k] * product[j] + product[i] * matrix[j, k]


@njit
def size_of_eigenvalue(diagonal, beside, size, rank):  # type: ignore[no-untyped-def]
    """Return the `rank`-th largest absolute value of the eigenvalues of a tridiagonal matrix, at most 1.

    It is found to a relative precision of `_RELATIVE`, finer than a float32; below `_NOTHING` it is 0.
    """
    # The value is in [low, high], which each step halves.
    low, high = 0.0, 1.0
    while high - low > _RELATIVE * high and high > _NOTHING:
        middle = 0.5 * (low + high)
        # Eigenvalues that are at least `middle`, and those below `-middle`.
        above = size - eigenvalues_below(diagonal, beside, size, middle)
        reached = above + eigenvalues_below(diagonal, beside, size, -middle)
        if reached >= rank:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high) if high > _NOTHING else 0.0


@njit
def eigenvalues_below(diagonal, beside, size, value):  # type: ignore[no-untyped-def]
    """Return the number of eigenvalues below a value: the negative pivots (Sylvester's law of inertia)."""
    # Pivots of the factorisation L D L' of the matrix minus `value` times the identity.
    count, pivot = 0, 1.0
    for i in range(size):
        squared = beside[i - 1] * beside[i - 1] if i > 0 else 0.0
        pivot = diagonal[i] - value - squared / pivot
        # A pivot of 0 would stop the recurrence: count it as negative.
        if abs(pivot) < _TINY:
            pivot = -_TINY
        if pivot < 0.0:
            count += 1
    return count
