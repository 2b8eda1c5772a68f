"""Damage done to files: blindly to their bytes, and with knowledge of the format to their fields."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import re
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pydicom
from pydicom.dataset import Dataset

NUMBERS = (
    "-1", "0", "1", "2", "3", "7", "255", "32768", "65536", "-2147483648", "4294967296",
    "99999999999999999999", "1e308", "1e400", "-0.5", "nan", "inf", "", "abc", "0x10", "1\\2", "1,5",
)  # fmt: skip
"""What a number in a text may become."""

TEXTS = ("", " ", "\0", "ä", "../x", "/etc/passwd", "a" * 3000, "%s", "{}", "LOCAL", "LIST", "\n", "NaN")


def flip(content: bytes, rng: random.Random) -> bytes:
    """Flip some bits, often near the beginning, where headers are."""
    changed = bytearray(content)
    reach = len(changed) if rng.random() < 0.4 else min(len(changed), rng.choice([16, 100, 600, 2000]))
    for _ in range(rng.choice([1, 1, 2, 5, 30])):
        if reach:
            changed[rng.randrange(reach)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def truncate(content: bytes, rng: random.Random) -> bytes:
    """Cut the end off; sometimes all, or a single byte."""
    return content[: rng.choice([0, 1, len(content) - 1, rng.randrange(len(content) + 1), len(content) // 2])]


def extend(content: bytes, rng: random.Random) -> bytes:
    return content + rng.choice([b"\0", b"\n", rng.randbytes(200), b"\0" * 4096, content])


def zero_fill(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content) + 1) if rng.random() < 0.7 else 0
    length = rng.choice([1, 4, 16, 200, len(content)])
    return content[:start] + b"\0" * min(length, len(content) - start) + content[start + length :]


def cut_out(content: bytes, rng: random.Random) -> bytes:
    start, length = rng.randrange(len(content) + 1), rng.choice([1, 2, 8, 100])
    return content[:start] + content[start + length :]


def insert(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content) + 1)
    return content[:start] + rng.randbytes(rng.choice([1, 2, 8, 100])) + content[start:]


def repeat_a_part(content: bytes, rng: random.Random) -> bytes:
    start, length = rng.randrange(len(content) + 1), rng.choice([8, 100, 1000])
    return content[: start + length] + content[start:]


def pack_by_gzip(content: bytes, rng: random.Random) -> bytes:
    return gzip.compress(content, mtime=0)


BLIND: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    flip, flip, flip, truncate, truncate, extend, zero_fill, cut_out, insert, repeat_a_part, pack_by_gzip,
)  # fmt: skip


def text_fields(content: bytes, rng: random.Random) -> bytes:
    """Change a number, a line or a word of a text, or of the text that a file begins with."""
    reach = min(len(content), 2000)
    head, tail = content[:reach].decode("latin-1"), content[reach:]
    kind = rng.randrange(4)
    if kind == 0:
        head = _replaced(head, r"-?\d+(\.\d+)?", rng.choice(NUMBERS), rng)
    elif kind == 1:
        head = _replaced(head, r"[A-Za-z_./]{2,}", rng.choice(TEXTS + NUMBERS), rng)
    else:
        lines = head.splitlines(keepends=True)
        if lines:
            line = rng.randrange(len(lines))
            lines[line] = "" if kind == 2 else lines[line] * rng.choice([2, 3, 500])
        head = "".join(lines)
    return head.encode("latin-1", "replace") + tail


def _replaced(text: str, pattern: str, new: str, rng: random.Random) -> str:
    """Replace one match of a pattern."""
    places = list(re.finditer(pattern, text))
    if not places:
        return text
    place = rng.choice(places)
    return text[: place.start()] + new + text[place.end() :]


_NIFTI_FIELDS = (
    [(offset, "<h") for offset in range(40, 56, 2)]
    + [(0, "<i"), (70, "<h"), (72, "<h"), (108, "<f"), (112, "<f"), (116, "<f"), (252, "<h"), (254, "<h")]
    + [(offset, "<f") for offset in (*range(76, 108, 4), *range(256, 328, 4))]
)
_WHOLE = (-32768, -1, 0, 1, 2, 3, 4, 5, 7, 8, 16, 64, 255, 512, 1024, 2304, 32767)
_REAL = (float("nan"), float("inf"), -float("inf"), -1.0, 0.0, 1e-30, 0.5, 1e30, 3.4e38, 351.0, 352.0, 353.0)


def nifti_fields(content: bytes, rng: random.Random) -> bytes:
    """Set one to three fields of a NIfTI header to values at which readers fail."""
    packed = content[:2] == b"\x1f\x8b"
    changed = bytearray(gzip.decompress(content) if packed else content)
    for _ in range(rng.randint(1, 3)):
        offset, kind = rng.choice(_NIFTI_FIELDS)
        values: tuple[Any, ...] = _REAL if kind == "<f" else _WHOLE
        struct.pack_into(kind, changed, offset, rng.choice(values))
    return gzip.compress(bytes(changed), mtime=0) if packed else bytes(changed)


def inside_gzip(content: bytes, rng: random.Random) -> bytes:
    return gzip.compress(rng.choice(BLIND)(gzip.decompress(content), rng), mtime=0)


def _datasets(dataset: Dataset) -> list[Dataset]:
    """Return a data set and all that are nested in it."""
    found = [dataset]
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                found += _datasets(item)
    return found


_DICOM_VALUES: tuple[bytes, ...] = (
    b"", b"0", b"-1", b"1\\2", b"1\\2\\3\\4\\5\\6\\7", b"1e400", b"NaN", b"abc", b"1,5", b"999999999999",
    b"\0\0", b"\xff\xff", b"\xff\x7f", b"\0\0\0\0", b"1.2.840", b" ", b"1\\\\3", b"\x80\xfe", b"a" * 300,
)  # fmt: skip


def dicom_tags(content: bytes, rng: random.Random) -> bytes:
    """Delete, empty or change one to three elements, at any depth, in a file that stays well formed."""
    dataset = pydicom.dcmread(io.BytesIO(content))
    for _ in range(rng.randint(1, 3)):
        place = rng.choice(_datasets(dataset))
        tags = list(place.keys())
        if not tags:
            continue
        tag = rng.choice(tags)
        if rng.random() < 0.35:
            del place[tag]
            continue
        element = place[tag]
        empty = [] if element.VR == "SQ" else b""
        value: Any = empty if element.VR == "SQ" or rng.random() < 0.3 else rng.choice(_DICOM_VALUES)
        # A raw value is written as it is, whatever its kind asks for.
        place[tag] = (
            pydicom.dataelem.RawDataElement(tag, element.VR, len(value), value, 0, False, True)
            if (isinstance(value, bytes))
            else pydicom.DataElement(tag, "SQ", value)
        )
    written = io.BytesIO()
    dataset.save_as(written, enforce_file_format=False)
    return written.getvalue()


def zip_members(content: bytes, rng: random.Random) -> bytes:
    """Damage, double, drop or rename a member of an archive, which stays well formed."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [
            (entry.filename, archive.read(entry)) for entry in archive.infolist() if not entry.is_dir()
        ]
    if members:
        place = rng.randrange(len(members))
        name, data = members[place]
        kind = rng.randrange(5)
        if kind in (0, 1):
            members[place] = (name, damaged(data, Path(name).suffix, rng))
        elif kind == 2:
            members.append((rng.choice([name, f"copy/{name}", name.upper()]), data))
        elif kind == 3:
            members.pop(place)
        else:
            names = ("../evil", "/evil", ".", "a" * 300, "", "a\\b", "C:/x", "x/", "\x01", "n.nii", "s.dcm")
            members[place] = (rng.choice(names), data)
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data)
    return written.getvalue()


