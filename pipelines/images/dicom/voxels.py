"""Voxels of DICOM slices, each read by its own header and held together in a type that holds all."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import SimpleITK

from pipelines.images.dicom.attributes import count_of, malformed, number_of, text_of, value_of
from pipelines.images.dicom.headers import Member, dataset_of
from pipelines.images.dicom.multiframe import decoded, stated_distance
from pipelines.images.dicom.planes import size_of
from pipelines.images.formats.native_messages import native_messages_logged
from pipelines.images.volume import itk_name

_log = logging.getLogger(__name__)

_INTEGERS = tuple(np.dtype(name) for name in ("u1", "i1", "u2", "i2", "u4", "i4", "i8"))
_WIDER_RANGE = 0.01
"""Padding is mentioned if it widens the range of intensities by more than this fraction."""

Slice = npt.NDArray[Any]


def read_slices(
    members: Sequence[Member], *, framed: bool, skip: Callable[[int, ValueError], None] | None = None
) -> Slice:
    """Return the intensities of slices, (slices, Y, X).

    Parameters
    ----------
    members : sequence of (path, header)
        Slices in order; frames of enhanced files, numbered by InstanceNumber, if `framed`.
    skip : function of (index, error), optional
        Called for each slice that cannot be read, which is then left out; without it the error is raised.

    Returns
    -------
    array
        The stored values, rescaled by the slope and intercept of each slice. Of the smallest dtype that
        holds all slices; float32 where slopes or intercepts differ and some are not whole numbers.
    """
    slices = []
    read = _frames(members) if framed else (_single(*member) for member in members)
    for index, voxels in enumerate(read):
        if isinstance(voxels, ValueError):
            if skip is None:
                raise voxels
            skip(index, voxels)
        else:
            slices.append(voxels)
    dtype = np.result_type(*{voxels.dtype for voxels in slices}) if slices else np.dtype(np.uint8)
    if dtype == np.float64 and len({rescale_of(*member) for member in members}) > 1:
        dtype = np.dtype(np.float32)
    return (
        np.stack([voxels.astype(dtype, copy=False) for voxels in slices]) if slices else np.empty((0, 0, 0))
    )


def rescale_of(path: Path, header: Any) -> tuple[float, float]:
    """Return slope and intercept of a slice; 1 and 0 where they are absent or empty."""
    slope = number_of(path, header, "RescaleSlope")
    intercept = number_of(path, header, "RescaleIntercept")
    if slope == 0:
        raise malformed(path, "RescaleSlope", "a number other than 0", "0")
    return 1.0 if slope is None else slope, intercept or 0.0


def warn_of_padding(source: Path, array: Slice, members: Sequence[Member]) -> None:
    """Say so if voxels without a measured intensity widen the range of intensities."""
    padding = np.zeros(array.shape, np.bool_)
    for index, (path, header) in enumerate(members):
        limits = _padding_of(path, header)
        if limits is not None:
            padding[index] = (array[index] >= limits[0]) & (array[index] <= limits[1])
    if not padding.any() or padding.all():
        return
    measured = array[~padding]
    low, high = float(measured.min()), float(measured.max())
    lowest, highest = float(array.min()), float(array.max())
    if (highest - lowest) - (high - low) > _WIDER_RANGE * (high - low):
        _log.warning(
            "%s: %d voxels (%.1f %%) are padding (PixelPaddingValue) and widen the range of intensities to "
            "%g to %g; all others are in %g to %g: give --range %g %g, or a mask without the padding",
            *(source, padding.sum(), 100 * padding.mean(), lowest, highest, low, high, low, high),
        )


def _single(path: Path, header: Any) -> Slice | ValueError:
    try:
        rows, columns = size_of(path, header)
        dataset = dataset_of(path)
        _refuse_other_encodings(path, dataset)
        voxels = _by_pydicom(path, dataset) if _is_plain(path, dataset) else _by_itk(path)
        if voxels.size != rows * columns:
            msg = f"{path} must have {rows}x{columns} voxels, got {voxels.size}; copy or export it again"
            return ValueError(msg)
        return voxels.reshape(rows, columns)
    except ValueError as error:
        return error


def _frames(members: Sequence[Member]) -> Iterator[Slice | ValueError]:
    """Yield the voxels of frames; a file is decoded once for those of its frames that follow each other."""
    file, stored = None, np.empty(0)
    for path, frame in members:
        try:
            if path != file:
                dataset = dataset_of(path)
                _refuse_other_encodings(path, dataset)
                stored = decoded(path, dataset).reshape((-1, *size_of(path, dataset)))
                file = path
            slope, intercept = rescale_of(path, frame)
            voxels = stored[int(frame.InstanceNumber) - 1]
            identity = (slope, intercept) == (1.0, 0.0)
            yield voxels if identity else (voxels * slope + intercept).astype(np.float32)
        except ValueError as error:
            yield error


def _is_plain(path: Path, dataset: Any) -> bool:
    """Whether pydicom is to decode an image rather than ITK, which has more decoders.

    ITK turns the intensities of MONOCHROME1 around, and refuses a distance of slices of 0.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    distance = value_of(path, dataset, "SpacingBetweenSlices")
    return (
        syntax == pydicom.uid.RLELossless
        or not syntax.is_transfer_syntax
        or not syntax.is_compressed
        or text_of(dataset, "PhotometricInterpretation") == "MONOCHROME1"
        or (distance is not None and stated_distance(path, dataset) is None)
    )


