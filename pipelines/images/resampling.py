"""Images and masks on other grids."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK

from glcm_cuda.levels.quantize import refuse_not_finite
from pipelines.images.volume import Volume, image_of, volume_of

_MOST_VOXELS = 1 << 31

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class CornerGrid:
    """The grid that pyradiomics resamples image and mask to; it begins at the outer corner of the image.

    Parameters
    ----------
    spacing_mm : tuple of 3 floats
        Distance of voxels along x, y and z; 0 leaves an axis as it is.
    interpolator : str
        Name in SimpleITK, as sitkBSpline. The mask goes by the nearest voxel.
    pad : int
        Voxels around the mask in pyradiomics' box (padDistance).
    """

    spacing_mm: tuple[float, float, float]
    interpolator: str = "sitkBSpline"
    pad: int = 5


def nearest_on_grid(name: str, mask: Volume, volume: Volume) -> npt.NDArray[Any]:
    """Return a mask on an image's grid, each voxel from the nearest; 0 where the mask does not reach."""
    if mask.array.ndim != volume.array.ndim:
        msg = f"{name} must have the image's {volume.array.ndim} dimensions, got {mask.array.ndim}"
        raise ValueError(msg)
    refuse_not_finite(name, mask.array)
    kept = mask.array.astype(np.uint8) if mask.array.dtype == bool else mask.array
    nearest = SimpleITK.sitkNearestNeighbor
    source = image_of(replace(mask, array=kept))
    moved = SimpleITK.Resample(source, image_of(volume), SimpleITK.Transform(), nearest)
    found: npt.NDArray[Any] = SimpleITK.GetArrayFromImage(moved)
    if not found.any():
        msg = f"{name} and the image do not overlap; is it the mask of this image?"
        raise ValueError(msg)
    return found


def on_spacing(volume: Volume, spacing_mm: tuple[float, float, float]) -> Volume:
    """Resample linearly to a grid of the same centre that is at least as large."""
    old, size, new = _spacings(volume, spacing_mm)
    if (new > size * old).any():
        msg = f"--resample {spacing_mm} mm is larger than the image, which is {tuple(size * old)} mm"
        raise ValueError(msg)
    new_size = np.ceil(size * old / new - 1e-6).astype(int)
    start = (size - 1) / 2 - (new_size - 1) / 2 * new / old  # in old voxels: the centres coincide
    return _interpolated(volume, new, new_size, start, "sitkLinear", beyond=True)


def on_corner_grid(volume: Volume, mask: Mask, grid: CornerGrid) -> tuple[Volume, Mask]:
    """Resample an image, in its dtype, and its mask as pyradiomics does.

    An axis along which the mask has one slice stays as it is. pyradiomics resamples the box of the mask
    alone, here it is the whole image; but which voxel is the nearest, of two as near, depends on where the
    box begins, so that the mask is resampled there.

    References
    ----------
    pyradiomics' documentation, `radiomics.imageoperations.resampleImage`.
    """
    if volume.array.ndim != 3:
        msg = "resampledPixelSpacing needs a 3D image, got a 2D one; take it out"
        raise ValueError(msg)
    old, size, new = _spacings(volume, grid.spacing_mm)
    inside = np.nonzero(mask)[::-1]
    first, last = (np.array([end(places) for places in inside]) for end in (np.min, np.max))
    new = np.where(last > first, new, old)
    if np.allclose(old, new):
        return volume, mask
    ratio, corner = old / new, 0.5 * (new - old) / old
    whole = np.ceil(size * ratio).astype(int)
    low = np.maximum(np.floor((first - 0.5) * ratio - grid.pad), 0).astype(int)
    high = np.minimum(np.ceil((last + 0.5) * ratio + grid.pad), whole - 1).astype(int)
    image = _interpolated(volume, new, whole, corner, grid.interpolator)
    labels = replace(volume, array=mask.astype(np.uint8))
    box = _interpolated(labels, new, high - low + 1, corner + low / ratio, "sitkNearestNeighbor")
    moved = np.zeros(image.array.shape, np.bool_)
    moved[tuple(slice(*ends) for ends in zip(low[::-1], high[::-1] + 1, strict=True))] = box.array
    return image, moved


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
    """Return an image on a grid that starts at this voxel of it; `beyond` it the nearest voxel, or 0."""
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
    # Voxels of the new grid are no slices of the files any more.
    return replace(volume_of(filter_.Execute(image)), sources=(), modality=volume.modality)