def json_nodes(content: bytes, rng: random.Random) -> bytes:
    """Replace or delete a node of a JSON tree."""
    tree = json.loads(content)
    places: list[tuple[Any, Any]] = []

    def visit(node: Any) -> None:
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                visit(node[key])

    if isinstance(tree, dict | list):
        visit(tree)
    if places:
        node, key = rng.choice(places)
        if rng.random() < 0.25:
            del node[key]
        else:
            node[key] = rng.choice(
                [None, True, -1, 0, 1.5, 10**30, float("nan"), "", "abc", [], {}, [1], {"a": 1}, [[[]]], "64"]
            )
    return json.dumps(tree).encode()


def csv_cells(content: bytes, rng: random.Random) -> bytes:
    """Change a cell, or add, drop or double a row or a column."""
    rows = list(csv.reader(io.StringIO(content.decode())))
    row = rng.randrange(len(rows))
    kind = rng.randrange(5)
    if kind < 3 and rows[row]:
        cells = (*TEXTS, *NUMBERS, "A", "a", "B.nii", ".", "cohort.csv")
        rows[row][rng.randrange(len(rows[row]))] = rng.choice(cells)
    elif kind == 3:
        rows.insert(row, list(rows[row]))
    else:
        rows[row] = rows[row][: rng.randrange(len(rows[row]) + 1)]
    written = io.StringIO()
    csv.writer(written, delimiter=rng.choice([",", ",", ",", ";"])).writerows(rows)
    return written.getvalue().encode()