def _by_pydicom(path: Path, dataset: Any) -> Slice:
    slope, intercept = rescale_of(path, dataset)
    stored = decoded(path, dataset)
    if (slope, intercept) == (1.0, 0.0):
        return stored
    if stored.dtype.kind not in "iu" or not (slope.is_integer() and intercept.is_integer()):
        return stored * slope + intercept
    dtype = _rescaled_dtype(path, dataset, int(slope), int(intercept))
    if dtype is None:
        return stored * slope + intercept
    rescaled: Slice = (stored.astype(np.int64) * int(slope) + int(intercept)).astype(dtype)
    return rescaled


def _rescaled_dtype(path: Path, dataset: Any, slope: int, intercept: int) -> np.dtype[Any] | None:
    """Return the smallest integer dtype that holds every possible value; None if there is none."""
    bits = count_of(path, dataset, "BitsStored") or count_of(path, dataset, "BitsAllocated")
    signed = count_of(path, dataset, "PixelRepresentation")
    lowest, highest = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    ends = [lowest * slope + intercept, highest * slope + intercept]
    fitting = (
        dtype for dtype in _INTEGERS if np.iinfo(dtype).min <= min(ends) and max(ends) <= np.iinfo(dtype).max
    )
    return next(fitting, None)


def _by_itk(path: Path) -> Slice:
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(itk_name(path))
    reader.SetImageIO("GDCMImageIO")
    try:
        with native_messages_logged():
            image = reader.Execute()
    except RuntimeError:  # its text is about ITK's internals
        msg = (
            f"{path} is truncated or damaged, or in an unusual encoding: its voxels cannot be read; "
            "copy or export it again, or convert it to NIfTI"
        )
        raise ValueError(msg) from None
    voxels: Slice = SimpleITK.GetArrayFromImage(image)
    return voxels


def _refuse_other_encodings(path: Path, dataset: Any) -> None:
    """Refuse colours, tables of intensities, and stored bits that decoders would place wrongly."""
    components = count_of(path, dataset, "SamplesPerPixel", 1)
    if text_of(dataset, "PhotometricInterpretation") == "PALETTE COLOR":
        components = 3
    if components != 1:
        msg = (
            f"{path} must hold one number per voxel, got {components} (a colour or vector image); "
            "convert it to grey, or extract one component, first"
        )
        raise ValueError(msg)
    if value_of(path, dataset, "ModalityLUTSequence") is not None:
        msg = (
            f"{path} has its intensities in a table (ModalityLUTSequence), which is not applied; "
            "convert it to NIfTI with a tool that applies it"
        )
        raise ValueError(msg)
    stored, highest = count_of(path, dataset, "BitsStored"), count_of(path, dataset, "HighBit")
    if stored and highest and highest != stored - 1:
        raise malformed(path, "HighBit", f"BitsStored - 1 = {stored - 1}", f"{highest}")


def _padding_of(path: Path, header: Any) -> tuple[float, float] | None:
    """Return lowest and highest intensity that stand for padding; None if the header names none."""
    ends = [number_of(path, header, keyword) for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    if ends[0] is None:
        return None
    bits, signed = count_of(path, header, "BitsAllocated", 16), count_of(path, header, "PixelRepresentation")
    slope, intercept = rescale_of(path, header)
    values = [_stored(end, bits, signed) * slope + intercept for end in ends if end is not None]
    return min(values), max(values)


def _stored(value: float, bits: int, signed: int) -> float:
    """Return a padding value in the range of the stored values: many files give its sign wrongly."""
    whole = int(value) % (1 << bits)
    return whole - (1 << bits) if signed and whole >= 1 << (bits - 1) else whole
