"""Headers of DICOM files: which images a folder holds, and to which series they belong."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pydicom

from pipelines.images.dicom import file_kinds
from pipelines.images.dicom.attributes import DAMAGED, count_of, number_of, quiet, text_of, value_of
from pipelines.images.dicom.diffusion import PRIVATE_TAGS, state_b_value

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
_DIRECTORY, _HIDDEN = "DICOMDIR", "hidden file"

# Only these are parsed, which halves the time for 20,000 files.
MOSAIC_CREATOR, MOSAIC_COUNT = 0x00190010, 0x0019100A  # private attributes of Siemens
_READ = (
    *("SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "Modality", "PatientID", "StudyInstanceUID"),
    *("SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "InstanceNumber", "ImageType"),
    *("FrameOfReferenceUID", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated"),
    *("PixelRepresentation", "PhotometricInterpretation", "PixelSpacing", "ImagerPixelSpacing"),
    *("NominalScannedPixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"),
    *("SpacingBetweenSlices", "RescaleSlope", "RescaleIntercept", "PixelPaddingValue"),
    *("PixelPaddingRangeLimit", "TemporalPositionIdentifier", "TemporalPositionIndex", "TriggerTime"),
    *("AcquisitionNumber", "DiffusionBValue", "DiffusionGradientOrientation", "EchoTime", "EchoNumbers"),
    *("ContrastBolusAgentPhase", "ComplexImageComponent", "AcquisitionDate", "AcquisitionTime"),
    *("AcquisitionDateTime", "ContentDate", "ContentTime", "SharedFunctionalGroupsSequence"),
    *("PerFrameFunctionalGroupsSequence", "ReferencedSeriesSequence", "SegmentSequence"),
    *("StructureSetROISequence", "ReferencedFrameOfReferenceSequence", MOSAIC_CREATOR, MOSAIC_COUNT),
    *PRIVATE_TAGS,
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
        return text_of(self.first, "SeriesDescription") or "no description"

    @property
    def modality(self) -> str:
        """Modality, such as MR."""
        return text_of(self.first, "Modality") or "unknown"

    @property
    def is_localizer(self) -> bool:
        """Whether it was acquired to plan other series."""
        return "LOCALIZER" in image_type(self.first)

    @cached_property
    def patient(self) -> str:
        """PatientID."""
        return text_of(self.first, "PatientID")

    def summary(self) -> str:
        """Return number, description, modality and number of images as short text."""
        modality = f"{self.modality}, localizer" if self.is_localizer else self.modality
        count = "1 image" if len(self.members) == 1 else f"{len(self.members)} images"
        return f"{self.number} {self.description} ({modality}, {count})"


@dataclass(frozen=True)
class Problem:
    """A file that cannot be read.

    Parameters
    ----------
    path : path
        The file.
    reason : str
        What is wrong and what to do, in one line that names the file.
    """

    path: Path
    reason: str

    def __str__(self) -> str:
        return self.reason


@dataclass(frozen=True, eq=False)
class Contents:
    """The DICOM objects of a folder.

    Parameters
    ----------
    series : tuple of Found
        Series of images.
    others : tuple of (path, header)
        Objects that are not images: segmentations, doses, reports.
    problems : tuple of Problem
        DICOM files that cannot be read, and files that may have been such: empty or zero-filled.
    ignored : tuple of (path, category)
        Files that are not DICOM and were not looked at further.
    """

    series: tuple[Found, ...]
    others: tuple[Member, ...]
    problems: tuple[Problem, ...]
    ignored: tuple[tuple[Path, str], ...] = ()

    def problems_of(self, series: Found) -> list[Problem]:
        """Return the unreadable files that may belong to a series."""
        members = [path for path, _ in series.members]
        lost = [
            Problem(
                path, f"{path} is named like the slices of the series and is not DICOM; replace or move it"
            )
            for path in self._not_dicom()
            if file_kinds.may_belong(path, members)
        ]
        return [*self.problems, *lost]

    def doubts_about(self, series: Found) -> list[str]:
        """Return a line for each text or picture whose name is a number, as those of the slices are."""
        members = [path for path, _ in series.members]
        return [
            f"{path} is named like the slices of the series and is not DICOM"
            for path in self._not_dicom()
            if file_kinds.is_numbered_like(path, members) and not file_kinds.may_belong(path, members)
        ]

    def _not_dicom(self) -> list[Path]:
        known = (_DIRECTORY, _HIDDEN, file_kinds.IMAGE)
        return [path for path, category in self.ignored if category not in known]

    def ignored_text(self) -> str:
        """Return how many files of which category were ignored, as short text; empty if none."""
        counts = Counter(category for _, category in self.ignored if category != file_kinds.IMAGE)
        return ", ".join(f"{count} {name}{'s' * (count > 1)}" for name, count in sorted(counts.items()))


def contents_of(folder: Path) -> Contents:
    """Return the DICOM objects below a folder, or the one in a file, by reading headers only."""
    images: dict[tuple[str, ...], list[Member]] = {}
    others: list[Member] = []
    problems: list[Problem] = []
    ignored: list[tuple[Path, str]] = [(path, _HIDDEN) for path in _hidden_below(folder)]
    for path in files_below(folder):
        try:
            header = header_of(path)
            category = _category(path, header)
        except (OSError, ValueError) as error:
            problems.append(Problem(path, str(error)))
            continue
        if category == "image":
            images.setdefault(_identity(header), []).append((path, header))
        elif category == "other":
            others.append((path, header))
        else:
            ignored.append((path, category))
    ordered = sorted(images.items(), key=lambda item: _order(item[1][0], item[0]))
    series = tuple(
        Found(number, uid, tuple(members)) for number, ((uid, *_), members) in enumerate(ordered, start=1)
    )
    return Contents(series, tuple(others), tuple(problems), tuple(ignored))


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder in the order of their names, but no hidden ones; for a file, itself."""
    if folder.is_file():
        yield folder
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in sorted(names) if not name.startswith("."))


