"""Images and masks as arrays: what is refused, and their extent."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

_CHUNK = 1 << 18
"""Voxels examined together, so that temporary arrays stay small next to any volume."""


def real_array(image: npt.ArrayLike) -> npt.NDArray[np.generic]:
    """Return the image as an array; refuse one that is empty, partly masked or without real numbers."""
    _refuse_masked("image", image)
    _refuse_medical("image", image)
    array = np.asarray(image)
    if array.dtype.kind not in "biuf":
        msg = f"image must hold real numbers, got dtype {array.dtype}"
        raise TypeError(msg)
    if array.size == 0:
        msg = f"image must not be empty, got shape {array.shape}"
        raise ValueError(msg)
    return array


def mask_array(mask: npt.ArrayLike, shape: tuple[int, ...]) -> npt.NDArray[np.generic]:
    """Return the mask as an array; refuse another shape, what is no finite number, and one without voxels."""
    _refuse_masked("mask", mask)
    _refuse_medical("mask", mask)
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
    if array.dtype.kind == "f" and not np.all(np.isfinite(extent(array, None))):
        wrong = _nonfinite_voxels(count_nonfinite(array, None))
        msg = f"{name} must hold finite numbers, got {wrong}; use 0 for voxels outside"
        raise ValueError(msg)


def _refuse_masked(name: str, array: npt.ArrayLike) -> None:
    """Refuse a NumPy masked array with masked elements, whose mask NumPy would drop in silence."""
    if np.ma.is_masked(array):
        msg = (
            f"{name} must not be a masked array, got masked elements; give mask=~numpy.ma.getmaskarray(image)"
        )
        raise TypeError(msg)


def _refuse_medical(name: str, image: object) -> None:
    """Refuse images of SimpleITK and nibabel, whose axes NumPy would take in another order, or one by one."""
    if hasattr(image, "GetDirection") or hasattr(image, "dataobj"):
        kind = f"{type(image).__module__.partition('.')[0]}.{type(image).__name__}"
        msg = f"{name} must be an array, got {kind}; use radsynth.map, which takes and returns such images"
        raise TypeError(msg)


def count_nonfinite(array: npt.NDArray[np.generic], mask: npt.NDArray[np.generic] | None) -> int:
    """Return how many elements are NaN or infinite, inside the mask if there is one."""
    return int(np.count_nonzero(~np.isfinite(array if mask is None else array[mask != 0])))


def refuse_nonfinite_voxels(wrong: int, where: str) -> None:
    """Raise ValueError if `wrong`, the number of NaN or infinite voxels that would count, is not 0."""
    if wrong:
        msg = (
            f"the image must hold finite intensities{where}, got {_nonfinite_voxels(wrong)}; "
            "mask out these voxels or repair the image"
        )
        raise ValueError(msg)


def _nonfinite_voxels(count: int) -> str:
    return f"{count} NaN or infinite voxel{'' if count == 1 else 's'}"


def scope_of(masked: bool) -> str:
    """Return where intensities count, as a phrase for messages."""
    return " inside the mask" if masked else ""


def bounding_box(mask: npt.NDArray[np.generic], margin: int) -> tuple[slice, ...]:
    """Return the bounding box of a mask, grown by a margin on every side and clipped to the image."""
    box = []
    for axis, size in enumerate(mask.shape):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        (places,) = np.nonzero(np.any(mask, axis=others))
        box.append(slice(max(int(places[0]) - margin, 0), min(int(places[-1]) + margin + 1, size)))
    return tuple(box)


def extent(
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
