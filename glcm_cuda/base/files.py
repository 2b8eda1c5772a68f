"""Output files that are either complete or absent."""

from __future__ import annotations

import os
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


_LONGEST_NAME = 224
"""Bytes of a temporary name: most file systems allow 255, and writers may add to it."""


@contextmanager
def replacing(path: str | os.PathLike[str], *, force: bool = False) -> Iterator[Path]:
    """Yield a temporary name beside `path`; it is renamed to `path` if the block succeeds.

    The temporary name keeps the suffixes (``.nii.gz``), since writers choose the format by them. If the block
    raises, its output is removed and an existing `path` is left unchanged.

    Parameters
    ----------
    path : path
        The output file, or a folder if the block makes one. Its parent is created.
    force : bool
        Replace `path` if it exists.

    Raises
    ------
    FileExistsError
        If `path` exists and `force` is False.
    OSError
        Raised again from the block, with `path` in place of the temporary name.
    """
    path = Path(path)
    refuse_existing(path, force=force)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(_temporary_name(path))
    try:
        yield temporary
        if path.is_dir() and temporary.is_dir():
            shutil.rmtree(path)
        os.replace(temporary, path)
    except OSError as error:
        shown = _shown_name(error, temporary, path)
        if shown is None:
            raise
        raise type(error)(error.errno, error.strerror, shown) from error
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)


def _temporary_name(path: Path) -> str:
    """Return a name with the suffixes of `path`, short enough for any file system and in UTF-8."""
    start, name = f".tmp-{os.getpid()}-", os.fsencode(path.name)
    suffixes = "".join(path.suffixes[-2:])
    try:
        name.decode("utf-8")
    except UnicodeDecodeError:  # libraries in C++ may not be able to open it
        pass
    else:
        if len(start) + len(name) <= _LONGEST_NAME:
            return f"{start}{path.name}"
    return f"{start}{zlib.crc32(name):08x}{suffixes if suffixes.isascii() and len(suffixes) < 32 else ''}"


def _shown_name(error: OSError, temporary: Path, path: Path) -> str | None:
    """Return the final name of the file that an OSError is about, or None if the error needs no change."""
    if error.errno is None:
        return None
    if error.filename is None:
        return str(path)  # a failed write does not carry the name of its file
    name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes | Path) else ""
    if name == str(temporary) or name.startswith(f"{temporary}{os.sep}"):
        return f"{path}{name.removeprefix(str(temporary))}"
    return None


def refuse_unwritable(path: str | os.PathLike[str]) -> None:
    """Raise OSError if `path` cannot be created: its folder is not writable, or is a file.

    If the folder does not exist yet, its closest existing parent is checked.
    """
    folder = Path(path).absolute().parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        msg = f"cannot write into {folder}: it is a file; choose another folder"
        raise NotADirectoryError(msg)
    if not os.access(folder, os.W_OK | os.X_OK):
        msg = f"cannot write into {folder}: permission denied; choose another folder"
        raise PermissionError(msg)


def refuse_existing(path: str | os.PathLike[str], *, force: bool = False) -> None:
    """Raise FileExistsError if `path` exists, unless `force` is set."""
    if Path(path).exists() and not force:
        msg = f"{path} exists; give --force (force=True) to replace it"
        raise FileExistsError(msg)
