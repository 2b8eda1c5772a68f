"""The directions in which pairs of voxels are formed."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt


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
