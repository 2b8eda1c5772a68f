"""The intensity histogram of a whole region, whatever the aggregation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from glcm_cuda.families.feature import Feature
from glcm_cuda.families.region import Region
from glcm_cuda.families.statistics import FORMULAS, Statistics
from glcm_cuda.levels.bins import OUTSIDE

_Counts = npt.NDArray[np.int64]
"""Voxels of every level of the bins, also of those that do not occur."""


def values(region: Region, features: Sequence[Feature]) -> list[list[float]]:
    """Return the features of the region, in one row."""
    levels = region.levels[region.levels != OUTSIDE]
    counts, statistics = np.bincount(levels, minlength=region.bins.levels), Statistics(levels + 1)
    return [
        [
            _OF_COUNTS[feature.formula](counts)
            if feature.formula in _OF_COUNTS
            else float(FORMULAS[feature.formula](statistics))
            for feature in features
        ]
    ]


def _mode(counts: _Counts) -> float:
    """Return the most frequent level; of several the nearest to the mean, and of two the lower."""
    levels: _Counts = np.arange(1, len(counts) + 1)
    modes = levels[counts == counts.max()]
    # Distances from the mean times the number of voxels are whole numbers.
    distances = np.abs(modes * counts.sum() - (levels * counts).sum())
    return float(modes[distances.argmin()])


def _gradients(counts: _Counts) -> npt.NDArray[np.float64]:
    """Return the slope of the histogram at each level: one-sided at the ends, NaN if there is one level."""
    return np.gradient(counts) if len(counts) > 1 else np.array([np.nan])


def _level_of(gradients: npt.NDArray[np.float64], place: np.intp) -> float:
    """Return the number of the level at a place, NaN where there is no gradient."""
    return float(place + 1 + 0.0 * gradients[place])


_OF_COUNTS: Mapping[str, Callable[[_Counts], float]] = {
    "mode": _mode,
    "maximum_gradient": lambda counts: float(_gradients(counts).max()),
    "maximum_gradient_level": lambda counts: _level_of(_gradients(counts), _gradients(counts).argmax()),
    "minimum_gradient": lambda counts: float(_gradients(counts).min()),
    "minimum_gradient_level": lambda counts: _level_of(_gradients(counts), _gradients(counts).argmin()),
}
"""Features of the histogram; of several levels with the same gradient the lowest counts."""
