"""Values that a feature can have with given settings, and synthetic maps held to them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from glcm_cuda.families.feature import Feature
from glcm_cuda.families.offsets import directions, largest_entropy
from glcm_cuda.families.registry import feature_named
from glcm_cuda.settings import GLCMSettings
from surrogate.honesty.card import ROUNDING

_SHARES = (
    "joint_energy",
    "maximum_probability",
    "idm",
    "idmn",
    "id",
    "idn",
    "inverse_variance",
    "imc2",
    "mcc",
)
"""Co-occurrence features between 0 and 1."""

_COARSEST = 10.0**6
"""Largest coarseness, that of a window of one level."""

Range = tuple[float, float]


@dataclass(frozen=True)
class Clipped:
    """A map held to what is possible.

    Parameters
    ----------
    values : float32 array
        The map. What is not finite stays as it was.
    low, high : float
        Bounds; infinite where there is none.
    below, above : int
        Number of values that were beyond them by more than rounding.
    """

    values: npt.NDArray[np.float32]
    low: float
    high: float
    below: int
    above: int

    def to_dict(self) -> dict[str, Any]:
        """Return bounds and numbers as sidecars record them; a bound that there is not is None."""
        bounds = [bound if math.isfinite(bound) else None for bound in (self.low, self.high)]
        return {"possible": bounds, "below": self.below, "above": self.above}


def clip(values: npt.NDArray[np.float32], feature: str, settings: GLCMSettings) -> Clipped:
    """Return a map with the values that no window can have replaced by the nearest that one can."""
    low, high = possible_range(feature, settings)
    rounding = ROUNDING * max(abs(bound) for bound in (low, high, 0.0) if math.isfinite(bound))
    finite = np.isfinite(values)
    return Clipped(
        values=np.where(finite, np.clip(values, np.float32(low), np.float32(high)), values),
        low=low,
        high=high,
        below=int(np.count_nonzero(finite & (values < low - rounding))),
        above=int(np.count_nonzero(finite & (values > high + rounding))),
    )


def possible_range(feature: str, settings: GLCMSettings) -> Range:
    """Return bounds that hold for every window; infinite for features without a known bound.

    Parameters
    ----------
    feature : str
        Canonical name.
    settings : GLCMSettings
        Settings of the map, with a number of levels.

    Returns
    -------
    (float, float)
        Smallest and largest value. Those of joint entropy are reached; others may be wider than need be.
        Features of intensities have none, since intensities may be anything.
    """
    known = feature_named(feature)
    low, high = _RANGES[known.family](known, settings)
    return float(low), float(high)


def _pair_range(feature: Feature, settings: GLCMSettings) -> Range:
    """Return bounds of a co-occurrence feature.

    With levels from l to l + D, the differences lie in [0, D] and the sums in [2 l, 2 l + 2 D]. A variable
    on an interval of length R has a variance of R²/4 at most, a third central moment of R³ / (6 √3), and a
    fourth of R⁴/12: two values with suitable shares reach them. Entropies of sums and differences are those
    of functions of the pair, and no larger than that of the pair.
    """
    distance, lowest = settings.levels - 1, settings.first_level
    highest, entropy = lowest + distance, largest_entropy(settings)
    shade = (2 * distance) ** 3 / (6 * math.sqrt(3))
    bounds: dict[str, Range] = {
        **dict.fromkeys(_SHARES, (0, 1)),
        **dict.fromkeys(("joint_entropy", "sum_entropy", "difference_entropy"), (0, entropy)),
        "correlation": (-1, 1),
        "imc1": (-1, 0),
        "autocorrelation": (lowest**2, highest**2),
        "joint_average": (lowest, highest),
        "sum_average": (2 * lowest, 2 * highest),
        "contrast": (0, distance**2),
        "difference_average": (0, distance),
        "difference_variance": (0, distance**2 / 4),
        "sum_squares": (0, distance**2 / 4),
        "cluster_tendency": (0, distance**2),
        "cluster_shade": (-shade, shade),
        "cluster_prominence": (0, (2 * distance) ** 4 / 12),
    }
    return bounds[feature.name]


def _first_order_range(feature: Feature, settings: GLCMSettings) -> Range:
    """Return bounds of a first-order feature: with K levels, p has K shares at most."""
    kinds = min(math.prod(settings.edges), settings.levels)
    bounds: dict[str, Range] = {
        "Entropy": (0, settings.log_unit * math.log2(kinds)),
        "Uniformity": (1 / kinds, 1),
    }
    return bounds.get(feature.pyradiomics, (-math.inf, math.inf))


def _run_range(feature: Feature, settings: GLCMSettings) -> Range:
    """Return bounds of a run-length feature: no direction has more runs than voxels."""
    matrices = len(directions(replace(settings, distance=1))) if settings.aggregate == "merge" else 1
    most = math.prod(settings.edges) * matrices
    return _matrix_range(feature, settings, most, max(settings.edges))


def _zone_range(feature: Feature, settings: GLCMSettings) -> Range:
    """Return bounds of a size-zone feature: there are as many zones as voxels at most."""
    voxels = math.prod(settings.edges)
    return _matrix_range(feature, settings, voxels, voxels)


def _dependence_range(feature: Feature, settings: GLCMSettings) -> Range:
    """Return bounds of a dependence feature: a voxel depends on all of its neighbours at most."""
    return _matrix_range(feature, settings, math.prod(settings.edges), 1 + _most_neighbours(settings))


def _matrix_range(feature: Feature, settings: GLCMSettings, entries: int, largest: int) -> Range:
    """Return bounds of a feature of a matrix P(i, j).

    It has at most `entries` entries, and j goes from 1 to `largest`. Means over the entries lie between the
    smallest and the largest i and j. The sum of g(i)²/N² over K levels is 1/K at least, that of g(i)²/N is
    N/K, and K is no more than N; the same holds for r(j).
    """
    levels = settings.levels
    cells = min(entries, levels * largest)
    return {
        "short": (largest**-2, 1),
        "long": (1, largest**2),
        "low": (levels**-2, 1),
        "high": (1, levels**2),
        "short_low": ((levels * largest) ** -2, 1),
        "short_high": (largest**-2, levels**2),
        "long_low": (levels**-2, largest**2),
        "long_high": (1, (levels * largest) ** 2),
        "levels": (1, entries),
        "levels_normalized": (1 / min(entries, levels), 1),
        "numbers": (1, entries),
        "numbers_normalized": (1 / min(entries, largest), 1),
        "percentage": (1 / largest, 1),
        "level_variance": (0, (levels - 1) ** 2 / 4),
        "number_variance": (0, (largest - 1) ** 2 / 4),
        "entropy": (0, settings.log_unit * math.log2(cells)),
    }[feature.formula]


def _difference_range(feature: Feature, settings: GLCMSettings) -> Range:
    """Return bounds of a feature of grey-tone differences.

    With levels from 1 to 1 + D, n voxels of K levels and m neighbours at most, an s_i is n_i D at most, so
    that the sum of p_i s_i is n D at most. If not 0, the sum of s_i is 1/m at least, and that of
    abs(i p_i - j p_j), over both orders, 2/n. The sum of p_i p_j (i - j)² is twice the variance of the levels
    and D²/2 at most. The sum of p_i + p_j over both orders of all pairs of different levels is 2 (K - 1).
    """
    voxels, distance = math.prod(settings.edges), settings.levels - 1
    pairs = 2 * (min(voxels, settings.levels) - 1)
    bounds: dict[str, Range] = {
        "Coarseness": (min(1 / (voxels * distance), _COARSEST), _COARSEST),
        "Contrast": (0, distance**3 / 4),
        "Busyness": (0, voxels**2 * distance / 2),
        "Complexity": (0, pairs * distance**2),
        "Strength": (0, pairs * distance**2 * _most_neighbours(settings)),
    }
    return bounds[feature.pyradiomics]


def _most_neighbours(settings: GLCMSettings) -> int:
    """Return how many neighbours a voxel has at most."""
    offsets = directions(replace(settings, directions="all"))
    return min(2 * len(offsets), math.prod(settings.edges) - 1)


_RANGES: dict[str, Callable[[Feature, GLCMSettings], Range]] = {
    "firstorder": _first_order_range,
    "glcm": _pair_range,
    "glrlm": _run_range,
    "glszm": _zone_range,
    "gldm": _dependence_range,
    "ngtdm": _difference_range,
}
"""By family."""
