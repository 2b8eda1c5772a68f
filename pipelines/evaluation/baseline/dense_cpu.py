"""The dense baseline on the CPU: rows in parallel, one matrix for each; and the count that CUDA shares."""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange


@njit(inline="always")
def voxel_entropy(levels, z, row, column, radius, offsets, counts):  # type: ignore[no-untyped-def]
    """Entropy around one voxel in bits; `counts` is a (G, G) integer scratch."""
    top, bottom = max(row - radius, 0), min(row + radius + 1, levels.shape[1])
    left, right = max(column - radius, 0), min(column + radius + 1, levels.shape[2])
    total = 0.0
    used = 0
    for k in range(offsets.shape[0]):
        dy, dx = offsets[k, 1], offsets[k, 2]
        for i in range(counts.shape[0]):
            for j in range(counts.shape[1]):
                counts[i, j] = 0
        ends = 0
        for y in range(max(top, top - dy), min(bottom, bottom - dy)):
            for x in range(max(left, left - dx), min(right, right - dx)):
                a, b = levels[z, y, x], levels[z, y + dy, x + dx]
                counts[a, b] += 1
                counts[b, a] += 1
                ends += 2
        if ends > 0:
            total += _matrix_entropy(counts, ends)
            used += 1
    return total / used if used > 0 else math.nan


@njit(inline="always")
def _matrix_entropy(counts, total):  # type: ignore[no-untyped-def]
    """Entropy in bits of a matrix of counts that sum to `total`: every cell is visited."""
    entropy = 0.0
    for i in range(counts.shape[0]):
        for j in range(counts.shape[1]):
            if counts[i, j] > 0:
                p = counts[i, j] / total
                entropy -= p * math.log2(p)
    return entropy


@njit(parallel=True)
def map_levels(stack, radius, offsets, number_of_levels, out):  # type: ignore[no-untyped-def]
    """Write the entropy around every voxel of a (Z, Y, X) stack of levels into `out`."""
    height = stack.shape[1]
    for line in prange(stack.shape[0] * height):
        counts = np.empty((number_of_levels, number_of_levels), np.int32)
        z, row = line // height, line % height
        for column in range(stack.shape[2]):
            out[z, row, column] = voxel_entropy(stack, z, row, column, radius, offsets, counts)
