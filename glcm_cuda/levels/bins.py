"""The bins of the grey levels: of a fixed number or width over a range of intensities."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from glcm_cuda.levels.arrays import (
    count_nonfinite,
    optional_mask,
    real_array,
    refuse_nonfinite_voxels,
    scope_of,
)
from glcm_cuda.levels.ranges import check_overflow, check_reach, find_range
from glcm_cuda.settings import MAX_LEVELS, GLCMSettings

OUTSIDE = -1
"""Level of a voxel that does not count: it is outside a mask that limits the windows."""

_MOST_NARROW_LEVELS = 256
"""Most levels that engines pass to the families as 16-bit numbers, which keeps the loops narrow."""


@dataclass(frozen=True)
class Bins:
    """The bins of the grey levels; see docs/definition.md, section 1.

    Parameters
    ----------
    levels : int
        Number of levels, up to that of the highest intensity.
    low, high : float
        Range of intensities, in the image's unit. An intensity outside it counts as the nearer end.
    factor, span : float
        The level of an intensity x is the integer part of ``factor * (x - low) / span``, and 0 if `span` is
        0.
    edges : (levels,) float64 array or None
        Lower edges of the bins, where `factor` and `span` do not describe them exactly.
    """

    levels: int
    low: float
    high: float
    factor: float
    span: float
    edges: npt.NDArray[np.float64] | None = None

    @property
    def flat(self) -> bool:
        """Whether all intensities fall into one bin."""
        return self.levels == 1 or self.low == self.high

    @property
    def wide(self) -> bool:
        """Whether engines pass the levels as 32-bit numbers."""
        return self.levels > _MOST_NARROW_LEVELS

    @property
    def level_type(self) -> type[np.int16 | np.int32]:
        """Type of the levels that an engine passes to the families."""
        return np.int32 if self.wide else np.int16


def find_bins(
    image: npt.ArrayLike, settings: GLCMSettings | None = None, mask: npt.ArrayLike | None = None
) -> Bins:
    """Bins of an image's grey levels.

    Find them once and pass them to `quantize`, `entropy_map`, `feature_maps` and `roi_features`, for this
    image or for parts of it.

    Parameters and errors: see `quantize`.

    Returns
    -------
    Bins

    Examples
    --------
    >>> find_bins([0, 3, 8], GLCMSettings(levels=4)).high
    8.0
    """
    array = real_array(image)
    return bins_for(array, settings or GLCMSettings(), optional_mask(mask, array.shape), None)


def intensity_range(
    image: npt.ArrayLike,
    settings: GLCMSettings | None = None,
    *,
    mask: npt.ArrayLike | None = None,
) -> tuple[float, float]:
    """Lowest and highest intensity of the bins of an image.

    Parameters and errors: see `quantize`.

    Returns
    -------
    (low, high) : floats
        In the image's unit; equal if the image has one intensity.
    """
    bins = find_bins(image, settings, mask)
    return bins.low, bins.high


def bins_for(
    array: npt.NDArray[np.generic],
    settings: GLCMSettings,
    mask: npt.NDArray[np.generic] | None,
    bins: Bins | None,
) -> Bins:
    """Return `bins` if they are given, else those of an image; refuse NaN and infinities either way.

    Parameters
    ----------
    array, mask : arrays of one shape
        As `real_array` and `mask_array` return them.
    settings : GLCMSettings
        The fields about bins, and those that say which voxels the windows reach.
    bins : Bins or None
        Known bins.

    Raises
    ------
    ValueError
        If a voxel that counts is NaN or infinite, or the bins are too many.
    """
    if bins is None:
        return bins_between(*find_range(array, settings, mask), settings, array.dtype)
    if array.dtype.kind == "f":
        refuse_nonfinite_voxels(count_nonfinite(array, mask), scope_of(mask is not None))
        check_reach(array, settings, mask)
    return bins


def bins_between(low: float, high: float, settings: GLCMSettings, dtype: np.dtype[Any]) -> Bins:
    """Return the bins over a range of intensities.

    Parameters
    ----------
    low, high : float
        Range in the image's unit.
    settings : GLCMSettings
        `levels` or `bin_width`, and `bin_edges`.
    dtype : dtype
        Type of the image, in which pyradiomics computes its edges.

    Raises
    ------
    ValueError
        If `bin_width` needs more than `MAX_LEVELS` levels, the range overflows float64, or the bins are
        narrower than numbers of the image's type can tell apart.
    """
    width = settings.bin_width
    check_overflow(low, high, settings)
    if width is not None:
        _check_width(width, low, high)
    if settings.bin_edges == "pyradiomics":
        return _pyradiomics_bins(low, high, settings, dtype)
    if width is not None:
        return Bins(math.floor((high - low) / width) + 1, low, high, 1.0, width)
    span = high - low
    shrink = 1.0 if math.isfinite(settings.levels * span) else 1 / (2 * MAX_LEVELS)  # exact: a power of two
    return Bins(settings.levels, low, high, settings.levels * shrink, span * shrink)


def bins_of_levels(number: int) -> Bins:
    """Return bins of width one for an image that already holds the levels 0 to `number` - 1."""
    return Bins(number, 0.0, float(number), 1.0, 1.0)


def _pyradiomics_bins(low: float, high: float, settings: GLCMSettings, dtype: np.dtype[Any]) -> Bins:
    """Return pyradiomics' bins, computed as there: by the same NumPy functions in the image's type."""
    ends = np.array([low, high]).astype(_edge_type(dtype, low, high, settings))
    if not np.array_equal(ends, (low, high)):  # a given or narrowed range may not fit the type
        ends = np.array([low, high])
    edges = _pyradiomics_edges(ends, settings)
    edges = edges[edges <= ends[1]].astype(np.float64)
    if not (len(edges) and np.all(np.diff(edges) > 0)):
        if low < high:
            raise ValueError(_too_narrow(low, high, settings, ends.dtype))
        edges = np.array([low])  # one intensity is one level, however wide its bin
    step = float(edges[1] - edges[0]) if len(edges) > 1 else 1.0
    return Bins(len(edges), low, high, 1.0, step, np.ascontiguousarray(edges))


def _edge_type(dtype: np.dtype[Any], low: float, high: float, settings: GLCMSettings) -> np.dtype[Any]:
    """Return the image's type; or another one where that has no such edges, or is wider than float64."""
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    if dtype.kind == "f":
        reach = max(abs(low), abs(high), high - low) + 2 * (settings.bin_width or 0.0)
        fits = dtype.itemsize <= 8 and reach <= float(np.finfo(dtype).max)
    else:  # the largest int64 rounds to a float64 beyond it
        fits = np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max
    return dtype if fits else np.dtype(np.float64)


