"""Which CPU loop computes which co-occurrence feature."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from glcm_cuda.families.feature import Feature
from glcm_cuda.families.glcm import mcc
from glcm_cuda.families.glcm.cpu import lanes, sums, tally
from glcm_cuda.levels.bins import Bins
from glcm_cuda.settings import GLCMSettings

SLOWNESS = {"joint_entropy": 1, "mcc": 64}

USUAL_SLOWNESS = 8
"""How many times as long as joint entropy other features take, at least: their blocks are smaller."""


def map_features(
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
