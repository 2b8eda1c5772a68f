"""Where outputs may be written: every check of a path that is made before anything is computed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from glcm_cuda.base.extras import require
from glcm_cuda.base.files import refuse_existing, refuse_unwritable
from pipelines.images.provenance import files_of, sidecar_path

MAP_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha")
PARAMETRIC_MAP_SUFFIX = ".dcm"


def map_paths(output: Path, features: Sequence[str]) -> dict[str, Path]:
    """Return where the map of each feature goes.

    Every feature gets a file named after it, unless there is only one, or the output is a DICOM Parametric
    Map, which holds them all.
    """
    if len(features) == 1 or output.suffix == PARAMETRIC_MAP_SUFFIX:
        return dict.fromkeys(features, output)
    return {feature: named_after(output, feature) for feature in features}


def named_after(path: Path, feature: str) -> Path:
    """Return the name of one of several maps: the feature's name stands before the suffix.

    Examples
    --------
    >>> named_after(Path("maps.nii.gz"), "contrast").name
    'maps_contrast.nii.gz'
    """
    suffix = next((end for end in MAP_SUFFIXES if path.name.endswith(end)), path.suffix)
    return path.with_name(f"{path.name.removesuffix(suffix)}_{feature}{suffix}")


def check_map_output(path: Path, *inputs: Path, force: bool) -> None:
    """Refuse the path of a map, or of a Parametric Map, that is made from some inputs.

    Raises
    ------
    ValueError, OSError
        Those of `check_map_path` and `refuse_input_as_output`.
    ModuleNotFoundError
        If it is a Parametric Map and highdicom is not installed.
    """
    if path.suffix == PARAMETRIC_MAP_SUFFIX:
        require(f"a Parametric Map ({path.name})", "highdicom")
        refuse_outputs([path], inputs, force=force)
        return
    for file in (path, sidecar_path(path)):
        refuse_input_as_output(file, *inputs)
    check_map_path(path, force=force)


def check_map_path(path: str | os.PathLike[str], *, force: bool = False) -> None:
    """Refuse the path of a map that is not a Parametric Map.

    Raises
    ------
    ValueError
        If the suffix is not that of a format we write.
    FileExistsError
        If the map or its sidecar exists and `force` is False.
    IsADirectoryError
        If the path is a folder.
    PermissionError, NotADirectoryError
        If nothing can be written in its folder.
    """
    path = Path(path)
    if not path.name.endswith(MAP_SUFFIXES):  # case matters: ITK's writers do not accept capitals
        msg = f"a map's name must end in one of {', '.join(MAP_SUFFIXES)} (.dcm from DICOM), got {path.name}"
        raise ValueError(msg)
    for file in (path, sidecar_path(path)):
        refuse_output(file, force=force)


def check_table_output(path: Path, *inputs: Path, force: bool) -> None:
    """Refuse the path of a table, or of the sidecar beside it, that is made from some inputs.

    Raises
    ------
    ValueError, OSError
        If the name does not end in .csv; those of `refuse_outputs`.
    """
    if path.suffix.lower() != ".csv":
        msg = f"-o must end in .csv, got {path.name}"
        raise ValueError(msg)
    refuse_outputs([path, sidecar_path(path)], inputs, force=force)


def check_preview_path(path: str | os.PathLike[str], *inputs: Path, force: bool = False) -> None:
    """Refuse the path of a preview.

    Raises
    ------
    ValueError, OSError
        If the name does not end in .png; those of `refuse_outputs`.
    ModuleNotFoundError
        If Matplotlib is not installed.
    """
    path = Path(path)
    require(f"a preview ({path.name})", "matplotlib")
    refuse_input_as_output(path, *inputs)
    if path.suffix.lower() != ".png":
        msg = f"a preview's name must end in .png, got {path.name}"
        raise ValueError(msg)
    refuse_output(path, force=force)


def refuse_outputs(paths: Iterable[Path], inputs: Sequence[Path], *, force: bool) -> None:
    """Refuse files to write.

    Raises
    ------
    ValueError, OSError
        Those of `refuse_input_as_output` and `refuse_output`.
    """
    for path in paths:
        refuse_input_as_output(path, *inputs)
        refuse_output(path, force=force)


def refuse_output(path: Path, *, force: bool) -> None:
    """Refuse a file to write.

    Raises
    ------
    IsADirectoryError
        If the path is a folder.
    FileExistsError
        If the file exists and `force` is False.
    PermissionError, NotADirectoryError
        If nothing can be written in its folder.
    """
    if path.is_dir():
        msg = f"{path} must be a file name, got a folder"
        raise IsADirectoryError(msg)
    refuse_existing(path, force=force)
    refuse_unwritable(path)


def refuse_input_as_output(output: str | os.PathLike[str], *inputs: str | os.PathLike[str]) -> None:
    """Refuse to overwrite an input, or to write into an input folder of DICOM, with or without ``--force``.

    Raises
    ------
    ValueError
        If `output` is a file of an input, under whatever name, or would lie in an input folder.
    """
    output = Path(output)
    for source in map(Path, inputs):
        if source.is_dir() and source.resolve() in output.resolve().parents:
            msg = f"{output} must not lie in the input folder {source}; choose another folder"
            raise ValueError(msg)
        files = files_of(source) if source.exists() and output.exists() else []
        if any(output.samefile(file) for file in files):
            msg = f"{output} is an input and must not be overwritten; choose another name for the output"
            raise ValueError(msg)
