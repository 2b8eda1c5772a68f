"""How well synthetic values agree with exact ones: correlation, percentage difference, Bland-Altman.

Every statistic is computed from a few sums per patient, so a cohort of any size needs only one
patient in memory at a time. docs/evaluation.md explains the choices.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr

Array = npt.NDArray[np.float64]

_Item = TypeVar("_Item")

RESAMPLES = 2000
"""Bootstrap resamples."""

_BLOCK = 1 << 20
"""Voxels whose float64 copies are in memory at a time."""

_CONSTANT = 1e-9
"""Relative spread below which values count as constant: in float32 maps it is rounding, not variation."""


@dataclass(frozen=True)
class Moments:
    """Sums over the voxels of one or more patients, from which every statistic below is computed.

    Means and differences are in the unit of the maps, a difference being synthetic minus exact.
    ``ss_*`` are sums of squared deviations from the means, `ss_product` the sum of the products of
    both deviations. The percentage difference is 100 |synthetic - exact| / |exact|, over the
    `nonzero` voxels whose exact value is not 0.
    """

    voxels: int
    nonzero: int
    mean_exact: float
    mean_synthetic: float
    mean_difference: float
    mean_percent: float
    ss_exact: float
    ss_synthetic: float
    ss_product: float
    ss_difference: float
    ss_percent: float

    @property
    def pearson(self) -> float:
        """Pearson correlation over the voxels; NaN if either map is constant."""
        # The correlation of constant values would be a quotient of rounding errors.
        if _is_constant(self.ss_exact, self.voxels, self.mean_exact) or _is_constant(
            self.ss_synthetic, self.voxels, self.mean_synthetic
        ):
            return math.nan
        r = self.ss_product / math.sqrt(self.ss_exact * self.ss_synthetic)
        return min(1.0, max(-1.0, r))  # rounding may exceed the bounds

    @property
    def explained(self) -> float:
        """Share of the variance of the exact values that the map explains, R2; NaN if they are constant.

        1 for equal maps, 0 for one no better than the mean of the exact values, negative for a worse one:
        ``1 - sum of squared differences / sum of squared deviations of the exact values``.
        """
        if _is_constant(self.ss_exact, self.voxels, self.mean_exact):
            return math.nan
        return 1 - self.voxels * self.rmse**2 / self.ss_exact

    @property
    def percent(self) -> tuple[float, float]:
        """Mean and standard deviation of the percentage difference; NaN where undefined."""
        mean = self.mean_percent if self.nonzero else math.nan
        return mean, _standard_deviation(self.ss_percent, self.nonzero)

    @property
    def rmse(self) -> float:
        """Root mean square of the difference."""
        return math.sqrt(self.ss_difference / self.voxels + self.mean_difference**2)

    @property
    def limits(self) -> tuple[float, float]:
        """Bland-Altman limits of agreement: bias minus and plus 1.96 standard deviations."""
        half = 1.96 * _standard_deviation(self.ss_difference, self.voxels)
        return self.mean_difference - half, self.mean_difference + half


@dataclass(frozen=True)
class Agreement:
    """Agreement over the voxels of all patients; NaN where a value is undefined.

    Parameters
    ----------
    voxels, patients : int
        Number of voxels and of patients.
    pearson, pearson_low, pearson_high : float
        Correlation, of several groups that within them, and its 95 % bootstrap interval.
    rmse : float
        Root mean square of the difference, in the unit of the maps.
    percent_mean, percent_sd : float
        Mean and standard deviation of the percentage difference.
    zeros_left_out : int
        Voxels without a percentage difference, because their exact value is 0.
    bias, limit_low, limit_high : float
        Mean difference and Bland-Altman limits of agreement, in the unit of the maps.
    bias_p : float
        p-value of the patients' mean differences, see `bias_p_value`.
    """

    voxels: int
    patients: int
    pearson: float
    pearson_low: float
    pearson_high: float
    rmse: float
    percent_mean: float
    percent_sd: float
    zeros_left_out: int
    bias: float
    limit_low: float
    limit_high: float
    bias_p: float


def summarize(exact: npt.ArrayLike, synthetic: npt.ArrayLike) -> Moments:
    """Return the sums of one patient.

    Parameters
    ----------
    exact, synthetic : arrays of the same shape
        Values of the same voxels in the same unit: at least one, all of them finite.

    Raises
    ------
    ValueError
        If the shapes differ, there is no voxel, or a value is NaN or infinite.

    Examples
    --------
    >>> summarize([1.0, 2.0, 4.0], [1.0, 2.0, 3.0]).mean_difference
    -0.3333333333333333
    """
    exact, synthetic = np.asarray(exact), np.asarray(synthetic)
    if exact.shape != synthetic.shape:
        msg = f"exact and synthetic values must have the same shape, got {exact.shape} and {synthetic.shape}"
        raise ValueError(msg)
    if exact.size == 0:
        msg = "at least one voxel is needed, got none"
        raise ValueError(msg)
    for name, values in (("exact", exact), ("synthetic", synthetic)):
        bad = np.count_nonzero(~np.isfinite(values))
        if bad:
            msg = f"{name} values must be finite, got NaN or infinity in {bad} of {values.size} voxels"
            raise ValueError(msg)
    # Block by block, since float64 copies of a whole float32 volume would triple the memory.
    x, y = exact.reshape(-1), synthetic.reshape(-1)
    return pool([_block_moments(x[i : i + _BLOCK], y[i : i + _BLOCK]) for i in range(0, x.size, _BLOCK)])


def pool(parts: Sequence[Moments]) -> Moments:
    """Return the sums over the voxels of all parts, given the sums of each (none of them empty).

    References
    ----------
    Chan, Golub and LeVeque 1983, Algorithms for computing the sample variance.
    """
    table = _columns(parts)
    voxels, nonzero = table.voxels, table.nonzero
    exact, synthetic, difference, percent = (
        _pooled_mean(mean, count)
        for mean, count in (
            (table.mean_exact, voxels),
            (table.mean_synthetic, voxels),
            (table.mean_difference, voxels),
            (table.mean_percent, nonzero),
        )
    )
    # Deviations of the parts' means from the pooled means: of x exact, y synthetic, d difference, p percent.
    dx, dy = table.mean_exact - exact, table.mean_synthetic - synthetic
    dd, dp = table.mean_difference - difference, table.mean_percent - percent
    return Moments(
        voxels=int(voxels.sum()),
        nonzero=int(nonzero.sum()),
        mean_exact=exact,
        mean_synthetic=synthetic,
        mean_difference=difference,
        mean_percent=percent,
        ss_exact=float(np.sum(table.ss_exact + voxels * dx * dx)),
        ss_synthetic=float(np.sum(table.ss_synthetic + voxels * dy * dy)),
        ss_product=float(np.sum(table.ss_product + voxels * dx * dy)),
        ss_difference=float(np.sum(table.ss_difference + voxels * dd * dd)),
        ss_percent=float(np.sum(table.ss_percent + nonzero * dp * dp)),
    )


def pool_within(parts: Sequence[Moments]) -> Moments:
    """Return the pooled sums of parts, but with deviations from each part's own means.

    Correlation and explained variance are then those within the parts: differences between the parts' means,
    which a map of little detail may follow, count for neither. All else is that of `pool`.
    """
    return replace(
        pool(parts),
        ss_exact=sum(part.ss_exact for part in parts),
        ss_synthetic=sum(part.ss_synthetic for part in parts),
        ss_product=sum(part.ss_product for part in parts),
    )


def agreement(
    patients: Sequence[Moments],
    groups: Sequence[str] | None = None,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Agreement:
    """Return the agreement over all voxels of the patients.

    Parameters
    ----------
    patients : sequence of Moments
        One per patient. The interval and the test treat patients as the independent units.
    groups : sequence of str, optional
        Group of each patient. The correlation is that within the groups (`pool_within`): groups whose means
        differ would otherwise be correlated more closely together than any of them is.
    seed, resamples : int
        Seed and number of resamples of the bootstrap interval of the correlation.

    Raises
    ------
    ValueError
        If there is no patient.
    """
    if not patients:
        msg = "agreement needs at least one patient, got none"
        raise ValueError(msg)
    total = pool_within([pool(members) for members in _split(patients, groups)])
    low, high = pearson_interval(patients, groups, seed=seed, resamples=resamples)
    percent_mean, percent_sd = total.percent
    limit_low, limit_high = total.limits
    return Agreement(
        voxels=total.voxels,
        patients=len(patients),
        pearson=total.pearson,
        pearson_low=low,
        pearson_high=high,
        rmse=total.rmse,
        percent_mean=percent_mean,
        percent_sd=percent_sd,
        zeros_left_out=total.voxels - total.nonzero,
        bias=total.mean_difference,
        limit_low=limit_low,
        limit_high=limit_high,
        bias_p=bias_p_value([part.mean_difference for part in patients]),
    )


def pearson_interval(
    patients: Sequence[Moments],
    groups: Sequence[str] | None = None,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of the correlation, within groups if there are any.

    Patients, not voxels, are drawn with replacement: the voxels of one patient share a scanner, and their
    windows overlap. (NaN, NaN) for a single patient.

    References
    ----------
    Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.
    """
    number = len(patients)
    if number < 2:
        return math.nan, math.nan
    draws = np.random.default_rng(seed).multinomial(number, [1 / number] * number, size=resamples)
    members = _split(range(number), groups)
    correlations = _weighted_pearson(_columns(patients), draws.astype(np.float64), members)
    defined = correlations[np.isfinite(correlations)]
    if defined.size == 0:
        return math.nan, math.nan
    low, high = np.percentile(defined, [2.5, 97.5])
    return float(low), float(high)


