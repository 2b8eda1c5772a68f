"""The directions in which pairs of voxels are formed."""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt

from glcm_cuda.settings import GLCMSettings


def directions(settings: GLCMSettings) -> npt.NDArray[np.int32]:
    """Offsets from the first to the second voxel of a pair, one of every opposite two.

    Parameters
    ----------
    settings : GLCMSettings
        `dimensions`, `distance` and `directions` are used: with distance 1 there are four offsets in the
        plane of a slice, and thirteen in a volume.

    Returns
    -------
    (K, 3) int32 array
        Offsets along (z, y, x). The first component that is not zero is positive.

    References
    ----------
    docs/definition.md, section 3; IBSI reference manual (the unit vectors scaled by the distance).

    Examples
    --------
    >>> directions(GLCMSettings()).tolist()
    [[0, 0, 1], [0, 1, -1], [0, 1, 0], [0, 1, 1]]
    >>> len(directions(GLCMSettings(distance=2, directions="all")))
    8
    """
    found = []
    for distance in settings.distances:
        steps = range(-distance, distance + 1, distance if settings.directions == "scaled" else 1)
        depths = (0,) if settings.dimensions == 2 else steps
        of_length = (
            step for step in itertools.product(depths, steps, steps) if max(map(abs, step)) == distance
        )
        found += [step for step in of_length if step > (0, 0, 0)]
    return np.array(found, np.int32)


def radii_within(settings: GLCMSettings, shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Return the radii of the window in z, y and x, cut to what it can reach in a volume.

    A window that covers the volume from every voxel counts the same pairs as a larger one, with larger
    buffers and tables. Radii stay long enough for every offset.

    Examples
    --------
    >>> radii_within(GLCMSettings(window=63, dimensions=3), (1, 5, 200)).tolist()
    [1, 4, 31]
    """
    steps = np.abs(directions(settings)).max(axis=0)
    return np.minimum(settings.radii, np.maximum(np.array(shape) - 1, steps))


def largest_entropy(settings: GLCMSettings) -> float:
    """Return the largest value that a map of these settings can hold, in its unit.

    It is reached where all pairs of a whole window differ, or all cells of the matrix are equal.

    Examples
    --------
    >>> round(largest_entropy(GLCMSettings()), 3)
    5.161
    """
    lengths = np.abs(directions(settings))
    pairs = np.prod(np.maximum(settings.edges - lengths, 0), axis=1) * (2 if settings.symmetric else 1)
    parts = [pairs.sum()] if settings.aggregate == "merge" else pairs
    bits = [min(math.log2(part), 2 * math.log2(settings.levels)) for part in parts if part]
    return settings.log_unit * sum(bits) / len(bits)
