"""Headers of NRRD files (.nrrd, .nhdr), checked before ITK sees them, and 3D Slicer's segments in them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pipelines.images.formats.data_files import (
    VoxelData,
    inside_folder,
    listed_files,
    numbered_files,
    refuse_unit,
)

_LARGEST_HEADER = 1 << 24  # segmentations and diffusion images have long ones
_BYTES = {
    **dict.fromkeys(("signedchar", "int8", "int8_t", "uchar", "unsignedchar", "uint8", "uint8_t"), 1),
    **dict.fromkeys(("short", "shortint", "signedshort", "signedshortint", "int16", "int16_t"), 2),
    **dict.fromkeys(("ushort", "unsignedshort", "unsignedshortint", "uint16", "uint16_t"), 2),
    **dict.fromkeys(("int", "signedint", "int32", "int32_t", "uint", "unsignedint", "uint32", "uint32_t"), 4),
    **dict.fromkeys(("longlong", "longlongint", "signedlonglong", "signedlonglongint"), 8),
    **dict.fromkeys(("int64", "int64_t", "ulonglong", "unsignedlonglong", "unsignedlonglongint"), 8),
    **dict.fromkeys(("uint64", "uint64_t", "double"), 8),
    "float": 4,
}
_ENCODINGS = {
    **dict.fromkeys(("raw", "txt", "text", "ascii", "hex"), ""),
    **dict.fromkeys(("gz", "gzip"), "gzip"),
    **dict.fromkeys(("bz2", "bzip2"), "bzip2"),
}
_LONGEST_FIELD = 480
"""Characters of a field, of which there are at most some numbers or names per axis.

