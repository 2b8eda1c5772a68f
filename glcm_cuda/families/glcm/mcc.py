"""Haralick's maximal correlation coefficient on the CPU: a second singular value for every window.

With P the matrix and Dx, Dy diagonal matrices of its marginals, the eigenvalues of Haralick's
``Q(i, j) = sum_k P(i, k) P(j, k) / (px(i) py(k))`` are the squares of the singular values of
``N = Dx**-1/2 P Dy**-1/2``, the largest of which is 1. Levels that a window does not have only add zeros.
If P is symmetric, so is N, and its singular values are the sizes of its eigenvalues; else they are the
eigenvalues of ``[[0, N], [N', 0]]``. The matrix, of the levels in the window alone, is brought to
tridiagonal form by Householder's reflections, and the eigenvalue found there by bisection (Golub and Van
Loan, Matrix Computations, sections 8.3 and 8.4). Taking no square of N keeps small values exact.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from glcm_cuda.base.cache import fingerprint
from glcm_cuda.base.threads import run_in_parts
from glcm_cuda.families.glcm.definition import first_start, last_start, mean_entropy
from glcm_cuda.families.glcm.scales import most_pairs
from glcm_cuda.families.offsets import directions
from glcm_cuda.families.stage import Task
from glcm_cuda.settings import GLCMSettings

_RELATIVE, _NOTHING, _TINY = 2.0**-27, 2.0**-40, 2.0**-500
"""Precision of a value; what counts as 0; the least size of a pivot."""


def map_levels(
    levels: npt.NDArray[np.integer],
    out: npt.NDArray[np.float32],
    task: Task,
    first: tuple[int, int],
) -> None:
    """Write MCC around every voxel of a block; see `stage.CPUStage.map`."""
    settings, flat, merge = task.settings, task.bins.flat, task.merge
    offsets, radii = directions(settings), np.array(settings.radii)
    sizes = (task.bins.levels, *scratch_sizes(settings, task.bins.levels))
    map_rows = _compiled()

    def map_some(start: int, stop: int) -> None:
        map_rows(levels, offsets, first, radii, sizes, settings.symmetric, merge, flat, out, start, stop)

    run_in_parts(map_some, out.shape[0] * out.shape[1])


class Scratch(NamedTuple):
    """Room for the work on one window, of P pairs and n levels: ``(*, P)`` and ``(*, n)``, ``(n, n)``."""

    pairs: Any  # (2, P) int32: levels, then numbers of rows and columns
    names: Any  # (2, levels) int32: number of the row or column of a level; -1 between windows
    matrix: Any  # (n, n) float64, 2 n if not symmetric
    diagonal: Any  # (n,) float64
    beside: Any  # (n,) float64


def scratch_sizes(settings: GLCMSettings, number_of_levels: int) -> tuple[int, int]:
    """Return P and the edge of the matrix of `Scratch`."""
    most = min(number_of_levels, math.prod(settings.edges))
    return most_pairs(settings), most if settings.symmetric else 2 * most


@functools.cache
def _compiled() -> Any:
    """Return the loop over rows, compiled or read from Numba's cache."""
    sources = fingerprint(__name__)

    @njit(nogil=True, cache=True)
    def map_rows(levels, offsets, first, radii, sizes, symmetric, merge, flat, out, start, stop):  # type: ignore[no-untyped-def]
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
        group = len(offsets) if merge else 1
        for task in range(start, stop):
            z, y = task // height, task % height
            for x in range(width):
                total, terms = 0.0, 0
                for k in range(0, len(offsets), group):
                    found = 0
                    for j in range(k, k + group):
                        found = gather_pairs(
                            levels, first[0] + z, first[1] + y, x, offsets[j], radii, scratch.pairs, found
                        )
                    if found > 0:
                        total += mcc_of_pairs(scratch, found, symmetric, flat)
                        terms += 1
                out[z, y, x] = mean_entropy(total, terms, 1.0)

    return map_rows


@njit
def gather_pairs(levels, z, y, x, offset, radii, pairs, found):  # type: ignore[no-untyped-def]
    """Append the levels of the pairs of one direction in a window; return how many there are then."""
    depth, height, width = levels.shape
    dz, dy, dx = offset[0], offset[1], offset[2]
    for z0 in range(first_start(z, radii[0], dz), last_start(z, radii[0], dz, depth) + 1):
        for y0 in range(first_start(y, radii[1], dy), last_start(y, radii[1], dy, height) + 1):
            for x0 in range(first_start(x, radii[2], dx), last_start(x, radii[2], dx, width) + 1):
                if inside_image(z0 + dz, y0 + dy, x0 + dx, depth, height, width):
                    a, b = levels[z0, y0, x0], levels[z0 + dz, y0 + dy, x0 + dx]
                    if a >= 0 and b >= 0:
                        pairs[0, found], pairs[1, found] = a, b
                        found += 1
    return found


