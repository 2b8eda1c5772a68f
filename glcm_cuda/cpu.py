"""The CPU backend: vector lanes for small 2D windows, a sliding tally for all others."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from . import lanes, tally
from .blocks import blocks, size_of, start_in, with_halo
from .definition import NO_PAIR
from .offsets import directions
from .quantize import bin_levels
from .settings import GLCMSettings

_BLOCK_VOXELS = 1 << 20
_BLOCK_PAIRS = 1 << 26
"""Voxels, and pairs that enter their windows, mapped at a time: they bound the memory beyond input and
output, and the time to a cancel."""

_LEAST_ROWS = 64
"""Rows of a block even where windows are large, or threads would have nothing to share and halos most of
the work."""


def map_volume(
    image: npt.NDArray[np.generic],
    bounds: tuple[float, float],
    settings: GLCMSettings,
    inside: npt.NDArray[np.generic] | None,
    out: npt.NDArray[np.float32],
    done: Callable[[int], None],
) -> None:
    """Map a volume, by blocks.

    Parameters
    ----------
    image : (Z, Y, X) array
        Intensities.
    bounds : (float, float)
        Lowest and highest edge of the bins.
    settings : GLCMSettings
        All but the quantisation's range.
    inside : (Z, Y, X) array, optional
        The mask: non-zero inside.
    out : (Z, Y, X) float32 array
        Takes the entropy around every voxel; NaN outside the mask and where the window holds no pair.
    done : callable
        Called after every block with its number of voxels.
    """
    width = out.shape[2]
    entering = len(directions(settings.dimensions, settings.distance)) * math.prod(settings.edges[:2])
    affordable = max(_BLOCK_PAIRS // entering, _LEAST_ROWS * width)
    for block in blocks(out.shape, min(_BLOCK_VOXELS, affordable)):
        part = with_halo(block, settings.radii, out.shape)
        levels = bin_levels(image[part], settings.levels, *bounds, np.int16)
        if inside is not None:
            levels[inside[part] == 0] = NO_PAIR
        map_levels(levels, out[block], settings, start_in(part, block))
        if inside is not None:
            out[block][inside[block] == 0] = np.nan
        done(size_of(block, width))


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