def _pyradiomics_edges(ends: npt.NDArray[Any], settings: GLCMSettings) -> npt.NDArray[Any]:
    """Return edges as NumPy computes them; none if bins of equal size would be too narrow for the type."""
    width = settings.bin_width
    if width is not None:
        return np.arange(ends[0] - ends[0] % width, ends[1] + 2 * width, width)
    try:
        return np.histogram_bin_edges(ends, settings.levels)[:-1]  # the top bin has no upper edge
    except ValueError:
        return np.empty(0)


def _too_narrow(low: float, high: float, settings: GLCMSettings, dtype: np.dtype[Any]) -> str:
    width = settings.bin_width
    bins = f"{settings.levels} levels" if width is None else f"bin_width={width:g}"
    return (
        f"{bins}: the bins over the range {low:.12g} to {high:.12g} are narrower than {dtype} numbers can "
        "tell apart; give fewer or wider bins, or subtract an offset from the image"
    )


def _check_width(width: float, low: float, high: float) -> None:
    needed = np.floor((high - low) / width) + 1  # infinite where the quotient overflows
    if needed > MAX_LEVELS:
        msg = (
            f"bin_width={width:g} needs {needed:.0f} levels over the range {low:g} to {high:g}, but the "
            f"maximum is {MAX_LEVELS}; use a width of {(high - low) / (MAX_LEVELS - 2):.3g} or more"
        )
        raise ValueError(msg)
