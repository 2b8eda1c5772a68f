"""The CPU backend: vector lanes for small 2D windows, a sliding tally for all others."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from . import lanes, mcc, sums, tally
from .bins import Bins
from .blocks import blocks, size_of, start_in, with_halo
from .definition import NO_PAIR
from .features import Feature
from .offsets import directions
from .quantize import bin_levels
from .settings import GLCMSettings

_BLOCK_VOXELS = 1 << 20
_BLOCK_PAIRS = 1 << 26
"""Voxels, and pairs that enter their windows, mapped at a time: they bound the memory beyond input and
output, and the time to a cancel."""

_SLOWNESS = {"joint_entropy": 1, "mcc": 64}
_USUAL_SLOWNESS = 8
"""How many times as long as joint entropy other features take, at least: their blocks are smaller."""

_LEAST_ROWS = 64
"""Rows of a block even where windows are large, or threads would have nothing to share and halos most of
the work."""


def map_volume(
    image: npt.NDArray[np.generic],
    bins: Bins,
    settings: GLCMSettings,
    inside: npt.NDArray[np.generic] | None,
    features: Sequence[Feature],
    out: npt.NDArray[np.float32],
    done: Callable[[int], None],
) -> None:
    """Map a volume, by blocks.

    Parameters
    ----------
    image : (Z, Y, X) array
        Intensities.
    bins : Bins
        The bins of their levels.
    settings : GLCMSettings
        All but the quantisation.
    inside : (Z, Y, X) array, optional
        The mask: non-zero inside.
    features : sequence of Feature
        What is mapped.
    out : (F, Z, Y, X) float32 array
        Takes the features around every voxel; NaN outside the mask and where the window holds no pair.
    done : callable
        Called after every block with its number of voxels.
    """
    width = out.shape[3]
    entering = len(directions(settings)) * math.prod(settings.edges[:2])
    affordable = max(_BLOCK_PAIRS // entering, _LEAST_ROWS * width)
    slowness = max(_SLOWNESS.get(feature.name, _USUAL_SLOWNESS) for feature in features)
    voxels = min(_BLOCK_VOXELS, affordable) // slowness
    kind = np.int16 if bins.levels <= tally.MOST_PLAIN_LEVELS else np.int32
    for block in blocks(out.shape[1:], voxels):
        part = with_halo(block, settings.radii, out.shape[1:])
        levels = bin_levels(image[part], bins, kind)
        if inside is not None and settings.masked_window:
            levels[inside[part] == 0] = NO_PAIR
        maps = out[(slice(None), *block)]
        _map_features(levels, maps, features, settings, bins, start_in(part, block))
        if inside is not None:
            maps[:, inside[block] == 0] = np.nan
        done(size_of(block, width))


def _map_features(
    levels: npt.NDArray[np.integer],
    out: npt.NDArray[np.float32],
    features: Sequence[Feature],
    settings: GLCMSettings,
    bins: Bins,
    first: tuple[int, int],
) -> None:
    """Map a block by each engine that its features need."""
    others = []
    number_of_levels = bins.levels
    for place, feature in enumerate(features):
        if feature.name == "joint_entropy":
            map_levels(levels, out[place], settings, number_of_levels, first)
        elif feature.name == "mcc":
            mcc.map_levels(levels, out[place], settings, number_of_levels, first, flat=bins.flat)
        else:
            others.append((place, feature))
    if others:
        sums.map_levels(levels, out, others, settings, number_of_levels, first)


def map_levels(
    levels: npt.NDArray[np.integer],
    out: npt.NDArray[np.float32],
    settings: GLCMSettings,
    number_of_levels: int,
    first: tuple[int, int],
) -> None:
    """Map the joint entropy of a block of a stack of levels, NO_PAIR marking voxels that do not count.

    Parameters
    ----------
    levels : (Z, Y, X) int16 or int32 array
        Grey levels in ``[0, number_of_levels)`` or NO_PAIR.
    out : (N, M, X) float32 array
        Takes the entropy around every voxel of the block; NaN where the window holds no pair.
    settings : GLCMSettings
        All but the quantisation.
    number_of_levels : int
        How many levels there can be.
    first : (int, int)
        Slice and row of the stack at which the block starts; windows reach beyond it.
    """
    engine = lanes if lanes.fits(settings, number_of_levels) else tally
    engine.map_levels(levels, out, settings, number_of_levels, first)
