"""The CPU backend: passes a volume, block by block, to the stages of the features."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from glcm_cuda.base.blocks import blocks, size_of, start_in, with_halo
from glcm_cuda.families.registry import stages_of
from glcm_cuda.families.stage import CPUStage, Source, Task
from glcm_cuda.levels.bins import OUTSIDE
from glcm_cuda.levels.quantize import bin_levels

_BLOCK_VOXELS = 1 << 20
_BLOCK_PAIRS = 1 << 26
"""Most voxels of a block, and most pairs that enter their windows. They limit the memory beyond input and
output, and the time until an interrupt takes effect. Slower stages get smaller blocks."""

_LEAST_ROWS = 64
"""Least rows of a block, even with large windows. With fewer rows there would be too little work to share
between threads, and most of it would be done twice, in the halos."""


def map_volume(
    image: npt.NDArray[np.generic],
    mask: npt.NDArray[np.generic] | None,
    task: Task,
    out: npt.NDArray[np.float32],
    done: Callable[[int], None],
) -> None:
    """Write the maps of a volume, block by block.

    Parameters
    ----------
    image : (Z, Y, X) array
        Intensities.
    mask : (Z, Y, X) array, optional
        Non-zero inside.
    task : Task
        Features, settings and bins.
    out : (F, Z, Y, X) float32 array
        Receives the features around every voxel; NaN outside the mask and where a window holds nothing to
        count.
    done : callable
        Called after every block with its number of voxels.

    Raises
    ------
    ValueError
        If the settings or the number of levels exclude a feature.
    """
    stages: list[CPUStage] = stages_of(task, "cpu")
    settings, shape = task.settings, out.shape[1:]
    voxels = min(_voxels_of_block(stage, shape[2]) for stage in stages)
    together = max(stage.together for stage in stages)
    for block in blocks(shape, voxels, together):
        part = with_halo(block, settings.radii, shape)
        origin, maps = start_in(part, block), out[(slice(None), *block)]
        counted = mask[part] != 0 if mask is not None and settings.masked_window else None
        levels = None
        if any(stage.reads == "levels" for stage in stages):
            levels = bin_levels(image[part], task.bins, task.bins.level_type)
            if counted is not None:
                levels[~counted] = OUTSIDE
        for stage in stages:
            stage.map(Source(image[part], levels, counted), origin, maps)
        if mask is not None:
            maps[:, mask[block] == 0] = np.nan
        done(size_of(block, shape[2]))


def _voxels_of_block(stage: CPUStage, width: int) -> int:
    """Return how many voxels a stage maps at a time, in rows of this width."""
    affordable = max(_BLOCK_PAIRS // stage.entering, _LEAST_ROWS * width)
    return min(_BLOCK_VOXELS, affordable) // stage.slowness
