"""The matrix P(i, j) of a whole region, from its entries: runs, zones or voxels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from glcm_cuda.families import emphases
from glcm_cuda.families.feature import Feature
from glcm_cuda.families.region import Counts, distinct


class Cells(NamedTuple):
    """The cells of a matrix that are not empty, in ascending order of j and of i: (C,) int64 arrays."""

    levels: npt.NDArray[np.int64]
    """i, from 1 on."""

    numbers: npt.NDArray[np.int64]
    """j, from 1 on."""

    counts: Counts
    """P(i, j)."""


def cells_of(
    levels: npt.NDArray[np.integer],
    numbers: npt.NDArray[np.integer],
    weights: npt.NDArray[np.float64] | None = None,
) -> Cells:
    """Return the cells from the level, from 0 on, and the number of each entry; each counts by its weight."""
    factor = int(levels.max()) + 1
    entries = numbers.astype(np.int64) * factor + levels
    counts: Counts
    if weights is None:
        codes, counts = distinct(entries)
    else:
        codes, places = np.unique(entries, return_inverse=True)
        counts = np.bincount(places, weights)
    return Cells(codes % factor + 1, codes // factor, counts)


def values_of(cells: Cells, features: Iterable[Feature], voxels: float, log_unit: float) -> list[float]:
    """Return features of a matrix.

    Parameters
    ----------
    cells : Cells
        The matrix.
    features : iterable of Feature
        Those with a formula in `emphases.FORMULAS`, or here.
    voxels : float
        Number of voxels that the matrix was counted from, by their weight.
    log_unit : float
        See `GLCMSettings.log_unit`.
    """
    sums = _sums(cells, log_unit)
    return [
        float(
            _OF_CELLS[feature.formula](cells, voxels)
            if feature.formula in _OF_CELLS
            else emphases.FORMULAS[feature.formula](sums)
        )
        for feature in features
    ]


def _sums(cells: Cells, log_unit: float) -> emphases.Sums:
    """Return the sums. Of whole counts they are Python's whole numbers, exact however large the region is."""
    levels2, counts = cells.levels**2, cells.counts
    numbers, starts = np.unique(cells.numbers, return_index=True)
    rows = [int(number) for number in numbers]
    entries = np.add.reduceat(counts, starts).tolist()
    by_level2 = np.add.reduceat(counts * levels2, starts).tolist()
    inverses, squares = counts / levels2, cells.numbers.astype(np.float64) ** 2
    total = sum(entries)
    return emphases.Sums(
        entries=total,
        level=(counts * cells.levels).sum().item(),
        level2=sum(by_level2),
        inverse_level2=math.fsum(inverses),
        number=sum(n * j for n, j in zip(entries, rows, strict=True)),
        number2=sum(n * j**2 for n, j in zip(entries, rows, strict=True)),
        inverse_number2=math.fsum(n / j**2 for n, j in zip(entries, rows, strict=True)),
        level2_number2=sum(n * j**2 for n, j in zip(by_level2, rows, strict=True)),
        level2_inverse=math.fsum(n / j**2 for n, j in zip(by_level2, rows, strict=True)),
        inverse_number=math.fsum(inverses * squares),
        inverse2=math.fsum(inverses / squares),
        per_level=_sum_of_squares(np.bincount(cells.levels, counts).astype(counts.dtype)),
        per_number=_sum_of_squares(np.array(entries)),
        information=(total * math.log2(total) - math.fsum(counts * np.log2(counts))) * log_unit,
    )


def _sum_of_squares(counts: npt.NDArray[Any]) -> float:
    squares: float = sum(count**2 for count in counts.tolist())
    return squares


_OF_CELLS: Mapping[str, Callable[[Cells, float], float]] = {
    "per_voxel": lambda cells, voxels: cells.counts.sum().item() / voxels,
    "energy": lambda cells, _: _sum_of_squares(cells.counts) / cells.counts.sum().item() ** 2,
}
"""Formulas that regions alone have."""
