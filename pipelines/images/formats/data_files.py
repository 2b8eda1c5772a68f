"""The voxels of NRRD and MetaImage files: where a header says they are, and whether they are all there.

ITK takes memory for what a header promises before it reads, and follows a header to any file of the machine.
Both are checked here first.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NoReturn

_BLOCK = 1 << 20
_ZLIB_OR_GZIP = 47
_LARGEST_RATIO = 1032
"""Deflate cannot compress further."""

_MOST_FILES = 1 << 16
_PATTERN = re.compile(r"[^%]*%0?\d{0,2}d[^%]*")


@dataclass(frozen=True, kw_only=True)
class VoxelData:
    """What a header says about its voxels.

    Parameters
    ----------
    header : Path
        The file with the header.
    expected : int
        Bytes of all voxels, as the header's sizes and type give them.
    files : tuple of paths
        Where the voxels are: the header's own file, or others.
    offset : int
        Bytes before the voxels in each file.
    compressed : bool
        Whether they are a zlib or gzip stream.
    numbers : int, optional
        How many numbers, if they are written as text.
    """

    header: Path
    expected: int
    files: tuple[Path, ...]
    offset: int = 0
    compressed: bool = False
    numbers: int | None = None

    def check(self) -> None:
        """Refuse a file that is shorter than its header says, before memory is taken for its voxels.

        Raises
        ------
        ValueError
            If bytes are missing, or compressed data are damaged.
        """
        present = sum(max(0, file.stat().st_size - self.offset) for file in self.files)
        if self.numbers is not None:  # as text, every number but the last has a separator
            self._refuse_fewer(present, 2 * self.numbers - 1)
        elif not self.compressed:
            self._refuse_fewer(present, self.expected)
        elif present * _LARGEST_RATIO < self.expected:
            self._refuse_fewer(present * _LARGEST_RATIO, self.expected, most="at most ")
        else:
            self._refuse_fewer(self._inflated(), self.expected)

    def _refuse_fewer(self, present: int, expected: int, most: str = "") -> None:
        if present < expected:
            msg = (
                f"{self.header} is truncated or damaged: the file is shorter than it says, {expected} bytes "
                f"of voxels expected, got {most}{present}; copy or export it again"
            )
            raise ValueError(msg)

    def _inflated(self) -> int:
        total = 0
        for path in self.files:
            with path.open("rb") as file:
                file.seek(self.offset)
                try:
                    total += sum(_inflated_sizes(file))
                except zlib.error:
                    msg = (
                        f"{self.header} is truncated or damaged: its compressed voxels cannot be read; copy "
                        "or export it again"
                    )
                    raise ValueError(msg) from None
        return total


def refuse_unit(path: Path, unit: str) -> NoReturn:
    """Raise the error about lengths that are not in mm, which ITK would take for mm."""
    msg = f'{path} states lengths in "{unit}", expected "mm"; convert its geometry to mm'
    raise ValueError(msg)


def _inflated_sizes(file: BinaryIO) -> Iterator[int]:
    """Yield the sizes of the blocks of a compressed stream, which are checked and forgotten."""
    stream = zlib.decompressobj(_ZLIB_OR_GZIP)
    while not stream.eof and (block := stream.unconsumed_tail or file.read(_BLOCK)):
        yield len(stream.decompress(block, _BLOCK))
    while not stream.eof and (rest := stream.decompress(b"", _BLOCK)):
        yield len(rest)


def inside_folder(header: Path, name: str) -> Path:
    """Return the data file that a header names; it must lie in the header's folder or below.

    Raises
    ------
    ValueError
        If it lies elsewhere, by its path or through a symbolic link, or is missing.
    """
    folder = header.parent.resolve()
    file = header.parent / name
    try:
        place = file.resolve()
        missing = not place.is_file()
    except (OSError, ValueError, RuntimeError):  # name too long, with NUL, or a loop of links
        missing, place = True, folder
    if folder not in place.parents and place != folder:
        msg = (
            f"{header} names {name} for its voxels, which is outside the header's folder; put the data file "
            "beside the header, or convert both to one file (.mha, .nrrd or .nii.gz)"
        )
        raise ValueError(msg)
    if missing:
        msg = f"{header} is incomplete: its data file {name} is missing; copy both files"
        raise ValueError(msg)
    return file


def numbered_files(header: Path, words: Sequence[str]) -> tuple[Path, ...]:
    """Return the files of a pattern with first number, last number and step, such as ``%03d.raw 1 10 1``.

    Raises
    ------
    ValueError
        If the pattern or a number is malformed; those of `inside_folder`.
    """
    pattern, numbers = words[0], words[1:]
    if not (
        _PATTERN.fullmatch(pattern)
        and len(numbers) >= 2
        and all(re.fullmatch(r"[+-]?\d{1,9}", number) for number in numbers)
    ):
        msg = f"{header} names its data files by {' '.join(words)!r}, which is no pattern with numbers"
        raise ValueError(msg)
    first, last, step = (*(int(number) for number in numbers[:3]), 1)[:3]
    wanted = range(first, last + (1 if step > 0 else -1), step) if step else range(0)
    if not 0 < len(wanted) <= _MOST_FILES:
        msg = f"{header} names {len(wanted)} data files, expected 1 to {_MOST_FILES}"
        raise ValueError(msg)
    return tuple(inside_folder(header, pattern % number) for number in wanted)


def listed_files(header: Path, names: Sequence[str]) -> tuple[Path, ...]:
    """Return the files of a list.

    Raises
    ------
    ValueError
        If there is none; those of `inside_folder`.
    """
    if not names:
        msg = f"{header} is truncated or damaged: its list of data files is empty; copy it again"
        raise ValueError(msg)
    return tuple(inside_folder(header, name) for name in names)
