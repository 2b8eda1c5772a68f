"""The files of one DICOM series in order, refused when they do not make one regular volume."""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_NOT_IMAGES = (
    "SEG",
    "PR",
    "KO",
    "SR",
    "RTSTRUCT",
    "RTPLAN",
    "RTRECORD",
    "RTDOSE",
    "REG",
    "FID",
    "DOC",
    "ECG",
)
# SOP classes by their beginning: presentation states, structured reports, raw data, registrations,
# segmentations, doses, structures and plans.
_NOT_IMAGE_CLASSES = tuple(
    f"1.2.840.10008.5.1.4.1.1.{number}"
    for number in ("11.", "66", "67", "88.", "104.", *(f"481.{part}" for part in range(2, 10)))
)
_DIRECTORY_UID = "1.2.840.10008.1.3.10"  # DICOMDIR, the table of contents of a disc
_SAME_POSITION_MM = 1e-3
_ORIENTATION_TOLERANCE = 1e-3
# Attributes by which images at one position usually differ, the most telling first.
_TELLING = (
    "TemporalPositionIdentifier",
    "DiffusionBValue",
    "EchoTime",
    "EchoNumbers",
    "ImageType",
    "AcquisitionNumber",
    "AcquisitionTime",
    "TriggerTime",
    "ContentTime",
)


@dataclass(frozen=True, eq=False)
class Series:
    """Files of a volume, ordered along the normal of the slices.

    Parameters
    ----------
    files : tuple of paths
        One per slice, or one multi-frame file.
    positions_mm : (slices, 3) float array
        Centre of the first voxel of every slice, patient coordinates.
    rescaled_apart : bool
        The slices have different rescale slopes or intercepts, so that only floats hold them all.
    """

    files: tuple[Path, ...]
    positions_mm: npt.NDArray[np.float64]
    rescaled_apart: bool = False


def series_of_folder(folder: Path) -> Series:
    """Return the one series of images that a folder holds.

    Segmentations, reports and files that are not DICOM are passed over.

    Raises
    ------
    ValueError
        If there is no image, more than one series, several images at a position, a gap between
        slices, or slices of different size or orientation.
    """
    headers = _image_headers(folder)
    _refuse_none(folder, headers)
    _refuse_several_series(folder, headers)
    if len(headers) == 1:
        return series_of_file(next(iter(headers)))
    _refuse_mixed_planes(folder, headers)
    ordered, along = _ordered(folder, headers)
    _refuse_shared_positions(folder, ordered, along)
    _refuse_gap(folder, along)
    return Series(
        files=tuple(path for path, _ in ordered),
        positions_mm=np.array([_position(header) for _, header in ordered]),
        rescaled_apart=len({_rescale(header) for _, header in ordered}) > 1,
    )


def series_of_file(path: Path) -> Series:
    """Return the series made of one file: one slice, or the frames of a multi-frame image.

    Raises
    ------
    ValueError
        If the frames of a multi-frame image carry no positions.
    """
    header = _header(path)
    if header is None or "Rows" not in header:
        msg = f"{path} must be a DICOM image, got a file without rows of pixels; is it complete?"
        raise ValueError(msg)
    frames = int(header.get("NumberOfFrames") or 1)
    if frames == 1:
        position = header.get("ImagePositionPatient") or (0.0, 0.0, 0.0)
        return Series(files=(path,), positions_mm=np.array([position], float))
    return Series(files=(path,), positions_mm=_frame_positions(path, header, frames))


def refuse_other_object(path: Path) -> None:
    """Refuse a DICOM file that is no image: a segmentation, a dose, a report.

    Raises
    ------
    ValueError
        If its modality or SOP class is that of another object.
    """
    header = _header(path)
    if header is not None and _is_other_object(header):
        kind = header.get("Modality", "unknown")
        msg = (
            f"{path} must be a DICOM image, got an object of modality {kind}, which holds no intensities "
            "of a scanner; name the image that it was made from"
        )
        raise ValueError(msg)


