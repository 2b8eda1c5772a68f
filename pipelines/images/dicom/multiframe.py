"""Enhanced MR, CT and PET: many frames in one DICOM file, each with its own position, phase and slope."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom

from glcm_cuda.base.extras import how_to_install
from pipelines.images.dicom.attributes import DAMAGED, count_of, items_of, number_of, quiet, value_of
from pipelines.images.dicom.headers import Member, header_of
from pipelines.images.dicom.planes import normal_of, orientation_of, spacing_of

# Attributes in the functional groups of a frame: sequence, attribute, and its name in single-frame images.
_GROUPS = (
    ("PlanePositionSequence", "ImagePositionPatient", "ImagePositionPatient"),
    ("PlaneOrientationSequence", "ImageOrientationPatient", "ImageOrientationPatient"),
    ("PixelMeasuresSequence", "PixelSpacing", "PixelSpacing"),
    ("PixelMeasuresSequence", "SpacingBetweenSlices", "SpacingBetweenSlices"),
    ("PixelValueTransformationSequence", "RescaleSlope", "RescaleSlope"),
    ("PixelValueTransformationSequence", "RescaleIntercept", "RescaleIntercept"),
    ("FrameContentSequence", "TemporalPositionIndex", "TemporalPositionIdentifier"),
    ("FrameContentSequence", "FrameAcquisitionNumber", "AcquisitionNumber"),
    ("FrameContentSequence", "FrameAcquisitionDateTime", "AcquisitionDateTime"),
    ("MRDiffusionSequence", "DiffusionBValue", "DiffusionBValue"),
    ("MREchoSequence", "EffectiveEchoTime", "EchoTime"),
    ("ContrastBolusUsageSequence", "ContrastBolusAgentPhase", "ContrastBolusAgentPhase"),
    ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime", "TriggerTime"),
    ("MRImageFrameTypeSequence", "FrameType", "ImageType"),
    ("MRImageFrameTypeSequence", "ComplexImageComponent", "ComplexImageComponent"),
    ("CTImageFrameTypeSequence", "FrameType", "ImageType"),
)
_FROM_THE_HEADER = ("PlaneOrientationSequence", "PixelMeasuresSequence", "PixelValueTransformationSequence")
"""Groups whose attributes are taken from the header of the file where no group has them."""

_OF_ALL_FRAMES = (
    *("Rows", "Columns", "Modality", "SOPInstanceUID", "BitsAllocated", "PixelRepresentation"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit", "PhotometricInterpretation"),
)


def is_enhanced(path: Path, header: Any) -> bool:
    """Whether a file has several frames, or one that is described by functional groups."""
    several = count_of(path, header, "NumberOfFrames", 1) > 1
    return several or bool(items_of(path, header, "PerFrameFunctionalGroupsSequence"))


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
    number = count_of(path, header, "NumberOfFrames", 1)
    groups = items_of(path, header, "PerFrameFunctionalGroupsSequence")
    (shared,) = items_of(path, header, "SharedFunctionalGroupsSequence")[:1] or [None]
    frames = [_frame(path, header, shared, group, index) for index, group in enumerate(groups)]
    positions = sum(value_of(path, frame, "ImagePositionPatient") is not None for frame in frames)
    if positions != number or len(frames) != number:
        msg = (
            f"{path} has {number} frames and must give the position of each, got {positions}; "
            "export it as single-frame DICOM or convert it to NIfTI"
        )
        raise ValueError(msg)
    return tuple((path, frame) for frame in frames)


def geometry_of(
    path: Path, positions_mm: npt.NDArray[np.float64]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return spacing (x, y, z) and direction, as in SimpleITK, of frames at these positions."""
    return frame_geometry(*frames_of(path, header_of(path))[0], positions_mm)


def frame_geometry(
    path: Path, header: Any, positions_mm: npt.NDArray[np.float64]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return spacing (x, y, z) and direction of slices at these positions, from the header of the first.

    A plane that is not stated is one of 1 mm along the axes of the patient.
    """
    rows, columns = spacing_of(path, header) or (1.0, 1.0)
    orientation = orientation_of(path, header)
    if orientation is None:
        orientation = np.array([1.0, 0.0, 0.0, 0.0, 1.0, 0.0])
    normal = normal_of(orientation)
    if len(positions_mm) > 1:
        distance = float(np.diff(positions_mm @ normal).mean())
    else:
        distance = stated_distance(path, header) or 1.0
    direction = np.stack([*orientation.reshape(2, 3), normal], axis=1)
    return (columns, rows, distance), tuple(direction.ravel().tolist())


def stated_distance(path: Path, header: Any) -> float | None:
    """Return the distance of slices that a header states; None if there is none above 0."""
    try:
        distance = number_of(path, header, "SpacingBetweenSlices")
    except ValueError:  # the positions say it better
        return None
    return distance if distance is not None and distance > 0 else None


def decoded(path: Path, dataset: Any) -> npt.NDArray[Any]:
    """Return the stored pixels of a file.

    Raises
    ------
    ValueError
        If the pixels are damaged, or their compression needs a decoder that is not installed.
    """
    try:
        with quiet():
            pixels: npt.NDArray[Any] = dataset.pixel_array
    except (RuntimeError, NotImplementedError) as error:  # a plug-in is missing
        msg = (
            f"{path} is compressed ({dataset.file_meta.TransferSyntaxUID.name}) and needs another decoder: "
            f"{how_to_install('jpeg')}"
        )
        raise ValueError(msg) from error
    except DAMAGED as error:
        msg = f"{path} is truncated or damaged: its voxels cannot be read; copy or export it again"
        raise ValueError(msg) from error
    return pixels


def _frame(path: Path, header: Any, shared: Any, group: Any, index: int) -> Any:
    """Return the header that the frame would have as a single-frame image."""
    frame = pydicom.Dataset()
    for keyword in _OF_ALL_FRAMES:
        value = value_of(path, header, keyword)
        if value is not None:
            setattr(frame, keyword, value)
    for keyword, value in _attributes(path, header, shared, group):
        setattr(frame, keyword, value)
    frame.InstanceNumber = index + 1
    return frame


def _attributes(path: Path, header: Any, shared: Any, group: Any) -> Iterator[tuple[str, Any]]:
    """Yield attributes by keyword, from the frame itself, or else from the shared groups or the header."""
    for sequence, attribute, keyword in _GROUPS:
        holders = [
            item
            for part in (group, shared)
            if part is not None
            for item in items_of(path, part, sequence)[:1]
        ]
        if sequence in _FROM_THE_HEADER:
            holders.append(header)
        for holder in holders:
            value = value_of(path, holder, attribute)
            if value is not None:
                yield keyword, value
                break
    direction = _direction(path, group, shared)
    if direction is not None:
        yield "DiffusionGradientOrientation", direction


def _direction(path: Path, *groups: Any) -> Any:
    """Return the direction of the diffusion gradient, which lies a sequence deeper."""
    for group in groups:
        for diffusion in [] if group is None else items_of(path, group, "MRDiffusionSequence")[:1]:
            for item in items_of(path, diffusion, "DiffusionGradientDirectionSequence")[:1]:
                return value_of(path, item, "DiffusionGradientOrientation")
    return None
