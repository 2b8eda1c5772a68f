"""Images and masks on other grids."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK

from glcm_cuda.levels.arrays import refuse_not_finite
from pipelines.images.volume import Volume, image_of, volume_of

_MOST_VOXELS = 1 << 31

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class CornerGrid:
    """The grid to which pyradiomics resamples image and mask; it starts at the outer corner of the image.

    Parameters
    ----------
    spacing_mm : tuple of 3 floats
        Spacing of voxels along x, y and z; 0 keeps an axis.
    interpolator : str
        SimpleITK's name, such as sitkBSpline. The mask takes the nearest voxel.
    pad : int
        Voxels around the mask in the box of pyradiomics (padDistance).
    """

    spacing_mm: tuple[float, float, float]
    interpolator: str = "sitkBSpline"
    pad: int = 5


def nearest_on_grid(name: str, mask: Volume, volume: Volume) -> npt.NDArray[Any]:
    """Return a mask on the grid of an image, each voxel from the nearest; 0 beyond the mask.

    Parameters
    ----------
    name : str
        What messages call the mask.
    mask, volume : Volume
        The mask, and the image.

    Raises
    ------
    ValueError
        If the two differ in dimensions or do not overlap, or the mask holds NaN or infinities.
    """
    if mask.array.ndim != volume.array.ndim:
        msg = f"{name} must have the image's {volume.array.ndim} dimensions, got {mask.array.ndim}"
        raise ValueError(msg)
    refuse_not_finite(name, mask.array)
    array = mask.array.astype(np.uint8) if mask.array.dtype == bool else mask.array
    source, nearest = image_of(replace(mask, array=array)), SimpleITK.sitkNearestNeighbor
    resampled = SimpleITK.Resample(source, image_of(volume), SimpleITK.Transform(), nearest)
    values: npt.NDArray[Any] = SimpleITK.GetArrayFromImage(resampled)
    if not values.any():
        msg = f"{name} and the image do not overlap; is it the mask of this image?"
        raise ValueError(msg)
    return values


def on_spacing(volume: Volume, spacing_mm: tuple[float, float, float]) -> Volume:
    """Return an image resampled linearly to a grid with the same centre that is at least as large.

    Parameters
    ----------
    spacing_mm : tuple of 3 floats
        New spacing along x, y and z; 0 keeps an axis.

    Raises
    ------
    ValueError
        If the spacing is larger than the image, or makes too many voxels.
    """
    old, size, new = _spacings(volume, spacing_mm)
    if (new > size * old).any():
        msg = f"--resample {spacing_mm} mm is larger than the image, which is {tuple(size * old)} mm"
        raise ValueError(msg)
    new_size = np.ceil(size * old / new - 1e-6).astype(int)
    start = (size - 1) / 2 - (new_size - 1) / 2 * new / old  # in old voxels: the centres coincide
    return _interpolated(volume, new, new_size, start, "sitkLinear", beyond=True)


def on_corner_grid(volume: Volume, mask: Mask, grid: CornerGrid) -> tuple[Volume, Mask]:
    """Return an image, in its dtype, and its mask resampled as pyradiomics does.

    An axis along which the mask has one slice keeps its spacing. pyradiomics resamples only the box of the
    mask, we resample the whole image. For the mask that would make a difference, since the start of the box
    decides which of two equally near voxels is taken; so the mask is resampled in the box.

    Raises
    ------
    ValueError
        If the image is 2D, or the spacing makes too many voxels.

    References
    ----------
    pyradiomics' documentation, `radiomics.imageoperations.resampleImage`.
    """
    if volume.array.ndim != 3:
        msg = "resampledPixelSpacing needs a 3D image, got a 2D one; remove it"
        raise ValueError(msg)
    old, new, whole, low, high = _corner_bounds(volume, mask, grid)
    if np.allclose(old, new):
        return volume, mask
    ratio, corner = old / new, 0.5 * (new - old) / old
    image = _interpolated(volume, new, whole, corner, grid.interpolator)
    labels = replace(volume, array=mask.astype(np.uint8))
    box = _interpolated(labels, new, high - low + 1, corner + low / ratio, "sitkNearestNeighbor")
    resampled = np.zeros(image.array.shape, np.bool_)
    resampled[_box(low, high)] = box.array
    return image, resampled


def corner_box(volume: Volume, mask: Mask, grid: CornerGrid) -> tuple[slice, ...]:
    """Return the part of the resampled image that pyradiomics computes: the mask's box and its padding.

    Parameters
    ----------
    volume, mask
        Image and mask before they are resampled.
    grid : CornerGrid
        The new grid.
    """
    *_, low, high = _corner_bounds(volume, mask, grid)
    return _box(low, high)


def _corner_bounds(volume: Volume, mask: Mask, grid: CornerGrid) -> tuple[npt.NDArray[Any], ...]:
    """Return old and new spacing, the new size, and the first and last voxel of the box, along x, y, z."""
    old, size, new = _spacings(volume, grid.spacing_mm)
    indices = np.nonzero(mask)[::-1]
    first, last = (np.array([end(axis) for axis in indices]) for end in (np.min, np.max))
    new = np.where(last > first, new, old)
    if np.allclose(old, new):
        return old, new, size, np.maximum(first - grid.pad, 0), np.minimum(last + grid.pad, size - 1)
    ratio = old / new
    whole = np.ceil(size * ratio).astype(int)
    low = np.maximum(np.floor((first - 0.5) * ratio - grid.pad), 0).astype(int)
    high = np.minimum(np.ceil((last + 0.5) * ratio + grid.pad), whole - 1).astype(int)
    return old, new, whole, low, high


def _box(low: npt.NDArray[Any], high: npt.NDArray[Any]) -> tuple[slice, ...]:
    """Return the indices z, y, x of a box from its first and last voxel along x, y and z."""
    return tuple(slice(int(first), int(last) + 1) for first, last in zip(low[::-1], high[::-1], strict=True))


def _spacings(volume: Volume, spacing_mm: tuple[float, ...]) -> tuple[npt.NDArray[Any], ...]:
    """Return spacing, size and new spacing of an image along x, y and z."""
    old, size = np.array(volume.spacing_mm), np.array(volume.array.shape[::-1])
    wanted = np.array(spacing_mm[: len(old)])
    return old, size, np.where(wanted == 0, old, wanted)


def _interpolated(
    volume: Volume,
    spacing: npt.NDArray[Any],
    size: npt.NDArray[Any],
    start: npt.NDArray[Any],
    interpolator: str,
    *,
    beyond: bool = False,
) -> Volume:
    """Return an image on a grid that starts at a voxel of it, of which `start` gives the index.

    Outside the image there is 0 or, with `beyond`, the nearest voxel.
    """
    if size.astype(float).prod() > _MOST_VOXELS:
        edges = "x".join(str(edge) for edge in size)
        msg = f"a spacing of {spacing.tolist()} mm makes {edges} voxels of this image; give a larger one"
        raise ValueError(msg)
    image = image_of(volume)
    filter_ = SimpleITK.ResampleImageFilter()
    filter_.SetSize(size.tolist())
    filter_.SetOutputSpacing(spacing.tolist())
    filter_.SetOutputOrigin(image.TransformContinuousIndexToPhysicalPoint(start.tolist()))
    filter_.SetOutputDirection(image.GetDirection())
    filter_.SetInterpolator(getattr(SimpleITK, interpolator))
    filter_.SetUseNearestNeighborExtrapolator(beyond)
    # The slices of the new grid are no longer those of the files.
    return replace(volume_of(filter_.Execute(image)), sources=(), modality=volume.modality)
