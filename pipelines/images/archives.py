"""Zip archives of images, unpacked safely into a temporary folder."""

from __future__ import annotations

import errno
import logging
import lzma
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from glcm_cuda.base.files import temporary_folder
from pipelines.images.dicom.headers import files_below, is_dicom

_IMAGES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EMFILE)

_SMALL_BYTES = 1 << 30
"""Up to this size an archive is unpacked however well it was compressed."""

_LARGEST_RATIO = 100
"""Images shrink 2 to 10 times, empty ones somewhat more; beyond this an archive is made to fill the disk."""


@contextmanager
def opened(path: Path) -> Iterator[Path]:
    """Unpack a zip archive and yield its folder, or the only image in it; yield any other path as it is.

    The folder is removed when the block ends.

    Raises
    ------
    ValueError
        If the archive is damaged, encrypted, leads out of its folder, would unpack to far more than its
        size, or holds several images that are not DICOM, or one beside DICOM.
    OSError
        If there is no room for it.
    """
    if not (path.is_file() and path.suffix.lower() == ".zip"):
        yield path
        return
    with temporary_folder() as folder:
        _unpack(path, folder)
        try:
            with _named_in_log(folder, path):
                yield _image_in(path, folder)
        except ValueError as error:  # about an unpacked file; the user knows only the archive
            raise ValueError(str(error).replace(str(folder), str(path))) from error


@contextmanager
def _named_in_log(folder: Path, archive: Path) -> Iterator[None]:
    """Let what is logged about unpacked files name the archive, which is all that the user knows."""

    def rename(record: logging.LogRecord) -> bool:
        record.msg, record.args = record.getMessage().replace(str(folder), str(archive)), None
        return True

    handlers = [*logging.getLogger("pipelines").handlers, *logging.getLogger().handlers]
    for handler in handlers:
        handler.addFilter(rename)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(rename)


def _unpack(path: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            _check(path, archive, shutil.disk_usage(folder).free)
            for entry in archive.infolist():
                _extract(path, archive, entry, folder)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, struct.error, UnicodeDecodeError) as error:
        msg = f"{path} is not a zip archive, or is truncated; copy it again"
        raise ValueError(msg) from error


def _extract(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path) -> None:
    """Unpack one file; its checksum is verified."""
    try:
        archive.extract(entry, folder)
    except NotImplementedError as error:
        msg = f"{path}: {entry.filename} is compressed by a method that is not read; pack it with deflate"
        raise ValueError(msg) from error
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise
        raise _damaged_member(path, entry) from error
    except (zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, RuntimeError, ValueError) as error:
        raise _damaged_member(path, entry) from error


def _damaged_member(path: Path, entry: zipfile.ZipInfo) -> ValueError:
    return ValueError(
        f"{path} is a damaged zip archive: {entry.filename!r} cannot be unpacked; copy it again"
    )


def _check(path: Path, archive: zipfile.ZipFile, free: int) -> None:
    """Refuse an archive that could do harm, before anything is written."""
    packed = unpacked = 0
    seen: set[str] = set()
    for entry in archive.infolist():
        _refuse_entry(path, entry)
        if entry.filename in seen:
            msg = f"{path} has two files named {entry.filename}; pack it again"
            raise ValueError(msg)
        seen.add(entry.filename)
        packed, unpacked = packed + entry.compress_size, unpacked + entry.file_size
    if unpacked > max(_SMALL_BYTES, _LARGEST_RATIO * packed):
        msg = (
            f"{path} would unpack from {packed / 1e6:,.0f} to {unpacked / 1e6:,.0f} MB, more than "
            f"{_LARGEST_RATIO} times its size; if you trust it, unpack it and give the folder"
        )
        raise ValueError(msg)
    if unpacked > free:
        msg = (
            f"{path} unpacks to {unpacked / 1e6:,.0f} MB and {free / 1e6:,.0f} MB are free; make room, or "
            "set TMPDIR to a larger disk"
        )
        raise OSError(msg)


def _refuse_entry(path: Path, entry: zipfile.ZipInfo) -> None:
    """Refuse what is no file or folder inside the archive."""
    place = PurePosixPath(entry.filename.replace("\\", "/"))
    if place.is_absolute() or ".." in place.parts or ":" in (place.parts or ("",))[0]:
        msg = f"{path} contains a path outside its own folder ({entry.filename}); do not unpack it"
        raise ValueError(msg)
    if not place.parts and not entry.filename.endswith(("/", "\\")):
        msg = f"{path} has a file without a name ({entry.filename!r}); pack it again"
        raise ValueError(msg)
    if stat.S_ISLNK(entry.external_attr >> 16):
        msg = f"{path} contains a symbolic link ({entry.filename}); pack the file itself"
        raise ValueError(msg)
    if entry.flag_bits & 1:
        msg = f"{path} is encrypted; unpack it with its password and give the folder"
        raise ValueError(msg)


def _image_in(path: Path, folder: Path) -> Path:
    """Return the only file, or the only image that is not DICOM, or else the folder."""
    files = list(files_below(folder))
    if len(files) == 1:
        return files[0]
    images = [file for file in files if file.name.lower().endswith(_IMAGES)]
    if len(images) > 1:
        names = ", ".join(file.name for file in images[:5])
        msg = f"{path} holds {len(images)} images ({names}); unpack it and give one of them"
        raise ValueError(msg)
    if images and any(is_dicom(file) for file in files):
        msg = f"{path} holds DICOM files and {images[0].name}; unpack it and name the folder or the image"
        raise ValueError(msg)
    return images[0] if images else folder
