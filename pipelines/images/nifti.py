"""What ITK 5 ignores in NIfTI files: missing voxels, and voxels that are NaN or infinite.

ITK fills truncated files with zeros and replaces NaN and infinities by zero, both silently (ITK pull request
6683). Zero is a valid intensity, so these files are checked here.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

_BLOCK = 1 << 20
_FLOATS = {16: "f4", 64: "f8"}  # NIfTI data types


@dataclass(frozen=True, eq=False)
class NonFinite:
    """Voxels that are NaN or infinite: their indices in the flat array, and their values."""

    places: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]

    def restore(self, array: npt.NDArray[Any]) -> None:
        """Put the values back into an array that ITK read."""
        array.reshape(-1)[self.places] = self.values


@dataclass(frozen=True)
class _Header:
    order: str
    voxels: int
    bits: int
    data_type: int
    offset: int


def is_nifti(path: Path) -> bool:
    """Whether a file has the name of a NIfTI file."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


def scan(path: Path) -> NonFinite:
    """Read a NIfTI file to its end and return the voxels that ITK sets to zero.

    Parameters
    ----------
    path : path
        ``.nii`` or ``.nii.gz``.

    Raises
    ------
    ValueError
        If the file is shorter than its header says, or its compressed data are damaged.
    """
    with path.open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path, "rb") if zipped else path.open("rb") as file:
            return _scan(path, file)
    except (EOFError, gzip.BadGzipFile, zlib.error):
        msg = f"{path} is truncated or damaged: its compressed data do not end well; copy or export it again"
        raise ValueError(msg) from None


def _scan(path: Path, file: BinaryIO | gzip.GzipFile) -> NonFinite:
    header = _parsed(path, file.read(540))
    file.seek(header.offset)
    expected, got = header.voxels * header.bits // 8, 0
    places, values = [np.zeros(0, np.int64)], [np.zeros(0)]
    while block := file.read(_BLOCK):
        if header.data_type in _FLOATS and got < expected:
            size = header.bits // 8
            whole = min(len(block), expected - got) // size * size  # no half number
            numbers = np.frombuffer(block[:whole], header.order + _FLOATS[header.data_type])
            indices = np.flatnonzero(~np.isfinite(numbers))
            places.append(indices + got // size)
            values.append(numbers[indices].astype(np.float64))
        got += len(block)
    if got < expected:
        msg = (
            f"{path} is truncated: its header announces {expected} bytes of voxels, got {got}; copy it again"
        )
        raise ValueError(msg)
    return NonFinite(np.concatenate(places), np.concatenate(values))


def _parsed(path: Path, header: bytes) -> _Header:
    """Parse the fields that are needed of a NIfTI-1 or NIfTI-2 header, in either byte order."""
    for order in "<>":
        size = struct.unpack_from(f"{order}i", header)[0] if len(header) >= 348 else 0
        if size == 348:
            dimensions = struct.unpack_from(f"{order}8h", header, 40)
            data_type, bits = struct.unpack_from(f"{order}2h", header, 70)
            (offset,) = struct.unpack_from(f"{order}f", header, 108)
        elif size == 540 and len(header) == 540:
            dimensions = struct.unpack_from(f"{order}8q", header, 16)
            data_type, bits = struct.unpack_from(f"{order}2h", header, 12)
            (offset,) = struct.unpack_from(f"{order}q", header, 168)
        else:
            continue
        voxels = math.prod(max(edge, 1) for edge in dimensions[1 : 1 + dimensions[0]])
        return _Header(order, voxels, bits, data_type, int(offset))
    msg = f"{path} is truncated or no NIfTI file: its header is incomplete; copy or export it again"
    raise ValueError(msg)