def bias_p_value(differences: Sequence[float]) -> float:
    """Two-sided p-value of a one-sample t-test of the patients' mean differences against 0.

    NaN for a single patient. If all patients have the same difference, the test statistic has no finite
    value and its limit is used: p is 1 if the difference is 0, otherwise 0.
    """
    values = np.asarray(differences, np.float64)
    if values.size < 2:
        return math.nan
    error = float(values.std(ddof=1)) / math.sqrt(values.size)
    mean = float(values.mean())
    if error == 0:
        return 1.0 if mean == 0 else 0.0
    return 2 * float(stdtr(values.size - 1, -abs(mean) / error))


def _split(items: Sequence[_Item], groups: Sequence[str] | None) -> list[list[_Item]]:
    """Return the items of each group; without groups, all of them as one."""
    if groups is None:
        return [list(items)]
    return [
        [item for item, other in zip(items, groups, strict=True) if other == group]
        for group in dict.fromkeys(groups)
    ]


@dataclass(frozen=True)
class _Columns:
    """A list of `Moments` as a table: each field is an array with one value per item."""

    voxels: Array
    nonzero: Array
    mean_exact: Array
    mean_synthetic: Array
    mean_difference: Array
    mean_percent: Array
    ss_exact: Array
    ss_synthetic: Array
    ss_product: Array
    ss_difference: Array
    ss_percent: Array


