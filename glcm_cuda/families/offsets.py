"""Directions: the offsets between the two voxels of a pair."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from glcm_cuda.settings import GLCMSettings


def directions(settings: GLCMSettings) -> npt.NDArray[np.int32]:
    """Offsets from the first to the second voxel of a pair, one of each two opposite offsets.

    Parameters
    ----------
    settings : GLCMSettings
        `dimensions`, `distance` and `directions` are used. With distance 1 there are four offsets in the
        plane of a slice and thirteen in a volume.

    Returns
    -------
    (K, 3) int32 array
        Offsets in voxels along (z, y, x). The first non-zero component is positive.

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
    offsets: list[tuple[int, ...]] = []
    for distance in settings.distances:
        steps = range(-distance, distance + 1, distance if settings.directions == "scaled" else 1)
        depths = (0,) if settings.dimensions == 2 else steps
        of_length = (
            step for step in itertools.product(depths, steps, steps) if max(map(abs, step)) == distance
        )
        offsets += [step for step in of_length if step > (0, 0, 0)]
    return np.array(offsets, np.int32)


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
    radii: npt.NDArray[np.int64] = np.minimum(settings.radii, np.maximum(np.array(shape) - 1, steps))
    return radii


def settings_within(settings: GLCMSettings, shape: tuple[int, ...]) -> GLCMSettings:
    """Return the settings with the window cut to what it can reach in a volume; see `radii_within`.

    Examples
    --------
    >>> settings_within(GLCMSettings(window=63, dimensions=3), (2, 5, 200)).window
    (3, 9, 63)
    """
    depth, height, width = (2 * int(radius) + 1 for radius in radii_within(settings, shape))
    window = (depth, height, width) if settings.dimensions == 3 else max(height, width)
    return replace(settings, window=window)


def largest_entropy(settings: GLCMSettings) -> float:
    """Return the largest entropy that a map with these settings can hold, in the unit of the map.

    A window reaches it if all its pairs differ, or if all cells of its matrix are equal.

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