def check_positions(source: Path, series: Series, found_mm: npt.NDArray[np.float64]) -> None:
    """Refuse a volume whose slices do not lie where their headers say.

    Parameters
    ----------
    source : path
        Named in the message.
    series : Series
        Where the slices lie.
    found_mm : (slices, 3) float array
        Where the volume's geometry puts them.
    """
    apart = np.abs(series.positions_mm - found_mm).max(axis=1)
    worst = int(apart.argmax())
    if apart[worst] > 0.1:
        msg = (
            f"{source}: slices must lie on a regular grid in their order, but slice {worst} is "
            f"{apart[worst]:.2f} mm off (tilted gantry, or frames out of order); resample the series "
            "to a regular grid first"
        )
        raise ValueError(msg)


def _header(path: Path) -> Any:
    """Return the header without pixels, or None if this is no DICOM file."""
    import pydicom

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd values in headers that nobody reads here
        try:
            return pydicom.dcmread(path, stop_before_pixels=True)
        except pydicom.errors.InvalidDicomError:
            return None
        except (EOFError, ValueError):
            msg = f"{path} is truncated or damaged: its DICOM header cannot be read; copy or export it again"
            raise ValueError(msg) from None


def _image_headers(folder: Path) -> dict[Path, Any]:
    headers = {}
    for path in sorted(folder.iterdir()):
        header = _header(path) if path.is_file() and not path.name.startswith(".") else None
        if header is not None and _is_image(path, header):
            headers[path] = header
    return headers


def _is_image(path: Path, header: Any) -> bool:
    """Whether a file is a slice; one that lost its size is refused, not lost from the volume."""
    directory = header.file_meta.get("MediaStorageSOPClassUID") == _DIRECTORY_UID
    if directory or _is_other_object(header):
        return False
    if "Rows" not in header:
        msg = f"{path} must be a complete DICOM image, got a header without rows of pixels; copy it again"
        raise ValueError(msg)
    return True


def _is_other_object(header: Any) -> bool:
    return header.get("Modality") in _NOT_IMAGES or str(header.get("SOPClassUID", "")).startswith(
        _NOT_IMAGE_CLASSES
    )


def _refuse_none(folder: Path, headers: dict[Path, Any]) -> None:
    if headers:
        return
    below = [path.name for path in sorted(folder.iterdir()) if path.is_dir() and _image_headers(path)]
    hint = f"; its folders {', '.join(below)} do, name one of them" if below else ""
    msg = f"{folder} must hold the files of one DICOM series, got no DICOM image{hint}"
    raise ValueError(msg)


def _refuse_several_series(folder: Path, headers: dict[Path, Any]) -> None:
    series: dict[str, list[Any]] = defaultdict(list)
    for header in headers.values():
        series[str(header.get("SeriesInstanceUID", "no UID"))].append(header)
    if len(series) > 1:
        listed = "; ".join(
            f"{uid} ({members[0].get('SeriesDescription', 'no description')}, {len(members)} images)"
            for uid, members in series.items()
        )
        msg = f"{folder} must hold one DICOM series, got {len(series)}: {listed}; put each in its own folder"
        raise ValueError(msg)


def _refuse_mixed_planes(folder: Path, headers: dict[Path, Any]) -> None:
    """Refuse multi-frame files, slices without position, and slices of different planes."""
    first_path, first = next(iter(headers.items()))
    for path, header in headers.items():
        if int(header.get("NumberOfFrames") or 1) > 1:
            msg = f"{folder} holds {len(headers)} images of which {path.name} is multi-frame; name that file"
            raise ValueError(msg)
        if "ImagePositionPatient" not in header or "ImageOrientationPatient" not in header:
            msg = (
                f"{path} must have ImagePositionPatient and ImageOrientationPatient, got none; "
                "convert the series to NIfTI"
            )
            raise ValueError(msg)
        if _size(header) != _size(first) or not np.allclose(
            _plane(header), _plane(first), atol=_ORIENTATION_TOLERANCE
        ):
            msg = (
                f"{folder}: slices must have one size, spacing and orientation, got {_plane_text(first)} in "
                f"{first_path.name} and {_plane_text(header)} in {path.name}; "
                "keep only the slices of one volume"
            )
            raise ValueError(msg)


