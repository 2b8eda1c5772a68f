"""Headers of MetaImage files (.mha, .mhd), checked before ITK sees them.

ITK's reader ends the process on some damaged headers, so what it would use is parsed here first.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import NoReturn

from pipelines.images.formats.data_files import (
    VoxelData,
    inside_folder,
    listed_files,
    numbered_files,
    refuse_unit,
)

_LARGEST_HEADER = 1 << 20
_BYTES = {
    **dict.fromkeys(("MET_CHAR", "MET_UCHAR", "MET_ASCII_CHAR"), 1),
    **dict.fromkeys(("MET_SHORT", "MET_USHORT"), 2),
    **dict.fromkeys(("MET_INT", "MET_UINT", "MET_FLOAT", "MET_LONG", "MET_ULONG"), 4),
    **dict.fromkeys(("MET_LONG_LONG", "MET_ULONG_LONG", "MET_DOUBLE"), 8),
}
_PER_AXIS = ("ElementSpacing", "ElementSize", "Offset", "Position", "Origin", "CenterOfRotation")
_MATRICES = ("TransformMatrix", "Rotation", "Orientation")
_WHOLE_NUMBERS = ("NDims", "HeaderSize", "CompressedDataSize", "ElementNumberOfChannels")
_SWITCHES = ("BinaryData", "CompressedData", "BinaryDataByteOrderMSB", "ElementByteOrderMSB")
_DATA = "ElementDataFile"


def is_metaimage(path: Path) -> bool:
    """Whether a file has the name of a MetaImage and a header that says how many axes it has."""
    if not path.name.lower().endswith((".mha", ".mhd")):
        return False
    with path.open("rb") as file:
        return re.search(rb"^\s*NDims\s*=", file.read(1 << 14), re.MULTILINE) is not None


def check_header(path: Path) -> VoxelData:
    """Return where the voxels are and how many bytes there must be.

    Raises
    ------
    ValueError
        If the header is truncated or damaged, has other than two or three axes, or names files outside its
        folder.
    """
    header = _Header(path)
    axes = header.whole("NDims", 0)
    sizes = header.numbers("DimSize", axes if axes > 0 else None)
    if not all(size >= 1 and size.is_integer() for size in sizes):
        header.refuse("DimSize")
    if axes not in (2, 3):
        if axes < 1:
            header.refuse("NDims")
        edges = "x".join(f"{size:.0f}" for size in sizes)
        msg = f"{path} must be 2D or 3D, got {axes}D ({edges}); extract one volume of it first"
        raise ValueError(msg)
    header.check_numbers(axes)
    header.check_units()
    return header.voxel_data([int(size) for size in sizes])


def states_spacing(path: Path) -> bool:
    """Whether the header of a file that `check_header` passed states the spacing of voxels."""
    return bool({"ElementSpacing", "ElementSize"} & set(_Header(path).fields))


def data_files(path: Path) -> tuple[Path, ...]:
    """Return the files other than the header that hold the voxels of an .mhd file."""
    header = _Header(path)
    return tuple(file for file in header.files() if file != path)


class _Header:
    """The fields of a header, up to the one that says where the voxels are."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            content = file.read(_LARGEST_HEADER)
        self.fields: dict[str, str] = {}
        self.end = 0
        for line in content.splitlines(keepends=True):
            self.end += len(line)
            self._add(line.decode("latin-1"))
            if _DATA in self.fields:
                break
        else:
            self.refuse(_DATA)
        rest = content[self.end :] if self.fields[_DATA].upper().startswith("LIST") else b""
        self.listed = [name.strip() for name in rest.decode("utf-8", "surrogateescape").splitlines()]

    def _add(self, line: str) -> None:
        key, separator, value = (part.strip() for part in line.partition("="))
        if not (key or separator):
            return
        if not (key and separator) or key in self.fields:
            self.refuse(key[:40] or "a line without a name")
        self.fields[key] = value

    def refuse(self, field: str) -> NoReturn:
        msg = f"{self.path} is truncated or damaged: its header has no valid {field}; copy or export it again"
        raise ValueError(msg) from None

    def whole(self, name: str, default: int) -> int:
        text = self.fields.get(name, str(default))
        if not re.fullmatch(r"[+-]?\d{1,18}", text):
            self.refuse(name)
        return int(text)

    def switch(self, name: str, *, default: bool = False) -> bool:
        text = self.fields.get(name, str(default)).lower()
        if text not in ("true", "false", "1", "0"):
            self.refuse(name)
        return text in ("true", "1")

    def numbers(self, name: str, count: int | None) -> list[float]:
        try:
            values = [float(word) for word in self.fields[name].split()]
        except (KeyError, ValueError):
            self.refuse(name)
        if len(values) != (count or len(values)) or not all(math.isfinite(value) for value in values):
            self.refuse(name)
        return values

    def check_numbers(self, axes: int) -> None:
        """Refuse fields that ITK would read beyond their end, or as something that they are not."""
        for names, count in ((_PER_AXIS, axes), (_MATRICES, axes * axes)):
            for name in names:
                if name in self.fields:
                    self.numbers(name, count)
        for name in _WHOLE_NUMBERS:
            self.whole(name, 0)
        for name in _SWITCHES:
            self.switch(name)
        if self.fields.get("ObjectType", "Image") != "Image":
            self.refuse("ObjectType")
        for name in ("ElementSpacing", "ElementSize"):
            if name in self.fields and min(self.numbers(name, axes)) <= 0:
                self.refuse(name)

    def check_units(self) -> None:
        """Refuse what ITK ignores: lengths that are not in mm, and intensities that are to be scaled."""
        unit = self.fields.get("DistanceUnits", "mm")
        if unit not in ("mm", "?"):
            refuse_unit(self.path, unit)
        for name, neutral in (("Slope", 1.0), ("Offset", 0.0)):
            field = f"ElementToIntensityFunction{name}"
            if field in self.fields and self.numbers(field, 1) != [neutral]:
                msg = (
                    f"{self.path} states {field} {self.fields[field]}, which is not applied; write the image "
                    "with its scaled intensities"
                )
                raise ValueError(msg)

    def files(self) -> tuple[Path, ...]:
        """Return where the voxels are."""
        words = self.fields[_DATA].split()
        if not words:
            self.refuse(_DATA)
        if words[0].upper() == "LOCAL":
            return (self.path,)
        if words[0].upper() == "LIST":
            return listed_files(self.path, [name for name in self.listed if name])
        if "%" in words[0]:
            return numbered_files(self.path, words)
        return (inside_folder(self.path, self.fields[_DATA]),)

    def voxel_data(self, sizes: list[int]) -> VoxelData:
        try:
            size = _BYTES[self.fields["ElementType"]]
        except KeyError:
            self.refuse("ElementType")
        channels, skip = self.whole("ElementNumberOfChannels", 1), self.whole("HeaderSize", 0)
        if channels < 1:
            self.refuse("ElementNumberOfChannels")
        numbers, files = math.prod(sizes) * channels, self.files()
        own, compressed = files == (self.path,), self.switch("CompressedData")
        # ITK would skip these bytes of the header itself and read the rest of it as voxels.
        allowed = (0,) if compressed else (-1, 0, self.end) if own else (skip,)
        if skip not in allowed or skip < -1:
            self.refuse("HeaderSize")
        return VoxelData(
            header=self.path,
            expected=numbers * size,
            files=files,
            offset=self.end if own else max(skip, 0),
            compressed=compressed,
            numbers=None if self.switch("BinaryData", default=True) else numbers,
        )
