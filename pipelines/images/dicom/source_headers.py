"""Headers of the images that a derived DICOM object refers to: checked, and completed."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
from pydicom.valuerep import DA, TM

from pipelines.images.dicom.headers import dataset_of

_log = logging.getLogger(__name__)

_IDENTIFIERS = ("StudyInstanceUID", "FrameOfReferenceUID")

_MAY_BE_EMPTY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
"""Attributes of patient and study that an object must have, with or without a value (type 2)."""


def source_header(path: Path) -> Any:
    """Return the header of a file that a map was made from.

    Raises
    ------
    ValueError
        If it is not a DICOM image, or nothing can refer to it.
    """
    header: Any = {}
    with contextlib.suppress(ValueError):  # refused below, as files without pixels are
        header = dataset_of(path)
        for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData"):
            header.pop(keyword, None)
    if "Rows" not in header:
        msg = f"{path} must be a DICOM image, got another kind of file; write .nii.gz instead"
        raise ValueError(msg)
    refuse_no_identifiers(path, header)
    return header


def refuse_no_identifiers(path: Path, source: Any) -> None:
    """Refuse an image that no object can refer to.

    Raises
    ------
    ValueError
        If it lacks the identifier of its study or frame of reference.
    """
    lacking = [keyword for keyword in _IDENTIFIERS if not source.get(keyword)]
    if lacking:
        msg = f"{path} lacks {' and '.join(lacking)}, so no object can refer to it; write .nii.gz instead"
        raise ValueError(msg)


def complete_header(header: Any, distance_mm: float) -> None:
    """Add to a header what highdicom takes for granted: without it there would be no map.

    Attributes of patient and study that are missing or malformed become empty; a slice without thickness gets
    the distance of slices; and what every frame of a multi-frame image repeats becomes shared.
    """
    for keyword in _MAY_BE_EMPTY:
        if header.get(keyword) is None:
            setattr(header, keyword, "")
    for keyword in _malformed(header):
        _log.warning("%s of the image is malformed and is left empty in the Parametric Map", keyword)
        setattr(header, keyword, "")
    if "PerFrameFunctionalGroupsSequence" not in header:
        header.SliceThickness = header.get("SliceThickness") or distance_mm
        return
    if "SharedFunctionalGroupsSequence" not in header:
        header.SharedFunctionalGroupsSequence = [pydicom.Dataset()]
    shared, first = header.SharedFunctionalGroupsSequence[0], header.PerFrameFunctionalGroupsSequence[0]
    for name in ("PlaneOrientationSequence", "PixelMeasuresSequence"):
        if name not in shared:
            setattr(shared, name, first[name].value)


def _malformed(header: Any) -> list[str]:
    """Return which attributes have a value that DICOM does not allow and highdicom refuses."""
    parsers: dict[str, Callable[[str], Any]] = {
        "PatientBirthDate": DA,
        "StudyDate": DA,
        "StudyTime": TM,
        "PatientSex": ("", "F", "M", "O").index,
    }
    found = []
    for keyword, parse in parsers.items():
        try:
            parse(str(header.get(keyword) or ""))
        except ValueError:
            found.append(keyword)
    return found