def _size(header: Any) -> tuple[int, int]:
    return int(header.Rows), int(header.Columns)


def _plane(header: Any) -> npt.NDArray[np.float64]:
    spacing = header.get("PixelSpacing") or (1.0, 1.0)
    return np.array([*header.ImageOrientationPatient, *spacing], float)


def _plane_text(header: Any) -> str:
    rows, columns = _size(header)
    plane = [round(float(number), 3) for number in _plane(header)]
    return f"{columns}x{rows}, spacing {plane[6:]} mm, orientation {plane[:6]}"


def _position(header: Any) -> npt.NDArray[np.float64]:
    return np.array(header.ImagePositionPatient, float)


def _rescale(header: Any) -> tuple[float, float]:
    return float(header.get("RescaleSlope", 1.0)), float(header.get("RescaleIntercept", 0.0))


def _ordered(
    folder: Path, headers: dict[Path, Any]
) -> tuple[list[tuple[Path, Any]], npt.NDArray[np.float64]]:
    """Slices and their places along the normal (mm), rising."""
    first = next(iter(headers.values()))
    orientation = np.array(first.ImageOrientationPatient, float)
    normal = np.cross(orientation[:3], orientation[3:])
    if np.linalg.norm(normal) < 0.5:
        msg = f"{folder}: ImageOrientationPatient must be two perpendicular directions, got {orientation}"
        raise ValueError(msg)
    slices = list(headers.items())
    along = np.array([_position(header) @ normal for _, header in slices])
    order = np.argsort(along, kind="stable")
    return [slices[index] for index in order], along[order]


def _refuse_shared_positions(
    folder: Path, ordered: Sequence[tuple[Path, Any]], along: npt.NDArray[np.float64]
) -> None:
    group = np.concatenate([[0], np.cumsum(np.diff(along) > _SAME_POSITION_MM)])
    counts = Counter(group.tolist())
    if len(counts) == len(along):
        return
    fullest, most = counts.most_common(1)[0]
    members = [header for (_, header), number in zip(ordered, group, strict=True) if number == fullest]
    msg = (
        f"{folder} must hold one image per position, got {len(along)} images at {len(counts)} positions "
        f"(up to {most} share one){_difference(members)}; several phases, echoes or repeats are in one "
        "series: put the files of one of them in a folder of its own"
    )
    raise ValueError(msg)


def _difference(headers: Sequence[Any]) -> str:
    """Name the attribute that tells the images of one position apart best."""
    values = {keyword: sorted({str(header.get(keyword)) for header in headers}) for keyword in _TELLING}
    best = max(_TELLING, key=lambda keyword: len(values[keyword]))  # the first of equals
    if len(values[best]) == 1:
        return ""
    return f", which differ in {best}: {', '.join(values[best])}"


def _refuse_gap(source: Path, along: npt.NDArray[np.float64]) -> None:
    gaps = np.diff(along)
    usual = float(np.median(gaps))
    worst = int(np.abs(gaps - usual).argmax())
    if abs(gaps[worst] - usual) > max(0.05, 0.01 * usual):
        msg = (
            f"{source}: slices must be equally spaced, got {gaps[worst]:.2f} mm between slices {worst} and "
            f"{worst + 1} of {len(along)} and {usual:.2f} mm elsewhere; "
            "a slice is missing or belongs to another volume"
        )
        raise ValueError(msg)


def _frame_positions(path: Path, header: Any, frames: int) -> npt.NDArray[np.float64]:
    groups = header.get("PerFrameFunctionalGroupsSequence") or []
    try:
        positions = [group.PlanePositionSequence[0].ImagePositionPatient for group in groups]
    except (AttributeError, IndexError):
        positions = []
    if len(positions) != frames:
        msg = (
            f"{path} has {frames} frames and must give the position of each, got {len(positions)}; "
            "export it as single-frame DICOM or convert it to NIfTI"
        )
        raise ValueError(msg)
    return np.array(positions, float)