@njit(inline="always")
def inside_image(z, y, x, depth, height, width):  # type: ignore[no-untyped-def]
    """Whether a voxel lies in an image."""
    return 0 <= z < depth and 0 <= y < height and 0 <= x < width


@njit
def mcc_of_pairs(scratch, found, symmetric, flat):  # type: ignore[no-untyped-def]
    """MCC of some pairs of levels; `flat` says that the whole image has one level."""
    if flat:
        return 1.0
    rows = number_levels(scratch.pairs[0], scratch.names[0], found, 0)
    if symmetric:
        size = number_levels(scratch.pairs[1], scratch.names[0], found, rows)
        rows, columns = size, size
    else:
        columns = number_levels(scratch.pairs[1], scratch.names[1], found, 0)
        size = rows + columns
    fill_matrix(scratch, found, size, symmetric, 0 if symmetric else rows)
    forget_levels(scratch, found, symmetric)
    if min(rows, columns) < 2:
        return 0.0
    normalise(scratch.matrix, scratch.diagonal, size)
    tridiagonalise(scratch.matrix, scratch.diagonal, scratch.beside, size)
    return size_of_eigenvalue(scratch.diagonal, scratch.beside, size, 2 if symmetric else 4)


@njit
def number_levels(levels, names, found, used):  # type: ignore[no-untyped-def]
    """Give every level that has no number yet the next; return how many are used then."""
    for i in range(found):
        if names[levels[i]] < 0:
            names[levels[i]] = used
            used += 1
    return used


@njit
def fill_matrix(scratch, found, size, symmetric, first_column):  # type: ignore[no-untyped-def]
    """Count the pairs, in both orders: those of a matrix that is not symmetric beside its transpose."""
    matrix, pairs, names = scratch.matrix, scratch.pairs, scratch.names
    for i in range(size):
        for j in range(size):
            matrix[i, j] = 0.0
    for i in range(found):
        row = names[0, pairs[0, i]]
        column = first_column + names[0 if symmetric else 1, pairs[1, i]]
        matrix[row, column] += 1.0
        matrix[column, row] += 1.0


@njit
def forget_levels(scratch, found, symmetric):  # type: ignore[no-untyped-def]
    """Take the numbers of the levels back."""
    for i in range(found):
        scratch.names[0, scratch.pairs[0, i]] = -1
        scratch.names[0 if symmetric else 1, scratch.pairs[1, i]] = -1


@njit
def normalise(matrix, roots, size):  # type: ignore[no-untyped-def]
    """Divide every count by the roots of the sums of its row and its column."""
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
    """Bring a symmetric matrix to tridiagonal form: its diagonal, and what stands beside it.

    Only the lower triangle is read and changed; `beside` is scratch for the products on the way.
    """
    for k in range(size):
        diagonal[k] = matrix[k, k]
        if k + 1 == size:
            break
        tail = 0.0
        for i in range(k + 2, size):
            tail += matrix[i, k] * matrix[i, k]
        head = matrix[k + 1, k]
        if tail == 0.0:
            beside[k] = head
            continue
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
    """Reflect the lower right part of the matrix at the vector in column k; `product` is scratch."""
    shared = 0.0
    for i in range(k + 1, size):
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
    """Absolute value, up to 1, that `rank` eigenvalues of a tridiagonal matrix reach, to float32."""
    low, high = 0.0, 1.0
    while high - low > _RELATIVE * high and high > _NOTHING:
        middle = 0.5 * (low + high)
        beyond = size - below(diagonal, beside, size, middle) + below(diagonal, beside, size, -middle)
        if beyond >= rank:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high) if high > _NOTHING else 0.0


@njit
def below(diagonal, beside, size, value):  # type: ignore[no-untyped-def]
    """Return the number of eigenvalues below a value: of negative pivots (Sylvester's law of inertia)."""
    count, pivot = 0, 1.0
    for i in range(size):
        squared = beside[i - 1] * beside[i - 1] if i > 0 else 0.0
        pivot = diagonal[i] - value - squared / pivot
        if abs(pivot) < _TINY:
            pivot = -_TINY
        if pivot < 0.0:
            count += 1
    return count
