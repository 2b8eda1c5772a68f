"""How much of a map's range the voxels of a mask use: grey levels, the ceiling of the feature, spread."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from glcm_cuda import GLCMSettings
from glcm_cuda.families.offsets import largest_entropy
from glcm_cuda.levels.bins import Bins
from glcm_cuda.levels.quantize import bin_levels

_FEW = 0.25
"""Part of the levels that a mask should span at least."""

_MANY = 0.25
"""Part of the voxels of a mask that may lie at the ceiling before the map says little."""

_NEAR = 0.95
"""Part of the ceiling from which on a voxel counts as at the ceiling."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """What a map shows of the voxels of a mask.

    Parameters
    ----------
    levels : int
        From the lowest grey level in the mask to the highest, both included.
    of_levels : int
        Levels that there are.
    low, high : float
        Percentiles 5 and 95 of the map in the mask; NaN where no voxel has a value.
    ceiling : float, optional
        Largest value that the map can have; None where it is not known.
    at_ceiling : float, optional
        Part of the voxels with a value that lie within 5 % of it.
    """

    levels: int
    of_levels: int
    low: float
    high: float
    ceiling: float | None = None
    at_ceiling: float | None = None

    @property
    def has_few_levels(self) -> bool:
        """Whether the mask spans less than a quarter of the levels."""
        return self.levels < _FEW * self.of_levels

    @property
    def is_saturated(self) -> bool:
        """Whether more than a quarter of the mask lies at the ceiling."""
        return self.at_ceiling is not None and self.at_ceiling > _MANY

    def described(self, unit: str | None) -> str:
        """Return the figures of the map as the log has them."""
        unit = f" {unit}" if unit else ""
        text = f"the map {self.low:.3g} to {self.high:.3g}{unit} (5th to 95th percentile)"
        if self.ceiling is None or self.at_ceiling is None:
            return text
        share = f"{100 * self.at_ceiling:.0f} % of the voxels"
        return f"{text}, {share} within 5 % of the ceiling of {self.ceiling:.3g}{unit}"

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as sidecars record them."""
        percentiles = [None if np.isnan(value) else round(value, 6) for value in (self.low, self.high)]
        record: dict[str, Any] = {"levels_spanned": self.levels, "percentiles_5_95": percentiles}
        if self.ceiling is not None and self.at_ceiling is not None:
            record |= {"ceiling": round(self.ceiling, 6), "at_ceiling": round(self.at_ceiling, 4)}
        return record


def spread_of(
    values: npt.NDArray[np.float32],
    image: npt.NDArray[Any],
    mask: npt.NDArray[np.bool_],
    bins: Bins,
    settings: GLCMSettings,
    feature: str,
) -> Spread:
    """Return what a map shows of the voxels of a mask.

    Parameters
    ----------
    values, image, mask : arrays of one shape
        Map, intensities, and the voxels that count, of which there is at least one.
    bins : Bins
        Of the image.
    settings, feature
        Those of the map.
    """
    levels = bin_levels(image[mask], bins, np.int32)
    defined = values[mask]
    defined = defined[np.isfinite(defined)]
    low, high = np.percentile(defined, (5, 95)) if defined.size else (np.nan, np.nan)
    ceiling = at_ceiling = None
    if feature == "joint_entropy" and defined.size:
        ceiling = largest_entropy(replace(settings, levels=max(bins.levels, 2), bin_width=None))
        at_ceiling = float(np.mean(defined >= _NEAR * ceiling))
    return Spread(
        levels=int(np.ptp(levels)) + 1,
        of_levels=bins.levels,
        low=float(low),
        high=float(high),
        ceiling=ceiling,
        at_ceiling=at_ceiling,
    )


def with_fewer_levels(settings: GLCMSettings, bins: Bins) -> GLCMSettings:
    """Return the settings with a quarter of the levels, or with bins four times as wide."""
    if settings.bin_width is not None:
        return replace(settings, bin_width=4 * settings.bin_width)
    return replace(settings, levels=max(2, bins.levels // 4))
