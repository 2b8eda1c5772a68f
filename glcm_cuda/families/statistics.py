"""Statistics of the numbers of a region: its intensities, or its levels."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt


class Statistics:
    """Statistics of a set of numbers, each made when it is asked for; see docs/definition.md, section 10.

    Parameters
    ----------
    numbers : array of real numbers
        At least one, all finite.
    """

    def __init__(self, numbers: npt.NDArray[np.generic]) -> None:
        self.sorted = np.sort(numbers.astype(np.float64), axis=None)

    @property
    def count(self) -> int:
        """How many numbers there are."""
        return len(self.sorted)

    @property
    def minimum(self) -> float:
        """Return the smallest number."""
        return float(self.sorted[0])

    @property
    def maximum(self) -> float:
        """Return the largest number."""
        return float(self.sorted[-1])

    @property
    def flat(self) -> bool:
        """Whether all numbers are equal."""
        return self.minimum == self.maximum

    @functools.cached_property
    def mean(self) -> float:
        """Return the mean, exact but for one rounding of the sum and one of the quotient."""
        return self.minimum if self.flat else _mean(self.sorted)

    @functools.cached_property
    def _deviations(self) -> npt.NDArray[np.float64]:
        return self.sorted - self.mean

    @functools.cached_property
    def _scaled(self) -> npt.NDArray[np.float64]:
        """Deviations in units of the largest, so that powers of them neither overflow nor vanish."""
        largest = float(np.abs(self._deviations).max())
        return self._deviations / largest

    @property
    def variance(self) -> float:
        """Return the mean square of the deviations from the mean."""
        return 0.0 if self.flat else _mean(squares(self._deviations))

    @property
    def standard_deviation(self) -> float:
        """Return the root of the variance, also where no float64 holds the variance."""
        return 0.0 if self.flat else float(np.abs(self._deviations).max()) * self._root

    @property
    def _root(self) -> float:
        return math.sqrt(_mean(self._scaled**2))

    def standardized(self, order: int) -> float:
        """Return a central moment over that power of the standard deviation; 0 if all numbers are equal."""
        return 0.0 if self.flat else _mean(self._scaled**order) / self._root**order

    @property
    def mean_absolute_deviation(self) -> float:
        """Return the mean distance from the mean."""
        return _mean(np.abs(self._deviations))

    @property
    def median_absolute_deviation(self) -> float:
        """Return the mean distance from the median."""
        return _mean(np.abs(self.sorted - self.percentile(50)))

    @property
    def robust_mean_absolute_deviation(self) -> float:
        """Return that of the numbers from the 10th to the 90th percentile about their mean; NaN if none."""
        low, high = self.percentile(10), self.percentile(90)
        kept = self.sorted[(self.sorted >= low) & (self.sorted <= high)]
        return _mean(np.abs(kept - _mean(kept))) if len(kept) else math.nan

    def percentile(self, percent: int) -> float:
        """Return a percentile, between two numbers in proportion."""
        place, rest = divmod(percent * (self.count - 1), 100)
        low = float(self.sorted[place])
        return low + rest / 100 * (float(self.sorted[place + 1]) - low) if rest else low

    @property
    def interquartile_range(self) -> float:
        """Return the distance from the 25th to the 75th percentile."""
        return self.percentile(75) - self.percentile(25)

    @property
    def coefficient_of_variation(self) -> float:
        """Return the standard deviation over the mean; NaN if the mean is 0."""
        return self.standard_deviation / self.mean if self.mean else math.nan

    @property
    def quartile_dispersion(self) -> float:
        """Return the interquartile range over the sum of the quartiles; NaN if this sum is 0."""
        total = self.percentile(75) + self.percentile(25)
        return self.interquartile_range / total if total else math.nan


def squares(numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the squares; those that are too large for a float64 are infinite."""
    with np.errstate(over="ignore"):
        return numbers**2


def total(numbers: npt.NDArray[np.float64]) -> float:
    """Return the sum of numbers from 0 on, rounded once; infinity if it is too large for a float64."""
    try:
        return math.fsum(numbers)
    except OverflowError:
        return math.inf


def _mean(numbers: npt.NDArray[np.float64]) -> float:
    try:
        return math.fsum(numbers) / len(numbers)
    except OverflowError:  # the sum is too large for a float64, but not the mean
        return math.fsum(numbers / len(numbers))


FORMULAS: Mapping[str, Callable[[Any], float]] = {
    "mean": lambda s: s.mean,
    "variance": lambda s: s.variance,
    "skewness": lambda s: s.standardized(3),
    "kurtosis": lambda s: s.standardized(4),
    "excess_kurtosis": lambda s: 0.0 if s.flat else s.standardized(4) - 3.0,
    "median": lambda s: s.percentile(50),
    "minimum": lambda s: s.minimum,
    "percentile_10": lambda s: s.percentile(10),
    "percentile_90": lambda s: s.percentile(90),
    "maximum": lambda s: s.maximum,
    "interquartile_range": lambda s: s.interquartile_range,
    "range": lambda s: s.maximum - s.minimum,
    "mean_deviation": lambda s: s.mean_absolute_deviation,
    "robust_deviation": lambda s: s.robust_mean_absolute_deviation,
    "median_deviation": lambda s: s.median_absolute_deviation,
    "coefficient_of_variation": lambda s: s.coefficient_of_variation,
    "quartile_dispersion": lambda s: s.quartile_dispersion,
}
"""Features from `Statistics`, by `Feature.formula`."""
