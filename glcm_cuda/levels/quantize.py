"""From intensities to grey levels: bins of a fixed number or width over a range."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from glcm_cuda.levels.bins import Bins
from glcm_cuda.settings import MAX_LEVELS, GLCMSettings

_CHUNK = 1 << 18
"""Voxels examined together, so that temporary arrays stay small next to any volume."""


def quantize(
    image: npt.ArrayLike,
    settings: GLCMSettings | None = None,
    *,
    mask: npt.ArrayLike | None = None,
    bins: Bins | None = None,
) -> npt.NDArray[Any]:
    """Grey levels of an image.

    Parameters
    ----------
    image : array of real numbers, any shape
        Intensities in any unit.
    settings : GLCMSettings, optional
        The fields about bins are used: `levels` or `bin_width`, `bin_edges`, and those of the range.
    mask : array of the image's shape, optional
        Non-zero inside. NaN and infinities are allowed outside, unless windows reach beyond the mask
        (``masked_window=False``); the level they get is unspecified.
    bins : Bins, optional
        The bins, if they are known; by default they are found in `image` (`find_bins`).

    Returns
    -------
    uint8 array of the image's shape, or uint16 with more than 256 levels
        Levels from 0. By default ``floor(levels * (x - low) / (high - low))``, with the highest
        intensity in the top bin. An image of one intensity is all level 0.

    Raises
    ------
    TypeError, ValueError
        If the image does not hold real numbers, is empty, or holds NaN or infinities inside the mask;
        if the mask has another shape, has no voxels, or holds NaN or infinities; if `bin_width` needs
        more than 65,536 levels.

    References
    ----------
    docs/definition.md, section 1; IBSI reference manual, discretisation.

    Examples
    --------
    >>> quantize([0.0, 1.0, 2.0, 4.0], GLCMSettings(levels=4)).tolist()
    [0, 1, 2, 3]
    >>> quantize([50, 74, 75, 166], GLCMSettings(bin_width=25)).tolist()
    [0, 0, 1, 4]
    """
    array = real_array(image)
    bins = bins_for(array, settings or GLCMSettings(), optional_mask(mask, array.shape), bins)
    return bin_levels(array, bins, np.uint8 if bins.levels <= 256 else np.uint16)


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
        return _find_bins(array, settings, mask)
    if array.dtype.kind == "f":
        refuse_nonfinite_voxels(_count_nonfinite(array, mask), scope_of(mask is not None))
        _check_reach(array, settings, mask)
    return bins


def _find_bins(
    array: npt.NDArray[np.generic], settings: GLCMSettings, mask: npt.NDArray[np.generic] | None
) -> Bins:
    """Return the bins of an image; see `find_bins`."""

    def extent_of(every: bool) -> tuple[float, float, int]:
        part = None if every else mask
        low, high = _extent(array, part)
        if np.isfinite(low) and np.isfinite(high):  # one NaN makes both NaN
            return low, high, 0
        wrong = _count_nonfinite(array, part)
        return (*_extent(array, part, finite=True), wrong) if every else (low, high, wrong)

    box = _check_reach(array, settings, mask)
    low, high = range_by_settings(settings, mask is not None, extent_of)
    if settings.intensity_range is None:
        if settings.range_over == "crop" and box is not None:
            low, high = _extent(array[box], None, finite=True)
        if settings.percentiles is not None or settings.deviations is not None:
            _check_overflow(low, high, settings)
            low, high = _narrowed(settings, _domain(array, settings, mask, box), low, high)
    return bins_between(low, high, settings, array.dtype)


def _check_reach(
    array: npt.NDArray[np.generic], settings: GLCMSettings, mask: npt.NDArray[np.generic] | None
) -> tuple[slice, ...] | None:
    """Return the box that the mask's windows reach, None without a mask.

    NaN and infinities in the box are refused if the windows count voxels outside the mask.
    """
    if mask is None:
        return None
    box = bounding_box(mask, max(settings.radii))
    if not settings.masked_window:
        refuse_nonfinite_voxels(_count_nonfinite(array[box], None), " where the mask's windows reach")
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
    _check_overflow(low, high, settings)
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
    ends = np.array([low, high]).astype(_edge_type(dtype, high, settings))
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


def _edge_type(dtype: np.dtype[Any], high: float, settings: GLCMSettings) -> np.dtype[Any]:
    """Return the image's type; or another one where that has no such edges, or is wider than float64."""
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    if dtype.kind == "f" and abs(high) + 2 * (settings.bin_width or 0.0) > float(np.finfo(dtype).max):
        return np.dtype(np.float64)
    return np.dtype(np.float64) if dtype.kind == "f" and dtype.itemsize > 8 else dtype


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


def _check_overflow(low: float, high: float, settings: GLCMSettings) -> None:
    margin = 2 * (settings.bin_width or 0.0)
    if not math.isfinite(max(abs(low), abs(high), high - low) + margin):
        msg = f"the range of intensities {low:g} to {high:g} overflows float64; rescale the image"
        raise ValueError(msg)


def _check_width(width: float, low: float, high: float) -> None:
    needed = np.floor((high - low) / width) + 1  # infinite where the quotient overflows
    if needed > MAX_LEVELS:
        msg = (
            f"bin_width={width:g} needs {needed:.0f} levels over the range {low:g} to {high:g}, but the "
            f"maximum is {MAX_LEVELS}; use a width of {(high - low) / (MAX_LEVELS - 2):.3g} or more"
        )
        raise ValueError(msg)


