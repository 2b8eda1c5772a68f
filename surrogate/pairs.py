"""The pairs of voxels in a window and which of them can be alike, as kernels of convolutions."""

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
    """Kernels that count alike pairs, for windows of edge w with P pairs and C ways to compare two.

    A comparison sets a pair `(a, b)` against the pair `(c, d)` at some displacement from it, for all
    places of the first at once; only those that happen inside some window are there. A pair is also
    compared with itself.

    Parameters
    ----------
    straight : two (2w-1, 2w-1, 1, C) arrays
        Give the differences ``a - c`` and ``b - d`` at the place of `a`.
    crossed : two (2w-1, 2w-1, 1, C) arrays
        Give ``a - d`` and ``b - c``.
    members : (2w-1, 2w-1, 1, C) array
        Sums over the four voxels of a comparison.
    matches : (w, w, C, P) array
        Sums over the comparisons that each pair of a window is in.
    ends : (w, w, 1, P) array
        Sums over the two voxels of each pair.
    part : (P,) array of int
        Matrix to which each pair belongs: its direction, or 0 where the directions are pooled.
    """

    straight: tuple[Kernel, Kernel]
    crossed: tuple[Kernel, Kernel]
    members: Kernel
    matches: Kernel
    ends: Kernel
    part: npt.NDArray[np.int64]

    @property
    def pairs_of_parts(self) -> npt.NDArray[np.int64]:
        """Number of pairs in each matrix of a whole window."""
        return np.bincount(self.part)


def pair_kernels(glcm: GLCMSettings) -> PairKernels:
    """Return the kernels for windows in the plane.

    Examples
    --------
    >>> kernels = pair_kernels(GLCMSettings())
    >>> kernels.pairs_of_parts.tolist(), kernels.matches.shape
    ([20, 16, 20, 16], (5, 5, 114, 72))
    """
    edge = glcm.edge
    steps, pairs = _pairs(glcm)
    part = _parts(glcm, pairs)
    ways: dict[tuple[int, int, _Offset], int] = {}
    taken: list[tuple[_Offset, int, int]] = []
    for (i, (a, p)), (j, (b, q)) in itertools.combinations_with_replacement(enumerate(pairs), 2):
        if part[i] == part[j]:
            # Pairs are listed by direction, then by place: one of any two always comes first.
            key = (a, b, (q[0] - p[0], q[1] - p[1]))
            channel = ways.setdefault(key, len(ways))
            taken += [(p, channel, number) for number in {i, j}]
    matches = np.zeros((edge, edge, len(ways), len(pairs)), np.float32)
    for (y, x), channel, number in taken:
        matches[y, x, channel, number] = 1
    ends = np.zeros((edge, edge, 1, len(pairs)), np.float32)
    for number, (a, (y, x)) in enumerate(pairs):
        ends[y, x, 0, number] += 1
        ends[y + steps[a][0], x + steps[a][1], 0, number] += 1
    # Of both pairs: first and second voxel, counted from the first voxel of the first pair.
    voxels = [
        ((0, 0), steps[a], shift, (shift[0] + steps[b][0], shift[1] + steps[b][1])) for a, b, shift in ways
    ]
    return PairKernels(
        straight=(_kernel(edge, voxels, {0: 1, 2: -1}), _kernel(edge, voxels, {1: 1, 3: -1})),
        crossed=(_kernel(edge, voxels, {0: 1, 3: -1}), _kernel(edge, voxels, {1: 1, 2: -1})),
        members=_kernel(edge, voxels, {0: 1, 1: 1, 2: 1, 3: 1}),
        matches=matches,
        ends=ends,
        part=part,
    )


@dataclass(frozen=True)
class Comparisons:
    """The comparisons of any two pairs of a window, as places in a list of equalities.

    The list is in the order of `voxel_pairs`, with the equality of a voxel with itself behind it.

    Parameters
    ----------
    straight, crossed : two lists of C int each
        Where the equalities of a comparison's first and second voxels stand; crossed, of the first voxel of
        each pair with the second of the other.
    ends : list of P int
        Where the equality of each pair's own two voxels stands.
    """

    straight: tuple[list[int], list[int]]
    crossed: tuple[list[int], list[int]]
    ends: list[int]


def comparisons(glcm: GLCMSettings) -> Comparisons:
    """Return the comparisons of pairs that belong to one matrix.

    Examples
    --------
    >>> found = comparisons(GLCMSettings())
    >>> len(found.straight[0]), len(found.ends)
    (620, 72)
    """
    edge = glcm.edge
    steps, pairs = _pairs(glcm)
    part = _parts(glcm, pairs)
    place = {voxels: index for index, voxels in enumerate(voxel_pairs(edge))}
    itself = len(place)

    def equality(first: int, second: int) -> int:
        return itself if first == second else place[min(first, second), max(first, second)]

    ends = [(edge * y + x, edge * (y + steps[number][0]) + x + steps[number][1]) for number, (y, x) in pairs]
    compared = [
        (*ends[i], *ends[j]) for i, j in itertools.combinations(range(len(pairs)), 2) if part[i] == part[j]
    ]
    return Comparisons(
        straight=([equality(a, c) for a, _, c, _ in compared], [equality(b, d) for _, b, _, d in compared]),
        crossed=([equality(a, d) for a, _, _, d in compared], [equality(b, c) for _, b, c, _ in compared]),
        ends=[equality(a, b) for a, b in ends],
    )


def voxel_pairs(edge: int) -> list[tuple[int, int]]:
    """Return any two voxels of a window, numbered row by row: the order of differences and equalities."""
    return list(itertools.combinations(range(edge * edge), 2))


def difference_kernel(edge: int) -> Kernel:
    """Return the (w, w, 1, w²(w²-1)/2) kernel of all differences between two voxels of a window.

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
    """Return weights (P,) and constant of the entropy, linear in the logarithms of the pairs' counts.

    With m_i the number of ordered pairs that are equal to pair i of a matrix of N ordered pairs, the
    entropy is ``log N - mean_i log m_i`` (docs/definition.md, section 5, both orders counted apart).
    """
    unit = glcm.log_unit / math.log(2)
    number = kernels.pairs_of_parts
    orders = 2 if glcm.symmetric else 1
    weights = -unit / (number[kernels.part] * len(number))
    return weights.astype(np.float32), float(unit * np.log(orders * number).mean())


def _pairs(glcm: GLCMSettings) -> tuple[list[_Offset], list[tuple[int, _Offset]]]:
    """Offsets of the directions; of every pair in a window its direction and its first voxel."""
    edge = glcm.edge
    steps = [(int(y), int(x)) for _, y, x in directions(glcm)]
    pairs = [
        (number, (y, x))
        for number, step in enumerate(steps)
        for y, x in itertools.product(range(edge), repeat=2)
        if 0 <= y + step[0] < edge and 0 <= x + step[1] < edge
    ]
    return steps, pairs


def _parts(glcm: GLCMSettings, pairs: Sequence[tuple[int, _Offset]]) -> npt.NDArray[np.int64]:
    return np.array([0 if glcm.aggregate == "merge" else number for number, _ in pairs])


def _kernel(edge: int, voxels: Sequence[tuple[_Offset, ...]], signs: dict[int, int]) -> Kernel:
    """Kernel with one output for each comparison: the signed sum of some of its four voxels."""
    kernel = np.zeros((2 * edge - 1, 2 * edge - 1, 1, len(voxels)), np.float32)
    for channel, offsets in enumerate(voxels):
        for voxel, sign in signs.items():
            y, x = offsets[voxel]
            kernel[y + edge - 1, x + edge - 1, 0, channel] += sign
    return kernel
