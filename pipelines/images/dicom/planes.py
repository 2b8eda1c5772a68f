"""The plane of a slice: its position, orientation and spacing in the patient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.images.dicom.attributes import count_of, malformed, numbers_of

_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")

_STRAIGHT = 0.999
"""Cosine of 2.5 degrees, the largest angle to an axis of the patient at which a plane is not oblique."""


def spacing_of(path: Path, header: Any) -> tuple[float, float] | None:
    """Return the spacing of rows and of columns (mm), from whichever attribute gives it.

    Raises
    ------
    ValueError
        If it is malformed or not positive.
    """
    for keyword in _SPACINGS:
        spacing = numbers_of(path, header, keyword, 2)
        if spacing is None:
            continue
        if min(spacing) <= 0:
            raise malformed(path, keyword, "2 numbers above 0", f"{spacing[0]:g} and {spacing[1]:g}")
        return spacing[0], spacing[1]
    return None


def position_of(path: Path, header: Any) -> npt.NDArray[np.float64] | None:
    """Return the centre (3,) of the first voxel in patient coordinates (mm); None if it is not stated."""
    position = numbers_of(path, header, "ImagePositionPatient", 3)
    return None if position is None else np.array(position)


def orientation_of(path: Path, header: Any) -> npt.NDArray[np.float64] | None:
    """Return the directions (6,) of rows and of columns; None if they are not stated."""
    orientation = numbers_of(path, header, "ImageOrientationPatient", 6)
    return None if orientation is None else np.array(orientation)


def normal_of(orientation: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the unit normal (3,) of a plane, from its ImageOrientationPatient."""
    across, down = np.reshape(np.asarray(orientation, float), (2, 3))
    return np.cross(across, down)


def plane_name(orientation: npt.ArrayLike) -> str:
    """Return the plane of a slice: axial, sagittal or coronal; "oblique" is added if it is tilted."""
    normal = np.abs(normal_of(orientation))
    name = ("sagittal", "coronal", "axial")[int(normal.argmax())]
    return name if normal.max() > _STRAIGHT else f"{name} oblique"


def size_of(path: Path, header: Any) -> tuple[int, int]:
    """Return the numbers of rows and columns."""
    return count_of(path, header, "Rows"), count_of(path, header, "Columns")


def plane_of(path: Path, header: Any) -> npt.NDArray[np.float64]:
    """Return orientation and spacing (8,) of a slice; empty if it lacks one of them."""
    orientation, spacing = orientation_of(path, header), spacing_of(path, header)
    return np.empty(0) if orientation is None or spacing is None else np.array([*orientation, *spacing])


def plane_text(path: Path, header: Any) -> str:
    """Return size, spacing and orientation of a slice as short text."""
    plane = [round(float(number), 3) for number in plane_of(path, header)]
    rows, columns = size_of(path, header)
    return f"{columns}x{rows}, spacing {plane[6:]} mm, orientation {plane[:6]}"
