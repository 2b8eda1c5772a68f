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
from pipelines.images.dicom.headers import (
    Contents,
    Found,
    Member,
    contents_of,
    header_of,
    is_other_object,
)
from pipelines.images.dicom.phases import Phase, phases_of, spacing_of, uneven, without_copies
from pipelines.images.dicom.tilt import EVEN_MM, tilt_degrees, tilt_text, upright
from pipelines.images.volume import Volume

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

    def to_dict(self) -> dict[str, Any]:
        """Return the choice as sidecars record it."""
        return {name: value for name, value in vars(self).items() if value not in (None, False)}


@dataclass(frozen=True, eq=False)
class Series:
    """Files of a volume, ordered along the normal of the slices.

    Parameters
    ----------
    files : tuple of paths
        One per slice, or one multi-frame file.
    positions_mm : (slices, 3) float array
        Centre of the first voxel of every slice, in patient coordinates.
    frames : tuple of int
        Frames of a multi-frame file that are the slices, from 0; otherwise empty.
    rescaled_apart : bool
        Whether slices differ in rescale slope or intercept, so that only floats can hold them all.
    slice_distance_mm : float, optional
        If slices are missing, the distance between the others.
    modality : str
        Such as MR; empty if the header does not say.
    """

    files: tuple[Path, ...]
    positions_mm: npt.NDArray[np.float64]
    frames: tuple[int, ...] = ()
    rescaled_apart: bool = False
    slice_distance_mm: float | None = None
    modality: str = ""


def series_of_folder(folder: Path, choice: Choice | None = None) -> Series:
    """Return the volume below a folder.

    Segmentations, reports and files that are not DICOM are ignored.

    Raises
    ------
    ValueError
        If there is no image; if there are several series or phases and none is chosen; if a file cannot be
        read, a slice is missing, or slices differ in size or orientation.
    """
    choice = choice or Choice()
    contents = contents_of(folder)
    series = chosen_series(folder, contents, choice.series)
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
    if contents.problems:
        more = len(contents.problems) - 1
        raise ValueError(contents.problems[0] + (f" ({more} more files cannot be read)" if more else ""))
    if not contents.series:
        kinds = sorted({str(header.get("Modality", "unknown")) for _, header in contents.others})
        got = f"objects of modality {', '.join(kinds)} alone" if kinds else "no DICOM image"
        msg = f"{folder} must hold the files of a DICOM series, got {got}"
        raise ValueError(msg)
    matching = [one for one in contents.series if wanted is None or _matches(one, wanted)]
    if len(matching) == 1:
        return matching[0]
    listed = "; ".join(one.summary() for one in contents.series)
    got = "" if wanted is None else f" and --series {wanted} means {len(matching)} of them"
    msg = (
        f"{folder} holds {len(contents.series)} DICOM series{got}: {listed}; give --series with a number, a "
        "UID or a part of a description"
    )
    raise ValueError(msg)


def series_frames(members: Sequence[Member]) -> Sequence[Member]:
    """Return the slices of a series: its files, or the frames of the one multi-frame file."""
    path, header = members[0]
    many = len(members) == 1 and int(header.get("NumberOfFrames") or 1) > 1
    return multiframe.frames_of(path, header) if many else members


def refuse_other_object(path: Path) -> None:
    """Refuse a DICOM file that is not an image: a segmentation, a dose, a report.

    Raises
    ------
    ValueError
        If its modality or SOP class is that of another object.
    """
    header = header_of(path)
    if header is not None and is_other_object(header):
        kind = header.get("Modality", "unknown")
        msg = (
            f"{path} must be a DICOM image, got an object of modality {kind}, which holds no intensities "
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
    frames = [path for path, header in members if int(header.get("NumberOfFrames") or 1) > 1]
    if len(members) == 1:
        if not frames:
            return _single(source, members[0], choice)
        members = multiframe.frames_of(*members[0])
    elif frames:
        msg = (
            f"{source} holds {len(members)} images of one series of which {frames[0].name} is multi-frame; "
            "name that file"
        )
        raise ValueError(msg)
    once, copies = without_copies(members) if not frames else (list(members), [])
    if copies and not choice.allow_gaps:
        msg = f"{source}: {copies[0]}; remove one of them, or give --allow-gaps to take the first"
        raise ValueError(msg)
    phase = _chosen_phase(source, phases_of(source, once), choice.phase)
    distance = _checked_distance(source, phase, allow_gaps=choice.allow_gaps)
    modality = str(phase.members[0][1].get("Modality") or "")
    if frames:
        numbers = tuple(int(header.InstanceNumber) - 1 for _, header in phase.members)
        return Series(
            files=(frames[0],),
            positions_mm=phase.positions_mm,
            frames=numbers,
            slice_distance_mm=distance,
            modality=modality,
        )
    return Series(
        files=tuple(path for path, _ in phase.members),
        positions_mm=phase.positions_mm,
        rescaled_apart=len({_rescale(header) for _, header in phase.members}) > 1,
        slice_distance_mm=distance,
        modality=modality,
    )


def _single(source: Path, member: Member, choice: Choice) -> Series:
    path, header = member
    _chosen_phase(source, [Phase(1, "", (member,), np.zeros(1))], choice.phase)
    position = header.get("ImagePositionPatient")
    if header.get("Modality") not in _PROJECTIONS:
        lacking = "ImagePositionPatient" if not position else "" if spacing_of(header) else "PixelSpacing"
        if lacking:
            msg = f"{path} must have {lacking}, got none; convert the image with a tool that knows it"
            raise ValueError(msg)
    places = np.array([position or (0.0, 0.0, 0.0)], float)
    return Series(files=(path,), positions_mm=places, modality=str(header.get("Modality") or ""))


def _chosen_phase(source: Path, phases: Sequence[Phase], wanted: int | None) -> Phase:
    if wanted is None and len(phases) == 1:
        return phases[0]
    if wanted is not None and 1 <= wanted <= len(phases):
        return phases[wanted - 1]
    got = "" if wanted is None else f", got --phase {wanted}"
    if len(phases) == 1:
        msg = f"{source} holds one volume and no phases{got}; leave --phase out"
        raise ValueError(msg)
    listed = "; ".join(f"{phase.number} {phase.name} ({len(phase.members)} slices)" for phase in phases)
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
    return float(np.median(np.diff(phase.along_mm)))


def _rescale(header: Any) -> tuple[float, float]:
    return float(header.get("RescaleSlope", 1.0)), float(header.get("RescaleIntercept", 0.0))
