"""How well a map repeats, voxel by voxel: intraclass correlation, concordance, variation within voxels.

SciPy has no intraclass correlation; the packages that have (pingouin, statsmodels) would bring much else.
The formulas are short, and the tests hold them to published tables and to pingouin.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

Values = npt.NDArray[np.floating[Any]]

FEWEST_VOXELS = 30
"""Voxels below which no figure is given: the interval would span nearly everything."""

CONFIDENCE = 0.95
"""Of the intervals."""

_ROUNDING = 1e-6
"""Spread, as a part of the values, that float32 maps may owe to rounding alone."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How well two maps agree, or the reason why that has no number.

    Parameters
    ----------
    voxels : int
        Voxels in which both maps have a value.
    icc, low, high : float
        ICC(A,1) and its 95 % confidence interval.
    concordance : float
        Lin's coefficient.
    within_cv : float
        Standard deviation within voxels over the mean of the map; NaN for maps with values of both signs.
    rank : float
        Spearman's correlation.
    within_sd : float
        Standard deviation within voxels, in the map's unit.
    reason : str
        Why there are no figures (all NaN then); empty if there are.
    constant : bool
        Whether that is because a map has one value.
    """

    voxels: int
    icc: float = math.nan
    low: float = math.nan
    high: float = math.nan
    concordance: float = math.nan
    within_cv: float = math.nan
    rank: float = math.nan
    within_sd: float = math.nan
    reason: str = ""
    constant: bool = False


def agreement(one: Values, other: Values, *, window_voxels: int = 1) -> Agreement:
    """Return how well two maps of the same voxels agree.

    Parameters
    ----------
    one, other : (N,) arrays
        The maps; voxels in which either is not finite are left out.
    window_voxels : int
        Voxels of a window. Windows of neighbouring voxels share most of their voxels, so the interval takes
        as many voxels for one independent observation.

    Returns
    -------
    Agreement
        With a reason and without figures for fewer than `FEWEST_VOXELS` voxels, and for constant maps, whose
        ICC is 0 over 0.
    """
    both = np.isfinite(one) & np.isfinite(other)
    voxels = int(np.count_nonzero(both))
    if voxels < FEWEST_VOXELS:
        return Agreement(voxels=voxels, reason=f"{voxels} voxels have a value, {FEWEST_VOXELS} are needed")
    pair = np.stack([one[both], other[both]], axis=1).astype(np.float64)
    flat = [is_constant(pair[:, rater]) for rater in (0, 1)]
    if any(flat):
        which = "both maps" if all(flat) else "the map" if flat[0] else "the perturbed map"
        reason = f"constant: {which} has one value in the mask"
        return Agreement(voxels=voxels, reason=reason, constant=True)
    icc, low, high = icc_a1(pair, independent=max(2.0, voxels / window_voxels))
    return Agreement(
        voxels=voxels,
        icc=icc,
        low=low,
        high=high,
        concordance=concordance(pair[:, 0], pair[:, 1]),
        within_cv=within_variation(pair),
        rank=float(stats.spearmanr(pair[:, 0], pair[:, 1]).statistic),
        within_sd=math.sqrt(float(np.mean(pair.var(axis=1, ddof=1)))),
    )


def is_constant(values: Values) -> bool:
    """Return whether the values differ by no more than the rounding of float32."""
    low, high = float(values.min()), float(values.max())
    return high - low <= _ROUNDING * max(abs(low), abs(high))


def icc_a1(ratings: Values, *, independent: float | None = None) -> tuple[float, float, float]:
    """Intraclass correlation ICC(A,1), two-way, absolute agreement, single measure, with its interval.

    Parameters
    ----------
    ratings : (N, K) array
        N subjects (voxels), each measured K times. Not all subjects may be equal.
    independent : float, optional
        Subjects that count as independent in the interval, by default all of them. The variance between
        measurements keeps its size then, its mean square is that of fewer subjects: an approximation of ours.

    Returns
    -------
    (icc, low, high) : floats
        The ICC and the ends of its 95 % interval.

    References
    ----------
    McGraw and Wong 1996, Forming inferences about some intraclass correlation coefficients, table 4 (ICC) and
    table 7 (interval), with the correction of 1996; the same as ICC(2,1) of Shrout and Fleiss 1979.
    """
    subjects, measures = ratings.shape
    rows, columns, error = _mean_squares(ratings)
    icc = (rows - error) / (rows + (measures - 1) * error + measures * (columns - error) / subjects)
    count = float(subjects if independent is None else independent)
    columns = error + (columns - error) * count / subjects
    return icc, *_interval(icc, (rows, columns, error), count, measures)


def _mean_squares(ratings: Values) -> tuple[float, float, float]:
    """Return the mean squares of subjects, of measurements and of the rest."""
    subjects, measures = ratings.shape
    centred = ratings - ratings.mean()
    of_rows, of_columns = centred.mean(axis=1), centred.mean(axis=0)
    rows = measures * float(of_rows @ of_rows) / (subjects - 1)
    columns = subjects * float(of_columns @ of_columns) / (measures - 1)
    rest = centred - of_rows[:, np.newaxis] - of_columns
    return rows, columns, float(np.sum(rest**2)) / ((subjects - 1) * (measures - 1))


def _interval(icc: float, squares: tuple[float, float, float], n: float, k: int) -> tuple[float, float]:
    """Return the interval; names are those of the paper: n subjects, k measurements."""
    rows, columns, error = squares
    if icc >= 1:  # no error at all: the degrees of freedom below are 0 over 0
        return 1.0, 1.0
    a = k * icc / (n * (1 - icc))
    b = 1 + k * icc * (n - 1) / (n * (1 - icc))
    spread = (a * columns) ** 2 / (k - 1) + (b * error) ** 2 / ((n - 1) * (k - 1))
    freedom = (a * columns + b * error) ** 2 / spread
    tail = (1 + CONFIDENCE) / 2
    above, below = stats.f.ppf(tail, n - 1, freedom), stats.f.ppf(tail, freedom, n - 1)
    others = k * columns + (k * n - k - n) * error
    low = n * (rows - above * error) / (above * others + n * rows)
    high = n * (below * rows - error) / (others + n * below * rows)
    return float(low), float(high)


def concordance(one: Values, other: Values) -> float:
    """Return Lin's concordance correlation coefficient.

    References
    ----------
    Lin 1989, A concordance correlation coefficient to evaluate reproducibility.
    """
    covariance = np.mean((one - one.mean()) * (other - other.mean()))
    return float(2 * covariance / (one.var() + other.var() + (one.mean() - other.mean()) ** 2))


def within_variation(ratings: Values) -> float:
    """Return the standard deviation within subjects over the mean; NaN where the values have both signs."""
    if ratings.min() < 0 < ratings.max():
        return math.nan
    within = math.sqrt(float(np.mean(ratings.var(axis=1, ddof=1))))
    return within / abs(float(ratings.mean()))
