"""Output folders: checks before a command writes into one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from pipelines.images.output_paths import refuse_input_as_output


def refuse_file(folder: Path) -> None:
    """Raise NotADirectoryError if the output folder is a file."""
    if folder.exists() and not folder.is_dir():
        msg = f"-o must be a folder, got a file: {folder}; choose another name"
        raise NotADirectoryError(msg)


def refuse_foreign_folder(folder: Path, own: Iterable[str], *, force: bool) -> None:
    """Refuse to mix a command's files with files of other origin.

    Parameters
    ----------
    folder : path
        The output folder. Nothing in it is removed.
    own : iterable of str
        Patterns of the command's own files; a folder with one of them holds an earlier run.
    force : bool
        Accept a folder that holds other files.

    Raises
    ------
    NotADirectoryError, FileExistsError
        If it is a file; if it is not empty, holds no earlier run and `force` is False.
    """
    refuse_file(folder)
    if force or not folder.exists() or any(any(folder.glob(pattern)) for pattern in own):
        return
    found = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    if found:
        msg = (
            f"{folder} is not empty and holds no earlier run (it has {', '.join(found[:3])}); choose an "
            "empty or new folder, or give --force to write into this one"
        )
        raise FileExistsError(msg)


def refuse_inputs(outputs: Sequence[Path], inputs: Iterable[Path]) -> None:
    """Refuse outputs of one folder that would overwrite an input, or lie in an input folder of DICOM."""
    folder = outputs[0].parent.resolve()
    # Only inputs nearby can be overwritten; a cohort may have thousands of others.
    near = [path for path in inputs if folder in (path.resolve(), path.resolve().parent)]
    for output in outputs:
        refuse_input_as_output(output, *near)
