"""The range of intensities over which the bins lie."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from glcm_cuda.levels.arrays import bounding_box, count_nonfinite, extent, refuse_nonfinite_voxels, scope_of
from glcm_cuda.settings import GLCMSettings


def find_range(
    array: npt.NDArray[np.generic], settings: GLCMSettings, mask: npt.NDArray[np.generic] | None
) -> tuple[float, float]:
    """Return the lowest and highest intensity of an image's bins; see `find_bins`."""

    def extent_of(every: bool) -> tuple[float, float, int]:
        part = None if every else mask
        low, high = extent(array, part)
        if np.isfinite(low) and np.isfinite(high):  # one NaN makes both NaN
            return low, high, 0
        wrong = count_nonfinite(array, part)
        return (*extent(array, part, finite=True), wrong) if every else (low, high, wrong)

    box = check_reach(array, settings, mask)
    low, high = range_by_settings(settings, mask is not None, extent_of)
    if settings.intensity_range is None:
        if settings.range_over == "crop" and box is not None:
            low, high = extent(array[box], None, finite=True)
        if settings.percentiles is not None or settings.deviations is not None:
            check_overflow(low, high, settings)
            low, high = _narrowed(settings, _domain(array, settings, mask, box), low, high)
    return low, high


def check_overflow(low: float, high: float, settings: GLCMSettings) -> None:
    """Refuse a range whose bins float64 could not hold."""
    margin = 2 * (settings.bin_width or 0.0)
    if not math.isfinite(max(abs(low), abs(high), high - low) + margin):
        msg = f"the range of intensities {low:g} to {high:g} overflows float64; rescale the image"
        raise ValueError(msg)


def check_reach(
    array: npt.NDArray[np.generic], settings: GLCMSettings, mask: npt.NDArray[np.generic] | None
) -> tuple[slice, ...] | None:
    """Return the box that the mask's windows reach, None without a mask.

    NaN and infinities in the box are refused if the windows count voxels outside the mask.
    """
    if mask is None:
        return None
    box = bounding_box(mask, max(settings.radii))
    if not settings.masked_window:
        refuse_nonfinite_voxels(count_nonfinite(array[box], None), " where the mask's windows reach")
    return box


def range_by_settings(
    settings: GLCMSettings, masked: bool, extent_of: Callable[[bool], tuple[float, float, int]]
) -> tuple[float, float]:
    """Return the range of intensities that the settings ask for, before crop, percentiles and deviations.

    Parameters
    ----------
    settings : GLCMSettings
        `intensity_range` and `range_over` are used.
    masked : bool
        Whether there is a mask.
    extent_of : callable (every) -> (low, high, nonfinite)
        Lowest and highest finite intensity, and the number of voxels that are NaN or infinite: of all voxels
        if `every`, else of those inside the mask.

    Raises
    ------
    ValueError
        If a voxel inside the mask is NaN or infinite, or the range needs a mask and there is none.
    """
    low, high, wrong = extent_of(False)
    refuse_nonfinite_voxels(wrong, scope_of(masked))
    if settings.intensity_range is not None:
        return settings.intensity_range
    if settings.range_over != "image" and not masked:
        msg = f'range_over="{settings.range_over}" needs a mask, got none'
        raise ValueError(msg)
    if settings.range_over == "image" and masked:
        low, high, _ = extent_of(True)
    return low, high


def _domain(
    array: npt.NDArray[np.generic],
    settings: GLCMSettings,
    mask: npt.NDArray[np.generic] | None,
    box: tuple[slice, ...] | None,
) -> npt.NDArray[np.float64]:
    """Return the finite intensities of the voxels that `range_over` names, as a flat float64 array."""
    if settings.range_over == "mask" and mask is not None:
        values = array[mask != 0]
    else:
        values = array[box] if settings.range_over == "crop" and box is not None else array
    finite: npt.NDArray[np.float64] = values[np.isfinite(values)].astype(np.float64)
    return finite


def _narrowed(
    settings: GLCMSettings, values: npt.NDArray[np.float64], low: float, high: float
) -> tuple[float, float]:
    """Return the range between the percentiles, or the range clipped to the mean plus or minus deviations."""
    if settings.percentiles is not None:
        low, high = (float(edge) for edge in np.percentile(values, settings.percentiles))
        return low, high
    with np.errstate(over="ignore", invalid="ignore"):
        reach = float(settings.deviations or 0) * float(values.std())
    if not math.isfinite(reach):
        msg = f"the standard deviation of intensities from {low:g} to {high:g} overflows; rescale the image"
        raise ValueError(msg)
    return max(low, float(values.mean()) - reach), min(high, float(values.mean()) + reach)
