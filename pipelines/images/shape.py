"""Features of the shape of a region, as far as its voxels alone give them.

pyradiomics takes surface, sphericity and diameters from a mesh, which is not made here. SimpleITK's perimeter
and Feret diameter are not those of the mesh: on real lesions they are 15 % to 26 % and 6 % to 15 % smaller.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import SimpleITK

from pipelines.images.volume import Volume, image_of

_log = logging.getLogger(__name__)

COMPUTED = {
    "shape": (
        "Elongation", "Flatness", "LeastAxisLength", "MajorAxisLength", "MinorAxisLength", "VoxelVolume",
    ),
    "shape2D": ("Elongation", "MajorAxisLength", "MinorAxisLength", "PixelSurface"),
}  # fmt: skip
"""Features by class; those of ``shape2D`` are of 2D images."""

SHAPE_IN_IBSI = {
    "Elongation": ("elongation", "Q3CK"),
    "Flatness": ("flatness", "N17B"),
    "LeastAxisLength": ("least axis length", "7J51"),
    "MajorAxisLength": ("major axis length", "TDIC"),
    "MinorAxisLength": ("minor axis length", "P9VJ"),
    "VoxelVolume": ("volume (voxel counting)", "YEKZ"),
}
"""IBSI's names and identifiers of the features of 3D shape."""

NEED_A_MESH = {
    "shape": (
        "MeshVolume", "SurfaceArea", "SurfaceVolumeRatio", "Sphericity", "Maximum3DDiameter",
        "Maximum2DDiameterSlice", "Maximum2DDiameterColumn", "Maximum2DDiameterRow", "Compactness1",
        "Compactness2", "SphericalDisproportion",
    ),
    "shape2D": (
        "MeshSurface", "Perimeter", "PerimeterSurfaceRatio", "Sphericity", "MaximumDiameter",
        "SphericalDisproportion",
    ),
}  # fmt: skip


def shapes_named(names: Sequence[str], grid: Volume, inside: npt.NDArray[np.bool_]) -> dict[str, float]:
    """Return some features of a region's shape; the log says which have no value in so many dimensions."""
    values = shape_values(grid, inside) if names else {}
    missing = [name for name in names if name not in values]
    if missing:
        _log.warning("no value of %s: the image has %d dimensions", ", ".join(missing), inside.ndim)
    return {name: values[name] for name in names if name in values}


def shape_values(grid: Volume, inside: npt.NDArray[np.bool_]) -> dict[str, float]:
    """Return the features of a region's shape: ``shape_...`` in 3D, ``shape2D_...`` in 2D.

    Parameters
    ----------
    grid : Volume
        The image, for its geometry.
    inside : bool array of the grid's shape
        The region.

    Returns
    -------
    dict of str to float
        Lengths in mm, VoxelVolume in mm^3, PixelSurface in mm^2. Axes are four roots of the principal moments
        of the voxels' centres. NaN for a ratio of two lengths that are 0.

    References
    ----------
    pyradiomics' documentation, radiomics.shape and radiomics.shape2D; ITK's LabelShapeStatistics.
    """
    statistics = SimpleITK.LabelShapeStatisticsImageFilter()
    statistics.Execute(image_of(replace(grid, array=inside.astype(np.uint8))))
    moments = sorted(max(moment, 0.0) for moment in statistics.GetPrincipalMoments(1))
    least, minor, major = (4 * math.sqrt(moment) for moment in (moments[0], moments[-2], moments[-1]))
    elongation = minor / major if major else math.nan
    axes = {"MajorAxisLength": major, "MinorAxisLength": minor, "Elongation": elongation}
    size = statistics.GetPhysicalSize(1)
    if inside.ndim == 2:
        return {f"shape2D_{name}": value for name, value in {**axes, "PixelSurface": size}.items()}
    flatness = least / major if major else math.nan
    deep = {"LeastAxisLength": least, "Flatness": flatness, "VoxelVolume": size}
    return {f"shape_{name}": value for name, value in {**axes, **deep}.items()}
