"""pyradiomics' voxel mode, called as the tests need it."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from radiomics.featureextractor import RadiomicsFeatureExtractor

logging.getLogger("radiomics").setLevel(logging.ERROR)


def voxel_mode(
    image: npt.NDArray[Any],
    mask: npt.NDArray[np.bool_],
    family: str,
    told: dict[str, Any],
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> dict[str, npt.NDArray[np.float64]]:
    """Return pyradiomics' maps of a family at the voxels of a mask, by its names of the features.

    `told` are its settings, `spacing` is in mm along z, y and x.
    """
    extractor = RadiomicsFeatureExtractor(additionalInfo=False, **told)
    extractor.disableAllFeatures()
    extractor.enableFeatureClassByName(family)
    images = [sitk.GetImageFromArray(array) for array in (image, mask.astype(np.uint8))]
    for one in images:
        one.SetSpacing(spacing[::-1])
    result = extractor.execute(*images, voxelBased=True)
    inside = mask[crop(mask, told.get("kernelRadius", 1))]
    prefix = f"original_{family}_"
    return {
        name.removeprefix(prefix): sitk.GetArrayFromImage(values)[inside]
        for name, values in result.items()
        if name.startswith(prefix)
    }


def crop(mask: npt.NDArray[np.bool_], radius: int) -> tuple[slice, ...]:
    """Return the part that its maps cover: the mask's box and the radius on every side."""
    found = np.argwhere(mask)
    low = np.maximum(found.min(axis=0) - radius, 0)
    high = np.minimum(found.max(axis=0) + radius + 1, mask.shape)
    return tuple(map(slice, low, high))
