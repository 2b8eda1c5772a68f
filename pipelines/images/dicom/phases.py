"""The volumes of one DICOM series: slices in order, split into phases if several share a position."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.images.dicom.headers import Member

_SAME_POSITION_MM = 1e-3
_ORIENTATION_TOLERANCE = 1e-3
# Attributes that may distinguish images at the same position. The first one that splits a series into
# complete volumes is used, or else the first pair.
_DISTINGUISHING = (
    "TemporalPositionIdentifier",
    "DiffusionBValue",
    "EchoTime",
    "EchoNumbers",
    "TriggerTime",
    "ImageType",
    "AcquisitionNumber",
    "AcquisitionTime",
    "ContentTime",
)

_STRAIGHT = 0.999
"""Cosine of 2.5 degrees, the largest angle to an axis of the patient at which a plane is not oblique."""

_Keywords = tuple[str, ...]
_Values = tuple[str | None, ...]

_TIMES = ("AcquisitionTime", "ContentTime")
_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")


@dataclass(frozen=True, eq=False)
class Phase:
    """One volume of a series.

    Parameters
    ----------
    number : int
        From 1.
    name : str
        What distinguishes it from the others; empty for the only one. Times are relative to the first phase,
        since the time of day may identify the patient.
    members : tuple of (path, header)
        Slices, in order along their normal.
    along_mm : (slices,) float array
        Their positions along the normal, ascending.
    """

    number: int
    name: str
    members: tuple[Member, ...]
    along_mm: npt.NDArray[np.float64]

    @property
    def positions_mm(self) -> npt.NDArray[np.float64]:
        """Centres of the first voxel of every slice, (slices, 3), in patient coordinates."""
        return np.array([_position(header) for _, header in self.members])

    @property
    def normal(self) -> npt.NDArray[np.float64]:
        """Unit vector (3,) along which the slices are ordered."""
        return normal_of(self.members[0][1].ImageOrientationPatient)


def phases_of(source: Path, members: Sequence[Member]) -> list[Phase]:
    """Return the volumes that slices form.

    Parameters
    ----------
    source : path
        What messages call the series.
    members : sequence of (path, header)
        Slices, or frames, of one series.

    Raises
    ------
    ValueError
        If slices lack a position or a spacing, differ in size, spacing or orientation, or share positions
        and no attribute distinguishes them.
    """
    _refuse_mixed_planes(source, members)
    ordered, along = _ordered(source, members)
    places = np.concatenate([[0], np.cumsum(np.diff(along) > _SAME_POSITION_MM)])
    most = Counter(places.tolist()).most_common(1)[0][1]
    if most == 1:
        return [Phase(1, "", tuple(ordered), along)]
    split = _split(ordered, places, most)
    if split is None:
        raise ValueError(_shared(source, ordered, places, most))
    return [
        Phase(number, name, tuple(ordered[index] for index in chosen), along[chosen])
        for number, (name, chosen) in enumerate(split, start=1)
    ]


def without_copies(members: Sequence[Member]) -> tuple[list[Member], list[str]]:
    """Return each image once, and a line for every file that is a copy of another."""
    kept: dict[str, Member] = {}
    copies = []
    for path, header in members:
        uid = str(header.get("SOPInstanceUID", path))
        if uid in kept:
            copies.append(f"{path.name} is a copy of {kept[uid][0].name}")
        else:
            kept[uid] = (path, header)
    return list(kept.values()), copies


def uneven(phase: Phase) -> str | None:
    """Return where the slices of a phase are unevenly spaced, as if one were missing; None if nowhere."""
    gaps = np.diff(phase.along_mm)
    if gaps.size < 2:
        return None
    usual = float(np.median(gaps))
    worst = int(np.abs(gaps - usual).argmax())
    if abs(gaps[worst] - usual) <= max(0.05, 0.01 * usual):
        return None
    before, after = (path.name for path, _ in phase.members[worst : worst + 2])
    return (
        f"{gaps[worst]:.2f} mm between slices {worst} and {worst + 1} of {len(phase.members)} ({before}, "
        f"{after}) and {usual:.2f} mm elsewhere"
    )


def spacing_of(header: Any) -> tuple[float, float] | None:
    """Return the spacing of rows and of columns (mm), from whichever attribute gives it."""
    for keyword in _SPACINGS:
        found = header.get(keyword)
        if found:
            return float(found[0]), float(found[1])
    return None


def normal_of(orientation: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the unit normal (3,) of a plane, from its ImageOrientationPatient."""
    across, down = np.reshape(np.asarray(orientation, float), (2, 3))
    return np.cross(across, down)


def plane_name(header: Any) -> str:
    """Return the plane of a slice: axial, sagittal or coronal; "oblique" is added if it is tilted."""
    normal = np.abs(normal_of(header.ImageOrientationPatient))
    name = ("sagittal", "coronal", "axial")[int(normal.argmax())]
    return name if normal.max() > _STRAIGHT else f"{name} oblique"


def plane_text(header: Any) -> str:
    """Return size, spacing and orientation of a slice as short text."""
    plane = [round(float(number), 3) for number in _plane(header)]
    return f"{header.Columns}x{header.Rows}, spacing {plane[6:]} mm, orientation {plane[:6]}"


def _refuse_mixed_planes(source: Path, members: Sequence[Member]) -> None:
    first_path, first = members[0]
    for path, header in members:
        lacking = [
            keyword
            for keyword in ("ImagePositionPatient", "ImageOrientationPatient")
            if not header.get(keyword)
        ]
        if lacking or spacing_of(header) is None:
            names = " and ".join(lacking) or "PixelSpacing"
            msg = f"{path} must have {names}, got none; convert the series to NIfTI with a tool that knows it"
            raise ValueError(msg)
        if (header.Rows, header.Columns) != (first.Rows, first.Columns) or not np.allclose(
            _plane(header), _plane(first), atol=_ORIENTATION_TOLERANCE
        ):
            msg = (
                f"{source}: slices must have one size, spacing and orientation, got {plane_text(first)} in "
                f"{first_path.name} and {plane_text(header)} in {path.name}; "
                "keep only the slices of one volume"
            )
            raise ValueError(msg)


