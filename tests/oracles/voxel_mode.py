"""pyradiomics' and flash-radiomics' maps, called as the tests need them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from flash_radiomics import RadiomicsFeatureExtractor as FlashExtractor
from radiomics.featureextractor import RadiomicsFeatureExtractor

for name in ("radiomics", "flash_radiomics"):
    logging.getLogger(name).setLevel(logging.CRITICAL)

Maps = dict[str, npt.NDArray[np.float64]]


def voxel_mode(
    image: npt.NDArray[Any],
    mask: npt.NDArray[np.bool_],
    family: str,
    told: dict[str, Any],
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    names: Sequence[str] = (),
) -> Maps:
    """Return pyradiomics' maps of a family at the voxels of a mask, by its names of the features.

    `told` are its settings, `spacing` is in mm along z, y and x; without `names` all features are mapped.
    """
    extractor = RadiomicsFeatureExtractor(additionalInfo=False, **told)
    _enable(extractor, family, names)
    result = extractor.execute(*_images(image, mask, spacing), voxelBased=True)
    return _values(result, family, mask[crop(mask, told.get("kernelRadius", 1))])


def flash_maps(
    image: npt.NDArray[Any],
    mask: npt.NDArray[np.bool_],
    family: str,
    told: dict[str, Any],
    names: Sequence[str],
) -> Maps:
    """Return flash-radiomics' maps of some features of a family at the voxels of a mask."""
    extractor = FlashExtractor(backend="cpu", num_threads=1, additionalInfo=False, **told)
    _enable(extractor, family, names)
    # Its method `execute` would write a file besides.
    case = extractor.preprocess_case(*_images(image, mask, (1.0, 1.0, 1.0)), label=1, spatialMode=True)
    result = extractor.extract_from_preprocessed(case)
    return _values(result, family, mask[crop(mask, told.get("kernelRadius", 1))])


def _enable(extractor: Any, family: str, names: Sequence[str]) -> None:
    """Enable some features of a family alone, or all that are not deprecated."""
    extractor.disableAllFeatures()
    if names:
        extractor.enableFeaturesByName(**{family: list(names)})
    else:
        extractor.enableFeatureClassByName(family)


def _images(
    image: npt.NDArray[Any], mask: npt.NDArray[np.bool_], spacing: tuple[float, float, float]
) -> list[sitk.Image]:
    """Return image and mask as SimpleITK has them."""
    images = [sitk.GetImageFromArray(array) for array in (image, mask.astype(np.uint8))]
    for one in images:
        one.SetSpacing(spacing[::-1][: image.ndim])
    return images


def _values(result: dict[str, Any], family: str, inside: npt.NDArray[np.bool_]) -> Maps:
    """Return the values of maps inside a mask, by the names of the features."""
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
