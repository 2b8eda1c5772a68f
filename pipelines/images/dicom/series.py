"""The volume in a DICOM file or folder, refused unless it is one regular volume."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.images.dicom import multiframe
from pipelines.images.dicom.attributes import text_of, value_of
from pipelines.images.dicom.headers import (
    MOSAIC_COUNT,
    MOSAIC_CREATOR,
    Contents,
    Found,
    Member,
    contents_of,
    header_of,
    image_type,
    is_other_object,
)
from pipelines.images.dicom.phases import Phase, phases_of, uneven, usual_distance, without_copies
from pipelines.images.dicom.planes import position_of, spacing_of
from pipelines.images.dicom.tilt import EVEN_MM, tilt_degrees, tilt_text, upright
from pipelines.images.dicom.voxels import read_slices, warn_of_padding
from pipelines.images.volume import Volume
from pipelines.reports.tables import counted

_log = logging.getLogger(__name__)

_PROJECTIONS = ("CR", "DX", "MG", "US", "RF", "XA", "OT", "SC")
"""Modalities whose images have no position in the patient."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which volume to read if there are several.

    Parameters
    ----------
    series : str, optional
        Number of the series as `radsynth inspect` lists it, its UID, or part of its description.
    phase : int, optional
        Number of the phase, from 1.
    allow_gaps : bool
        Accept slices in their order even if one is missing or there twice.
    correct_tilt : bool
        Move the slices of a tilted gantry upright (`tilt.upright`).
    """

    series: str | None = None
    phase: int | None = None
    allow_gaps: bool = False
    correct_tilt: bool = False

    @property
    def of_one_volume(self) -> Choice:
        """What names one volume, without what holds for all that are read."""
        return replace(self, allow_gaps=False, correct_tilt=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the choice as sidecars record it."""
        return {name: value for name, value in vars(self).items() if value not in (None, False)}


@dataclass(frozen=True, eq=False)
class Series:
    """Slices of a volume, ordered along their normal.

    Parameters
    ----------
    members : tuple of (path, header)
        Slices; files, or frames of enhanced files.
    positions_mm : (slices, 3) float array
        Centre of the first voxel of every slice, in patient coordinates.
    framed : bool
        Whether the members are frames of enhanced files.
    slice_distance_mm : float, optional
        If slices are missing, the distance between the others.
    """

    members: tuple[Member, ...]
    positions_mm: npt.NDArray[np.float64]
    framed: bool = False
    slice_distance_mm: float | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """Its files in the order of the slices, each once."""
        return tuple(dict.fromkeys(path for path, _ in self.members))

    @property
    def modality(self) -> str:
        """Such as MR; empty if the header does not say."""
        return text_of(self.members[0][1], "Modality")


def read_dicom(path: Path, choice: Choice) -> Volume:
    """Return the volume of a DICOM file or of a folder.

    Raises
    ------
    ValueError
        See `series_of_folder` and `series_of_file`; also if voxels cannot be read, or slices do not form a
        regular grid.
    """
    series = series_of_folder(path, choice) if path.is_dir() else series_of_file(path, choice)
    if choice.allow_gaps:
        array, series = _readable_slices(path, series)
    else:
        array = read_slices(series.members, framed=series.framed)
    warn_of_padding(path, array, series.members)
    spacing, direction = multiframe.frame_geometry(*series.members[0], series.positions_mm)
    volume = Volume(
        array=array,
        spacing_mm=spacing,
        origin_mm=tuple(series.positions_mm[0].tolist()),
        direction=direction,
        sources=series.files,
        modality=series.modality,
    )
    return at_positions(path, volume, series, choice)


def series_of_folder(folder: Path, choice: Choice | None = None) -> Series:
    """Return the volume below a folder.

    Segmentations, reports and files that are not DICOM are ignored.

    Raises
    ------
    ValueError
        If there is no image; if there are several series or phases and none is chosen; if a file that may
        belong to the series cannot be read, a slice is missing, or slices differ in size or orientation.
    """
    choice = choice or Choice()
    contents = contents_of(folder)
    series = chosen_series(folder, contents, choice.series)
    problems = [str(problem) for problem in contents.problems_of(series)]
    if problems and not choice.allow_gaps:
        more = f" ({len(problems) - 1} more files cannot be read)" if len(problems) > 1 else ""
        msg = f"{problems[0]}{more}, or give --allow-gaps to go on without it"
        raise ValueError(msg)
    for problem in [*problems, *contents.doubts_about(series)]:
        _log.warning("left out: %s", problem)
    return _volume(folder, series.members, choice)


def series_of_file(path: Path, choice: Choice | None = None) -> Series:
    """Return the volume of one file: one slice, or the frames of a multi-frame image.

    Raises
    ------
    ValueError
        If it is not an image, or its frames have no positions.
    """
    header = header_of(path)
    if header is None or "Rows" not in header:
        msg = f"{path} must be a DICOM image, got a file without rows of pixels; is it complete?"
        raise ValueError(msg)
    return _volume(path, ((path, header),), choice or Choice())


