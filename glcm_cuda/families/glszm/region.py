"""Size zones of a whole region."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from glcm_cuda.base.cache import can_cache, versioned
from glcm_cuda.families.cells import cells_of, values_of
from glcm_cuda.families.feature import Feature
from glcm_cuda.families.offsets import directions
from glcm_cuda.families.region import Levels, Region, both_ends
from glcm_cuda.levels.bins import OUTSIDE
from glcm_cuda.settings import GLCMSettings


def values(region: Region, features: Sequence[Feature]) -> list[list[float]]:
    """Return the features of the matrix of the region, or of each slice."""
    rows = []
    for levels in region.parts():
        zones, zone_levels = zones_of(levels, region.settings)
        cells = cells_of(zone_levels, np.bincount(zones))
        rows.append(values_of(cells, features, len(zones), region.settings.log_unit))
    return rows


def zones_of(levels: Levels, settings: GLCMSettings) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Return the number of each voxel's zone, in the order of the array, and the level of each zone."""
    inside = levels != OUTSIDE
    voxels = int(inside.sum())
    names = np.full(levels.shape, OUTSIDE, np.int32)
    names[inside] = np.arange(voxels)
    zones = np.arange(voxels, dtype=np.int32)
    join, number = _compiled()
    for offset in directions(replace(settings, distance=1, directions="scaled")):
        (first, second), (from_, to) = both_ends(levels, offset), both_ends(names, offset)
        joined = (first == second) & (first != OUTSIDE)
        join(from_[joined], to[joined], zones)
    zone_levels = np.empty(number(zones), np.int32)
    zone_levels[zones] = levels[inside]
    return zones, zone_levels


@functools.cache
def _compiled() -> tuple[Any, Any]:
    """Return the two loops of a union of sets, compiled or read from Numba's cache.

    Every voxel names an earlier one of its zone, or itself if it is the first; the chains end there.
    """

    @njit(nogil=True, cache=can_cache())
    @versioned(__name__)
    def join(first, second, names):  # type: ignore[no-untyped-def]
        for index in range(len(first)):
            one, other = first[index], second[index]
            while names[one] != one:
                names[one] = names[names[one]]  # halves the way of those that come after
                one = names[one]
            while names[other] != other:
                names[other] = names[names[other]]
                other = names[other]
            names[max(one, other)] = min(one, other)

    @njit(nogil=True, cache=can_cache())
    @versioned(__name__)
    def number(names):  # type: ignore[no-untyped-def]
        zones = 0
        for voxel in range(len(names)):
            if names[voxel] == voxel:
                names[voxel] = zones
                zones += 1
            else:
                names[voxel] = names[names[voxel]]  # has its number already
        return zones

    return join, number
