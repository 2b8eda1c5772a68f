"""First-order features of a whole region, whatever the aggregation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from glcm_cuda.families.feature import Feature
from glcm_cuda.families.region import Region
from glcm_cuda.families.statistics import FORMULAS, Statistics, squares, total
from glcm_cuda.levels.bins import OUTSIDE


def values(region: Region, features: Sequence[Feature]) -> list[list[float]]:
    """Return the features of the region, in one row."""
    statistics = Statistics(region.intensities[region.levels != OUTSIDE])
    return [
        [
            _OF_REGION[feature.formula](region, statistics)
            if feature.formula in _OF_REGION
            else float(FORMULAS[feature.formula](statistics))
            for feature in features
        ]
    ]


def _energy(region: Region, statistics: Statistics) -> float:
    return total(squares(statistics.sorted + region.settings.intensity_shift))


def _root_mean_squared(region: Region, statistics: Statistics) -> float:
    return math.sqrt(_energy(region, statistics) / statistics.count)


def _total_energy(region: Region, statistics: Statistics) -> float:
    return _energy(region, statistics) * region.voxel_volume


def _entropy(region: Region, statistics: Statistics) -> float:
    counts = _level_counts(region)
    bits = math.log2(statistics.count) - math.fsum(counts * np.log2(counts)) / statistics.count
    return bits * region.settings.log_unit


def _uniformity(region: Region, statistics: Statistics) -> float:
    return float(sum(n * n for n in _level_counts(region).tolist()) / statistics.count**2)


def _level_counts(region: Region) -> npt.NDArray[np.int64]:
    return np.unique(region.levels[region.levels != OUTSIDE], return_counts=True)[1]


_OF_REGION: Mapping[str, Callable[[Region, Statistics], float]] = {
    "energy": _energy,
    "total_energy": _total_energy,
    "root_mean_square": _root_mean_squared,
    "entropy": _entropy,
    "uniformity": _uniformity,
}
"""Features that need more than the intensities."""
