"""The CPU backend: vector lanes for small 2D windows, a sliding tally for all others."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from glcm_cuda.base.blocks import blocks, size_of, start_in, with_halo
from glcm_cuda.families.feature import Feature
from glcm_cuda.families.glcm.cpu import tally
from glcm_cuda.families.glcm.cpu.stage import SLOWNESS, USUAL_SLOWNESS, map_features
from glcm_cuda.families.glcm.definition import NO_PAIR
from glcm_cuda.families.offsets import directions
from glcm_cuda.levels.bins import Bins
from glcm_cuda.levels.quantize import bin_levels
from glcm_cuda.settings import GLCMSettings

_BLOCK_VOXELS = 1 << 20

_BLOCK_PAIRS = 1 << 26
"""Voxels, and pairs that enter their windows, mapped at a time: they bound the memory beyond input and
output, and the time to a cancel."""

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
    slowness = max(SLOWNESS.get(feature.name, USUAL_SLOWNESS) for feature in features)
    voxels = min(_BLOCK_VOXELS, affordable) // slowness
    kind = np.int16 if bins.levels <= tally.MOST_PLAIN_LEVELS else np.int32
    for block in blocks(out.shape[1:], voxels):
        part = with_halo(block, settings.radii, out.shape[1:])
        levels = bin_levels(image[part], bins, kind)
        if inside is not None and settings.masked_window:
            levels[inside[part] == 0] = NO_PAIR
        maps = out[(slice(None), *block)]
        map_features(levels, maps, features, settings, bins, start_in(part, block))
        if inside is not None:
            maps[:, inside[block] == 0] = np.nan
        done(size_of(block, width))
