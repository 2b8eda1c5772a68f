"""Axes that are not at right angles: an image with a little shear is straightened, one with more refused."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipelines.images.formats.nifti_forms import place_of, shear_voxels
from pipelines.images.volume import Volume

_log = logging.getLogger(__name__)

_MOST_VOXELS = 0.5
"""An image whose axes are that little off the right angle is read with right angles."""

_FEWEST_VOXELS = 1e-3
"""Less comes from rounding."""

_SAME_LENGTH = 1e-3


def accepted_shear(path: Path, name: str, matrix: npt.NDArray[np.float64], shape: tuple[int, ...]) -> float:
    """Return by how many voxels right angles move a voxel; 0 if the axes have them.

    Parameters
    ----------
    path : path
        What messages call the image.
    name : str
        What messages call the matrix.
    matrix : (3, 4) array
        From voxel indices to mm (right, anterior, superior).
    shape : tuple of ints
        Of the image, (Z, Y, X).

    Raises
    ------
    ValueError
        If that is much.
    """
    shear = shear_voxels(matrix, shape)
    if shear > _MOST_VOXELS:
        msg = (
            f"{path} has a sheared {name}: its axes are not orthonormal (right angles would move voxels by "
            f"up to {shear:.2f} voxels, at most {_MOST_VOXELS} are accepted); resample it to a grid with "
            "right angles first, for example in 3D Slicer or with nibabel.processing.resample_to_output"
        )
        raise ValueError(msg)
    return shear if shear > _FEWEST_VOXELS else 0.0


def tell_shear(path: Path, name: str, shear: float) -> None:
    """Say that the axes of an image were straightened."""
    _log.warning(
        "%s: the axes of its %s are not orthonormal; the nearest orthonormal ones are taken, which move "
        "voxels by up to %.2f voxels",
        *(path, name, shear),
    )


def straightened(path: Path, volume: Volume) -> Volume:
    """Return an image that ITK read, with unit vectors at right angles as the directions of its axes.

    Directions of another length are part of the distance of voxels, since ITK places voxels so.

    Raises
    ------
    ValueError
        If that would move voxels much.
    """
    axes = volume.array.ndim
    columns = np.eye(3)
    columns[:axes, :axes] = np.reshape(volume.direction, (axes, axes)) * np.array(volume.spacing_mm)
    origin = np.zeros(3)
    origin[:axes] = volume.origin_mm
    matrix = np.column_stack([columns, origin]) * np.array([[-1.0], [-1.0], [1.0]])
    shear = accepted_shear(path, "direction", matrix, volume.array.shape)
    place = place_of(matrix)
    spacing = place.spacing_mm[:axes]
    if not np.allclose(spacing, volume.spacing_mm, rtol=_SAME_LENGTH, atol=0):
        words = ["x".join(f"{edge:g}" for edge in edges) for edges in (volume.spacing_mm, spacing)]
        _log.warning(
            "%s: its directions are no unit vectors; with them the spacing is not %s mm but %s mm, which is "
            "taken",
            *(path, *words),
        )
        volume = replace(volume, spacing_mm=spacing)
    elif not shear:
        return volume
    if shear:
        tell_shear(path, "direction", shear)
    direction = np.reshape(place.direction, (3, 3))[:axes, :axes]
    return replace(volume, direction=tuple(direction.ravel().tolist()))
