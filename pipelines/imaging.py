"""Images in, maps out: every contact with image files."""

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

from glcm_cuda import GLCMSettings
from glcm_cuda.files import refuse_existing, refuse_unwritable, replacing
from glcm_cuda.quantize import bounding_box

from . import nifti
from .archives import opened
from .provenance import files_of, sidecar_path, write_sidecar
from .volume import Volume, image_of, volume_of

if TYPE_CHECKING:
    import SimpleITK

    from glcm_cuda.bins import Bins

    from .dicom import Choice, Series

MAP_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha")
_FORMATS = ("Nifti", "Nrrd", "Meta", "GDCM")  # names of ITK
_PAIRS = (".hdr", ".img", ".img.gz")


def reached(
    shape: tuple[int, ...], mask: npt.NDArray[np.bool_] | None, settings: GLCMSettings, bins: Bins
) -> tuple[tuple[slice, ...], GLCMSettings]:
    """Return the part of an image that is needed, and the settings that give it the levels of the whole.

    Parameters
    ----------
    shape : tuple of int
        Of the image.
    mask : bool array of that shape, optional
    settings : GLCMSettings
        For the whole image.
    bins : Bins
        Of the whole image.

    Returns
    -------
    (box, settings)
        The box that the mask's windows reach, or the whole. What is computed of it is that of the whole.
    """
    whole = tuple(slice(0, size) for size in shape)
    if mask is None:
        return whole, settings
    box = bounding_box(mask, max(settings.radii))
    if settings.range_over != "image":
        return box, settings
    if bins.low == bins.high:  # no range that settings could name
        return whole, settings
    return box, replace(settings, intensity_range=(bins.low, bins.high), percentiles=None, deviations=None)


def read_image(path: str | os.PathLike[str], choice: Choice | None = None) -> Volume:
    """Return an image of real numbers, 2D or 3D, with its geometry.

    Parameters
    ----------
    path : path
        NIfTI, NRRD, MHA or MHD, one DICOM file, a folder of DICOM, or a zip archive of one of these. An
        archive's image has no `sources`, which are gone when this returns; `archives.opened` keeps them.
    choice : Choice, optional
        Which series and phase of DICOM is meant where there are several.

    Returns
    -------
    Volume
        (Z, Y, X); (Y, X) where the file itself is 2D. A single DICOM slice is (1, Y, X).

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    ValueError
        If the image is unreadable, truncated, of another format, in colour, complex or of more than
        three dimensions, if a DICOM file is no image (a segmentation, a dose), or if a folder does
        not hold exactly one regular volume and `choice` does not say which.
    """
    path = Path(path)
    if not path.exists():
        msg = f"image {path} does not exist"
        raise FileNotFoundError(msg)
    with opened(path) as place:
        if place.is_file() and _is_dicom(place):
            from .dicom import refuse_other_object

            refuse_other_object(place)
        volume = read_volume(place, choice)
        return volume if place == path else replace(volume, sources=())


def read_volume(path: Path, choice: Choice | None = None) -> Volume:
    """Read any image or mask that exists; `read_image` says what of."""
    if path.is_dir() or _is_dicom(path):
        return _read_dicom(path, choice)
    if choice is not None and (choice.series, choice.phase) != (None, None):
        msg = f"--series and --phase choose from DICOM, got {path}, which holds one image"
        raise ValueError(msg)
    if path.name.lower().endswith(_PAIRS):
        msg = f"{path} must be one file, got half of a header and image pair; convert it to .nii"
        raise ValueError(msg)
    return _read_nifti(path) if nifti.is_nifti(path) else volume_of(_read_file(path))


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


# Reading


def _read_nifti(path: Path) -> Volume:
    volume = volume_of(_read_file(path))
    nifti.scan(path).restore(volume.array)
    return volume


def _read_file(path: Path) -> SimpleITK.Image:
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    _refuse_format(path, reader)
    with _reading(path):
        reader.ReadImageInformation()
    _refuse_kind(path, reader)
    with _reading(path):
        image: SimpleITK.Image = reader.Execute()
    return image


