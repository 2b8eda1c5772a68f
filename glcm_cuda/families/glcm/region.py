"""Co-occurrence features of a whole region."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from glcm_cuda.families.feature import Feature
from glcm_cuda.families.glcm.definition import FORMULAS, Scale, Sums
from glcm_cuda.families.glcm.scales import inverses
from glcm_cuda.families.offsets import directions
from glcm_cuda.families.region import Counts, Levels, Region, both_ends, distinct
from glcm_cuda.levels.bins import OUTSIDE, Bins
from glcm_cuda.settings import GLCMSettings

_LOG_ONE = 2.0**44
"""One bit in the logarithmic sums, which are floating-point numbers here; see `Scale.log_one`."""

_MOST_ROWS = 4096
"""Largest edge of a matrix whose singular values can be found in reasonable time and memory."""


class _Pairs(NamedTuple):
    """The pairs of a matrix: levels of the first and the second voxel, and how many pairs have these."""

    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]
    counts: Counts

    def per_value(self, values: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Return how many pairs have each value that occurs, given the values of the different pairs."""
        counts = np.bincount(values - values.min(), self.counts).astype(np.float64)
        return counts[counts > 0]


def values(region: Region, features: Sequence[Feature]) -> list[list[float]]:
    """Return the features of every matrix: of each direction that has pairs, or of all directions."""
    return [
        _values(features, pairs, region.settings, region.bins)
        for levels in region.parts()
        for pairs in _matrices(levels, region)
    ]


def _matrices(levels: Levels, region: Region) -> Iterator[_Pairs]:
    """Yield the pairs of every matrix: of each direction that has pairs, or of all directions together."""
    settings, number_of_levels = region.settings, region.bins.levels
    offsets = directions(settings)
    found: list[tuple[npt.NDArray[np.int64], Counts]] = []
    for offset, weight in zip(offsets, _weights(region, offsets), strict=True):
        first, second = both_ends(levels, offset)
        valid = (first != OUTSIDE) & (second != OUTSIDE)
        first, second = first[valid], second[valid]
        if settings.symmetric:
            first, second = np.maximum(first, second), np.minimum(first, second)
        if len(first):
            codes, counts = distinct(first.astype(np.int64) * number_of_levels + second)
            found.append((codes, counts * weight))
    if settings.aggregate == "merge" and found:
        codes, counts = (np.concatenate(parts) for parts in zip(*found, strict=True))
        merged, places = np.unique(codes, return_inverse=True)
        found = [(merged, np.bincount(places, counts).astype(counts.dtype))]
    for codes, counts in found:
        yield _Pairs(codes // number_of_levels, codes % number_of_levels, counts)


def _weights(region: Region, offsets: npt.NDArray[np.int32]) -> list[int] | list[float]:
    """Return the weight of the pairs of each offset: the exponential of minus its length squared, in mm^2.

    Features do not change with a factor of all weights; the largest is 1, so that none is lost to underflow.
    """
    if region.settings.weighting is None:
        return [1] * len(offsets)
    squares = region.lengths_mm(offsets) ** 2
    weights: list[float] = np.exp(squares.min() - squares).tolist()
    return weights


def _values(features: Iterable[Feature], pairs: _Pairs, settings: GLCMSettings, bins: Bins) -> list[float]:
    """Return the features of one matrix.

    Levels are counted from their mean, rounded, so that sums of powers over a region of any size lose no
    digits.
    """
    total = ((pairs.first + pairs.second) * pairs.counts).sum()
    centre = round(float(total / pairs.counts.sum()) / 2)
    sums = _sums(pairs, centre, settings.symmetric, bins.levels)
    scale = Scale(
        2 if settings.symmetric else 1, settings.first_level + centre, _LOG_ONE, settings.log_unit, 1.0
    )
    return [
        _mcc(pairs, settings.symmetric, bins.flat)
        if feature.name == "mcc"
        else float(_formula_of(feature)(sums, scale))
        for feature in features
    ]


def _formula_of(feature: Feature) -> Any:
    """Return the formula as plain Python: compiling it takes longer than its few calls."""
    formula = FORMULAS[feature.name]
    return getattr(formula, "py_func", formula)


def _sums(pairs: _Pairs, centre: int, symmetric: bool, levels: int) -> Sums:
    """Return the sums over pairs as float64 numbers, with levels counted from `centre`."""
    first, second, counts = pairs
    difference = np.abs(first - second)
    total = first + second - 2 * centre
    signed = np.zeros_like(first) if symmetric else first - second
    twice = 1 + (symmetric & (first == second))  # such a pair fills its cell in both orders
    if symmetric:
        both = _Pairs(np.concatenate((first, second)), second, np.concatenate((counts, counts)))
        ends = [both.per_value(both.first)] * 2
    else:
        ends = [pairs.per_value(first), pairs.per_value(second)]

    def over_pairs(terms: npt.NDArray[Any]) -> float:
        return float((terms.astype(np.float64) * counts).sum())

    return Sums(
        pairs=float(counts.sum()),
        distinct=over_pairs(difference > 0) if symmetric else 0.0,
        difference=over_pairs(difference),
        difference2=over_pairs(difference**2),
        total=over_pairs(total),
        total2=over_pairs(total**2),
        total3=over_pairs(total.astype(np.float64) ** 3),
        total4=over_pairs(total.astype(np.float64) ** 4),
        signed=over_pairs(signed),
        signed_total=over_pairs(signed * total),
        **{
            name: over_pairs(values)
            for name, values in zip(Sums._fields[10:15], inverses(difference, levels), strict=True)
        },
        log_pairs=_log_sum(counts.sum(keepdims=True)),
        log_joint=_log_sum(counts),
        log_total=_log_sum(pairs.per_value(total)),
        log_difference=_log_sum(pairs.per_value(difference)),
        log_first=_log_sum(ends[0]),
        log_second=_log_sum(ends[1]),
        energy=float((counts.astype(np.float64) ** 2 * twice).sum()),
        largest=float((counts * twice).max()),
    )


def _log_sum(counts: npt.NDArray[np.integer | np.floating]) -> float:
    """Return the sum of ``n log2 n``."""
    return float((counts * np.log2(counts)).sum()) * _LOG_ONE


def _mcc(pairs: _Pairs, symmetric: bool, flat: bool) -> float:
    """Return the maximal correlation coefficient, with the conventions of the module `mcc`."""
    if flat:
        return 1.0
    first, second, counts = pairs
    if symmetric:
        first, second = np.concatenate((first, second)), np.concatenate((second, first))
        counts = np.concatenate((counts, counts))
    rows, row = np.unique(first, return_inverse=True)
    columns, column = np.unique(second, return_inverse=True)
    if max(len(rows), len(columns)) > _MOST_ROWS:
        msg = f"mcc allows at most {_MOST_ROWS} levels in a region, got {len(rows)}; use fewer levels"
        raise ValueError(msg)
    if min(len(rows), len(columns)) < 2:
        return 0.0
    matrix = np.zeros((len(rows), len(columns)))
    np.add.at(matrix, (row, column), counts)
    matrix /= np.sqrt(matrix.sum(axis=1, keepdims=True) * matrix.sum(axis=0, keepdims=True))
    if symmetric:  # singular values are then those of the eigenvalues, which are found faster
        return float(np.sort(np.abs(np.linalg.eigvalsh(matrix)))[-2])
    return float(np.linalg.svd(matrix, compute_uv=False)[1])
