"""Contours of RT structure sets, filled on the slices of an image."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.images.dicom.attributes import malformed, text_of, value_of
from pipelines.images.dicom.polygons import contains, filled
from pipelines.images.volume import Volume
from pipelines.reports.tables import counted

_log = logging.getLogger(__name__)

_UNION = ("CLOSED_PLANAR", "INTERPOLATED_PLANAR")
_EXCLUSIVE_OR = "CLOSEDPLANAR_XOR"
_POINT = "POINT"

_ONE_PLANE = 0.01
"""Contours within this distance, in slices, are in one plane."""

Mask = npt.NDArray[np.bool_]
Points = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Contour:
    """A closed contour.

    Parameters
    ----------
    points : (corners, 3) float array
        In patient coordinates (mm), or in voxels (column, row, slice) of an image.
    exclusive : bool
        Whether it is combined with others of its slice by exclusive or (CLOSEDPLANAR_XOR).
    """

    points: Points
    exclusive: bool


def closed_contours(path: Path, name: str, drawn: Sequence[Any]) -> list[Contour]:
    """Return the closed contours among the items of a ContourSequence, in mm.

    Points have no area and are left out with a warning; so are contours of fewer than three corners.

    Raises
    ------
    ValueError
        If a contour has another type or malformed corners.
    """
    contours, without_area = [], 0
    for item in drawn:
        points, kind = _points(path, item), text_of(item, "ContourGeometricType")
        if kind not in (*_UNION, _EXCLUSIVE_OR, _POINT):
            msg = (
                f"{path}: contours of {name} must have the ContourGeometricType {', '.join(_UNION)} or "
                f"{_EXCLUSIVE_OR}, got {kind or 'none'}; export the structure with closed contours"
            )
            raise ValueError(msg)
        if kind == _POINT or len(points) < 3:
            without_area += 1
        else:
            contours.append(Contour(points, kind == _EXCLUSIVE_OR))
    if without_area and contours:
        _log.warning(
            "%s: %s of %s without an area left out", path, counted(without_area, "point or line"), name
        )
    return contours


def filled_contours(path: Path, name: str, contours: Sequence[Contour], volume: Volume) -> Mask:
    """Return the voxels of an image whose centre is inside contours.

    A contour belongs to the nearest slice; of contours in several planes that are nearest to one slice, those
    in the closest plane count. Parts that overlap are united; a contour inside another one is a hole, unless
    both fill the same voxels, which is one contour drawn twice. Contours of type CLOSEDPLANAR_XOR are
    combined as that says. What lies beyond the image is left out with a warning.

    Raises
    ------
    ValueError
        If all contours lie beyond the image, or one is not parallel to the slices.
    """
    mask = np.zeros(volume.array.shape, np.bool_)
    slices = mask.reshape((-1, *mask.shape[-2:]))
    planes, beyond = _planes(path, name, contours, volume, len(slices))
    if not planes:
        msg = (
            f"{path}: a contour of {name} lies in no slice of the image, nor does any other; name the "
            "structure set of this image"
        )
        raise ValueError(msg)
    rows, columns = volume.array.shape[-2:]
    aside = 0
    for index, plane in planes.items():
        slices[index] = _filled_plane(plane, (rows, columns))
        aside += sum(_is_aside(contour.points, columns, rows) for contour in plane)
    if beyond:
        _log.warning(
            "%s: %s of %s beyond the slices of the image left out", path, counted(beyond, "contour"), name
        )
    if aside:
        _log.warning(
            "%s: %s of %s reach beyond the edges of the image; what is outside is left out",
            *(path, counted(aside, "contour"), name),
        )
    return mask


def in_voxels(points: Points, volume: Volume) -> Points:
    """Return points (n, 3) of the patient (mm) as columns, rows and slices of an image."""
    cosines = np.reshape(volume.direction, (3, 3))
    voxels: Points = (points - volume.origin_mm) @ cosines / np.array(volume.spacing_mm)
    return voxels


def _points(path: Path, item: Any) -> Points:
    values = value_of(path, item, "ContourData")
    if values is None:
        return np.empty((0, 3))
    try:
        points = np.array(values, float).reshape((-1, 3))
    except (TypeError, ValueError):
        points = np.array([[np.nan]])
    if not np.isfinite(points).all():
        raise malformed(path, "ContourData", "3 numbers per corner", "another list")
    return points


def _planes(
    path: Path, name: str, contours: Sequence[Contour], volume: Volume, number: int
) -> tuple[dict[int, list[Contour]], int]:
    """Return the contours (in voxels) of each slice, and how many lie beyond the image."""
    nearest: dict[int, list[Contour]] = defaultdict(list)
    beyond = 0
    for contour in contours:
        points = in_voxels(contour.points, volume)
        along = points[:, 2]
        if np.ptp(along) > 0.5:
            msg = (
                f"{path}: a contour of {name} must be parallel to the slices of the image, got corners "
                f"{np.ptp(along):.2f} slices apart; name the structure set of this image"
            )
            raise ValueError(msg)
        place = int(np.floor(along.mean() + 0.5))
        if 0 <= place < number:
            nearest[place].append(Contour(points, contour.exclusive))
        else:
            beyond += 1
    return {place: _closest_plane(place, found) for place, found in nearest.items()}, beyond


def _closest_plane(place: int, contours: Sequence[Contour]) -> list[Contour]:
    along = np.array([contour.points[:, 2].mean() for contour in contours])
    closest = along[np.abs(along - place).argmin()]
    return [contour for contour, at in zip(contours, along, strict=True) if abs(at - closest) <= _ONE_PLANE]


def _is_aside(points: Points, columns: int, rows: int) -> bool:
    """Whether a contour reaches more than half a voxel beyond the outermost voxels' edges."""
    ends = points[:, :2]
    return bool((ends < -1).any() or (ends > (columns, rows)).any())


def _filled_plane(contours: Sequence[Contour], shape: tuple[int, int]) -> Mask:
    mask = np.zeros(shape, np.bool_)
    for contour in contours:
        if contour.exclusive:
            mask ^= filled(contour.points[:, :2], shape)
    united = [contour.points[:, :2] for contour in contours if not contour.exclusive]
    masks = [filled(points, shape) for points in united]
    single = [
        index
        for index, part in enumerate(masks)
        if not any(np.array_equal(part, other) for other in masks[:index])
    ]
    return mask | _with_holes([united[index] for index in single], [masks[index] for index in single], shape)


def _with_holes(contours: Sequence[Points], masks: Sequence[Mask], shape: tuple[int, int]) -> Mask:
    """Return the union of the outermost contours, each without the holes that are inside it."""
    number = range(len(contours))
    inside = {
        (inner, outer)
        for inner in number
        for outer in number
        if inner != outer and _is_inside(contours[inner], contours[outer])
    }
    depths = Counter(inner for inner, _ in inside)
    union = np.zeros(shape, np.bool_)
    for root in (index for index in number if not depths[index]):
        family = [root, *(inner for inner, outer in inside if outer == root)]
        depth = {index: sum((index, other) in inside for other in family) for index in family}
        region = np.zeros(shape, np.bool_)
        for index in sorted(family, key=lambda index: depth[index]):
            region = region & ~masks[index] if depth[index] % 2 else region | masks[index]
        union |= region
    return union


def _is_inside(inner: Points, outer: Points) -> bool:
    """Whether a contour lies in another one: all its corners do, and none of the other's lie in it."""
    return bool(contains(outer, inner, edge=True).all()) and not contains(inner, outer, edge=False).any()
