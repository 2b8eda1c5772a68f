"""The CPU backend: vector lanes for small 2D windows, a sliding tally for all others."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from . import lanes, tally
from .settings import GLCMSettings


def map_levels(
    levels: npt.NDArray[np.int16],
    out: npt.NDArray[np.float32],
    settings: GLCMSettings,
    first: tuple[int, int],
) -> None:
    """Map a block of a stack of levels, NO_PAIR marking voxels that do not count.

    Parameters
    ----------
    levels : (Z, Y, X) int16 array
        Grey levels in ``[0, settings.levels)`` or NO_PAIR.
    out : (N, M, X) float32 array
        Takes the entropy around every voxel of the block; NaN where the window holds no pair.
    settings : GLCMSettings
        All but the quantisation.
    first : (int, int)
        Slice and row of the stack at which the block starts; windows reach beyond it.
    """
    engine = lanes if lanes.fits(settings) else tally
    engine.map_levels(levels, out, settings, first)
