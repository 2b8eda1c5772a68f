"""Images in, maps out: every contact with image files."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from glcm_cuda import GLCMSettings
from glcm_cuda.files import refuse_existing, refuse_unwritable, replacing
from glcm_cuda.quantize import bounding_box

from . import nifti
from .archives import opened
from .headers import files_below

if TYPE_CHECKING:
    import SimpleITK

    from glcm_cuda.quantize import Bins

    from .dicom import Choice, Series

MAP_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha")
_BLOCK = 1 << 20
_FORMATS = ("Nifti", "Nrrd", "Meta", "GDCM")  # names of ITK
_PAIRS = (".hdr", ".img", ".img.gz")
# NIfTI keeps float32: spacings agree to 1e-6, origins and directions to a little less.
_SPACING_TOLERANCE = 1e-3
_ORIGIN_TOLERANCE_VOXELS = 0.05
_DIRECTION_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Volume:
    """An image and where it lies.

    Parameters
    ----------
    array : (Z, Y, X) or (Y, X) array
        Intensities in the image's own unit and dtype.
    spacing_mm, origin_mm : tuples of 2 or 3 floats
        In the order x, y, z, as SimpleITK has them.
    direction : tuple of 4 or 9 floats
        Cosines, row by row, as SimpleITK has them.
    sources : tuple of paths
        The DICOM files that it was read from; empty for other formats.
    modality : str
        Of DICOM, as MR; empty for other formats.
    """

    array: npt.NDArray[Any]
    spacing_mm: tuple[float, ...]
    origin_mm: tuple[float, ...]
    direction: tuple[float, ...]
    sources: tuple[Path, ...] = ()
    modality: str = ""

    def cropped(self, box: tuple[slice, ...]) -> Volume:
        """Return the part of the image inside a box, where it lies."""
        start = np.array([part.start for part in reversed(box)]) * self.spacing_mm
        cosines = np.reshape(self.direction, (len(box), len(box)))
        origin = tuple(float(place) for place in self.origin_mm + cosines @ start)
        return replace(self, array=np.ascontiguousarray(self.array[box]), origin_mm=origin)


def geometry_differences(other: Volume, volume: Volume) -> list[str]:
    """Return what differs, with both values; sizes and numbers in the order x, y, z."""
    if other.array.shape != volume.array.shape:
        return [f"size {other.array.shape[::-1]} where the image has {volume.array.shape[::-1]}"]
    spacing = min(volume.spacing_mm)
    tolerances = {
        "spacing_mm": _SPACING_TOLERANCE * spacing,
        "origin_mm": _ORIGIN_TOLERANCE_VOXELS * spacing,
        "direction": _DIRECTION_TOLERANCE,
    }
    found = []
    for field, tolerance in tolerances.items():
        one, two = getattr(other, field), getattr(volume, field)
        if not np.allclose(one, two, rtol=0.0, atol=tolerance):
            found.append(f"{field.replace('_mm', '')} {_rounded(one)} where the image has {_rounded(two)}")
    return found


def _rounded(numbers: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(round(float(number), 4) + 0.0 for number in numbers)


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


def write_sidecar(path: Path, provenance: dict[str, Any]) -> None:
    """Write what tells how an output was made, as JSON."""
    path.write_text(json.dumps(provenance, indent=2) + "\n", encoding="utf-8")


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


def sidecar_path(path: str | os.PathLike[str]) -> Path:
    """Return the name of the JSON file with a map's provenance: ``<path>.json``."""
    path = Path(path)
    return path.with_name(f"{path.name}.json")


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file, or of all files in and below a folder in the order of their names.

    Of an .mhd header the data file beside it is part.
    """
    path = Path(path)
    digest = hashlib.sha256()
    for part in _files_of(path):
        with part.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()


def provenance(
    *,
    source: str | os.PathLike[str],
    settings: GLCMSettings,
    intensity_range: tuple[float, float],
    backend: str,
    feature: str = "joint_entropy",
    **details: Any,
) -> dict[str, Any]:
    """Return what a map's sidecar says: how the map was made, and from what.

    Parameters
    ----------
    source : path
        The image. Only its name is kept (folders often carry names of people), and its SHA-256.
    settings : GLCMSettings
        Of the map.
    intensity_range : (float, float)
        Lowest and highest edge of the bins in the image's unit.
    backend : str
        What computed the map.
    feature : str
        What the map holds.
    details
        Further entries, as plain numbers, strings, lists and dicts.
    """
    return {
        "kind": "GLCM entropy map" if feature == "joint_entropy" else "GLCM feature map",
        "unit": unit_of(feature, settings),
        "feature": feature_names(feature),
        **source_record(source),
        "settings": settings.to_dict(),
        "intensity_range": list(intensity_range),
        "backend": backend,
        **details,
        **made_by(),
    }


def unit_of(feature: str, settings: GLCMSettings) -> str | None:
    """Return the unit of a feature's values; only entropies have one."""
    return settings.unit if feature.endswith("_entropy") else None


