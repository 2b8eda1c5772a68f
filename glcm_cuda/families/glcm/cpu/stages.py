"""The co-occurrence family on the CPU: which loop computes which feature."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from glcm_cuda.families.glcm import mcc
from glcm_cuda.families.glcm.cpu import lanes, sums, tally
from glcm_cuda.families.glcm.scales import check_levels
from glcm_cuda.families.offsets import directions
from glcm_cuda.families.stage import Chosen, CPUStage, Task


class _Stage:
    """What the stages share: they read levels and count pairs."""

    reads: ClassVar[Literal["levels", "intensities"]] = "levels"

    def __init__(self, task: Task, chosen: Chosen) -> None:
        self._task = task
        self._chosen = chosen

    @property
    def entering(self) -> int:
        """Pairs that enter a window from one voxel of a row to the next."""
        settings = self._task.settings
        return len(directions(settings)) * math.prod(settings.edges[:2])

    def check(self) -> None:
        """Joint entropy and MCC allow any number of levels."""


class EntropyStage(_Stage):
    """Joint entropy: vector lanes for small 2D windows, a sliding tally for all others."""

    slowness = 1

    def map(self, source: npt.NDArray[Any], first: tuple[int, int], out: npt.NDArray[np.float32]) -> None:
        """Write the map; see `CPUStage.map`."""
        loops = lanes if lanes.fits(self._task.settings, self._task.bins.levels) else tally
        for plane, _ in self._chosen:
            loops.map_levels(source, out[plane], self._task, first)


class SumsStage(_Stage):
    """The features that sums over the pairs give: all but joint entropy and MCC."""

    slowness = 8

    def check(self) -> None:
        """Refuse more levels than the sums have room for."""
        check_levels((feature for _, feature in self._chosen), self._task)

    def map(self, source: npt.NDArray[Any], first: tuple[int, int], out: npt.NDArray[np.float32]) -> None:
        """Write the maps; see `CPUStage.map`."""
        sums.map_levels(source, out, self._chosen, self._task, first)


class MCCStage(_Stage):
    """The maximal correlation coefficient: a singular value for every window."""

    slowness = 64

    def map(self, source: npt.NDArray[Any], first: tuple[int, int], out: npt.NDArray[np.float32]) -> None:
        """Write the map; see `CPUStage.map`."""
        for plane, _ in self._chosen:
            mcc.map_levels(source, out[plane], self._task, first)


STAGES: dict[str, type[CPUStage]] = {"entropy": EntropyStage, "sums": SumsStage, "mcc": MCCStage}
