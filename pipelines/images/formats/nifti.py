"""What ITK 5 ignores in NIfTI files: missing voxels, voxels that are NaN or infinite, odd headers.

ITK fills truncated files with zeros and replaces NaN and infinities by zero, both silently (ITK pull request
6683). Zero is a valid intensity, so these files are checked here. So is what a header says of the place of
the voxels, of which ITK reads only a part.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from pipelines.images.formats.nifti_forms import NiftiForms

_BLOCK = 1 << 20
_FLOATS = {16: "f4", 64: "f8"}  # NIfTI data types
_BYTES = {
    **{2: 1, 256: 1, 4: 2, 512: 2, 8: 4, 768: 4, 16: 4, 64: 8, 1024: 8, 1280: 8},
    **{32: 8, 1792: 16, 128: 3, 2304: 4},  # complex and colour, which are refused by name later
}
HEADER_BYTES = 348
_HEADER_2_BYTES = 540
_DATA_OFFSET = 352
_AXES = "xyz"


@dataclass(frozen=True, eq=False)
class NonFinite:
    """Voxels that are NaN or infinite: their indices in the flat array, and their values.

    `surplus` counts the bytes of the file after its voxels.
    """

    places: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    surplus: int = 0

    def restore(self, array: npt.NDArray[Any]) -> None:
        """Put the values back into an array that ITK read."""
        array.reshape(-1)[self.places] = self.values


@dataclass(frozen=True)
class Header:
    """A NIfTI-1 header.

    Parameters
    ----------
    order : {"<", ">"}
        Byte order.
    sizes : tuple of ints
        Voxels along each axis, x first.
    data_type : int
        NIfTI's number of the type of the voxels.
    offset : int
        Bytes before the voxels.
    slope : float
        Factor of the stored numbers; not used if it is 0 or no finite number.
    forms : NiftiForms
        Geometry.
    """

    order: str
    sizes: tuple[int, ...]
    data_type: int
    offset: int
    slope: float
    forms: NiftiForms

    @property
    def axes(self) -> int:
        """Number of axes, without those of one voxel at the end."""
        return max((axis for axis, edge in enumerate(self.sizes, start=1) if edge > 1), default=1)

    @property
    def voxels(self) -> int:
        """Number of voxels."""
        return math.prod(self.sizes)


def is_nifti(path: Path) -> bool:
    """Whether a file has the name of a NIfTI file."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


def has_header(path: Path) -> bool:
    """Whether a file has the name of a NIfTI file and begins as one.

    Raises
    ------
    ValueError
        If its compressed data are damaged.
    """
    return is_nifti(path) and _order_and_size(_first_bytes(path)) is not None


def read_header(path: Path) -> Header:
    """Return the header of a NIfTI-1 file.

    Raises
    ------
    ValueError
        If it is incomplete, damaged or a NIfTI-2 header, or does not say where the voxels start or how large
        they are.
    """
    return _parsed(path, _first_bytes(path))


def scan(path: Path) -> NonFinite:
    """Read a NIfTI file to its end and return the voxels that ITK sets to zero.

    Parameters
    ----------
    path : path
        ``.nii`` or ``.nii.gz``.

    Raises
    ------
    ValueError
        If the file is shorter than its header says, or its compressed data are damaged; those of
        `read_header`.
    """
    header = read_header(path)
    try:
        with _opened(path) as file:
            return _scan(path, file, header)
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise _damaged_stream(path) from None


def _opened(path: Path) -> BinaryIO | gzip.GzipFile:
    with path.open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if zipped else path.open("rb")


def _first_bytes(path: Path) -> bytes:
    try:
        with _opened(path) as file:
            return file.read(_HEADER_2_BYTES)
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise _damaged_stream(path) from None


def _damaged_stream(path: Path) -> ValueError:
    return ValueError(
        f"{path} is truncated or damaged: its compressed data are corrupt or incomplete; copy it again"
    )


