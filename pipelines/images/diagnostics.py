"""What pyradiomics says of image and mask at each stage: the entries ``diagnostics_...``.

The keys are those of its documentation, so that tables keep their columns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK

from glcm_cuda.levels.arrays import bounding_box
from pipelines.images.resampling import CornerGrid, corner_box
from pipelines.images.volume import Part, Volume, geometry_differences, image_of

PREFIX = "diagnostics_"


@dataclass(frozen=True, kw_only=True, eq=False)
class Stages:
    """An image and a region of it, before and after the steps.

    Parameters
    ----------
    image : Volume
        The image as it was read.
    mask : Volume
        The mask as it was read, on its own grid.
    chosen : bool array of the mask's shape
        The region in it.
    inside : bool array of the image's shape
        The region on the image's grid.
    part : Part
        The image after the steps; the whole, or the box to which pyradiomics would have cropped it.
    resampled, counted : bool arrays of the part's shape
        The region on its grid, before and after a range of intensities limits it.
    grid : CornerGrid, optional
        To which both were resampled.
    crop : int, optional
        Voxels around the region to which pyradiomics would have cropped both.
    resegmented : bool
        Whether a range limits the region.
    """

    image: Volume
    mask: Volume
    chosen: npt.NDArray[np.bool_]
    inside: npt.NDArray[np.bool_]
    part: Part
    resampled: npt.NDArray[np.bool_]
    counted: npt.NDArray[np.bool_]
    grid: CornerGrid | None = None
    crop: int | None = None
    resegmented: bool = False

    def diagnostics(self) -> dict[str, Any]:
        """Return the entries of every stage: numbers, texts, and tuples of numbers."""
        labels = replace(self.mask, array=self.mask.array.astype(np.uint32))
        told = {**of_image(self.image, "original"), **of_mask(labels, self.chosen, "original")}
        volume, resampled, counted = self.part.volume, self.resampled, self.counted
        is_whole = volume.array.shape == self.part.whole.array.shape
        if self.grid is not None:
            if is_whole:
                box = corner_box(self.image, self.inside, self.grid)
                volume, resampled, counted = volume.cropped(box), resampled[box], counted[box]
            told |= of_image(volume, "interpolated") | of_mask(volume, resampled, "interpolated")
        elif self.crop is not None:
            if is_whole:
                box = bounding_box(self.inside, self.crop)
                volume, counted = volume.cropped(box), counted[box]
        elif geometry_differences(self.mask, self.image):
            told |= of_mask(volume, resampled, "corrected")
        if self.resegmented:
            told |= of_mask(volume, counted, "resegmented")
        return told


def of_image(volume: Volume, stage: str) -> dict[str, Any]:
    """Return what is said of an image: ``"original"`` as it was read, or ``"interpolated"``."""
    image, array = image_of(volume), volume.array
    first = {}
    if stage == "original":
        first = {"Hash": SimpleITK.Hash(image), "Dimensionality": f"{volume.array.ndim}D"}
    values = {
        **first,
        "Spacing": image.GetSpacing(),
        "Size": image.GetSize(),
        "Mean": float(array.mean(dtype=np.float64)),
        "Minimum": float(array.min()),
        "Maximum": float(array.max()),
    }
    return {f"{PREFIX}Image-{stage}_{name}": value for name, value in values.items()}


def of_mask(grid: Volume, inside: npt.NDArray[np.bool_], stage: str) -> dict[str, Any]:
    """Return what is said of the voxels of a region.

    Parameters
    ----------
    grid : Volume
        The image on the mask's grid; of the mask ``"original"`` the labels themselves, whose hash is given.
    inside : bool array of the grid's shape
        The region.
    stage : str
        ``"original"``, ``"corrected"``, ``"interpolated"`` or ``"resegmented"``.
    """
    image = image_of(grid)
    places = np.argwhere(inside)[:, ::-1]  # x, y, z
    low, high = places.min(axis=0), places.max(axis=0)
    centre = tuple(places.mean(axis=0).tolist())
    first = {"Hash": SimpleITK.Hash(image)} if stage == "original" else {}
    values = {
        **first,
        "Spacing": image.GetSpacing(),
        "Size": image.GetSize(),
        "BoundingBox": (*low.tolist(), *(high - low + 1).tolist()),
        "VoxelNum": len(places),
        "VolumeNum": _pieces(inside),
        "CenterOfMassIndex": centre,
        "CenterOfMass": image.TransformContinuousIndexToPhysicalPoint(centre),
        **({} if stage == "original" else _intensities(grid.array[inside])),
    }
    return {f"{PREFIX}Mask-{stage}_{name}": value for name, value in values.items()}


def _pieces(inside: npt.NDArray[np.bool_]) -> int:
    """Return into how many parts a region falls, whose voxels touch at least at a corner."""
    components = SimpleITK.ConnectedComponentImageFilter()
    components.FullyConnectedOn()
    components.Execute(SimpleITK.GetImageFromArray(inside.astype(np.uint8)))
    return int(components.GetObjectCount())


def _intensities(values: npt.NDArray[Any]) -> dict[str, float]:
    values = values.astype(np.float64)
    return {"Mean": values.mean(), "Minimum": values.min(), "Maximum": values.max()}
