"""Files that are not readable DICOM: what they are, and whether one may be a lost slice of a series."""

from __future__ import annotations

import gzip
import re
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

_PREAMBLE = 128
_HEAD = 4096
_IMAGE_SUFFIXES = (
    ".nii",
    ".nii.gz",
    ".nrrd",
    ".mha",
    ".mhd",
    ".nhdr",
    ".hdr",
    ".img",
    ".img.gz",
    ".raw",
    ".zraw",
)
_TEXT_SUFFIXES = (".txt", ".csv", ".tsv", ".json", ".xml", ".html", ".htm", ".md", ".log", ".yaml", ".yml")
_PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".pdf", ".svg")
_PICTURE_STARTS = (
    *(b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"II*\x00", b"MM\x00*", b"%PDF"),
    b"BM",
)
_PACKED = re.compile(r"\.(gz|bz2|xz|zst|z|zip)$")
_DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")

IMAGE, TEXT, PICTURE, OTHER = "image of another format", "text file", "picture", "other file"


def begins_as_dicom(head: bytes) -> bool:
    """Whether the first bytes of a file are those of DICOM with its preamble."""
    return head[_PREAMBLE : _PREAMBLE + 4] == b"DICM"


def begins_as_bare_dicom(head: bytes) -> bool:
    """Whether the first bytes may be those of DICOM without its preamble: an element of group 2 or 8."""
    if len(head) < 8:
        return False
    tags = [struct.unpack(f"{order}HH", head[:4]) for order in "<>"]
    early = any(group in (2, 8) and element < 0x100 for group, element in tags)
    representation, length = head[4:6], head[4:8]
    return early and (representation.isalpha() or b"\x00\x00" in (length[:2], length[2:]))


def category_of(path: Path) -> str:
    """Return what a file is that is not DICOM, by its name and first bytes."""
    name = path.name.lower()
    if name.endswith(_IMAGE_SUFFIXES):
        return IMAGE
    head = _head(path)
    if head.startswith(_PICTURE_STARTS) or (not head and name.endswith(_PICTURE_SUFFIXES)):
        return PICTURE
    if (head and _is_text(head)) or (not head and name.endswith(_TEXT_SUFFIXES)):
        return TEXT
    return OTHER


def is_named_as_other(path: Path) -> bool:
    """Whether the name says that a file is an image of another format, a text or a picture."""
    return path.name.lower().endswith((*_IMAGE_SUFFIXES, *_TEXT_SUFFIXES, *_PICTURE_SUFFIXES))


def fault_of(path: Path) -> str | None:
    """Return why a file must be a lost DICOM file: packed by gzip, or all zeros; None if it need not be."""
    if is_named_as_other(path):
        return None
    head = _head(path)
    if head.startswith(b"\x1f\x8b"):
        unpacked = _unpacked_head(path)
        if begins_as_dicom(unpacked) or begins_as_bare_dicom(unpacked):
            return "is DICOM packed by gzip; unpack it"
        return None
    if not head.strip(b"\x00") and _is_zero(path):
        return "holds zeros alone; copy or export it again"
    return None


def may_belong(path: Path, members: Iterable[Path]) -> bool:
    """Whether a file is named like those of a series, so that it may be a slice that cannot be read.

    Names are compared with every number replaced; a suffix of DICOM is enough. A text or a picture whose
    name is but a number is not counted; of other files, the same suffix is enough.
    """
    name = _PACKED.sub("", path.name.lower())
    if name.endswith(_DICOM_SUFFIXES):
        return True
    members = list(members)
    if category_of(path) != OTHER:
        return is_numbered_like(path, members) and re.search("[a-z]", name) is not None
    suffixes = {_suffix(_PACKED.sub("", member.name.lower())) for member in members}
    return is_numbered_like(path, members) or _suffix(name) in suffixes


def is_numbered_like(path: Path, members: Iterable[Path]) -> bool:
    """Whether a name differs from one of a series' files in its numbers alone."""
    return _pattern(path) in {_pattern(member) for member in members}


def _pattern(path: Path) -> str:
    return re.sub(r"\d+", "#", _PACKED.sub("", path.name.lower()))


def _suffix(name: str) -> str:
    """Return the suffix; none if it is a number, as at the end of a UID."""
    found = re.search(r"\.[a-z]\w*$", name)
    return found.group() if found else ""


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD)


def _is_text(head: bytes) -> bool:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):  # UTF-16
        return True
    if b"\x00" in head:
        return False
    control = sum(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in head)
    return control == 0


def _is_zero(path: Path) -> bool:
    with path.open("rb") as file:
        return not any(block.strip(b"\x00") for block in iter(lambda: file.read(1 << 20), b""))


def _unpacked_head(path: Path) -> bytes:
    try:
        with gzip.open(path) as file:
            return file.read(_PREAMBLE + 4)
    except (EOFError, OSError, zlib.error):
        return b""
