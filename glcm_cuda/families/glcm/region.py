"""Co-occurrence features of a whole region."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from glcm_cuda.families.feature import Feature
from glcm_cuda.families.glcm.definition import FORMULAS, Scale, Sums
from glcm_cuda.families.glcm.scales import inverses
from glcm_cuda.families.offsets import directions
from glcm_cuda.families.region import Levels, Region, both_ends
from glcm_cuda.levels.bins import OUTSIDE, Bins
from glcm_cuda.settings import GLCMSettings

_LOG_ONE = 2.0**44
"""One bit in the logarithmic sums, which are floating-point numbers here; see `Scale.log_one`."""

_MOST_ROWS = 4096
"""Largest edge of a matrix whose singular values can be found in reasonable time and memory."""

_Pairs = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""Levels of the first and of the second voxel of every pair."""


def values(region: Region, features: Sequence[Feature]) -> list[list[float]]:
    """Return the features of every matrix: of each direction that has pairs, or of all directions."""
    return [
        _values(features, *pairs, region.settings, region.bins)
        for levels in region.parts()
        for pairs in _matrices(levels, region.settings)
    ]


def _matrices(levels: Levels, settings: GLCMSettings) -> Iterator[_Pairs]:
    """Yield the pairs of every matrix: of each direction that has pairs, or of all directions together."""
    by_direction = [_pairs(levels, offset) for offset in directions(settings)]
    by_direction = [pairs for pairs in by_direction if len(pairs[0])]
    if settings.aggregate == "merge" and by_direction:
        firsts, seconds = zip(*by_direction, strict=True)
        yield np.concatenate(firsts), np.concatenate(seconds)
    else:
        yield from by_direction


def _pairs(levels: Levels, offset: npt.NDArray[np.int32]) -> _Pairs:
    """Return the pairs of one direction whose voxels both count."""
    first, second = both_ends(levels, offset)
    valid = (first != OUTSIDE) & (second != OUTSIDE)
    return first[valid].astype(np.int64), second[valid].astype(np.int64)


def _values(
    features: Iterable[Feature],
    first: npt.NDArray[np.int64],
    second: npt.NDArray[np.int64],
    settings: GLCMSettings,
    bins: Bins,
) -> list[float]:
    """Return the features of one matrix.

    Levels are counted from their mean, rounded, so that sums of powers over a region of any size lose no
    digits.
    """
    centre = round((float(first.mean()) + float(second.mean())) / 2)
    sums = _sums(first, second, centre, settings.symmetric, bins.levels)
    scale = Scale(
        2 if settings.symmetric else 1, settings.first_level + centre, _LOG_ONE, settings.log_unit, 1.0
    )
    return [
        _mcc(first, second, settings.symmetric, bins.flat)
        if feature.name == "mcc"
        else float(FORMULAS[feature.name](sums, scale))
        for feature in features
    ]


def _sums(
    first: npt.NDArray[np.int64], second: npt.NDArray[np.int64], centre: int, symmetric: bool, levels: int
) -> Sums:
    """Return the sums over pairs as float64 numbers, with levels counted from `centre`."""
    difference = np.abs(first - second)
    total = (first + second - 2 * centre).astype(np.float64)
    signed = np.zeros(1) if symmetric else (first - second).astype(np.float64)
    high, low = (np.maximum(first, second), np.minimum(first, second)) if symmetric else (first, second)
    codes, counts = np.unique(high * levels + low, return_counts=True)
    double = symmetric & (codes // levels == codes % levels)
    ends = (np.concatenate((first, second)),) * 2 if symmetric else (first, second)
    return Sums(
        pairs=float(len(first)),
        distinct=float(np.count_nonzero(difference)) if symmetric else 0.0,
        difference=float(difference.sum()),
        difference2=float((difference**2).sum()),
        total=float(total.sum()),
        total2=float((total**2).sum()),
        total3=float((total**3).sum()),
        total4=float((total**4).sum()),
        signed=float(signed.sum()),
        signed_total=float((signed * total).sum()),
        **{
            name: float(values.sum())
            for name, values in zip(Sums._fields[10:15], inverses(difference, levels), strict=True)
        },
        log_pairs=_log_sum(np.array([len(first)])),
        log_joint=_log_sum(counts),
        log_total=_log_sum(np.unique(total, return_counts=True)[1]),
        log_difference=_log_sum(np.unique(difference, return_counts=True)[1]),
        log_first=_log_sum(np.unique(ends[0], return_counts=True)[1]),
        log_second=_log_sum(np.unique(ends[1], return_counts=True)[1]),
        energy=float((counts.astype(np.float64) ** 2 * (1 + double)).sum()),
        largest=float((counts * (1 + double)).max()),
    )


def _log_sum(counts: npt.NDArray[np.int64]) -> float:
    """Return the sum of ``n log2 n``."""
    return float((counts * np.log2(counts)).sum()) * _LOG_ONE


def _mcc(first: npt.NDArray[np.int64], second: npt.NDArray[np.int64], symmetric: bool, flat: bool) -> float:
    """Return the maximal correlation coefficient, with the conventions of the module `mcc`."""
    if flat:
        return 1.0
    if symmetric:
        first, second = np.concatenate((first, second)), np.concatenate((second, first))
    rows, row = np.unique(first, return_inverse=True)
    columns, column = np.unique(second, return_inverse=True)
    if max(len(rows), len(columns)) > _MOST_ROWS:
        msg = f"mcc allows at most {_MOST_ROWS} levels in a region, got {len(rows)}; use fewer levels"
        raise ValueError(msg)
    if min(len(rows), len(columns)) < 2:
        return 0.0
    matrix = np.zeros((len(rows), len(columns)))
    np.add.at(matrix, (row, column), 1.0)
    matrix /= np.sqrt(matrix.sum(axis=1, keepdims=True) * matrix.sum(axis=0, keepdims=True))
    if symmetric:  # the singular values are those of the eigenvalues, which are found faster
        return float(np.sort(np.abs(np.linalg.eigvalsh(matrix)))[-2])
    return float(np.linalg.svd(matrix, compute_uv=False)[1])
