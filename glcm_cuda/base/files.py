"""Output files that are either complete or absent."""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_log = logging.getLogger(__name__)

_LONGEST_NAME = 200
"""Bytes of a name that leave room for the temporary prefix in the 255 that file systems allow."""

_LONGEST_SUFFIXES = 40
_STALE_SECONDS = 24 * 3600
"""A temporary file of another machine that was not written for so long is left over."""


@contextmanager
def replacing(path: str | os.PathLike[str], *, force: bool = False) -> Iterator[Path]:
    """Yield a temporary name beside `path`; it is renamed to `path` if the block succeeds.

    The temporary name keeps the suffixes (``.nii.gz``), since writers choose the format by them. If the block
    raises, its output is removed and an existing `path` is left unchanged. What a killed process left of the
    same output is removed first.

    Parameters
    ----------
    path : path
        The output file, or a folder if the block makes one. Its parent is created.
    force : bool
        Replace `path` if it exists.

    Raises
    ------
    FileExistsError
        If `path` exists and `force` is False, or another process is writing it.
    OSError
        Raised again from the block, with `path` in place of the temporary name.
    """
    path = Path(path)
    refuse_existing(path, force=force)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_left_over(path)
    temporary = _temporary(path)
    try:
        yield temporary
        if path.is_dir() and temporary.is_dir():
            shutil.rmtree(path)
        os.replace(temporary, path)
        _log.debug("wrote %s", path, extra={"written": str(path)})
    except OSError as error:
        shown = _shown_name(error, temporary, path)
        if shown is None:
            raise
        raise type(error)(error.errno, error.strerror, shown) from error
    finally:
        _remove(temporary)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a folder in the system's temporary one; it is removed when the block ends.

    What killed runs left there is removed first: it may hold images of patients.
    """
    parent, prefix = Path(tempfile.gettempdir()), f"radsynth-{_machine()}-"
    for left in _entries(parent):
        match = re.match(rf"{prefix}(\d+)-", left.name)
        if match is not None and not left.is_symlink() and not _is_running(int(match[1])):
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{prefix}{os.getpid()}-", dir=parent) as name:
        yield Path(name)


def _temporary(path: Path) -> Path:
    """Return the temporary name of this process, which begins and ends alike for every process."""
    return path.with_name(f".tmp-{_machine()}-{os.getpid()}-{_stem(path)}")


def second_temporary(temporary: Path, suffix: str) -> Path:
    """Return a name beside one of `replacing`, for a file that is removed before the block ends."""
    return temporary.with_name(f"{temporary.name}.part{suffix}")


def _stem(path: Path) -> str:
    """Return the name of an output, or a digest with its suffixes if the name is long or not in UTF-8."""
    name = os.fsencode(path.name)
    if len(name) <= _LONGEST_NAME and _is_utf8(name):
        return path.name
    suffixes = "".join(path.suffixes[-2:])
    kept = suffixes if suffixes.isascii() and len(suffixes) <= _LONGEST_SUFFIXES else ""
    return hashlib.sha256(name).hexdigest()[:16] + kept


def _is_utf8(name: bytes) -> bool:
    """Whether libraries in C++ can open a file of this name."""
    try:
        name.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _machine() -> str:
    """Return a short code of this machine: the numbers of processes mean nothing on another one."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def _remove_left_over(path: Path) -> None:
    """Remove what killed processes left of an output; refuse one that another process is writing."""
    pattern = re.compile(rf"\.tmp-([0-9a-f]{{8}})-(\d+)-{re.escape(_stem(path))}(\.part\.\w+)?")
    for left in _entries(path.parent):
        match = pattern.fullmatch(left.name)
        if match is None or (match[1], int(match[2])) == (_machine(), os.getpid()):
            continue
        if _may_be_running(left, match[1], int(match[2])):
            msg = (
                f"{path} is being written by another run (process {match[2]}); wait for it or choose another "
                f"name, or remove {left} if there is no such run"
            )
            raise FileExistsError(msg)
        _remove(left)


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except PermissionError:  # files may be made in a folder that may not be listed
        return []


def _may_be_running(left: Path, machine: str, process: int) -> bool:
    """Whether the process that made a temporary file may still write it."""
    if machine == _machine():
        return _is_running(process)
    try:
        return time.time() - left.stat().st_mtime < _STALE_SECONDS
    except FileNotFoundError:
        return False


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # of another user
        return True
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


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
    """Raise FileExistsError if `path` exists, even as a link to a missing file, unless `force`."""
    path = Path(path)
    if path.exists() and not force:
        msg = f"{path} exists; give --force (force=True) to replace it"
        raise FileExistsError(msg)
    if path.is_symlink() and not path.exists() and not force:
        msg = f"{path} is a link to a missing file; remove it, or give --force (force=True) to replace it"
        raise FileExistsError(msg)
