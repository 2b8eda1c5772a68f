"""Values that a feature can have with given settings, and synthetic maps held to them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from glcm_cuda.families.offsets import largest_entropy
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
"""Features between 0 and 1."""


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


def possible_range(feature: str, settings: GLCMSettings) -> tuple[float, float]:
    """Return bounds that hold for every window; infinite for features without a known bound.

    Parameters
    ----------
    feature : str
        Canonical name.
    settings : GLCMSettings
        Settings of the map.

    Returns
    -------
    (float, float)
        Smallest and largest value. Those of joint entropy are reached; others may be wider than need be.

    Notes
    -----
    With levels from l to l + D, the differences lie in [0, D] and the sums in [2 l, 2 l + 2 D]. A variable
    on an interval of length R has a variance of R²/4 at most, a third central moment of R³ / (6 √3), and a
    fourth of R⁴/12: two values with suitable shares reach them. Entropies of sums and differences are those
    of functions of the pair, and no larger than that of the pair.
    """
    distance, lowest = settings.levels - 1, settings.first_level
    highest, entropy = lowest + distance, largest_entropy(settings)
    shade = (2 * distance) ** 3 / (6 * math.sqrt(3))
    bounds: dict[str, tuple[float, float]] = {
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
    low, high = bounds.get(feature, (-math.inf, math.inf))
    return float(low), float(high)
