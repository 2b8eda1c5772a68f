"""From intensities to grey levels: fixed bin number over a range."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from .settings import GLCMSettings

_CHUNK = 1 << 18
"""Voxels looked at together, so that what is made of them stays small beside any volume."""


def quantize(
    image: npt.ArrayLike,
    settings: GLCMSettings | None = None,
    *,
    mask: npt.ArrayLike | None = None,
) -> npt.NDArray[np.uint8]:
    """Grey levels of an image by a fixed number of equal bins.

    Parameters
    ----------
    image : array of real numbers, any shape
        Intensities in any unit.
    settings : GLCMSettings, optional
        `levels`, `intensity_range` and `range_over` are used.
    mask : array of the image's shape, optional
        Non-zero inside. Outside it NaN and infinities are allowed; they become level 0.

    Returns
    -------
    uint8 array of the image's shape
        Levels in ``[0, levels)``: ``floor(levels * (x - low) / (high - low))``, the highest
        intensity in the top bin. An image of one intensity is all level 0.

    Raises
    ------
    TypeError, ValueError
        If the image is not of real numbers, is empty, or holds NaN or infinity inside the mask;
        if the mask has another shape, is empty, or holds NaN or infinity.

    References
    ----------
    docs/definition.md, section 1; IBSI reference manual, fixed bin number discretisation.

    Examples
    --------
    >>> quantize([0.0, 1.0, 2.0, 4.0], GLCMSettings(levels=4)).tolist()
    [0, 1, 2, 3]
    """
    settings = settings or GLCMSettings()
    array = real_array(image)
    low, high = intensity_range(array, settings, mask=mask)
    return bin_levels(array, settings.levels, low, high, np.uint8)


def intensity_range(
    image: npt.ArrayLike,
    settings: GLCMSettings | None = None,
    *,
    mask: npt.ArrayLike | None = None,
) -> tuple[float, float]:
    """Lowest and highest edge of the bins that `quantize` uses for this image.

    Parameters, errors: those of `quantize`.

    Returns
    -------
    (low, high) : floats
        In the image's unit; equal if the image has one intensity.
    """
    settings = settings or GLCMSettings()
    array = real_array(image)
    inside = None if mask is None else mask_array(mask, array.shape)

    def extent_of(every: bool) -> tuple[float, float, int]:
        part = None if every else inside
        low, high = _extent(array, part)
        if np.isfinite(low) and np.isfinite(high):  # as a minimum, NaN wins
            return low, high, 0
        wrong = _count_not_finite(array, part)
        return (*_extent(array, part, finite=True), wrong) if every else (low, high, wrong)

    return ruled_range(settings, inside is not None, extent_of)


def ruled_range(
    settings: GLCMSettings, masked: bool, extent_of: Callable[[bool], tuple[float, float, int]]
) -> tuple[float, float]:
    """Range of an image by the settings' rule.

    `extent_of` returns the lowest and the highest of an image's finite intensities, and how many are not
    finite: of every voxel, or of those inside the mask.
    """
    low, high, wrong = extent_of(False)
    if wrong:
        where = " inside the mask" if masked else ""
        msg = (
            f"the image must hold finite intensities{where}, got {_voxels_not_finite(wrong)}; "
            "mask out what is not finite, or repair the image"
        )
        raise ValueError(msg)
    if settings.intensity_range is not None:
        return settings.intensity_range
    if settings.range_over == "mask" and not masked:
        msg = 'range_over="mask" needs a mask, got none'
        raise ValueError(msg)
    if settings.range_over == "image" and masked:
        low, high, _ = extent_of(True)
    return low, high


def _extent(
    array: npt.NDArray[np.generic], inside: npt.NDArray[np.generic] | None, *, finite: bool = False
) -> tuple[float, float]:
    """Return minimum and maximum, inside the mask if there is one; with `finite`, of what is finite."""
    lows, highs = [], []
    for part in _chunks(array):
        values = array[part] if inside is None else array[part][inside[part] != 0]
        if finite:
            values = values[np.isfinite(values)]
        if values.size:
            lows.append(values.min())
            highs.append(values.max())
    return float(np.min(lows)), float(np.max(highs))


def _chunks(array: npt.NDArray[np.generic]) -> Iterator[tuple[slice, ...]]:
    """Yield indices of parts of an array that are small, unless a row along the last axis is not."""
    if array.size <= _CHUNK or array.ndim < 2:
        yield (slice(None),) * array.ndim
        return
    thickness = max(1, _CHUNK * len(array) // array.size)
    for start in range(0, len(array), thickness):
        part = slice(start, start + thickness)
        if thickness > 1:
            yield (part,)
        else:
            yield from ((part, *rest) for rest in _chunks(array[start]))


def real_array(image: npt.ArrayLike) -> npt.NDArray[np.generic]:
    """Return the image as an array, refusing what is empty or not of real numbers."""
    array = np.asarray(image)
    if array.dtype.kind not in "biuf":
        msg = f"image must hold real numbers, got dtype {array.dtype}"
        raise TypeError(msg)
    if array.size == 0:
        msg = f"image must not be empty, got shape {array.shape}"
        raise ValueError(msg)
    return array


def mask_array(mask: npt.ArrayLike, shape: tuple[int, ...]) -> npt.NDArray[np.generic]:
    """Return the mask as an array, refusing another shape, NaN, or no voxel inside."""
    array = np.asarray(mask)
    if array.shape != shape:
        msg = f"mask must have the image's shape {shape}, got {array.shape}"
        raise ValueError(msg)
    refuse_not_finite("mask", array)
    if not any(np.any(array[part]) for part in _chunks(array)):
        msg = "mask must have voxels inside, got none"
        raise ValueError(msg)
    return array


def refuse_not_finite(name: str, array: npt.NDArray[np.generic]) -> None:
    """Refuse a mask with NaN or infinities: neither is inside or outside."""
    if array.dtype.kind == "f" and not np.all(np.isfinite(_extent(array, None))):
        wrong = _voxels_not_finite(_count_not_finite(array, None))
        msg = f"{name} must hold finite numbers, got {wrong}; write 0 outside"
        raise ValueError(msg)


def _count_not_finite(array: npt.NDArray[np.generic], inside: npt.NDArray[np.generic] | None) -> int:
    return int(np.count_nonzero(~np.isfinite(array if inside is None else array[inside != 0])))


def _voxels_not_finite(count: int) -> str:
    return f"{count} NaN or infinite voxel{'' if count == 1 else 's'}"


def bin_levels(
    array: npt.NDArray[np.generic], levels: int, low: float, high: float, dtype: npt.DTypeLike
) -> npt.NDArray[Any]:
    """Levels of intensities for a range that is already known; see `quantize`.

    What is not finite, which can only be outside a mask, becomes some level.
    """
    out = np.zeros(array.shape, dtype)
    if high > low:
        from .binning import NATIVE, bin_values

        source = array if array.dtype in NATIVE else array.astype(np.float64)
        bin_values(np.ascontiguousarray(source).reshape(-1), levels, low, high, out.reshape(-1))
    return out
