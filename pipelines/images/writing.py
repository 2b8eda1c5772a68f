"""Writing maps and volumes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from glcm_cuda.base.files import refuse_existing, refuse_unwritable, replacing
from pipelines.images import nifti
from pipelines.images.provenance import files_of, sidecar_path, write_sidecar
from pipelines.images.reading import native_stderr_dropped
from pipelines.images.volume import Volume, image_of

if TYPE_CHECKING:
    import SimpleITK

MAP_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha")


def write_map(
    array: npt.NDArray[Any],
    volume: Volume,
    path: str | os.PathLike[str],
    *,
    provenance: dict[str, Any],
    force: bool = False,
) -> None:
    """Write a map as float32 with the geometry of its image, and its provenance beside it.

    Both files appear whole or not at all; existing ones are untouched if writing fails.

    Parameters
    ----------
    array : array of the volume's shape
        The map; NaN where it is not defined.
    volume : Volume
        The image that the map was made from.
    path : path
        The suffix chooses the format: .nii, .nii.gz, .nrrd or .mha. The provenance goes to
        ``<path>.json``.
    provenance : dict
        What `provenance` returned.
    force : bool
        Replace existing files.

    Raises
    ------
    ValueError
        If the suffix is another, or the map has not the image's shape.
    FileExistsError
        If a file exists and `force` is False.
    OSError
        If a file cannot be written, for example on a full disk.
    """
    with staged_map(array, volume, path, provenance=provenance, force=force):
        pass


@contextmanager
def staged_map(
    array: npt.NDArray[Any],
    volume: Volume,
    path: str | os.PathLike[str],
    *,
    provenance: dict[str, Any],
    force: bool = False,
) -> Iterator[None]:
    """Write a map and its provenance under temporary names that become theirs if the block ends well.

    Parameters, errors: those of `write_map`.
    """
    path = Path(path)
    check_map_path(path, force=force)
    if array.shape != volume.array.shape:
        msg = f"map must have the image's shape {volume.array.shape}, got {array.shape}"
        raise ValueError(msg)
    values = replace(volume, array=np.ascontiguousarray(array, np.float32))
    with (
        replacing(sidecar_path(path), force=force) as sidecar,
        replacing(path, force=force) as temporary,
    ):
        write_sidecar(sidecar, provenance)
        _write_whole(image_of(values), temporary, path)
        yield


def write_volume(volume: Volume, path: str | os.PathLike[str], *, force: bool = False) -> None:
    """Write an image in its dtype and geometry: the whole of it or nothing.

    Parameters, errors: those of `write_map`.
    """
    path = Path(path)
    with replacing(path, force=force) as temporary:
        _write_whole(image_of(volume), temporary, path)


def named_after(path: Path, feature: str) -> Path:
    """Return the name of one of several maps: the feature's name stands before the suffix.

    Examples
    --------
    >>> named_after(Path("maps.nii.gz"), "contrast").name
    'maps_contrast.nii.gz'
    """
    suffix = next((end for end in MAP_SUFFIXES if path.name.endswith(end)), path.suffix)
    return path.with_name(f"{path.name.removesuffix(suffix)}_{feature}{suffix}")


def check_map_path(path: str | os.PathLike[str], *, force: bool = False) -> None:
    """Refuse a map's path before anything is computed.

    Raises
    ------
    ValueError
        If the suffix is that of no format we write.
    FileExistsError
        If the map or its sidecar exists and `force` is False.
    IsADirectoryError
        If the path is a folder.
    PermissionError, NotADirectoryError
        If nothing can be written in its folder.
    """
    path = Path(path)
    if not path.name.endswith(MAP_SUFFIXES):  # the writers know no capitals
        msg = f"a map's name must end in one of {', '.join(MAP_SUFFIXES)} (.dcm from DICOM), got {path.name}"
        raise ValueError(msg)
    refuse_output(path, force=force)
    refuse_output(sidecar_path(path), force=force)


def refuse_output(path: Path, *, force: bool) -> None:
    """Refuse a file to write if it is a folder, exists without `force`, or cannot be written there."""
    if path.is_dir():
        msg = f"{path} must be a file's name, got a folder"
        raise IsADirectoryError(msg)
    refuse_existing(path, force=force)
    refuse_unwritable(path)


def refuse_input_as_output(output: str | os.PathLike[str], *inputs: str | os.PathLike[str]) -> None:
    """Refuse to write over an input, or into an input folder of DICOM, whatever ``--force`` says.

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


def _write_whole(image: SimpleITK.Image, temporary: Path, path: Path) -> None:
    """Write and look: the NIfTI writer stays silent on a full disk."""
    import SimpleITK

    try:
        with native_stderr_dropped():
            SimpleITK.WriteImage(image, str(temporary), path.suffix.lower() != ".nii")
        if nifti.is_nifti(temporary):
            nifti.scan(temporary)
    except (RuntimeError, ValueError):
        free = shutil.disk_usage(temporary.parent).free / 1e6
        msg = (
            f"could not write the whole of {path} ({free:.0f} MB free on that disk); free some space, "
            "or check quota, permissions and the limit on file size, and run again"
        )
        raise OSError(msg) from None
