"""Dependences of a whole region."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

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
        inside = levels != OUTSIDE
        numbers = _dependences(levels, region.settings)[inside]
        cells = cells_of(levels[inside], numbers)
        rows.append(values_of(cells, features, len(numbers), region.settings.log_unit))
    return rows


def _dependences(levels: Levels, settings: GLCMSettings) -> npt.NDArray[np.int32]:
    """Return 1 plus the number of neighbours that depend on each voxel."""
    numbers = np.ones(levels.shape, np.int32)
    for offset in directions(replace(settings, directions="all")):
        first, second = both_ends(levels, offset)
        depend = (first != OUTSIDE) & (second != OUTSIDE) & (np.abs(first - second) <= settings.gldm_a)
        for end in both_ends(numbers, offset):
            end += depend
    return numbers
