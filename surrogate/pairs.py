"""The pairs of voxels in a window and the comparisons between them, as convolution kernels and index lists.

A pair is two voxels of a window at one of the offsets of the settings. Two pairs are equal if their first
voxels have the same level and their second voxels too. Names used throughout:

- straight: a pair (a, b) compared with a pair (c, d) in the same order, a with c and b with d;
- crossed: with the second pair swapped, a with d and b with c (for symmetric matrices);
- matrix: the co-occurrence matrix that a pair is counted in, by number.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from glcm_cuda.families.offsets import directions
from glcm_cuda.settings import GLCMSettings

Kernel = npt.NDArray[np.float32]

_Offset = tuple[int, int]


@dataclass(frozen=True)
class PairKernels:
    """Kernels that count equal pairs, for windows of edge w with P pairs and C kinds of comparison.

    A kind of comparison compares a pair ``(a, b)`` with the pair ``(c, d)`` at a fixed displacement, so that
    one convolution channel serves all positions of the first pair. Only kinds that occur inside a window are
    included. A pair is also compared with itself.

    Parameters
    ----------
    straight : two (2w-1, 2w-1, 1, C) arrays
        Yield the differences ``a - c`` and ``b - d``, at the position of `a`.
    crossed : two (2w-1, 2w-1, 1, C) arrays
        Yield ``a - d`` and ``b - c``, at the position of `a`.
    members : (2w-1, 2w-1, 1, C) array
        Sums over the four voxels of a comparison, at the position of `a`.
    matches : (w, w, C, P) array
        For each pair of a window, sums over the comparisons that the pair takes part in.
    ends : (w, w, 1, P) array
        For each pair of a window, sums over its two voxels.
    matrix : (P,) array of int
        Matrix that each pair is counted in: the number of its direction, or 0 if directions are pooled.
    """

    straight: tuple[Kernel, Kernel]
    crossed: tuple[Kernel, Kernel]
    members: Kernel
    matches: Kernel
    ends: Kernel
    matrix: npt.NDArray[np.int64]

    @property
    def pairs_per_matrix(self) -> npt.NDArray[np.int64]:
        """Number of pairs of a whole window in each matrix."""
        return np.bincount(self.matrix)


def pair_kernels(glcm: GLCMSettings) -> PairKernels:
    """Return the kernels for two-dimensional windows.

    Examples
    --------
    >>> kernels = pair_kernels(GLCMSettings())
    >>> kernels.pairs_per_matrix.tolist(), kernels.matches.shape
    ([20, 16, 20, 16], (5, 5, 114, 72))
    """
    edge = glcm.edge
    steps, pairs = _pairs(glcm)
    matrix = _matrices(glcm, pairs)
    # Channel of each kind of comparison: directions of both pairs, and displacement of the second pair.
    channels: dict[tuple[int, int, _Offset], int] = {}
    # Position of the first pair, channel and pair, for every comparison and either of its pairs.
    occurrences: list[tuple[_Offset, int, int]] = []
    for (i, (a, p)), (j, (b, q)) in itertools.combinations_with_replacement(enumerate(pairs), 2):
        if matrix[i] == matrix[j]:
            # Pairs are ordered by direction, then position, so any two are compared in one order only.
            kind = (a, b, (q[0] - p[0], q[1] - p[1]))
            channel = channels.setdefault(kind, len(channels))
            occurrences += [(p, channel, pair) for pair in {i, j}]
    matches = np.zeros((edge, edge, len(channels), len(pairs)), np.float32)
    for (y, x), channel, pair in occurrences:
        matches[y, x, channel, pair] = 1
    ends = np.zeros((edge, edge, 1, len(pairs)), np.float32)
    for pair, (a, (y, x)) in enumerate(pairs):
        ends[y, x, 0, pair] += 1
        ends[y + steps[a][0], x + steps[a][1], 0, pair] += 1
    # Offsets of the voxels a, b, c, d of each kind of comparison, from voxel a.
    voxels = [
        ((0, 0), steps[a], shift, (shift[0] + steps[b][0], shift[1] + steps[b][1]))
        for a, b, shift in channels
    ]
    return PairKernels(
        straight=(_kernel(edge, voxels, {0: 1, 2: -1}), _kernel(edge, voxels, {1: 1, 3: -1})),
        crossed=(_kernel(edge, voxels, {0: 1, 3: -1}), _kernel(edge, voxels, {1: 1, 2: -1})),
        members=_kernel(edge, voxels, {0: 1, 1: 1, 2: 1, 3: 1}),
        matches=matches,
        ends=ends,
        matrix=matrix,
    )


@dataclass(frozen=True)
class Comparisons:
    """The comparisons between the pairs of a window, as indices into a list of voxel equalities.

    The list is in the order of `voxel_pairs`, followed by the equality of a voxel with itself. Two pairs are
    equal if both equalities of their comparison hold.

    Parameters
    ----------
    straight : two lists of C int
        For each comparison of pairs (a, b) and (c, d), the indices of ``a == c`` and of ``b == d``.
    crossed : two lists of C int
        The indices of ``a == d`` and of ``b == c``.
    ends : list of P int
        For each pair (a, b), the index of ``a == b``.
    """

    straight: tuple[list[int], list[int]]
    crossed: tuple[list[int], list[int]]
    ends: list[int]


def comparisons(glcm: GLCMSettings) -> Comparisons:
    """Return the comparisons between pairs of the same matrix.

    Examples
    --------
    >>> compared = comparisons(GLCMSettings())
    >>> len(compared.straight[0]), len(compared.ends)
    (620, 72)
    """
    edge = glcm.edge
    steps, pairs = _pairs(glcm)
    matrix = _matrices(glcm, pairs)
    index_of = {voxels: index for index, voxels in enumerate(voxel_pairs(edge))}
    itself = len(index_of)

    def equality(first: int, second: int) -> int:
        return itself if first == second else index_of[min(first, second), max(first, second)]

    # Numbers, row by row, of the two voxels of each pair; then of all four voxels of each comparison.
    ends = [
        (edge * y + x, edge * (y + steps[direction][0]) + x + steps[direction][1])
        for direction, (y, x) in pairs
    ]
    compared = [
        (*ends[i], *ends[j])
        for i, j in itertools.combinations(range(len(pairs)), 2)
        if matrix[i] == matrix[j]
    ]
    return Comparisons(
        straight=([equality(a, c) for a, _, c, _ in compared], [equality(b, d) for _, b, _, d in compared]),
        crossed=([equality(a, d) for a, _, _, d in compared], [equality(b, c) for _, b, c, _ in compared]),
        ends=[equality(a, b) for a, b in ends],
    )


def voxel_pairs(edge: int) -> list[tuple[int, int]]:
    """Return all pairs of voxels of a window, numbered row by row, in the order of `difference_kernel`."""
    return list(itertools.combinations(range(edge * edge), 2))


def difference_kernel(edge: int) -> Kernel:
    """Return the (w, w, 1, w²(w²-1)/2) kernel that yields the differences of all `voxel_pairs` of a window.

    Examples
    --------
    >>> difference_kernel(5).shape
    (5, 5, 1, 300)
    """
    voxels = voxel_pairs(edge)
    kernel = np.zeros((edge * edge, len(voxels)), np.float32)
    for channel, (first, second) in enumerate(voxels):
        kernel[first, channel] = 1
        kernel[second, channel] = -1
    return kernel.reshape(edge, edge, 1, -1)


def entropy_weights(glcm: GLCMSettings, kernels: PairKernels) -> tuple[Kernel, float]:
    """Return weights (P,) and constant of the entropy as a linear function of the logarithms of the counts.

    With m_i the number of ordered pairs that equal pair i of a matrix of N ordered pairs, the entropy of the
    matrix is ``log N - mean_i log m_i`` (docs/definition.md, section 5; in a symmetric matrix each pair is
    counted in both orders). Several matrices are averaged.
    """
    unit = glcm.log_unit / math.log(2)
    number = kernels.pairs_per_matrix
    orders = 2 if glcm.symmetric else 1
    weights = -unit / (number[kernels.matrix] * len(number))
    return weights.astype(np.float32), float(unit * np.log(orders * number).mean())


def _pairs(glcm: GLCMSettings) -> tuple[list[_Offset], list[tuple[int, _Offset]]]:
    """Return the offset of every direction, and direction and first voxel of every pair in a window."""
    edge = glcm.edge
    steps = [(int(y), int(x)) for _, y, x in directions(glcm)]
    pairs = [
        (direction, (y, x))
        for direction, step in enumerate(steps)
        for y, x in itertools.product(range(edge), repeat=2)
        if 0 <= y + step[0] < edge and 0 <= x + step[1] < edge
    ]
    return steps, pairs


def _matrices(glcm: GLCMSettings, pairs: Sequence[tuple[int, _Offset]]) -> npt.NDArray[np.int64]:
    return np.array([0 if glcm.aggregate == "merge" else direction for direction, _ in pairs])


def _kernel(edge: int, voxels: Sequence[tuple[_Offset, ...]], signs: dict[int, int]) -> Kernel:
    """Return the kernel whose channels yield a signed sum of voxels of each kind of comparison.

    `voxels` has the offsets of the four voxels by channel; `signs` maps the number of a voxel to its sign.
    """
    kernel = np.zeros((2 * edge - 1, 2 * edge - 1, 1, len(voxels)), np.float32)
    for channel, offsets in enumerate(voxels):
        for voxel, sign in signs.items():
            y, x = offsets[voxel]  # from -(edge - 1) to edge - 1, so the centre stands for voxel a
            kernel[y + edge - 1, x + edge - 1, 0, channel] += sign
    return kernel
