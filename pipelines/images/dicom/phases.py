"""The volumes of one DICOM series: slices in order, split by contrast, and by phase where they coincide."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.images.dicom.attributes import DAMAGED, number_of, text_of
from pipelines.images.dicom.headers import Member, dataset_of
from pipelines.images.dicom.planes import (
    normal_of,
    orientation_of,
    plane_of,
    plane_text,
    position_of,
    size_of,
    spacing_of,
)
from pipelines.images.dicom.times import DATE_OF, TIMES, seconds_of

_SAME_POSITION_MM = 1e-3
_SAME_POSITION_VOXELS = 0.02
_ORIENTATION_TOLERANCE = 1e-3

# Attributes that differ between volumes and never within one: slices are split by them before their places
# are compared.
_CONTRASTS = (
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "DiffusionBValue",
    "DiffusionGradientOrientation",
    "EchoTime",
    "EchoNumbers",
    "ContrastBolusAgentPhase",
    "ComplexImageComponent",
)
# Attributes that may also differ within a volume, such as one acquired in interleaved packages: they only
# separate images at the same position. The first one that splits a series into complete volumes is used, or
# else the first pair.
_DISTINGUISHING = (
    *_CONTRASTS,
    "TriggerTime",
    "ImageType",
    "AcquisitionNumber",
    "AcquisitionTime",
    "AcquisitionDateTime",
    "ContentTime",
)
_REPEAT = "repeat"
_HALF_A_DAY = 43_200
"""Times without dates that are further apart (s) are those of a scan over midnight."""

_SAME_VALUE = 0.02
"""Echo times and b-values that differ by less than this fraction are those of one volume."""

_Keywords = tuple[str, ...]
_Values = tuple[str | None, ...]
_Columns = Mapping[str, list[str | None]]


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
        return np.array([position_of(path, header) for path, header in self.members])

    @property
    def orientation(self) -> npt.NDArray[np.float64]:
        """Directions (6,) of rows and of columns."""
        return plane_of(*self.members[0])[:6]

    @property
    def normal(self) -> npt.NDArray[np.float64]:
        """Unit vector (3,) along which the slices are ordered."""
        return normal_of(self.orientation)


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
    ordered, along, places = _ordered(source, members)
    columns = {keyword: _column(keyword, ordered) for keyword in _DISTINGUISHING}
    volumes: list[_Volume] = []
    for keywords, values, indices in _contrasts(columns):
        for more, others, chosen in _split(source, ordered, columns, places, indices):
            volumes.append((tuple(zip((*keywords, *more), (*values, *others), strict=True)), chosen))
    return [
        Phase(number, name, tuple(ordered[index] for index in chosen), along[chosen])
        for number, (name, chosen) in enumerate(_named(volumes, columns), start=1)
    ]


def without_copies(members: Sequence[Member]) -> tuple[list[Member], list[str]]:
    """Return each image once, and a line for every file that is a copy of another.

    A copy has the same place, the same attributes and the same voxels; identifiers do not count, since some
    exports give one to several slices, and others a new one to each copy.
    """
    groups: dict[tuple[str, ...], list[Member]] = defaultdict(list)
    for path, header in members:
        groups[_attributes(path, header)].append((path, header))
    copy_of: dict[Path, Path] = {}
    for group in groups.values():
        originals: dict[str, Path] = {}
        for path, _ in group if len(group) > 1 else ():
            original = originals.setdefault(_voxels_hash(path), path)
            if original != path:
                copy_of[path] = original
    kept = [(path, header) for path, header in members if path not in copy_of]
    return kept, [f"{path.name} is a copy of {original.name}" for path, original in copy_of.items()]


def _attributes(path: Path, header: Any) -> tuple[str, ...]:
    """Return the place of an image and what distinguishes it from others there."""
    try:
        place = str(np.round([*_numbers(position_of(path, header)), *plane_of(path, header)], 3))
    except ValueError:  # it will be refused, and not as a copy
        place = str(path)
    keywords = (
        *("Rows", "Columns", "InstanceNumber", *_DISTINGUISHING, *DATE_OF.values()),
        *("RescaleSlope", "RescaleIntercept", "PerFrameFunctionalGroupsSequence"),
    )
    return place, *(text_of(header, keyword) for keyword in keywords)


def _numbers(array: npt.NDArray[np.float64] | None) -> list[float]:
    return [] if array is None else array.tolist()


def _voxels_hash(path: Path) -> str:
    try:
        return hashlib.sha256(dataset_of(path).PixelData).hexdigest()
    except DAMAGED:  # reading it will say what is wrong
        return str(path)


def uneven(phase: Phase) -> str | None:
    """Return where the slices of a phase are unevenly spaced, as if one were missing; None if nowhere."""
    gaps = np.diff(phase.along_mm)
    if gaps.size < 2:
        return None
    usual = usual_distance(gaps)
    worst = int(np.abs(gaps - usual).argmax())
    if abs(gaps[worst] - usual) <= max(0.05, 0.01 * usual):
        return None
    before, after = (path.name for path, _ in phase.members[worst : worst + 2])
    return (
        f"{gaps[worst]:.2f} mm between slices {worst} and {worst + 1} of {len(phase.members)} ({before}, "
        f"{after}) and {usual:.2f} mm elsewhere"
    )


def usual_distance(gaps: npt.NDArray[np.float64]) -> float:
    """Return the distance (mm) of most slices: the lower median, since missing slices only widen gaps."""
    return float(np.sort(gaps)[(gaps.size - 1) // 2])


def _refuse_mixed_planes(source: Path, members: Sequence[Member]) -> None:
    first_path, first = members[0]
    plane, size = plane_of(first_path, first), size_of(first_path, first)
    for path, header in members:
        lacking = [
            keyword
            for keyword, value in (
                ("ImagePositionPatient", position_of(path, header)),
                ("ImageOrientationPatient", orientation_of(path, header)),
            )
            if value is None
        ]
        if lacking or spacing_of(path, header) is None:
            names = " and ".join(lacking) or "PixelSpacing"
            msg = f"{path} must have {names}, got none; convert the series to NIfTI with a tool that knows it"
            raise ValueError(msg)
        if size_of(path, header) != size or not np.allclose(
            plane_of(path, header), plane, atol=_ORIENTATION_TOLERANCE
        ):
            msg = (
                f"{source}: slices must have one size, spacing and orientation, got "
                f"{plane_text(first_path, first)} in {first_path.name} and {plane_text(path, header)} in "
                f"{path.name}; keep only the slices of one volume"
            )
            raise ValueError(msg)


def _ordered(
    source: Path, members: Sequence[Member]
) -> tuple[list[Member], npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return slices, positions along the normal (mm) and places from 0; ties in order of acquisition."""
    plane = plane_of(*members[0])
    orientation, spacing = plane[:6], plane[6:]
    normal = normal_of(orientation)
    if np.linalg.norm(normal) < 0.5:
        msg = f"{source}: ImageOrientationPatient must be two perpendicular directions, got {orientation}"
        raise ValueError(msg)
    acquired = sorted(members, key=_instance)
    along = np.array([position_of(path, header) for path, header in acquired], float) @ normal
    order = np.argsort(along, kind="stable")
    same = max(_SAME_POSITION_MM, _SAME_POSITION_VOXELS * float(spacing.min()))
    places = np.concatenate([[0], np.cumsum(np.diff(along[order]) > same)])
    ties = np.lexsort((order, places))
    order = order[ties]
    return [acquired[index] for index in order], along[order], places


