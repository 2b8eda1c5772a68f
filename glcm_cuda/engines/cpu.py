"""The CPU backend: a volume goes through the stages of its features block by block."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from glcm_cuda.base.blocks import blocks, size_of, start_in, with_halo
from glcm_cuda.families.registry import stages_of
from glcm_cuda.families.stage import CPUStage, Task
from glcm_cuda.levels.bins import OUTSIDE
from glcm_cuda.levels.quantize import bin_levels

_BLOCK_VOXELS = 1 << 20
_BLOCK_PAIRS = 1 << 26
"""Voxels, and pairs that enter their windows, mapped at a time: they bound the memory beyond input and
output, and the time to a cancel. Slower stages get smaller blocks."""

_LEAST_ROWS = 64
"""Rows of a block even where windows are large. With fewer, threads would have nothing to share, and most of
the work would be done twice, in the halos."""


def map_volume(
    image: npt.NDArray[np.generic],
    mask: npt.NDArray[np.generic] | None,
    task: Task,
    out: npt.NDArray[np.float32],
    done: Callable[[int], None],
) -> None:
    """Map a volume, by blocks.

    Parameters
    ----------
    image : (Z, Y, X) array
        Intensities.
    mask : (Z, Y, X) array, optional
        Non-zero inside.
    task : Task
        The features, and how they are computed.
    out : (F, Z, Y, X) float32 array
        Takes the features around every voxel; NaN outside the mask and where a window holds nothing to count.
    done : callable
        Called after every block with its number of voxels.

    Raises
    ------
    ValueError
        If the settings or the number of levels exclude a feature.
    """
    stages: list[CPUStage] = stages_of(task, "cpu")
    settings, shape = task.settings, out.shape[1:]
    for block in blocks(shape, min(_voxels(stage, shape[2]) for stage in stages)):
        part = with_halo(block, settings.radii, shape)
        first, maps = start_in(part, block), out[(slice(None), *block)]
        sources = {"intensities": image[part]}
        if any(stage.reads == "levels" for stage in stages):
            sources["levels"] = bin_levels(image[part], task.bins, task.bins.level_type)
            if mask is not None and settings.masked_window:
                sources["levels"][mask[part] == 0] = OUTSIDE
        for stage in stages:
            stage.map(sources[stage.reads], first, maps)
        if mask is not None:
            maps[:, mask[block] == 0] = np.nan
        done(size_of(block, shape[2]))


def _voxels(stage: CPUStage, width: int) -> int:
    """Return how many voxels a stage maps at a time, where rows have this width."""
    affordable = max(_BLOCK_PAIRS // stage.entering, _LEAST_ROWS * width)
    return min(_BLOCK_VOXELS, affordable) // stage.slowness
