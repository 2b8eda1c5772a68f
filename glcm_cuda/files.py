"""Outputs that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | os.PathLike[str], *, force: bool = False) -> Iterator[Path]:
    """Yield a temporary name beside `path` that becomes `path` when the block ends well.

    The temporary name keeps the suffixes (``.nii.gz``), since writers choose a format by them. If
    the block raises, whatever was written is removed and an existing `path` stays as it was.

    Parameters
    ----------
    path : path
        The output: a file, or a folder if the block makes one. Its parent is created.
    force : bool
        Allow `path` to exist; it is replaced.

    Raises
    ------
    FileExistsError
        If `path` exists and `force` is False.
    """
    path = Path(path)
    refuse_existing(path, force=force)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        yield temporary
        if path.is_dir() and temporary.is_dir():
            shutil.rmtree(path)
        os.replace(temporary, path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)


def refuse_existing(path: str | os.PathLike[str], *, force: bool = False) -> None:
    """Raise FileExistsError if `path` exists, unless `force`."""
    if Path(path).exists() and not force:
        msg = f"{path} exists; give --force (force=True) to replace it"
        raise FileExistsError(msg)