def hdf5_tree(content: bytes, rng: random.Random) -> bytes:
    """Change one object of a store: an attribute, a dataset, a link."""
    memory = io.BytesIO(content)
    with h5py.File(memory, "r+") as file:
        objects: list[Any] = [file]
        file.visititems(lambda name, found: objects.append(found))
        target = rng.choice(objects)
        kind = rng.randrange(5)
        if kind < 2 and len(target.attrs):
            name = rng.choice(sorted(target.attrs))
            if kind:
                del target.attrs[name]
            else:
                target.attrs[name] = rng.choice(
                    [-1, 0, 2**40, "", "abc", "{}", "[]", 1.5, np.zeros(3), b"\xff"]
                )
        elif target.name != "/":
            name = target.name
            shape = getattr(target, "shape", None)
            del file[name]
            if kind == 2:
                file[name] = rng.choice([h5py.SoftLink("/"), h5py.ExternalLink("/etc/passwd", "/")])
            elif kind == 3 and shape is not None:
                size = rng.choice([(0,), (1,), (3, 3), shape[::-1], (2**40,), (*shape[:-1], 1)])
                file.create_dataset(
                    name,
                    size,
                    rng.choice(["u1", "f4", "f8", "S3", "i8"]),
                    chunks=True if 2**40 not in size else (1024,),
                )
    return memory.getvalue()


BY_SUFFIX: dict[str, tuple[Callable[[bytes, random.Random], bytes], ...]] = {
    ".nii": (nifti_fields,),
    ".gz": (nifti_fields, inside_gzip),
    ".nrrd": (text_fields,),
    ".nhdr": (text_fields,),
    ".mha": (text_fields,),
    ".mhd": (text_fields,),
    ".yaml": (text_fields,),
    ".tsv": (text_fields,),
    ".csv": (csv_cells, text_fields),
    ".json": (json_nodes, text_fields),
    ".zip": (zip_members,),
    ".keras": (zip_members,),
    ".h5": (hdf5_tree,),
    ".dcm": (dicom_tags,),
    "": (dicom_tags,),
}
"""What knows the fields of a format, by the suffix of the file."""

BLIND_SHARE = 0.35
"""How often a file is damaged without knowledge of its format."""


def damaged(content: bytes, suffix: str, rng: random.Random) -> bytes:
    """Return the content with one to three kinds of damage."""
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        known = BY_SUFFIX.get(suffix, ())
        mutate = rng.choice(BLIND if not known or rng.random() < BLIND_SHARE else known)
        try:
            with warnings.catch_warnings(action="ignore"):
                content = mutate(content, rng)
        except Exception:  # what earlier damage made unreadable is damaged blindly
            content = rng.choice(BLIND)(content, rng)
    return content


def damage(folder: Path, victims: tuple[str, ...], rng: random.Random) -> Path:
    """Damage a file of a folder and return its path; seldom it gets another one's content, or half of it."""
    files = sorted(folder.glob(rng.choice(victims)))
    victim = rng.choice(files)
    others = [file for file in sorted(folder.rglob("*")) if file.is_file() and file != victim]
    if others and rng.random() < 0.04:
        other, own = rng.choice(others).read_bytes(), victim.read_bytes()
        content = rng.choice(
            [other, own[: len(own) // 2] + other[len(other) // 2 :], other[:500] + own[500:]]
        )
    else:
        content = damaged(victim.read_bytes(), victim.suffix, rng)
    victim.write_bytes(content)
    return victim