def chosen_series(folder: Path, contents: Contents, wanted: str | None) -> Found:
    """Return the series that is wanted.

    Raises
    ------
    ValueError
        If there is none, or `wanted` does not match exactly one of several; the message lists them.
    """
    if not contents.series:
        if contents.problems:
            raise ValueError(str(contents.problems[0]))
        kinds = sorted({text_of(header, "Modality") or "unknown" for _, header in contents.others})
        got = f"only objects of modality {', '.join(kinds)}" if kinds else "no DICOM image"
        msg = f"{folder} must hold the files of a DICOM series, got {got}"
        raise ValueError(msg)
    matching = [one for one in contents.series if wanted is None or _matches(one, wanted)]
    if len(matching) == 1:
        return matching[0]
    listed = "; ".join(one.summary() for one in contents.series)
    got = "" if wanted is None else f" and --series {wanted} matches {len(matching)} of them"
    msg = (
        f"{folder} holds {len(contents.series)} DICOM series{got}: {listed}; give --series with a number, a "
        "UID or a part of a description"
    )
    raise ValueError(msg)


def series_frames(source: Path, members: Sequence[Member]) -> Sequence[Member]:
    """Return the slices of a series: its files, or all frames of enhanced files.

    Raises
    ------
    ValueError
        If enhanced files are mixed with others, frames have no positions, or a file is a mosaic.
    """
    enhanced = [path for path, header in members if multiframe.is_enhanced(path, header)]
    if not enhanced:
        _refuse_mosaics(members)
        return members
    if len(enhanced) < len(members):
        msg = (
            f"{source} holds {len(members)} images of one series of which {enhanced[0].name} is multi-frame; "
            "name that file"
        )
        raise ValueError(msg)
    return [frame for path, header in members for frame in multiframe.frames_of(path, header)]


def _refuse_mosaics(members: Sequence[Member]) -> None:
    for path, header in members:
        if not multiframe.is_enhanced(path, header):
            _refuse_mosaic(path, header)


def _refuse_mosaic(path: Path, header: Any) -> None:
    """Refuse a single-frame file of Siemens that shows many slices side by side."""
    counted = value_of(path, header, MOSAIC_COUNT) is not None
    siemens = text_of(header, MOSAIC_CREATOR).strip() == "SIEMENS MR HEADER"
    if "MOSAIC" in image_type(header) or (counted and siemens):
        msg = (
            f"{path} is a mosaic (ImageType MOSAIC): its slices lie side by side in one plane; convert the "
            "series to NIfTI with dcm2niix"
        )
        raise ValueError(msg)


def refuse_other_object(path: Path) -> None:
    """Refuse a DICOM file that is not an image: a segmentation, a dose, a report.

    Raises
    ------
    ValueError
        If its modality or SOP class is that of another object.
    """
    header = header_of(path)
    if header is not None and is_other_object(header):
        modality = text_of(header, "Modality") or "unknown"
        msg = (
            f"{path} must be a DICOM image, got an object of modality {modality}, which holds no intensities "
            "of a scanner; name the image that it was made from"
        )
        raise ValueError(msg)


def at_positions(source: Path, volume: Volume, series: Series, choice: Choice) -> Volume:
    """Return a volume with its slices at the positions that their headers give.

    Raises
    ------
    ValueError
        If they do not form a regular grid. Missing slices that are allowed give a warning instead.
    """
    positions = series.positions_mm
    if len(positions) < 2:
        return volume
    normal = np.reshape(volume.direction, (3, 3))[:, 2]
    tilt = tilt_degrees(positions, normal)
    if tilt and choice.correct_tilt:
        return upright(volume, positions)
    if tilt:
        msg = f"{source}: slices must lie above each other, got {tilt_text(tilt)}"
        raise ValueError(msg)
    if series.slice_distance_mm is not None:
        volume = replace(volume, spacing_mm=(*volume.spacing_mm[:2], series.slice_distance_mm))
    steps = np.arange(len(positions))[:, None] * volume.spacing_mm[2] * normal
    apart = np.abs(positions - volume.origin_mm - steps).max(axis=1)
    worst = int(apart.argmax())
    if apart[worst] <= EVEN_MM:
        return volume
    if series.slice_distance_mm is None:
        msg = (
            f"{source}: slices must lie on a regular grid in their order, but slice {worst} is "
            f"{apart[worst]:.2f} mm off; resample the series to a regular grid first"
        )
        raise ValueError(msg)
    _log.warning(
        "%s: slices are missing; from slice %d on the rest is shown %.2f mm off", source, worst, apart[worst]
    )
    return volume