def _read_dicom(path: Path, choice: Choice | None) -> Volume:
    from .dicom import Choice, placed, series_of_file, series_of_folder

    choice = choice or Choice()
    series = series_of_folder(path, choice) if path.is_dir() else series_of_file(path, choice)
    image = _frames_image(series) if series.frames else _files_image(path, series)
    volume = replace(volume_of(image), sources=series.files, modality=series.modality)
    return placed(path, volume, series, choice)


def _files_image(path: Path, series: Series) -> SimpleITK.Image:
    import SimpleITK

    if len(series.files) == 1:
        image = _read_file(series.files[0])
    else:
        reader = SimpleITK.ImageSeriesReader()
        reader.SetFileNames([str(file) for file in series.files])
        if series.rescaled_apart:
            reader.SetOutputPixelType(SimpleITK.sitkFloat32)
        with _reading(path):
            image = reader.Execute()
        _refuse_components(path, image.GetNumberOfComponentsPerPixel())
    return image


def _frames_image(series: Series) -> SimpleITK.Image:
    """Return the frames of a multi-frame file where their positions put them."""
    import SimpleITK

    from .multiframe import geometry_of, read_frames

    (file,) = series.files
    image = SimpleITK.GetImageFromArray(read_frames(file, series.frames))
    spacing, direction = geometry_of(file, series.positions_mm)
    image.SetSpacing(spacing)
    image.SetOrigin(series.positions_mm[0].tolist())
    image.SetDirection(direction)
    return image


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn the readers' failures into one line; what they print themselves is dropped."""
    try:
        with _native_stderr_dropped():
            yield
    except RuntimeError:  # its text is about the reader's inside, and often beside the point
        raise _damaged(path) from None


def _damaged(path: Path) -> ValueError:
    return ValueError(
        f"{path} is truncated or damaged, or in an unusual encoding: its voxels cannot be read; "
        "copy or export it again, or convert it to NIfTI"
    )


def _refuse_format(path: Path, reader: SimpleITK.ImageFileReader) -> None:
    """Refuse what is none of our formats: a PNG has neither spacing nor the scanner's intensities."""
    with _native_stderr_dropped():
        found = reader.GetImageIOFromFileName(str(path)).removesuffix("ImageIO")
    if not found and _is_dicom(path):
        raise _damaged(path)
    if found not in _FORMATS:
        got = f"a {found} image" if found else "a file of another kind, or cut in its header"
        msg = f"{path} must be a readable NIfTI, NRRD, MHA or DICOM image, got {got}"
        raise ValueError(msg)


@contextmanager
def _native_stderr_dropped() -> Iterator[None]:
    """Drop what the native readers print past Python: our own line says it better."""
    saved = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


def _refuse_kind(path: Path, reader: SimpleITK.ImageFileReader) -> None:
    import SimpleITK

    if reader.GetPixelID() in (SimpleITK.sitkComplexFloat32, SimpleITK.sitkComplexFloat64):
        msg = f"{path} must hold one real number per voxel, got complex numbers; write their magnitude first"
        raise ValueError(msg)
    _refuse_components(path, reader.GetNumberOfComponents())
    if reader.GetDimension() not in (2, 3):
        size = "x".join(str(edge) for edge in reader.GetSize())
        msg = (
            f"{path} must be 2D or 3D, got {reader.GetDimension()}D ({size}); extract one volume of it first"
        )
        raise ValueError(msg)


def _refuse_components(path: Path, components: int) -> None:
    if components != 1:
        msg = (
            f"{path} must hold one number per voxel, got {components} (a colour or vector image); "
            "convert it to grey, or extract one component, first"
        )
        raise ValueError(msg)


# Writing


def _write_whole(image: SimpleITK.Image, temporary: Path, path: Path) -> None:
    """Write and look: the NIfTI writer stays silent on a full disk."""
    import SimpleITK

    try:
        with _native_stderr_dropped():
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
