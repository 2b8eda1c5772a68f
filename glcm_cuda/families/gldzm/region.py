"""Zones of a whole region by their distance from its border."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from glcm_cuda.families.cells import cells_of, values_of
from glcm_cuda.families.feature import Feature
from glcm_cuda.families.glszm.region import zones_of
from glcm_cuda.families.region import Region
from glcm_cuda.levels.bins import OUTSIDE


def values(region: Region, features: Sequence[Feature]) -> list[list[float]]:
    """Return the features of the matrix of the region, or of each slice.

    Distances are counted from the border of the morphological mask (IBSI, 6.9).
    """
    rows = []
    for levels, shape in region.parts_in_shape():
        zones, zone_levels = zones_of(levels, region.settings)
        inside = levels != OUTSIDE
        nearest = np.full(len(zone_levels), np.iinfo(np.int64).max)
        np.minimum.at(nearest, zones, border_distances(shape, region.settings.dimensions)[inside])
        cells = cells_of(zone_levels, nearest)
        rows.append(values_of(cells, features, len(zones), region.settings.log_unit))
    return rows


def border_distances(inside: npt.NDArray[np.bool_], dimensions: int) -> npt.NDArray[np.int64]:
    """Return how many steps across faces lead out of a region from each voxel, 1 at its border, 0 outside.

    With two dimensions the steps stay in the plane of a slice.
    """
    axes = range(3 - dimensions, 3)
    margins = [(0, 0) if axis not in axes else (1, 1) for axis in range(3)]
    distances = np.pad(inside, margins).astype(np.int64) * sum(inside.shape)
    # The length of such a path is the sum of its steps along the axes, so that one after the other will do.
    for axis in axes:
        lines = np.moveaxis(distances, axis, -1)
        places = np.arange(lines.shape[-1])
        ahead = np.minimum.accumulate(lines - places, axis=-1) + places
        behind = np.minimum.accumulate((lines + places)[..., ::-1], axis=-1)[..., ::-1] - places
        lines[...] = np.minimum(ahead, behind)
    return distances[tuple(slice(low, -low or None) for low, _ in margins)]
