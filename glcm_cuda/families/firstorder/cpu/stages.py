"""The stages of the first-order family on the CPU: every row of a block is one stretch."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from glcm_cuda.base.cache import can_cache, versioned
from glcm_cuda.base.threads import run_in_parts
from glcm_cuda.families.firstorder import intensities, levels
from glcm_cuda.families.firstorder.rows import along_x, inside_margin, radii_in, with_margin
from glcm_cuda.families.firstorder.sorting import list_size
from glcm_cuda.families.stage import CPUStage, IntensityStage, LevelStage, Source
from glcm_cuda.levels.bins import OUTSIDE

_VALUES_PER_PAIR = 4
"""Values of a sorted list that take about as long as the entropy of one pair."""


class IntensitiesStage(IntensityStage):
    """The features of intensities: sorted lists that slide."""

    slowness = 8

    @property
    def entering(self) -> int:
        """Values of a window, all of which are read again when it moves on."""
        return max(1, math.prod(self._task.settings.edges) // _VALUES_PER_PAIR)

    def map(self, source: Source, origin: tuple[int, int], out: npt.NDArray[np.float32]) -> None:
        """Write the maps; see `CPUStage.map`."""
        map_stretches, plan = _map_intensities(), intensities.plan_of(self._task, self._chosen)
        radii = radii_in(source.intensities.shape, self._task.settings)
        padded = np.full(with_margin(out.shape[1:], radii), np.nan)
        read_intensities(source, padded[inside_margin(source.intensities.shape, origin, radii)])
        rows = along_x(out.shape[1:], radii)

        def map_some(first: int, stop: int) -> None:
            memory, found = np.empty(list_size(rows.window)), np.empty(len(intensities.FORMULAS))
            map_stretches(padded.ravel(), rows, first, stop, 1, plan, memory, found, out)

        run_in_parts(map_some, out.shape[1] * out.shape[2])


def read_intensities(source: Source, out: npt.NDArray[np.float64]) -> None:
    """Write the intensities, NaN where a voxel does not count.

    Infinite ones are in windows alone whose centre is outside the mask, where maps have no value. They must
    not reach a sorted list, which they would end.
    """
    np.add(source.intensities, 0.0, out=out, casting="unsafe")  # -0.0 becomes 0.0: equal values, equal bits
    out[~np.isfinite(out)] = np.nan
    if source.counted is not None:
        out[source.counted == 0] = np.nan


class LevelsStage(LevelStage):
    """Entropy and uniformity of levels: histograms that slide."""

    slowness = 1

    @property
    def entering(self) -> int:
        """Voxels that enter a window when it moves on."""
        return math.prod(self._task.settings.edges[:2])

    def map(self, source: Source, origin: tuple[int, int], out: npt.NDArray[np.float32]) -> None:
        """Write the maps; see `CPUStage.map`."""
        map_stretches, radii = _map_levels(), radii_in(source.levels.shape, self._task.settings)
        padded = np.full(with_margin(out.shape[1:], radii), OUTSIDE, source.levels.dtype)
        padded[inside_margin(source.levels.shape, origin, radii)] = source.levels
        rows = along_x(out.shape[1:], radii)
        plan = levels.plan_of(self._task, self._chosen, math.prod(rows.window))

        def map_some(first: int, stop: int) -> None:
            counts = np.zeros(self._task.bins.levels, np.int32)
            map_stretches(padded.ravel(), rows, first, stop, 1, plan, counts, out)

        run_in_parts(map_some, out.shape[1] * out.shape[2])


@functools.cache
def _map_intensities() -> Any:
    """Return the loop over stretches for intensities, compiled or read from Numba's cache."""
    return _compiled(versioned(__name__)(intensities.mapping()))


@functools.cache
def _map_levels() -> Any:
    """Return the loop over stretches for levels, compiled or read from Numba's cache."""
    return _compiled(versioned(__name__)(levels.mapping()))


_compiled = njit(nogil=True, cache=can_cache(), error_model="numpy")

STAGES: dict[str, type[CPUStage]] = {"intensities": IntensitiesStage, "levels": LevelsStage}
"""The two stages of the family."""