def _plane(header: Any) -> npt.NDArray[np.float64]:
    return np.array([*header.ImageOrientationPatient, *(spacing_of(header) or ())], float)


def _position(header: Any) -> npt.NDArray[np.float64]:
    return np.array(header.ImagePositionPatient, float)


def _ordered(source: Path, members: Sequence[Member]) -> tuple[list[Member], npt.NDArray[np.float64]]:
    """Return slices and positions along the normal (mm), ascending; ties in order of acquisition."""
    orientation = np.array(members[0][1].ImageOrientationPatient, float)
    normal = normal_of(orientation)
    if np.linalg.norm(normal) < 0.5:
        msg = f"{source}: ImageOrientationPatient must be two perpendicular directions, got {orientation}"
        raise ValueError(msg)
    acquired = sorted(members, key=lambda member: int(member[1].get("InstanceNumber") or 0))
    along = np.array([_position(header) @ normal for _, header in acquired])
    order = np.argsort(along, kind="stable")
    return [acquired[index] for index in order], along[order]


def _split(
    ordered: Sequence[Member], places: npt.NDArray[np.int64], most: int
) -> list[tuple[str, list[int]]] | None:
    """Return name and slices of each phase: by one attribute, by two, or by the order of acquisition."""
    columns = {keyword: [_text(header.get(keyword)) for _, header in ordered] for keyword in _DISTINGUISHING}
    for together in (1, 2):
        phases = _split_by(columns, places, most, itertools.combinations(_DISTINGUISHING, together))
        if phases is not None:
            return phases
    counts = set(Counter(places.tolist()).values())
    numbered = len({header.get("InstanceNumber") for _, header in ordered}) == len(ordered)
    if counts == {most} and numbered:
        return [(f"repeat {number + 1}", list(range(number, len(ordered), most))) for number in range(most)]
    return None


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _split_by(
    columns: Mapping[str, list[str | None]],
    places: npt.NDArray[np.int64],
    most: int,
    choices: Iterable[_Keywords],
) -> list[tuple[str, list[int]]] | None:
    """Split by the first attributes that give complete volumes, or else the first without double slices."""
    single: dict[_Keywords, dict[_Values, list[int]]] = {}
    for keywords in choices:
        groups: dict[_Values, list[int]] = defaultdict(list)
        for index, values in enumerate(zip(*(columns[keyword] for keyword in keywords), strict=True)):
            groups[values].append(index)
        if len(groups) == most and all(_is_single(chosen, places) for chosen in groups.values()):
            single[keywords] = groups
    whole = {
        keywords: groups
        for keywords, groups in single.items()
        if len({tuple(places[chosen]) for chosen in groups.values()}) == 1
    }
    for keywords, groups in (whole or single).items():
        return _named(keywords, groups)
    return None


def _is_single(chosen: Sequence[int], places: npt.NDArray[np.int64]) -> bool:
    return len(set(places[list(chosen)].tolist())) == len(chosen)


def _named(keywords: _Keywords, groups: dict[_Values, list[int]]) -> list[tuple[str, list[int]]]:
    """Return the groups in the order of their values, with times of day relative to the first."""
    starts = {
        keyword: min((_number(keyword, value) for value in column if value is not None), default=0.0)
        for keyword, column in zip(keywords, zip(*groups, strict=True), strict=True)
    }

    def order(values: _Values) -> list[tuple[bool, float, str]]:
        columns = zip(keywords, values, strict=True)
        return [(value is not None, _number(keyword, value), str(value)) for keyword, value in columns]

    def name(values: _Values) -> str:
        return ", ".join(
            f"{keyword} +{_number(keyword, value) - starts[keyword]:g} s"
            if keyword in _TIMES and value is not None
            else f"{keyword} {value}"
            for keyword, value in zip(keywords, values, strict=True)
        )

    return [(name(values), groups[values]) for values in sorted(groups, key=order)]


def _number(keyword: str, value: str | None) -> float:
    """Return a value as a number for sorting; times of day in seconds."""
    try:
        number = float(value or 0)
    except ValueError:
        return 0.0
    if keyword not in _TIMES:
        return number
    hours, minutes, seconds = number // 10000, number // 100 % 100, number % 100
    return round(3600 * hours + 60 * minutes + seconds, 3)


def _shared(source: Path, ordered: Sequence[Member], places: npt.NDArray[np.int64], most: int) -> str:
    fullest = Counter(places.tolist()).most_common(1)[0][0]
    headers = [header for (_, header), place in zip(ordered, places, strict=True) if place == fullest]
    return (
        f"{source} must hold one image per position, got {len(places)} images at "
        f"{len(set(places.tolist()))} positions (up to {most} share one){_difference(headers)}, and nothing "
        "tells whole volumes apart; put the files of one volume in a folder of its own"
    )


def _difference(headers: Iterable[Any]) -> str:
    """Return text that names the attribute which best distinguishes the images of one position."""
    headers = list(headers)
    values = {
        keyword: sorted({str(header.get(keyword)) for header in headers}) for keyword in _DISTINGUISHING
    }
    best = max(_DISTINGUISHING, key=lambda keyword: len(values[keyword]))  # the first one wins a tie
    return "" if len(values[best]) == 1 else f", which differ in {best}"