def _scan(path: Path, file: BinaryIO | gzip.GzipFile, header: Header) -> NonFinite:
    file.seek(header.offset)
    size = _BYTES[header.data_type]
    expected, got = header.voxels * size, 0
    places, values = [np.zeros(0, np.int64)], [np.zeros(0)]
    while block := file.read(_BLOCK):
        if header.data_type in _FLOATS and got < expected:
            whole = min(len(block), expected - got) // size * size  # no half number
            numbers = np.frombuffer(block[:whole], header.order + _FLOATS[header.data_type])
            indices = np.flatnonzero(~np.isfinite(numbers))
            places.append(indices + got // size)
            values.append(numbers[indices].astype(np.float64))
        got += len(block)
    if got < expected:
        msg = f"{path} is truncated: its header states {expected} bytes of voxels, got {got}; copy it again"
        raise ValueError(msg)
    return NonFinite(np.concatenate(places), _scaled(np.concatenate(values), header), got - expected)


def _scaled(values: npt.NDArray[np.float64], header: Header) -> npt.NDArray[np.float64]:
    """Apply the scaling of a header, which may turn the sign of an infinity."""
    if header.slope == 0 or not math.isfinite(header.slope):
        return values
    return values * header.slope


def byte_order(header: bytes) -> str:
    """Return the byte order of a NIfTI-1 header that ITK wrote."""
    return "<" if header[:4] == struct.pack("<i", HEADER_BYTES) else ">"


def _order_and_size(header: bytes) -> tuple[str, int] | None:
    """Return the byte order and the size that a header states, if it is one of NIfTI."""
    for order in "<>":
        size = struct.unpack_from(f"{order}i", header)[0] if len(header) >= HEADER_BYTES else 0
        if size in (HEADER_BYTES, _HEADER_2_BYTES):
            return order, size
    return None


def _parsed(path: Path, header: bytes) -> Header:
    start = _order_and_size(header)
    if start is None:
        msg = f"{path} is truncated or no NIfTI file: its header is incomplete; copy or export it again"
        raise ValueError(msg)
    order, size = start
    if size == _HEADER_2_BYTES:
        msg = (
            f"{path} is NIfTI-2, which is not read; convert it to NIfTI-1, for example in Python with "
            "nibabel: image = nibabel.load(OLD); "
            "nibabel.save(nibabel.Nifti1Image(image.dataobj, image.affine), NEW)"
        )
        raise ValueError(msg)
    if header[344:347] != b"n+1":
        msg = f"{path} must be one NIfTI-1 file, got half of a header and image pair; convert it to .nii"
        raise ValueError(msg)
    dimensions = struct.unpack_from(f"{order}8h", header, 40)
    (data_type,) = struct.unpack_from(f"{order}h", header, 70)
    offset, slope, intercept = struct.unpack_from(f"{order}3f", header, 108)
    if not 1 <= dimensions[0] <= 7 or dimensions[1] < 1:
        msg = f"{path} is damaged: its header states sizes {dimensions}; copy or export it again"
        raise ValueError(msg)
    if data_type not in _BYTES:
        msg = f"{path} has voxels of NIfTI data type {data_type}, which is not read; convert them to float32"
        raise ValueError(msg)
    _refuse_offset(path, offset)
    _refuse_scaling(path, slope, intercept)
    sizes = tuple(max(edge, 1) for edge in dimensions[1 : 1 + dimensions[0]])
    forms = _checked_forms(path, NiftiForms.read(header, order), sizes)
    return Header(order, sizes, data_type, int(offset), slope, forms)


def _refuse_offset(path: Path, offset: float) -> None:
    """Refuse voxels that start within the header: ITK would read from byte 348, other tools from 352."""
    if not (math.isfinite(offset) and offset >= _DATA_OFFSET and offset == int(offset)):
        msg = (
            f"{path} states that its voxels start at byte {offset:g} (vox_offset), expected "
            f"{_DATA_OFFSET} or more; if they start at 352, load and save it with nibabel, which corrects it"
        )
        raise ValueError(msg)


def _refuse_scaling(path: Path, slope: float, intercept: float) -> None:
    """Refuse an intercept that NIfTI says is not used and ITK adds, and one that is not a number."""
    is_scaled = slope != 0 and math.isfinite(slope)
    if (is_scaled and not math.isfinite(intercept)) or (
        not is_scaled and intercept and intercept == intercept
    ):
        msg = (
            f"{path} states scl_slope {slope:g} and scl_inter {intercept:g}, which tools read differently; "
            "write the image again with the intensities that are meant"
        )
        raise ValueError(msg)


def _checked_forms(path: Path, forms: NiftiForms, sizes: tuple[int, ...]) -> NiftiForms:
    """Return the forms that can be used; refuse a header that gives the size of a voxel nowhere."""
    if forms.sform_code and not (np.isfinite(forms.rows).all() and _is_invertible(forms)):
        msg = f"{path} is damaged: its sform is not a valid matrix; copy or export it again"
        raise ValueError(msg)
    if forms.qform_code and not np.isfinite((*forms.quaternion, *forms.offset)).all():
        msg = f"{path} is damaged: its qform has numbers that are not finite; copy or export it again"
        raise ValueError(msg)
    edges = forms.pixdim[1:4]
    bad = [axis for axis, edge in enumerate(edges) if not (math.isfinite(edge) and edge > 0)]
    needed = [axis for axis in bad if axis < len(sizes) and sizes[axis] > 1]
    if needed and not forms.sform_code:
        axis = needed[0]
        msg = (
            f"{path} states a voxel size of {edges[axis]:g} along {_AXES[axis]} (pixdim) and has no sform, "
            "so the voxel size is unknown; correct the header, for example with nibabel's set_zooms"
        )
        raise ValueError(msg)
    if needed:  # the qform needs them
        return replace(forms, qform_code=0)
    pixdim = (forms.pixdim[0], *(1.0 if axis in bad else edge for axis, edge in enumerate(edges)))
    return replace(forms, pixdim=pixdim)


def _is_invertible(forms: NiftiForms) -> bool:
    matrix = np.reshape(forms.rows, (3, 4))[:, :3]
    lengths = np.linalg.norm(matrix, axis=0)
    return bool(lengths.min() > 0 and abs(np.linalg.det(matrix / np.where(lengths, lengths, 1))) > 1e-3)