def _instance(member: Member) -> float:
    """Return InstanceNumber; 0 if it is absent or malformed, since it only orders what coincides."""
    path, header = member
    try:
        return number_of(path, header, "InstanceNumber") or 0.0
    except ValueError:
        return 0.0


def _column(keyword: str, ordered: Sequence[Member]) -> list[str | None]:
    """Return the values of an attribute as text; of times as seconds."""
    headers = [header for _, header in ordered]
    if keyword not in TIMES:
        return [text_of(header, keyword) or None for header in headers]
    column = [seconds_of(header, keyword) for header in headers]
    dated = [bool(text_of(header, DATE_OF[keyword])) for header in headers] if keyword in DATE_OF else [True]
    if any(dated) and not all(dated):  # without its date a time cannot be compared with the others
        column = [None if value is None else value % 86_400 for value in column]
    known = [value for value in column if value is not None]
    if not all(dated) and known and max(known) - min(known) > _HALF_A_DAY:  # no scan takes so long
        column = [
            value + 2 * _HALF_A_DAY if value is not None and value < max(known) - _HALF_A_DAY else value
            for value in column
        ]
    return [None if value is None else f"{value:.3f}" for value in column]


_Split = tuple[_Keywords, _Values, list[int]]
_Volume = tuple[tuple[tuple[str, str | None], ...], list[int]]


def _contrasts(columns: _Columns) -> list[_Split]:
    """Group all slices by the attributes that never differ within a volume."""
    total = len(columns[_CONTRASTS[0]])
    keywords: _Keywords = ()
    groups: dict[_Values, list[int]] = {(): list(range(total))}
    for keyword in _CONTRASTS:
        column = _clustered(columns[keyword])
        finer: dict[_Values, list[int]] = defaultdict(list)
        for values, indices in groups.items():
            for index in indices:
                finer[(*values, column[index])].append(index)
        if len(groups) < len(finer) and (len(finer) < total or total == 2):
            keywords, groups = (*keywords, keyword), dict(finer)
    return [(keywords, values, sorted(indices)) for values, indices in groups.items()]