def _columns(parts: Sequence[Moments]) -> _Columns:
    return _Columns(*np.array([astuple(part) for part in parts], np.float64).T)


def _block_moments(exact: npt.NDArray[np.generic], synthetic: npt.NDArray[np.generic]) -> Moments:
    x, y = exact.astype(np.float64), synthetic.astype(np.float64)
    difference = y - x
    nonzero = x != 0
    percent = 100 * np.abs(difference[nonzero] / x[nonzero])
    mean_percent = float(percent.mean()) if percent.size else 0.0
    mean_x, mean_y, mean_difference = float(x.mean()), float(y.mean()), float(difference.mean())
    dx, dy, dd, dp = x - mean_x, y - mean_y, difference - mean_difference, percent - mean_percent
    return Moments(
        voxels=x.size,
        nonzero=percent.size,
        mean_exact=mean_x,
        mean_synthetic=mean_y,
        mean_difference=mean_difference,
        mean_percent=mean_percent,
        ss_exact=float(dx @ dx),
        ss_synthetic=float(dy @ dy),
        ss_product=float(dx @ dy),
        ss_difference=float(dd @ dd),
        ss_percent=float(dp @ dp),
    )


def _pooled_mean(means: Array, counts: Array) -> float:
    total = counts.sum()
    return float(counts @ means / total) if total else 0.0


def _weighted_pearson(table: _Columns, draws: Array, groups: Sequence[Sequence[int]]) -> Array:
    """Return the correlation of each resample within the groups, (resamples,); NaN where a map is constant.

    `draws` (resamples, patients) says how often each patient was drawn; `groups` holds indices of patients.
    """
    n = table.voxels
    centre_x, centre_y = _pooled_mean(table.mean_exact, n), _pooled_mean(table.mean_synthetic, n)
    # Means are taken relative to the overall means, so that the sums of squares do not cancel.
    dx, dy = table.mean_exact - centre_x, table.mean_synthetic - centre_y
    ss_x, ss_y, product = np.zeros((3, len(draws)))
    for group in map(list, groups):
        some, size = draws[:, group], n[group]
        voxels = some @ size
        sum_x, sum_y = some @ (size * dx[group]), some @ (size * dy[group])
        drawn = np.where(voxels > 0, voxels, 1.0)  # of a group that was not drawn all sums are 0
        ss_x += some @ (table.ss_exact[group] + size * dx[group] ** 2) - sum_x**2 / drawn
        ss_y += some @ (table.ss_synthetic[group] + size * dy[group] ** 2) - sum_y**2 / drawn
        product += some @ (table.ss_product[group] + size * dx[group] * dy[group]) - sum_x * sum_y / drawn
    voxels = draws @ n
    # The same test as `_is_constant`, for every resample at once.
    constant = (ss_x <= voxels * (_CONSTANT * centre_x) ** 2) | (ss_y <= voxels * (_CONSTANT * centre_y) ** 2)
    scale = np.sqrt(np.where(constant, 1.0, ss_x) * np.where(constant, 1.0, ss_y))
    return np.where(constant, np.nan, np.clip(product / scale, -1.0, 1.0))


def _is_constant(ss: float, voxels: int, mean: float) -> bool:
    return ss <= voxels * (_CONSTANT * mean) ** 2


def _standard_deviation(ss: float, count: int) -> float:
    return math.sqrt(ss / (count - 1)) if count > 1 else math.nan
