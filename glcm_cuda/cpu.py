"""The CPU backend: vector lanes for small 2D windows, a sliding tally for all others."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from . import lanes, tally


def map_levels(
    levels: npt.NDArray[np.int16],
    offsets: npt.NDArray[np.int32],
    out: npt.NDArray[np.float32],
    *,
    first: tuple[int, int],
    radii: tuple[int, int, int],
    number_of_levels: int,
    symmetric: bool,
    merge: bool,
    log_unit: float,
) -> None:
    """Map a block of a stack of levels, NO_PAIR marking voxels that do not count.

    Parameters
    ----------
    levels : (Z, Y, X) int16 array
        Grey levels in ``[0, number_of_levels)`` or NO_PAIR.
    offsets : (K, 3) int32 array
        See `offsets.directions`.
    out : (N, M, X) float32 array
        Takes the entropy around every voxel of the block; NaN where the window holds no pair.
    first : (int, int)
        Slice and row of the stack at which the block starts; windows reach beyond it.
    radii : (int, int, int)
        Radius of the window along z, y and x.
    symmetric, merge, log_unit
        See `GLCMSettings`.
    """
    fits = lanes.fits(offsets, radii, number_of_levels, symmetric, merge)
    engine = lanes if fits else tally
    engine.map_levels(
        levels, offsets, out, first=first, radii=radii, number_of_levels=number_of_levels,
        symmetric=symmetric, merge=merge, log_unit=log_unit,
    )  # fmt: skip