def _clustered(column: Sequence[str | None]) -> list[str | None]:
    """Return values with each number that is nearly another one replaced by that."""
    numbers: dict[str, float] = {}
    for text in {text for text in column if text is not None}:
        try:
            numbers[text] = float(text)
        except ValueError:
            return list(column)
    clusters: dict[str | None, str | None] = {None: None}
    start = None
    for text in sorted(numbers, key=lambda text: numbers[text]):
        if start is None or numbers[text] - numbers[start] > _SAME_VALUE * abs(numbers[start]):
            start = text
        clusters[text] = start
    return [clusters[text] for text in column]


def _split(
    source: Path,
    ordered: Sequence[Member],
    columns: _Columns,
    places: npt.NDArray[np.int64],
    indices: Sequence[int],
) -> list[_Split]:
    """Split slices that share positions: by one attribute, by two, or by the order of acquisition."""
    counts = Counter(places[list(indices)].tolist())
    most = max(counts.values())
    if most == 1:
        return [((), (), list(indices))]
    for together in (1, 2):
        choices = itertools.combinations(_DISTINGUISHING, together)
        volumes = _split_by(columns, places, indices, most, choices)
        if volumes is not None:
            return volumes
    numbered = len({_instance(ordered[index]) for index in indices}) == len(indices)
    if set(counts.values()) == {most} and numbered:
        return [((_REPEAT,), (str(number + 1),), list(indices[number::most])) for number in range(most)]
    raise ValueError(_shared(source, ordered, places, indices, columns))


def _split_by(
    columns: _Columns,
    places: npt.NDArray[np.int64],
    indices: Sequence[int],
    most: int,
    choices: Iterable[_Keywords],
) -> list[_Split] | None:
    """Split by the first attributes that give complete volumes, or else the first without double slices."""
    single: dict[_Keywords, dict[_Values, list[int]]] = {}
    for keywords in choices:
        groups: dict[_Values, list[int]] = defaultdict(list)
        for index in indices:
            groups[tuple(columns[keyword][index] for keyword in keywords)].append(index)
        if len(groups) == most and all(_is_single(chosen, places) for chosen in groups.values()):
            single[keywords] = groups
    whole = {
        keywords: groups
        for keywords, groups in single.items()
        if len({tuple(places[chosen]) for chosen in groups.values()}) == 1
    }
    for keywords, groups in (whole or single).items():
        return [(keywords, values, chosen) for values, chosen in groups.items()]
    return None


def _is_single(chosen: Sequence[int], places: npt.NDArray[np.int64]) -> bool:
    return len(set(places[list(chosen)].tolist())) == len(chosen)


def _named(volumes: Sequence[_Volume], columns: _Columns) -> list[tuple[str, list[int]]]:
    """Return the volumes in the order of their values, with times relative to the first."""
    starts = {
        keyword: min((_number(value) for value in columns[keyword] if value is not None), default=0.0)
        for keyword in TIMES
    }

    def order(volume: _Volume) -> list[tuple[bool, float, str]]:
        return [(value is not None, _number(value), str(value)) for _, value in volume[0]]

    def name(keyword: str, value: str | None) -> str:
        if keyword in TIMES and value is not None:
            return f"{keyword} +{round(_number(value) - starts[keyword], 3):g} s"
        return f"{keyword} {value}"

    return [
        (", ".join(itertools.starmap(name, values)), chosen) for values, chosen in sorted(volumes, key=order)
    ]


def _number(value: str | None) -> float:
    """Return a value as a number for sorting; 0 if it is text."""
    try:
        return float(value or 0)
    except ValueError:
        return 0.0


def _shared(
    source: Path,
    ordered: Sequence[Member],
    places: npt.NDArray[np.int64],
    indices: Sequence[int],
    columns: _Columns,
) -> str:
    counts = Counter(places[list(indices)].tolist())
    fullest, most = counts.most_common(1)[0]
    together = [index for index in indices if places[index] == fullest]
    return (
        f"{source} must hold one image per position, got {len(indices)} images at {len(counts)} positions "
        f"(up to {most} share one){_difference(columns, together)}, and no attribute separates them into "
        "whole volumes; put the files of one volume in a folder of its own"
    )


def _difference(columns: _Columns, together: Sequence[int]) -> str:
    """Return text that names the attribute which best distinguishes the images of one position."""
    values = {keyword: len({columns[keyword][index] for index in together}) for keyword in _DISTINGUISHING}
    best = max(_DISTINGUISHING, key=lambda keyword: values[keyword])  # the first one wins a tie
    return "" if values[best] == 1 else f", which differ in {best}"
