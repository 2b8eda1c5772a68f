"""Enhanced MR, CT and PET: many frames in one DICOM file, each with its own position, phase and slope."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom

from pipelines.images.dicom.headers import Member, header_of
from pipelines.images.dicom.phases import normal_of, spacing_of

# Attributes in the functional groups of a frame: sequence, attribute, and its name in single-frame images.
_GROUPS = (
    ("PlanePositionSequence", "ImagePositionPatient", "ImagePositionPatient"),
    ("PlaneOrientationSequence", "ImageOrientationPatient", "ImageOrientationPatient"),
    ("PixelMeasuresSequence", "PixelSpacing", "PixelSpacing"),
    ("PixelValueTransformationSequence", "RescaleSlope", "RescaleSlope"),
    ("PixelValueTransformationSequence", "RescaleIntercept", "RescaleIntercept"),
    ("FrameContentSequence", "TemporalPositionIndex", "TemporalPositionIdentifier"),
    ("FrameContentSequence", "FrameAcquisitionNumber", "AcquisitionNumber"),
    ("MRDiffusionSequence", "DiffusionBValue", "DiffusionBValue"),
    ("MREchoSequence", "EffectiveEchoTime", "EchoTime"),
    ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime", "TriggerTime"),
    ("MRImageFrameTypeSequence", "FrameType", "ImageType"),
    ("CTImageFrameTypeSequence", "FrameType", "ImageType"),
)


def frames_of(path: Path, header: Any) -> tuple[Member, ...]:
    """Return the frames of a file as if each were a separate file.

    Returns
    -------
    tuple of (path, header)
        All of the same path; `header.InstanceNumber` counts from 1.

    Raises
    ------
    ValueError
        If frames have no positions.
    """
    number = int(header.NumberOfFrames)
    groups = header.get("PerFrameFunctionalGroupsSequence") or []
    shared = (header.get("SharedFunctionalGroupsSequence") or [None])[0]
    frames = [_frame(header, shared, group, index) for index, group in enumerate(groups)]
    positions = sum("ImagePositionPatient" in frame for frame in frames)
    if positions != number:
        msg = (
            f"{path} has {number} frames and must give the position of each, got {positions}; "
            "export it as single-frame DICOM or convert it to NIfTI"
        )
        raise ValueError(msg)
    return tuple((path, frame) for frame in frames)


def read_frames(path: Path, frames: Sequence[int]) -> npt.NDArray[Any]:
    """Return the intensities of some frames, (frames, Y, X).

    The dtype is that of the file if no frame is rescaled, otherwise float32.

    Raises
    ------
    ValueError
        If the pixels cannot be decoded.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd values in attributes that are not used
        dataset = pydicom.dcmread(path)
        pixels = decoded(path, dataset).reshape((-1, int(dataset.Rows), int(dataset.Columns)))
    members = frames_of(path, dataset)
    rescale = [_rescale(members[frame][1]) for frame in frames]
    if set(rescale) == {(1.0, 0.0)}:
        return np.ascontiguousarray(pixels[list(frames)])
    slope, intercept = np.array(rescale).T[:, :, None, None]
    rescaled: npt.NDArray[np.float32] = (pixels[list(frames)] * slope + intercept).astype(np.float32)
    return rescaled


def geometry_of(
    path: Path, positions_mm: npt.NDArray[np.float64]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return spacing (x, y, z) and direction, as in SimpleITK, of frames at these positions."""
    header = header_of(path)
    frame = frames_of(path, header)[0][1]
    rows, columns = spacing_of(frame) or (1.0, 1.0)
    orientation = np.array(frame.ImageOrientationPatient, float).reshape(2, 3)
    normal = normal_of(frame.ImageOrientationPatient)
    distance = 1.0
    if len(positions_mm) > 1:
        distance = float(np.median(np.diff(positions_mm @ normal)))
    direction = np.stack([*orientation, normal], axis=1)
    return (columns, rows, distance), tuple(direction.ravel().tolist())


def decoded(path: Path, dataset: Any) -> npt.NDArray[Any]:
    """Return the stored pixels of a file.

    Raises
    ------
    ValueError
        If the pixels are damaged, or their compression needs a decoder that is not installed.
    """
    try:
        pixels: npt.NDArray[Any] = dataset.pixel_array
    except (RuntimeError, NotImplementedError) as error:  # a plug-in is missing
        msg = (
            f"{path} is compressed ({dataset.file_meta.TransferSyntaxUID.name}) and needs another decoder: "
            "pip install 'radsynth[jpeg]'"
        )
        raise ValueError(msg) from error
    except (ValueError, AttributeError) as error:
        msg = f"{path} is truncated or damaged: its voxels cannot be read; copy or export it again"
        raise ValueError(msg) from error
    return pixels


def _frame(header: Any, shared: Any, group: Any, index: int) -> Any:
    """Return the header that the frame would have as a single-frame image."""
    frame = pydicom.Dataset()
    for keyword in ("Rows", "Columns", "Modality", "SOPInstanceUID"):
        if keyword in header:
            setattr(frame, keyword, header[keyword].value)
    for keyword, value in _attributes(header, shared, group):
        setattr(frame, keyword, value)
    frame.InstanceNumber = index + 1
    return frame


def _attributes(header: Any, shared: Any, group: Any) -> Iterator[tuple[str, Any]]:
    """Yield attributes by keyword, from the frame itself, or else from the shared groups or the header."""
    for sequence, attribute, keyword in _GROUPS:
        for part in (group, shared):
            items = None if part is None else part.get(sequence)
            if items and attribute in items[0]:
                yield keyword, items[0][attribute].value
                break
        else:
            if sequence.startswith(("PlaneOrientation", "PixelMeasures")) and attribute in header:
                yield keyword, header[attribute].value


def _rescale(frame: Any) -> tuple[float, float]:
    return float(frame.get("RescaleSlope", 1.0)), float(frame.get("RescaleIntercept", 0.0))
