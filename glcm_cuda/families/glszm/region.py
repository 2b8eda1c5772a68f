"""Size zones of a whole region."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

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
    firsts, seconds = [], []
    for offset in directions(replace(settings, distance=1, directions="scaled")):
        (first, second), (from_, to) = both_ends(levels, offset), both_ends(names, offset)
        joined = (first == second) & (first != OUTSIDE)
        firsts.append(from_[joined])
        seconds.append(to[joined])
    ends = np.concatenate(firsts), np.concatenate(seconds)
    graph = coo_matrix((np.ones(len(ends[0]), np.int8), ends), (voxels, voxels))
    number, zones = connected_components(graph, directed=False)
    zone_levels = np.empty(number, np.int32)
    zone_levels[zones] = levels[inside]
    return zones, zone_levels
