"""Stages of the co-occurrence family on the CPU: which loop computes which feature."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numba.core.config import DISABLE_JIT

from glcm_cuda.families.counted_cpu import CPUCountedStage
from glcm_cuda.families.glcm.cpu import lanes, mcc_lanes, patches, sums, tally
from glcm_cuda.families.glcm.mcc import MCC
from glcm_cuda.families.glcm.scales import check_levels
from glcm_cuda.families.offsets import directions, radii_within
from glcm_cuda.families.stage import CPUStage, LevelStage, Source


class _Stage(LevelStage):
    """Base of these stages, which all count pairs."""

    @property
    def entering(self) -> int:
        """Number of pairs that enter a window when it moves on by one voxel of a row, at most."""
        settings = self._task.settings
        return len(directions(settings)) * math.prod(settings.edges[:2])


class EntropyStage(_Stage):
    """Joint entropy: by vector lanes for small 2D windows, by patches in space, else by a sliding tally."""

    slowness = 1

    @property
    def _loops(self) -> Any:
        """The module that maps: `lanes`, `patches` or `tally`."""
        task = self._task
        return next(
            (loops for loops in (lanes, patches) if loops.fits(task.settings, task.bins.levels)), tally
        )

    @property
    def entering(self) -> int:
        """Number of pairs that enter a window, fewer where they enter several windows at once."""
        at_once = patches.GAIN if self._loops is patches else 1
        return max(1, super().entering // at_once)

    @property
    def together(self) -> int:
        """Slices of a patch, or 1."""
        return patches.SIDE if self._loops is patches else 1

    def map(self, source: Source, origin: tuple[int, int], out: npt.NDArray[np.float32]) -> None:
        """Write the map; see `CPUStage.map`."""
        loops, radii = self._loops, self._task.settings.radii
        # Windows that reach beyond the image on both sides: the tally cuts them.
        if loops is patches and tuple(radii_within(self._task.settings, source.levels.shape)) != radii:
            loops = tally
        for plane, _ in self._chosen:
            loops.map_levels(source.levels, out[plane], self._task, origin)


class SumsStage(_Stage):
    """The features computed from sums over the pairs: all except joint entropy and MCC."""

    slowness = 8

    def check(self) -> None:
        """Raise ValueError if the sums could overflow with this many levels."""
        check_levels((feature for _, feature in self._chosen), self._task)

    def map(self, source: Source, origin: tuple[int, int], out: npt.NDArray[np.float32]) -> None:
        """Write the maps; see `CPUStage.map`."""
        sums.map_levels(source.levels, out, self._chosen, self._task, origin)


class MCCStage(CPUCountedStage):
    """The maximal correlation coefficient: a singular value for every matrix."""

    counted = MCC
    count_rows = staticmethod(mcc_lanes.count_one_by_one if DISABLE_JIT else mcc_lanes.count_in_lanes)


STAGES: dict[str, type[CPUStage]] = {"entropy": EntropyStage, "sums": SumsStage, "mcc": MCCStage}
