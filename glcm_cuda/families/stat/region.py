"""IBSI's further statistics of a whole region, whatever the aggregation."""

from __future__ import annotations

from collections.abc import Sequence

from glcm_cuda.families.feature import Feature
from glcm_cuda.families.region import Region
from glcm_cuda.families.statistics import FORMULAS, Statistics
from glcm_cuda.levels.bins import OUTSIDE


def values(region: Region, features: Sequence[Feature]) -> list[list[float]]:
    """Return the features of the region, in one row."""
    statistics = Statistics(region.intensities[region.levels != OUTSIDE])
    return [[float(FORMULAS[feature.formula](statistics)) for feature in features]]
