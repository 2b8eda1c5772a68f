"""Tilted gantries: series whose slices are shifted sideways as they proceed along their normal."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pipelines.images.volume import Volume

EVEN_MM = 0.1
"""How far slices may be from a regular grid."""


def aside_mm(
    positions_mm: npt.NDArray[np.float64], normal: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the distance (slices,) of each slice from the line along the normal through the first."""
    fro = positions_mm - positions_mm[0]
    distances: npt.NDArray[np.float64] = np.linalg.norm(fro - np.outer(fro @ normal, normal), axis=1)
    return distances


def tilt_degrees(positions_mm: npt.NDArray[np.float64], normal: npt.NDArray[np.float64]) -> float:
    """Return the angle between the line through the slices of a series and their normal.

    Parameters
    ----------
    positions_mm : (slices, 3) float array
        Positions of the first voxel of every slice, in order.
    normal : (3,) float array
        Unit vector.

    Returns
    -------
    float
        0 if the slices are above each other, to 0.1 mm; also if they are shifted unevenly, which is not a
        tilt but disorder.
    """
    if len(positions_mm) < 2:
        return 0.0
    fro = positions_mm - positions_mm[0]
    even = np.linspace(0, 1, len(fro))[:, None] * fro[-1]
    aside = aside_mm(positions_mm, normal)[-1]
    if np.abs(fro - even).max() > EVEN_MM or aside <= EVEN_MM:
        return 0.0
    return float(np.degrees(np.arctan2(aside, fro[-1] @ normal)))


def tilt_text(degrees: float) -> str:
    """Return text for messages about a tilt, with what to do about it."""
    return f"a gantry tilted by {degrees:.1f} degrees; give --correct-tilt to shift the slices into line"


def upright(volume: Volume, positions_mm: npt.NDArray[np.float64]) -> Volume:
    """Return the slices of a tilted series on the smallest upright grid that holds them all.

    Each slice is moved in its plane by whole voxels, so that no intensity changes; it is then at most half a
    voxel off its position. Voxels beyond the slices get the lowest intensity.

    Parameters
    ----------
    volume : Volume
        (slices, Y, X), as read; its origin and distance of slices are not used.
    positions_mm : (slices, 3) float array
        Positions of the first voxel of every slice, in order.
    """
    cosines = np.reshape(volume.direction, (3, 3))
    spacing = np.array(volume.spacing_mm[:2])
    places = (positions_mm - positions_mm[0]) @ cosines
    moves = np.round(places[:, :2] / spacing).astype(int)  # columns, rows
    least = moves.min(axis=0)
    width, height = moves.max(axis=0) - least
    slices, rows, columns = volume.array.shape
    array = np.full((slices, rows + height, columns + width), volume.array.min(), volume.array.dtype)
    for index, (column, row) in enumerate(moves - least):
        array[index, row : row + rows, column : column + columns] = volume.array[index]
    origin = positions_mm[0] + cosines[:, :2] @ (least * spacing)
    return replace(
        volume,
        array=array,
        spacing_mm=(*volume.spacing_mm[:2], float(np.diff(places[:, 2]).mean())),
        origin_mm=tuple(float(number) for number in origin),
    )