def _matches(series: Found, wanted: str) -> bool:
    if wanted.isdecimal():
        return series.number == int(wanted)
    return series.uid == wanted or wanted.casefold() in series.description.casefold()


def _volume(source: Path, members: Sequence[Member], choice: Choice) -> Series:
    """Return the only volume of a series, or the phase of it that is wanted."""
    if len(members) == 1 and not multiframe.is_enhanced(*members[0]):
        return _single(source, members[0], choice)
    _refuse_mosaics(members)
    once, copies = without_copies(members)
    if copies and not choice.allow_gaps:
        msg = f"{source}: {copies[0]}; remove one of them, or give --allow-gaps to take the first"
        raise ValueError(msg)
    for copy in copies:
        _log.warning("left out: %s", copy)
    slices = series_frames(source, once)
    phase = _chosen_phase(source, phases_of(source, slices), choice.phase)
    refuse_mixed_scales(source, phase)
    return Series(
        members=phase.members,
        positions_mm=phase.positions_mm,
        framed=multiframe.is_enhanced(*once[0]),
        slice_distance_mm=_checked_distance(source, phase, allow_gaps=choice.allow_gaps),
    )


def refuse_mixed_scales(source: Path, phase: Phase) -> None:
    """Refuse slices of which some show high intensities as dark: nothing says whether they mean the same.

    Raises
    ------
    ValueError
        If PhotometricInterpretation differs between slices.
    """
    names: dict[str, Path] = {}
    for path, header in phase.members:
        names.setdefault(text_of(header, "PhotometricInterpretation"), path)
    if len(names) > 1:
        got = " and ".join(f"{name or 'none'} in {path.name}" for name, path in names.items())
        msg = (
            f"{source}: slices must have one PhotometricInterpretation, got {got}; correct the headers, or "
            "convert the series to NIfTI with a tool that knows it"
        )
        raise ValueError(msg)


def _readable_slices(source: Path, series: Series) -> tuple[npt.NDArray[Any], Series]:
    """Return the voxels of the slices that can be read, and the series without the others."""
    lost: list[int] = []

    def skip(index: int, error: ValueError) -> None:
        lost.append(index)
        _log.warning("left out: %s", error)

    array = read_slices(series.members, framed=series.framed, skip=skip)
    if not lost:
        return array, series
    if len(lost) == len(series.members):
        msg = f"{source}: the voxels of no slice can be read; copy or export the series again"
        raise ValueError(msg)
    kept = [index for index in range(len(series.members)) if index not in lost]
    steps = np.linalg.norm(np.diff(series.positions_mm, axis=0), axis=1)
    distance = series.slice_distance_mm if series.slice_distance_mm is not None else usual_distance(steps)
    return array, replace(
        series,
        members=tuple(series.members[index] for index in kept),
        positions_mm=series.positions_mm[kept],
        slice_distance_mm=distance,
    )


def _single(source: Path, member: Member, choice: Choice) -> Series:
    path, header = member
    _refuse_mosaic(path, header)
    _chosen_phase(source, [Phase(1, "", (member,), np.zeros(1))], choice.phase)
    position = position_of(path, header)
    if text_of(header, "Modality") not in _PROJECTIONS:
        lacking = "ImagePositionPatient" if position is None else ""
        lacking = lacking or ("" if spacing_of(path, header) else "PixelSpacing")
        if lacking:
            msg = f"{path} must have {lacking}, got none; convert the image with a tool that knows it"
            raise ValueError(msg)
    places = np.zeros((1, 3)) if position is None else position[None]
    return Series(members=(member,), positions_mm=places)


def _chosen_phase(source: Path, phases: Sequence[Phase], wanted: int | None) -> Phase:
    if wanted is None and len(phases) == 1:
        return phases[0]
    if wanted is not None and 1 <= wanted <= len(phases):
        return phases[wanted - 1]
    got = "" if wanted is None else f", got --phase {wanted}"
    if len(phases) == 1:
        msg = f"{source} holds one volume and no phases{got}; leave --phase out"
        raise ValueError(msg)
    listed = "; ".join(
        f"{phase.number} {phase.name} ({counted(len(phase.members), 'slice')})" for phase in phases
    )
    msg = f"{source} holds {len(phases)} phases{got}: {listed}; give --phase with a number"
    raise ValueError(msg)


def _checked_distance(source: Path, phase: Phase, *, allow_gaps: bool) -> float | None:
    """Refuse uneven slices, or return their usual distance if they are allowed."""
    gap = uneven(phase)
    if gap is None:
        return None
    if not allow_gaps:
        msg = (
            f"{source}: slices must be equally spaced, got {gap}; a slice is missing or belongs to another "
            "volume: find it, or give --allow-gaps to take the slices as they follow"
        )
        raise ValueError(msg)
    return usual_distance(np.diff(phase.along_mm))
