"""What an extractor says of itself, the image and the mask: the entries ``diagnostics_...``.

The keys are those of pyradiomics' documentation, so that tables keep their columns.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK

from glcm_cuda.base.version import __version__
from pipelines.images.volume import Volume, image_of

_PREFIX = "diagnostics_"


def versions(pyradiomics: str | None) -> dict[str, Any]:
    """Return who computed the features, and with which libraries.

    Parameters
    ----------
    pyradiomics : str or None
        What pyradiomics computed, if it did: ``"shape"``.
    """
    own = f"RadSynth {__version__}"
    by = f"computed by {own}"
    if pyradiomics is not None:
        by += f"; {pyradiomics} by pyradiomics {_version('pyradiomics', 'pyradiomics-bhklab')}"
    return {
        f"{_PREFIX}Versions_PyRadiomics": by,
        f"{_PREFIX}Versions_Numpy": np.__version__,
        f"{_PREFIX}Versions_SimpleITK": SimpleITK.Version().VersionString(),
        f"{_PREFIX}Versions_PyWavelet": _version("PyWavelets"),
        f"{_PREFIX}Versions_Python": platform.python_version(),
        f"{_PREFIX}Versions_RadSynth": __version__,
    }


def _version(*names: str) -> str:
    for name in names:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "not installed"


def configuration(settings: Mapping[str, Any], image_types: Mapping[str, Any]) -> dict[str, Any]:
    """Return how the extractor was set."""
    return {
        f"{_PREFIX}Configuration_Settings": dict(settings),
        f"{_PREFIX}Configuration_EnabledImageTypes": dict(image_types),
    }


def of_image(volume: Volume, stage: str) -> dict[str, Any]:
    """Return what is said of an image: ``"original"`` as it was read, or ``"interpolated"``."""
    image, array = image_of(volume), volume.array.astype(np.float64)
    first = {}
    if stage == "original":
        first = {"Hash": SimpleITK.Hash(image), "Dimensionality": f"{volume.array.ndim}D"}
    values = {
        **first,
        "Spacing": image.GetSpacing(),
        "Size": image.GetSize(),
        "Mean": array.mean(),
        "Minimum": array.min(),
        "Maximum": array.max(),
    }
    return {f"{_PREFIX}Image-{stage}_{name}": value for name, value in values.items()}


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
    return {f"{_PREFIX}Mask-{stage}_{name}": value for name, value in values.items()}


def _pieces(inside: npt.NDArray[np.bool_]) -> int:
    """Return into how many parts a region falls, whose voxels touch at least at a corner."""
    components = SimpleITK.ConnectedComponentImageFilter()
    components.FullyConnectedOn()
    components.Execute(SimpleITK.GetImageFromArray(inside.astype(np.uint8)))
    return int(components.GetObjectCount())


def _intensities(values: npt.NDArray[Any]) -> dict[str, float]:
    values = values.astype(np.float64)
    return {"Mean": values.mean(), "Minimum": values.min(), "Maximum": values.max()}