def scope_of(masked: bool) -> str:
    """Return where intensities count, as a phrase for messages."""
    return " inside the mask" if masked else ""


def refuse_nonfinite_voxels(wrong: int, where: str) -> None:
    """Raise ValueError if `wrong`, the number of NaN or infinite voxels that would count, is not 0."""
    if wrong:
        msg = (
            f"the image must hold finite intensities{where}, got {_nonfinite_voxels(wrong)}; "
            "mask out these voxels or repair the image"
        )
        raise ValueError(msg)


def bounding_box(mask: npt.NDArray[np.generic], margin: int) -> tuple[slice, ...]:
    """Return the bounding box of a mask, grown by a margin on every side and clipped to the image."""
    box = []
    for axis, size in enumerate(mask.shape):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        (places,) = np.nonzero(np.any(mask, axis=others))
        box.append(slice(max(int(places[0]) - margin, 0), min(int(places[-1]) + margin + 1, size)))
    return tuple(box)


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


def _extent(
    array: npt.NDArray[np.generic], mask: npt.NDArray[np.generic] | None, *, finite: bool = False
) -> tuple[float, float]:
    """Return minimum and maximum, inside the mask if there is one; with `finite`, of the finite values."""
    lows, highs = [], []
    for part in _chunks(array):
        values = array[part] if mask is None else array[part][mask[part] != 0]
        if finite:
            values = values[np.isfinite(values)]
        if values.size:
            lows.append(values.min())
            highs.append(values.max())
    return float(np.min(lows)), float(np.max(highs))


def _chunks(array: npt.NDArray[np.generic]) -> Iterator[tuple[slice, ...]]:
    """Yield indices of parts of at most `_CHUNK` elements that cover an array; a row is never divided."""
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
    """Return the image as an array; refuse one that is empty, partly masked or without real numbers."""
    _refuse_masked("image", image)
    array = np.asarray(image)
    if array.dtype.kind not in "biuf":
        msg = f"image must hold real numbers, got dtype {array.dtype}"
        raise TypeError(msg)
    if array.size == 0:
        msg = f"image must not be empty, got shape {array.shape}"
        raise ValueError(msg)
    return array


def _refuse_masked(name: str, array: npt.ArrayLike) -> None:
    """Refuse a NumPy masked array with masked elements, whose mask NumPy would drop in silence."""
    if np.ma.is_masked(array):
        msg = (
            f"{name} must not be a masked array, got masked elements; give mask=~numpy.ma.getmaskarray(image)"
        )
        raise TypeError(msg)


def mask_array(mask: npt.ArrayLike, shape: tuple[int, ...]) -> npt.NDArray[np.generic]:
    """Return the mask as an array; refuse another shape, what is no finite number, and one without voxels."""
    _refuse_masked("mask", mask)
    array = np.asarray(mask)
    if array.dtype.kind not in "biuf":
        msg = f"mask must hold real numbers or booleans, got dtype {array.dtype}"
        raise TypeError(msg)
    if array.shape != shape:
        msg = f"mask must have the image's shape {shape}, got {array.shape}"
        raise ValueError(msg)
    refuse_not_finite("mask", array)
    if not any(np.any(array[part]) for part in _chunks(array)):
        msg = "mask must have voxels inside, got none"
        raise ValueError(msg)
    return array


def optional_mask(mask: npt.ArrayLike | None, shape: tuple[int, ...]) -> npt.NDArray[np.generic] | None:
    """Return the mask as `mask_array` does, or None if there is none."""
    return None if mask is None else mask_array(mask, shape)


def refuse_not_finite(name: str, array: npt.NDArray[np.generic]) -> None:
    """Raise ValueError if a mask holds NaN or infinities, which are neither inside nor outside."""
    if array.dtype.kind == "f" and not np.all(np.isfinite(_extent(array, None))):
        wrong = _nonfinite_voxels(_count_nonfinite(array, None))
        msg = f"{name} must hold finite numbers, got {wrong}; use 0 for voxels outside"
        raise ValueError(msg)


def _count_nonfinite(array: npt.NDArray[np.generic], mask: npt.NDArray[np.generic] | None) -> int:
    """Return how many elements are NaN or infinite, inside the mask if there is one."""
    return int(np.count_nonzero(~np.isfinite(array if mask is None else array[mask != 0])))


def _nonfinite_voxels(count: int) -> str:
    return f"{count} NaN or infinite voxel{'' if count == 1 else 's'}"


def bin_levels(array: npt.NDArray[np.generic], bins: Bins, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Levels of intensities in known bins; see `quantize`.

    Parameters
    ----------
    array : array of real numbers, any shape
        NaN and infinities, possible only outside a mask, get an unspecified level.
    bins : Bins
        See `find_bins`.
    dtype : dtype
        An integer type that holds ``bins.levels``.

    Returns
    -------
    array of `dtype`, of the same shape
        Levels from 0.
    """
    out = np.zeros(array.shape, dtype)
    if bins.edges is not None or bins.span > 0:
        from glcm_cuda.levels.binning import NATIVE, bin_values

        with np.errstate(over="ignore"):  # beyond float64 is beyond every bin
            source = array if array.dtype in NATIVE else array.astype(np.float64)
        bin_values(np.ascontiguousarray(source).reshape(-1), bins, out.reshape(-1))
    return out
