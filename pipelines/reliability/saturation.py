"""How much of its range a map uses: voxels at floor and ceiling, grey levels, spread against noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from glcm_cuda.levels.quantize import bin_levels
from pipelines.reliability.measuring import bins_of
from pipelines.reliability.perturbations import Case
from pipelines.reliability.repeatability import Agreement, is_constant

Values = npt.NDArray[np.floating[Any]]

NEAR = 0.05
"""Part of the range from floor to ceiling within which a voxel counts as at either."""

_SAMPLED_WINDOWS = 20_000
"""Windows in which levels are counted."""


@dataclass(frozen=True, kw_only=True)
class Saturation:
    """How much of its range a map uses in the mask.

    Parameters
    ----------
    floor, ceiling : float
        Smallest and largest value that the feature can have; NaN where they are not known.
    at_floor, at_ceiling : float
        Part of the voxels within 5 % of the range from either; NaN where they are not known.
    commonest : float
        Part of the voxels that share the most frequent value.
    spread : float
        Standard deviation over the mask.
    spread_to_noise : float
        Spread over the standard deviation within voxels under added noise; NaN without that perturbation.
    """

    floor: float = math.nan
    ceiling: float = math.nan
    at_floor: float = math.nan
    at_ceiling: float = math.nan
    commonest: float = math.nan
    spread: float = math.nan
    spread_to_noise: float = math.nan

    @property
    def at_bounds(self) -> float:
        """Part of the voxels at floor or ceiling, 0 where these are not known."""
        return float(np.nansum([self.at_floor, self.at_ceiling]))


def saturation(values: Values, bounds: tuple[float, float] | None, noise: Agreement | None) -> Saturation:
    """Return how much of its range a map uses.

    Parameters
    ----------
    values : (N,) array
        The map in the mask; NaN is left out.
    bounds : (float, float), optional
        Floor and ceiling of the feature.
    noise : Agreement, optional
        Of the map with that of the image with added noise.
    """
    values = values[np.isfinite(values)].astype(np.float64)
    if not values.size:
        return Saturation()
    _, counts = np.unique(values, return_counts=True)
    spread = float(values.std())
    figures: dict[str, float] = {"commonest": float(counts.max() / values.size), "spread": spread}
    if noise is not None and noise.within_sd > 0 and not is_constant(values):
        figures["spread_to_noise"] = spread / noise.within_sd
    if bounds is not None:
        floor, ceiling = bounds
        near = NEAR * (ceiling - floor)
        figures |= {
            "floor": floor,
            "ceiling": ceiling,
            "at_floor": float(np.mean(values <= floor + near)),
            "at_ceiling": float(np.mean(values >= ceiling - near)),
        }
    return Saturation(**figures)


@dataclass(frozen=True, kw_only=True)
class LevelsUsed:
    """Different grey levels: of all, in the mask, and in the median window around its voxels."""

    of_levels: int
    in_mask: int
    in_window: float


def levels_used(case: Case, *, seed: int = 0) -> LevelsUsed:
    """Return how many different grey levels mask and windows hold; windows are a sample of at most 20,000."""
    bins = bins_of(case)
    case = case.boxed()
    levels = bin_levels(case.image, bins, np.int32)
    if case.settings.masked_window:
        levels = np.where(case.mask, levels, -1)
    places = np.argwhere(case.mask)
    if len(places) > _SAMPLED_WINDOWS:
        places = np.random.default_rng(seed).permutation(places)[:_SAMPLED_WINDOWS]
    windows = np.sort(_windows(levels, places, case), axis=1)
    different = (np.diff(windows, axis=1) > 0) & (windows[:, :-1] >= 0)
    counts = np.count_nonzero(different, axis=1) + 1
    in_mask = len(np.unique(levels[case.mask]))
    return LevelsUsed(of_levels=bins.levels, in_mask=in_mask, in_window=float(np.median(counts)))


def _windows(levels: npt.NDArray[np.int32], places: npt.NDArray[Any], case: Case) -> npt.NDArray[np.int32]:
    """Return the levels of the windows around some voxels, one row each; -1 beyond the image."""
    settings = case.settings
    radii = list(settings.radii)
    if settings.slice_axis:  # radii are those of slices across z
        radii.insert(settings.slice_axis, radii.pop(0))
    radii = radii[-levels.ndim :]
    padded = np.pad(levels, [(radius, radius) for radius in radii], constant_values=-1)
    edges = tuple(2 * radius + 1 for radius in radii)
    windows = np.lib.stride_tricks.sliding_window_view(padded, edges)
    rows: npt.NDArray[np.int32] = windows[tuple(places.T)].reshape(len(places), -1)
    return rows
