"""The directions in which pairs of voxels are formed."""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt

from .settings import GLCMSettings


def directions(dimensions: int, distance: int) -> npt.NDArray[np.int32]:
    """Offsets from the first to the second voxel of a pair, one of every opposite two.

    Parameters
    ----------
    dimensions : int
        2: the four in the plane of a slice. 3: all thirteen.
    distance : int
        Chebyshev length of every offset, in voxels.

    Returns
    -------
    (K, 3) int32 array
        Offsets along (z, y, x). The first component that is not zero is positive.

    References
    ----------
    docs/definition.md, section 3; IBSI reference manual (the unit vectors scaled by the distance).

    Examples
    --------
    >>> directions(2, 1).tolist()
    [[0, 0, 1], [0, 1, -1], [0, 1, 0], [0, 1, 1]]
    """
    depths = (0,) if dimensions == 2 else (0, 1)
    steps = itertools.product(depths, (-1, 0, 1), (-1, 0, 1))
    forward = [step for step in steps if step > (0, 0, 0)]
    return np.array(forward, np.int32) * np.int32(distance)


def largest_entropy(settings: GLCMSettings) -> float:
    """Return the largest value that a map of these settings can hold, in its unit.

    It is reached where all pairs of a whole window differ, or all cells of the matrix are equal.

    Examples
    --------
    >>> round(largest_entropy(GLCMSettings()), 3)
    5.161
    """
    lengths = np.abs(directions(settings.dimensions, settings.distance))
    pairs = np.prod(np.maximum(settings.edges - lengths, 0), axis=1) * (2 if settings.symmetric else 1)
    parts = [pairs.sum()] if settings.aggregate == "merge" else pairs
    bits = [min(math.log2(part), 2 * math.log2(settings.levels)) for part in parts if part]
    return settings.log_unit * sum(bits) / len(bits)