def feature_title(feature: str) -> str:
    """Return what titles and axes call a feature."""
    return "entropy" if feature == "joint_entropy" else feature.replace("_", " ")


def with_unit(text: str, unit: str | None) -> str:
    """Return the text of an axis or a column, with its unit if there is one.

    Examples
    --------
    >>> with_unit("bias", "bits"), with_unit("bias", None)
    ('bias (bits)', 'bias')
    """
    return text if unit is None else f"{text} ({unit})"


def feature_names(feature: str) -> dict[str, Any]:
    """Return what a feature is called here, by pyradiomics and by IBSI."""
    from glcm_cuda.features import feature_named

    found = feature_named(feature)
    ibsi = [f"{name} ({identifier})" for name, identifier in found.ibsi]
    return {"name": found.name, "pyradiomics": found.pyradiomics, "ibsi": ibsi}


def source_record(path: str | os.PathLike[str], name: str = "source") -> dict[str, Any]:
    """Return the name of an input, without its folder, and its SHA-256."""
    return {name: Path(path).name, f"{name}_sha256": sha256_of(path)}


def made_by() -> dict[str, Any]:
    """Return the versions of the software and the date, as a sidecar has them."""
    import glcm_cuda

    return {
        "software": {
            "radsynth": glcm_cuda.__version__,
            "python": platform.python_version(),
            **_versions("numpy", "numba", "SimpleITK"),
        },
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _versions(*names: str) -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


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
        files = _files_of(source) if source.exists() and output.exists() else []
        if any(output.samefile(file) for file in files):
            msg = f"{output} is an input and must not be overwritten; choose another name for the output"
            raise ValueError(msg)


def _files_of(path: Path) -> list[Path]:
    if path.is_dir():
        return list(files_below(path))
    if path.suffix.lower() == ".mhd":
        data = path.with_name(_mhd_data_name(path))
        return [path, data] if data.is_file() else [path]
    return [path]


def _mhd_data_name(path: Path) -> str:
    for line in path.read_text(encoding="latin-1").splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "ElementDataFile":
            return value.strip()
    return ""


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
    from .dicom import check_positions, series_of_file, series_of_folder

    series = series_of_folder(path, choice) if path.is_dir() else series_of_file(path, choice)
    image = _frames_image(series) if series.frames else _files_image(path, series)
    if series.slice_distance_mm is not None:
        image.SetSpacing((*image.GetSpacing()[:2], series.slice_distance_mm))
    if len(series.positions_mm) > 1:
        slices = range(image.GetSize()[2])
        found = np.array([image.TransformIndexToPhysicalPoint((0, 0, index)) for index in slices])
        check_positions(path, series, found)
    return replace(volume_of(image), sources=series.files, modality=series.modality)


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


def volume_of(image: SimpleITK.Image) -> Volume:
    """Return an image of SimpleITK."""
    import SimpleITK

    return Volume(
        array=SimpleITK.GetArrayFromImage(image),
        spacing_mm=tuple(image.GetSpacing()),
        origin_mm=tuple(image.GetOrigin()),
        direction=tuple(image.GetDirection()),
    )


# Writing


def image_of(volume: Volume) -> SimpleITK.Image:
    """Return the volume as SimpleITK has it."""
    import SimpleITK

    image = SimpleITK.GetImageFromArray(volume.array)
    image.SetSpacing(volume.spacing_mm)
    image.SetOrigin(volume.origin_mm)
    image.SetDirection(volume.direction)
    return image


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
