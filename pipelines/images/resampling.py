"""Images and masks on other grids."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK

from glcm_cuda.levels.arrays import refuse_not_finite
from pipelines.images.volume import Part, Volume, image_of, refuse_without_spacing, volume_of

_MOST_VOXELS = 1 << 31

_HALF = 0.5 - 1e-6
"""Share of a voxel that must lie in a mask: IBSI's 0.5, less what rounding takes from it."""

NEAREST, LINEAR = "sitkNearestNeighbor", "sitkLinear"

INTERPOLATORS = {"nearest": NEAREST, "linear": LINEAR, "spline": "sitkBSpline"}
"""SimpleITK's names of the interpolators that options name; the spline is cubic."""

MASK_INTERPOLATORS = {"nearest": NEAREST, "linear": LINEAR}
"""Those of masks; linear with a threshold of 0.5."""

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class CornerGrid:
    """The grid to which pyradiomics resamples image and mask; it starts at the outer corner of the image.

    Parameters
    ----------
    spacing_mm : tuple of 3 floats
        Spacing of voxels along x, y and z; 0 keeps an axis.
    interpolator, mask_interpolator : str
        SimpleITK's names, such as sitkBSpline; pyradiomics' mask takes the nearest voxel.
    pad : int
        Voxels around the mask in the box of pyradiomics (padDistance).
    """

    spacing_mm: tuple[float, float, float]
    interpolator: str = "sitkBSpline"
    mask_interpolator: str = NEAREST
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


def labels_on_grid(
    labels: npt.NDArray[Any], before: Volume, after: Volume, interpolator: str = NEAREST
) -> npt.NDArray[Any]:
    """Return labels on the grid that an image has after it was resampled.

    Parameters
    ----------
    labels : array of the shape of `before`
        Labels, 0 for none; or a mask.
    before, after : Volume
        The image on either grid.
    interpolator : {"sitkNearestNeighbor", "sitkLinear"}
        Each voxel takes the label of the nearest, or that of which linear interpolation gives 0.5 or more. If
        two labels have one half each, it is the lower.

    Raises
    ------
    ValueError
        If no voxel of the labels is left.

    References
    ----------
    IBSI reference manual, partial volume effects in the ROI mask.
    """
    if interpolator == NEAREST:
        return nearest_on_grid("the mask", replace(before, array=labels), after)
    moved = np.zeros(after.array.shape, labels.dtype)
    for label in np.unique(labels[labels != 0]):
        source = image_of(replace(before, array=(labels == label).astype(np.float32)))
        share = SimpleITK.Resample(source, image_of(after), SimpleITK.Transform(), SimpleITK.sitkLinear)
        moved[(SimpleITK.GetArrayViewFromImage(share) >= _HALF) & (moved == 0)] = label
    if not moved.any():
        msg = (
            "no voxel of the resampled grid lies in the mask by half or more; give a smaller spacing, or "
            "--mask-interpolator nearest"
        )
        raise ValueError(msg)
    return moved


def on_spacing(volume: Volume, spacing_mm: tuple[float, float, float], interpolator: str = LINEAR) -> Volume:
    """Return an image resampled to a grid with the same centre that is at least as large.

    Parameters
    ----------
    spacing_mm : tuple of 3 floats
        New spacing along x, y and z; 0 keeps an axis.
    interpolator : str
        SimpleITK's name. Linear interpolation repeats the voxels at the border beyond it, the cubic spline
        mirrors the image there.

    Raises
    ------
    ValueError
        If the spacing is larger than the image, or makes too many voxels.

    References
    ----------
    IBSI reference manual, interpolation grid dimensions and position.
    """
    old, size, new = _spacings(volume, spacing_mm)
    if (new > size * old).any():
        msg = f"--resample {spacing_mm} mm is larger than the image, which is {tuple(size * old)} mm"
        raise ValueError(msg)
    new_size = np.ceil(size * old / new - 1e-6).astype(int)
    start = (size - 1) / 2 - (new_size - 1) / 2 * new / old  # in old voxels: the centres coincide
    return _interpolated(volume, new, new_size, start, interpolator, beyond=True)