def _hidden_below(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(place, name) for name in names if name.startswith("."))


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM files do, with or without the preamble."""
    with path.open("rb") as file:
        head = file.read(132)
    if file_kinds.begins_as_dicom(head):
        return True
    try:
        return file_kinds.begins_as_bare_dicom(head) and header_of(path) is not None
    except ValueError:
        return True


def header_of(path: Path) -> Any:
    """Return the header of a file without its pixels; None if it is not a DICOM file.

    Raises
    ------
    ValueError
        If the file is empty, or its header or its pixels are truncated or damaged.
    PermissionError
        If it may not be read.
    """
    if path.stat().st_size == 0:
        if file_kinds.is_named_as_other(path):
            return None
        msg = f"{path} is empty (0 bytes); copy or export it again"
        raise ValueError(msg)
    try:
        with path.open("rb") as file:
            header = _parsed(file, stop_before_pixels=True, specific_tags=list(_READ))
            end = file.tell()
    except PermissionError:
        msg = f"{path} cannot be read (permission denied)"
        raise PermissionError(msg) from None
    except DAMAGED:
        msg = f"{path} is truncated or damaged: its DICOM header cannot be read; copy or export it again"
        raise ValueError(msg) from None
    if header is not None:
        state_b_value(header)
        _refuse_truncated_pixels(path, header, path.stat().st_size - end)
    return header


def dataset_of(path: Path) -> Any:
    """Return all of a DICOM file, with a transfer syntax also where the file states none.

    Raises
    ------
    ValueError
        If it is not DICOM, or truncated or damaged.
    """
    try:
        with path.open("rb") as file:
            dataset = _parsed(file)
    except DAMAGED:
        dataset = None
    if dataset is None:
        msg = f"{path} is truncated or damaged: it cannot be read; copy or export it again"
        raise ValueError(msg)
    return dataset


def image_type(header: Any) -> tuple[str, ...]:
    """Return the values of ImageType."""
    try:
        values = value_of(Path(), header, "ImageType")
    except ValueError:
        return ()
    return () if values is None else (values,) if isinstance(values, str) else tuple(map(str, values))


def _parsed(file: Any, **options: Any) -> Any:
    """Return what pydicom reads; None if the file is not DICOM."""
    head = file.read(132)
    file.seek(0)
    bare = not file_kinds.begins_as_dicom(head)
    if bare and not file_kinds.begins_as_bare_dicom(head):
        return None
    with quiet():
        dataset = pydicom.dcmread(file, force=bare, **options)
        list(dataset.file_meta)  # decodes all of it, while warnings are off
        if bare and not ("SOPClassUID" in dataset or "Rows" in dataset):
            return None
        if not dataset.file_meta.get("TransferSyntaxUID"):
            dataset.file_meta.TransferSyntaxUID = _syntax(*dataset.original_encoding)
        if not isinstance(dataset.file_meta.TransferSyntaxUID, pydicom.uid.UID):
            msg = "several transfer syntaxes"
            raise ValueError(msg)
    return dataset


def _syntax(implicit: bool, little: bool) -> Any:
    if implicit:
        return pydicom.uid.ImplicitVRLittleEndian
    return pydicom.uid.ExplicitVRLittleEndian if little else pydicom.uid.ExplicitVRBigEndian


def _refuse_truncated_pixels(path: Path, header: Any, left: int) -> None:
    """Refuse an image whose file ends within its uncompressed pixels, `left` bytes after the header."""
    syntax = header.file_meta.TransferSyntaxUID
    if "Rows" not in header or not syntax.is_transfer_syntax:
        return
    if syntax.is_compressed or syntax.is_deflated or count_of(path, header, "SamplesPerPixel", 1) != 1:
        return
    rows, columns, frames, bits = (
        count_of(path, header, keyword, default)
        for keyword, default in (("Rows", 0), ("Columns", 0), ("NumberOfFrames", 1), ("BitsAllocated", 0))
    )
    needed = (rows * columns * frames * bits + 7) // 8
    got = max(0, left - (8 if syntax.is_implicit_VR else 12))
    if got < needed:
        size = f"its voxels need {needed} bytes, got {got}"
        msg = f"{path} is truncated or damaged: {size}; copy or export it again"
        raise ValueError(msg)


def is_other_object(header: Any) -> bool:
    """Whether an object is not an image with the intensities of a scanner."""
    sop_class = text_of(header, "SOPClassUID")
    return (
        text_of(header, "Modality") in _NOT_IMAGES
        or sop_class == _PARAMETRIC_MAP
        or sop_class.startswith(_NOT_IMAGE_CLASSES)
    )


def hashed(patient: str) -> str:
    """Return a hash to show in place of a patient's ID; equal for equal IDs."""
    return hashlib.sha256(patient.encode()).hexdigest()[:PATIENT_HASH_DIGITS]


