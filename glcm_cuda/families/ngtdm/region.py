"""Grey-tone differences of a whole region.

Whole numbers are Python's: the int64 that suffice for a window do not for a region of any size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from glcm_cuda.families.feature import Feature
from glcm_cuda.families.offsets import directions
from glcm_cuda.families.region import Levels, Region, both_ends
from glcm_cuda.levels.bins import OUTSIDE
from glcm_cuda.settings import GLCMSettings

_ROWS = 256
"""Levels that are compared with all others at once, to bound the memory."""

_LARGEST_COARSENESS = 1e6


class Differences(NamedTuple):
    """What is summed over the voxels of each level that occurs: arrays over these levels, ascending."""

    levels: npt.NDArray[np.int64]
    """From 1 on."""

    counts: npt.NDArray[np.int64]
    sums: npt.NDArray[np.float64]
    """Of the differences between a voxel's level and the mean level of its neighbours."""


def values(region: Region, features: Sequence[Feature]) -> list[list[float]]:
    """Return the features of the region, or of each slice in which a voxel counts."""
    found = [_differences(levels, region.settings) for levels in region.parts()]
    return [
        [float(FORMULAS[feature.formula](differences)) for feature in features]
        for differences in found
        if len(differences.levels)
    ]


def _differences(levels: Levels, settings: GLCMSettings) -> Differences:
    neighbours, totals = (np.zeros(levels.shape, np.int64) for _ in range(2))
    for offset in directions(replace(settings, directions="all")):
        ends = both_ends(levels, offset)
        both = (ends[0] != OUTSIDE) & (ends[1] != OUTSIDE)
        for count, total, other in zip(
            both_ends(neighbours, offset), both_ends(totals, offset), ends[::-1], strict=True
        ):
            count += both
            total += np.where(both, other, 0)
    counted = levels != OUTSIDE if settings.ngtdm_isolated else neighbours > 0
    level, number = levels[counted].astype(np.int64), neighbours[counted]
    # Differences times the number of neighbours are whole numbers: those of each level are summed separately
    # for each number of neighbours, and then divided.
    wholes, factor = np.abs(level * number - totals[counted]), number.max(initial=0) + 1
    codes, groups = np.unique(level * factor + number, return_inverse=True)
    sums = np.bincount(groups, wholes, len(codes)) / np.maximum(codes % factor, 1)
    kinds, counts = np.unique(level, return_counts=True)
    kind = np.searchsorted(kinds, codes // factor)
    return Differences(kinds + 1, counts, np.bincount(kind, sums, len(kinds)).astype(np.float64))


def _voxels(d: Differences) -> int:
    return int(d.counts.sum())


def _weighted(d: Differences) -> float:
    """Return the sum of p s."""
    return math.fsum(d.counts * d.sums) / _voxels(d)


def _coarseness(d: Differences) -> float:
    weighted = _weighted(d)
    return min(1 / weighted, _LARGEST_COARSENESS) if weighted else _LARGEST_COARSENESS


def _contrast(d: Differences) -> float:
    number, voxels = len(d.levels), _voxels(d)
    if number == 1:
        return 0.0
    first, second = (sum((d.counts * d.levels**power).tolist()) for power in (1, 2))
    spread = 2 * (voxels * second - first**2) / voxels**2
    return float(spread / (number * (number - 1)) * math.fsum(d.sums) / voxels)


def _busyness(d: Differences) -> float:
    products = sorted((d.levels * d.counts).tolist())
    # The sum of the differences over all ordered pairs: each number is added for all below it, and subtracted
    # for all above it.
    number = len(products)
    apart = 2 * sum((2 * place - number + 1) * product for place, product in enumerate(products))
    return _weighted(d) / (apart / _voxels(d)) if apart else 0.0


def _complexity(d: Differences) -> float:
    products, terms = d.counts * d.sums, []
    for start in range(0, len(d.levels), _ROWS):
        rows = slice(start, start + _ROWS)
        mean = (products[rows, None] + products) / (d.counts[rows, None] + d.counts)
        terms.append(float((np.abs(d.levels[rows, None] - d.levels) * mean).sum()))
    return math.fsum(terms) / _voxels(d)


def _strength(d: Differences) -> float:
    total = math.fsum(d.sums)
    if not total:
        return 0.0
    number, first, second = (sum((d.levels**power).tolist()) for power in (0, 1, 2))
    wholes: int = sum(
        n * (number * i * i - 2 * i * first + second)
        for i, n in zip(d.levels.tolist(), d.counts.tolist(), strict=True)
    )
    return 2 * wholes / _voxels(d) / total


FORMULAS: Mapping[str, Callable[[Differences], float]] = {
    "busyness": _busyness,
    "coarseness": _coarseness,
    "complexity": _complexity,
    "contrast": _contrast,
    "strength": _strength,
}
"""Features from `Differences`, by `Feature.formula`; docs/definition.md, section 10."""