ITK's reader quotes a field that it cannot read in buffers of fixed size, and the process ends.
"""

_FREE = ("content", "datafile")
_TEXT = ("txt", "text", "ascii")
_UNITS = ("mm", "millimeter", "millimeters", "millimetre", "millimetres", "")


@dataclass(frozen=True)
class NamedSegment:
    """A segment of a 3D Slicer segmentation: its name, the layer it is in, and its value there."""

    name: str
    layer: int
    value: int


def is_nrrd(path: Path) -> bool:
    """Whether a file begins as NRRD files do."""
    with path.open("rb") as file:
        return file.read(4) == b"NRRD"


def check_header(path: Path) -> VoxelData:
    """Return where the voxels are and how many bytes there must be.

    Raises
    ------
    ValueError
        If the header is truncated or damaged, the voxels are compressed with bzip2, or they are in files
        outside the header's folder.
    """
    return _Header(path).voxel_data()


def data_files(path: Path) -> tuple[Path, ...]:
    """Return the files other than the header that hold the voxels."""
    return tuple(file for file in _Header(path).files() if file != path)


def layers_of(path: Path) -> int:
    """Return how many layers a segmentation has: more than one where its segments overlap."""
    header = _Header(path)
    kinds = header.fields.get("kinds", "").split()
    sizes = header.sizes()
    return sizes[0] if len(sizes) == 4 and kinds[:1] in (["list"], ["vector"]) else 1


def segments_of(path: Path) -> list[NamedSegment]:
    """Return the segments that 3D Slicer names in the header of a segmentation."""
    values = _Header(path).values
    segments = []
    for key, value in values.items():
        match = re.fullmatch(r"(Segment\d+)_LabelValue", key)
        layer = values.get(f"{match[1]}_Layer", "0") if match else ""
        if match and value.isdecimal() and layer.isdecimal():
            segments.append(NamedSegment(values.get(f"{match[1]}_Name", match[1]), int(layer), int(value)))
    return segments


def states_spacing(path: Path) -> bool:
    """Whether the header of a file states the spacing of voxels along all axes; NaN says that it does not."""
    fields = _Header(path).fields
    if fields.get("spacedirections"):
        return True
    words = fields.get("spacings", "").split()
    return bool(words) and not any(word.lower() == "nan" for word in words)


class _Header:
    """The fields of a header, by their names in lower case without spaces, and its key/value pairs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fields: dict[str, str] = {}
        self.values: dict[str, str] = {}
        with path.open("rb") as file:
            lines = file.read(_LARGEST_HEADER).splitlines(keepends=True)
        self.end = len(lines[0]) if lines else 0
        remaining = iter(lines[1:])
        for raw in remaining:
            self.end += len(raw)
            line = raw.decode("utf-8", "surrogateescape").strip("\r\n")
            if not line:
                break
            self._add(line)
            if self.fields.get("datafile", "").split()[:1] == ["LIST"]:
                break
        else:
            if "datafile" not in self.fields:  # only a header of its own may end with the file
                self.refuse("end")
        listed = remaining if self.fields.get("datafile", "").startswith("LIST") else ()
        self.listed = [raw.decode("utf-8", "surrogateescape").strip() for raw in listed]

    def _add(self, line: str) -> None:
        if line.startswith("#"):
            return
        key, separator, value = line.partition(":")
        if value.startswith("="):
            self.values[key] = value[1:].strip()
            return
        name = key.lower().replace(" ", "")
        if not separator or name in self.fields:
            self.refuse(key[:40])
        if len(line) > _LONGEST_FIELD and name not in _FREE:
            self.refuse(f"{key[:40]} (it has {len(line)} characters)")
        self.fields[name] = value.strip()

    def refuse(self, field: str) -> NoReturn:
        msg = f"{self.path} is truncated or damaged: its header has no valid {field}; copy or export it again"
        raise ValueError(msg) from None

    def whole(self, name: str, default: int) -> int:
        text = self.fields.get(name.replace(" ", ""), str(default))
        if not re.fullmatch(r"[+-]?\d{1,18}", text):
            self.refuse(name)
        return int(text)

    def sizes(self) -> list[int]:
        words = self.fields.get("sizes", "").split()
        if not words or not all(re.fullmatch(r"\d{1,18}", word) and int(word) > 0 for word in words):
            self.refuse("sizes")
        if len(words) != self.whole("dimension", 0):
            self.refuse("dimension")
        return [int(word) for word in words]

    def files(self) -> tuple[Path, ...]:
        """Return where the voxels are."""
        if "datafile" not in self.fields:
            return (self.path,)
        name = self.fields["datafile"]
        words = name.split()
        if not words:
            self.refuse("data file")
        if words[0] == "LOCAL":
            return (self.path,)
        if words[0] == "LIST":
            return listed_files(self.path, [line for line in self.listed if line])
        if "%" in name and len(words) > 2:
            return numbered_files(self.path, words)
        return (inside_folder(self.path, name),)

    def check_axes(self, sizes: list[int]) -> None:
        """Refuse what ITK ignores, units other than mm, and what it cannot read, a time axis among others."""
        for name in ("spaceunits", "units"):
            for unit in re.findall(r'"([^"]*)"', self.fields.get(name, "")):
                if unit not in _UNITS:
                    refuse_unit(self.path, unit)
        directions = re.findall(r"none|\([^)]*\)", self.fields.get("spacedirections", "").lower())
        if "none" in directions[1:]:
            msg = (
                f"{self.path} must be 2D or 3D, got {'x'.join(map(str, sizes))} with an axis that is not one "
                "of space; extract one volume of it first"
            )
            raise ValueError(msg)
        if directions and not {"space", "spacedimension"} & set(self.fields):
            self.refuse("space")

    def voxel_data(self) -> VoxelData:
        sizes = self.sizes()
        self.check_axes(sizes)
        encoding = self.fields.get("encoding", "").lower()
        if encoding not in _ENCODINGS:
            self.refuse("encoding")
        if _ENCODINGS[encoding] == "bzip2":
            msg = (
                f"{self.path} is compressed with bzip2, which is not read here; save it with gzip or without "
                "compression (for example: unu save -f nrrd -e gzip -i OLD -o NEW)"
            )
            raise ValueError(msg)
        try:
            size = _BYTES[self.fields["type"].lower().replace(" ", "")]
        except KeyError:
            self.refuse("type")
        if size > 1 and encoding not in _TEXT and "endian" not in self.fields:
            self.refuse("endian")
        lines, skip = self.whole("line skip", 0), self.whole("byte skip", 0)
        if lines < 0 or skip < -1:
            self.refuse("line skip" if lines < 0 else "byte skip")
        numbers, files, compressed = math.prod(sizes), self.files(), _ENCODINGS[encoding] == "gzip"
        if compressed and (lines or skip):
            msg = f"{self.path} skips bytes before compressed voxels, which is not read; save it as .nrrd"
            raise ValueError(msg)
        return VoxelData(
            header=self.path,
            expected=2 * numbers * size if encoding == "hex" else numbers * size,
            files=files,
            offset=(self.end if files == (self.path,) else 0) + max(skip, 0),
            compressed=compressed,
            numbers=numbers if encoding in _TEXT else None,
        )