def _category(path: Path, header: Any) -> str:
    """Return "image", "other", or what a file is that is ignored.

    Raises
    ------
    ValueError
        If it is an image without a size, which its volume would lack, or a DICOM file that was packed or
        overwritten with zeros.
    """
    if header is None:
        fault = file_kinds.fault_of(path)
        if fault is not None:
            msg = f"{path} {fault}"
            raise ValueError(msg)
        return file_kinds.category_of(path)
    if header.file_meta.get("MediaStorageSOPClassUID") == _DIRECTORY_UID:
        return _DIRECTORY
    if is_other_object(header):
        return "other"
    if not count_of(path, header, "Rows") or not count_of(path, header, "Columns"):
        msg = f"{path} must be a complete DICOM image, got a header without rows of pixels; copy it again"
        raise ValueError(msg)
    return "image"


def _identity(header: Any) -> tuple[str, ...]:
    """Return the UID of a series, with patient and study: careless anonymisation repeats UIDs."""
    uid = text_of(header, "SeriesInstanceUID") or "no UID"
    return uid, text_of(header, "PatientID"), text_of(header, "StudyInstanceUID")


def _order(member: Member, identity: tuple[str, ...]) -> tuple[str, str, float, tuple[str, ...]]:
    path, header = member
    try:
        number = number_of(path, header, "SeriesNumber")
    except ValueError:  # it only orders the list
        number = None
    return text_of(header, "PatientID"), text_of(header, "StudyInstanceUID"), number or 0.0, identity