def on_corner_grid(volume: Volume, mask: Mask, grid: CornerGrid) -> tuple[Volume, Mask]:
    """Return an image, in its dtype, and its mask resampled as pyradiomics does.

    An axis along which the mask has one slice keeps its spacing. pyradiomics resamples only the box of the
    mask, we resample the whole image. The start of the box decides which of two equally near voxels the mask
    takes, and how intensities are rounded; so the box is resampled as it is there.

    Raises
    ------
    ValueError
        If the image is 2D, or the spacing makes too many voxels.

    References
    ----------
    pyradiomics' documentation, `radiomics.imageoperations.resampleImage`.
    """
    _refuse_flat(volume)
    old, new, whole, *_ = _corner_bounds(volume, mask, grid)
    if np.allclose(old, new):
        return volume, mask
    part, inside = in_corner_box(volume, mask, grid)
    image = _interpolated(volume, new, whole, 0.5 * (new - old) / old, grid.interpolator)
    image.array[part.box] = part.volume.array
    resampled = np.zeros(image.array.shape, np.bool_)
    resampled[part.box] = inside
    return image, resampled


def _mask_in_box(
    volume: Volume,
    mask: Mask,
    spacing: npt.NDArray[Any],
    size: npt.NDArray[Any],
    start: npt.NDArray[Any],
    grid: CornerGrid,
) -> Mask:
    labels = replace(volume, array=mask.astype(np.float32))
    inside: Mask = _interpolated(labels, spacing, size, start, grid.mask_interpolator).array >= _HALF
    return inside


def _refuse_flat(volume: Volume) -> None:
    if volume.array.ndim != 3:
        msg = "resampledPixelSpacing needs a 3D image, got a 2D one; remove it"
        raise ValueError(msg)


def in_corner_box(volume: Volume, mask: Mask, grid: CornerGrid) -> tuple[Part, Mask]:
    """Return the part of the resampled image that pyradiomics computes, see `corner_box`, and its mask there.

    Parameters and errors are those of `on_corner_grid`.
    """
    _refuse_flat(volume)
    old, new, whole, low, high = _corner_bounds(volume, mask, grid)
    box = _box(low, high)
    if np.allclose(old, new):
        return Part(volume=volume.cropped(box), whole=volume, box=box), mask[box]
    ratio, corner = old / new, 0.5 * (new - old) / old
    size, start = high - low + 1, corner + low / ratio
    image = _interpolated(volume, new, size, start, grid.interpolator)
    part = Part(volume=image, whole=_without_voxels(volume, new, whole, corner), box=box)
    return part, _mask_in_box(volume, mask, new, size, start, grid)


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
    """Return spacing, size and new spacing of an image along x, y and z.

    Raises
    ------
    ValueError
        If the image's spacing is unknown.
    """
    refuse_without_spacing("resampling", volume)
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
    _refuse_many_voxels(spacing, size)
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


def _without_voxels(
    volume: Volume, spacing: npt.NDArray[Any], size: npt.NDArray[Any], start: npt.NDArray[Any]
) -> Volume:
    """Return the grid that `_interpolated` would fill, with zeros that take no memory."""
    _refuse_many_voxels(spacing, size)
    corner = replace(volume, array=np.zeros((1,) * volume.array.ndim, np.uint8), forms=None)
    return replace(
        corner,
        array=np.broadcast_to(corner.array, size[::-1].tolist()),
        spacing_mm=tuple(spacing.tolist()),
        origin_mm=tuple(image_of(corner).TransformContinuousIndexToPhysicalPoint(start.tolist())),
        sources=(),
    )


def _refuse_many_voxels(spacing: npt.NDArray[Any], size: npt.NDArray[Any]) -> None:
    if size.astype(float).prod() > _MOST_VOXELS:
        edges = "x".join(str(edge) for edge in size)
        msg = f"a spacing of {spacing.tolist()} mm makes {edges} voxels of this image; give a larger one"
        raise ValueError(msg)
