"""Headers of DICOM files: which images a folder holds, and to which series they belong."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pydicom

PATIENT_HASH_DIGITS = 12

# Objects that are not images, by modality and by the first digits of the SOP class: presentation states,
# structured reports, raw data, registrations, segmentations, doses, structures and plans.
_NOT_IMAGES = frozenset(
    ("SEG", "PR", "KO", "SR", "RTSTRUCT", "RTPLAN", "RTRECORD", "RTDOSE", "REG", "FID", "DOC", "ECG")
)
_NOT_IMAGE_CLASSES = tuple(
    f"1.2.840.10008.5.1.4.1.1.{number}"
    for number in ("11.", "66", "67", "88.", "104.", *(f"481.{part}" for part in range(2, 10)))
)
_PARAMETRIC_MAP = "1.2.840.10008.5.1.4.1.1.30"
_DIRECTORY_UID = "1.2.840.10008.1.3.10"  # DICOMDIR, the table of contents of a disc
# Only these are parsed, which halves the time for 20,000 files.
_READ = (
    *("SOPClassUID", "SOPInstanceUID", "Modality", "PatientID", "StudyInstanceUID", "SeriesInstanceUID"),
    *("SeriesNumber", "SeriesDescription", "InstanceNumber", "ImageType", "FrameOfReferenceUID"),
    *("Rows", "Columns", "NumberOfFrames", "PixelSpacing", "ImagerPixelSpacing", "SamplesPerPixel"),
    *("NominalScannedPixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"),
    *("RescaleSlope", "RescaleIntercept", "TemporalPositionIdentifier", "TriggerTime", "AcquisitionNumber"),
    *("DiffusionBValue", "EchoTime", "EchoNumbers", "AcquisitionTime", "ContentTime"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "ReferencedSeriesSequence"),
)

Member = tuple[Path, Any]
"""A file, or a frame of one, and its header."""


@dataclass(frozen=True, eq=False)
class Found:
    """A series of images.

    Parameters
    ----------
    number : int
        Counted from 1 over all series, ordered by patient, study and series number.
    uid : str
        SeriesInstanceUID.
    members : tuple of (path, header)
        Its files in the order of their names.
    """

    number: int
    uid: str
    members: tuple[Member, ...]

    @property
    def first(self) -> Any:
        """Header of the first file."""
        return self.members[0][1]

    @property
    def description(self) -> str:
        """SeriesDescription."""
        return str(self.first.get("SeriesDescription") or "no description")

    @property
    def modality(self) -> str:
        """Modality, such as MR."""
        return str(self.first.get("Modality") or "unknown")

    @property
    def is_localizer(self) -> bool:
        """Whether it was acquired to plan other series."""
        values = self.first.get("ImageType") or ()
        return "LOCALIZER" in ([values] if isinstance(values, str) else list(values))

    @cached_property
    def patient(self) -> str:
        """PatientID."""
        return str(self.first.get("PatientID") or "")

    def summary(self) -> str:
        """Return number, description, modality and number of images as short text."""
        modality = f"{self.modality}, localizer" if self.is_localizer else self.modality
        count = "1 image" if len(self.members) == 1 else f"{len(self.members)} images"
        return f"{self.number} {self.description} ({modality}, {count})"


@dataclass(frozen=True, eq=False)
class Contents:
    """The DICOM objects of a folder.

    Parameters
    ----------
    series : tuple of Found
        Series of images.
    others : tuple of (path, header)
        Objects that are not images: segmentations, doses, reports.
    problems : tuple of str
        Which files could not be read and why, a line each.
    """

    series: tuple[Found, ...]
    others: tuple[Member, ...]
    problems: tuple[str, ...]


def contents_of(folder: Path) -> Contents:
    """Return the DICOM objects below a folder, or the one in a file, by reading headers only.

    Hidden files, tables of contents (DICOMDIR) and files that are not DICOM are ignored.
    """
    images: dict[str, list[Member]] = {}
    others: list[Member] = []
    problems: list[str] = []
    for path in files_below(folder):
        try:
            header = header_of(path)
            category = None if header is None else _category(path, header)
        except (OSError, ValueError) as error:
            problems.append(str(error))
            continue
        if category == "image":
            images.setdefault(str(header.get("SeriesInstanceUID", "no UID")), []).append((path, header))
        elif category == "other":
            others.append((path, header))
    ordered = sorted(images.items(), key=lambda item: _order(item[1][0][1], item[0]))
    series = tuple(
        Found(number, uid, tuple(members)) for number, (uid, members) in enumerate(ordered, start=1)
    )
    return Contents(series, tuple(others), tuple(problems))


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder in the order of their names, but no hidden ones; for a file, itself."""
    if folder.is_file():
        yield folder
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in sorted(names) if not name.startswith("."))


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM files do."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def header_of(path: Path) -> Any:
    """Return the header of a file without its pixels; None if it is not a DICOM file.

    Raises
    ------
    ValueError
        If the file is empty, or its header is truncated or damaged.
    PermissionError
        If it may not be read.
    """
    if path.stat().st_size == 0:
        msg = f"{path} is empty (0 bytes); copy or export it again"
        raise ValueError(msg)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd values in attributes that are not used
        try:
            return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_READ))
        except pydicom.errors.InvalidDicomError:
            return None
        except PermissionError:
            msg = f"{path} cannot be read (permission denied)"
            raise PermissionError(msg) from None
        except (EOFError, ValueError, OSError):
            msg = f"{path} is truncated or damaged: its DICOM header cannot be read; copy or export it again"
            raise ValueError(msg) from None


def is_other_object(header: Any) -> bool:
    """Whether an object is not an image with the intensities of a scanner."""
    sop_class = str(header.get("SOPClassUID", ""))
    return (
        header.get("Modality") in _NOT_IMAGES
        or sop_class == _PARAMETRIC_MAP
        or sop_class.startswith(_NOT_IMAGE_CLASSES)
    )


def hashed(patient: str) -> str:
    """Return a hash to show in place of a patient's ID; equal for equal IDs."""
    return hashlib.sha256(patient.encode()).hexdigest()[:PATIENT_HASH_DIGITS]


def _category(path: Path, header: Any) -> str | None:
    """Return "image", "other" or None; refuse an image without a size, which its volume would miss."""
    if header.file_meta.get("MediaStorageSOPClassUID") == _DIRECTORY_UID:
        return None
    if is_other_object(header):
        return "other"
    if "Rows" not in header:
        msg = f"{path} must be a complete DICOM image, got a header without rows of pixels; copy it again"
        raise ValueError(msg)
    return "image"


def _order(header: Any, uid: str) -> tuple[str, str, int, str]:
    number = header.get("SeriesNumber")
    return (
        str(header.get("PatientID") or ""),
        str(header.get("StudyInstanceUID") or ""),
        0 if number is None else int(number),
        uid,
    )
