"""Reading images of every format."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK

from glcm_cuda.base.steps import step
from pipelines.images.archives import opened
from pipelines.images.dicom.file_kinds import fault_of
from pipelines.images.dicom.headers import is_dicom
from pipelines.images.dicom.series import Choice, read_dicom, refuse_other_object
from pipelines.images.formats import metaimage, nifti, nrrd
from pipelines.images.formats.native_messages import native_messages_logged, warnings_in
from pipelines.images.formats.nifti_forms import CODES, NiftiForms, Place, place_of
from pipelines.images.shear import accepted_shear, straightened, tell_shear
from pipelines.images.volume import Volume, itk_name, volume_of

_log = logging.getLogger(__name__)

_NAMES_OF_OTHERS = {
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"\x89HDF": "HDF5",
}
_SAID_BY_US = ("unexpected scales in sform", "non-orthogonal sform", "Non uniform sampling")
"""Warnings of ITK that messages of ours, with figures, replace."""

_DIFFERENT_MM = 0.01
_SPACING_TOLERANCE = 1e-3
_PERMISSIVE = "ITK_NIFTI_SFORM_PERMISSIVE"
_PAIRS = (".hdr", ".img", ".img.gz")


@step("reading")
def read_image(path: str | os.PathLike[str], choice: Choice | None = None) -> Volume:
    """Return an image of real numbers, 2D or 3D, with its geometry.

    Parameters
    ----------
    path : path
        NIfTI, NRRD, MHA or MHD, one DICOM file, a folder of DICOM, or a zip archive of one of these. The
        image of an archive has no `sources`, since they are removed on return; `archives.opened` keeps them.
    choice : Choice, optional
        Which series and phase, if the DICOM files hold several.

    Returns
    -------
    Volume
        (Z, Y, X); (Y, X) where the file itself is 2D. A single DICOM slice is (1, Y, X).

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    ValueError
        If the image is unreadable, truncated, in another format, in colour, complex, or of more than three
        dimensions; if a DICOM file is not an image (a segmentation, a dose); if a folder does not hold
        exactly one regular volume and `choice` does not say which.
    """
    path = Path(path)
    if not path.exists():
        msg = f"image {path} does not exist"
        raise FileNotFoundError(msg)
    with opened(path) as place:
        if place.is_file() and is_dicom(place):
            refuse_other_object(place)
        volume = read_volume(place, choice)
        return volume if place == path else replace(volume, sources=())


def read_volume(path: Path, choice: Choice | None = None) -> Volume:
    """Return an image or a mask whose file exists; see `read_image`."""
    if path.is_dir() or is_dicom(path):
        return read_dicom(path, choice or Choice())
    if choice is not None and (choice.series, choice.phase) != (None, None):
        msg = f"--series and --phase choose from DICOM, got {path}, which holds one image"
        raise ValueError(msg)
    if path.name.lower().endswith(_PAIRS):
        msg = f"{path} must be one file, got half of a header and image pair; convert it to .nii"
        raise ValueError(msg)
    if _format_of(path) == "NiftiImageIO":
        return _read_nifti(path)
    return replace(straightened(path, volume_of(_read_file(path))), has_spacing=_states_spacing(path))


def _read_nifti(path: Path) -> Volume:
    header = nifti.read_header(path)
    shear = _shear_voxels(path, header)
    # What has more axes is refused below, without reading all of it first.
    missing_in_itk = nifti.scan(path) if header.axes <= 3 else None
    with _sheared_allowed() if shear else nullcontext():
        volume = volume_of(_read_file(path))
    if missing_in_itk is not None:
        missing_in_itk.restore(volume.array)
        if missing_in_itk.surplus:
            _log.warning(
                "%s has %d bytes after the voxels that its header states; its sizes may be wrong",
                path,
                missing_in_itk.surplus,
            )
    return _placed(path, volume, header.forms, shear)


def _shear_voxels(path: Path, header: nifti.Header) -> float:
    """Return by how many voxels an sform without right angles moves a voxel; 0 where ITK does not use it.

    Raises
    ------
    ValueError
        If that is much.
    """
    forms, shape = header.forms, tuple(reversed(header.sizes[:3]))
    if not forms.sform_code or forms.qform_code:
        return 0.0
    return accepted_shear(path, "sform", forms.matrices()["sform"], shape)


@contextmanager
def _sheared_allowed() -> Iterator[None]:
    """Let ITK read an sform without right angles; the place is taken from the header anyway."""
    before = os.environ.get(_PERMISSIVE)
    os.environ[_PERMISSIVE] = "YES"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_PERMISSIVE]
        else:
            os.environ[_PERMISSIVE] = before


def _placed(path: Path, volume: Volume, forms: NiftiForms, shear: float) -> Volume:
    """Return a NIfTI image with both forms of its header, and the spacing of the one that ITK follows.

    ITK takes the spacing from pixdim even where it follows an sform with another.
    """
    places = {name: place_of(matrix) for name, matrix in forms.matrices().items()}
    sform = places.get("sform")
    if sform is not None and _follows(volume, forms, sform):
        volume = _with_spacing(path, volume, forms, sform)
        if volume.array.ndim == 3 and not sform.is_at(volume.origin_mm, volume.direction):
            volume = replace(volume, **vars(sform))
        if shear:
            tell_shear(path, "sform", shear)
        _tell_difference(path, forms.with_spacing_mm(volume.spacing_mm), volume, "sform")
    else:
        _tell_difference(path, forms, volume, "qform")
    return replace(volume, forms=forms)


def _follows(volume: Volume, forms: NiftiForms, sform: Place) -> bool:
    """Whether ITK placed an image by the sform, or should have."""
    if not forms.qform_code:
        return True
    if volume.array.ndim != 3:
        return forms.sform_code == 1
    return sform.is_at(volume.origin_mm, volume.direction)


def _with_spacing(path: Path, volume: Volume, forms: NiftiForms, sform: Place) -> Volume:
    """Return an image with the spacing of its sform."""
    spacing = sform.spacing_mm[: volume.array.ndim]
    if np.allclose(spacing, volume.spacing_mm, rtol=_SPACING_TOLERANCE, atol=0):
        return volume
    _log.warning(
        "%s: its pixdim states a spacing of %s mm, its sform %s mm, which is taken; maps written as NIfTI "
        "state it in both",
        path,
        _written(forms.stated_spacing_mm[: volume.array.ndim]),
        _written(spacing),
    )
    return replace(volume, spacing_mm=spacing)


def _tell_difference(path: Path, forms: NiftiForms, volume: Volume, followed: str) -> None:
    distance = forms.distance_mm(volume.array.shape)
    if distance <= _DIFFERENT_MM:
        return
    _log.warning(
        "%s: its sform (%s) and qform (%s) differ by up to %.2f mm: the %s is taken, as ITK and Slicer do "
        "(FSL and nibabel take the sform); maps written as NIfTI keep both",
        path,
        CODES.get(forms.sform_code, forms.sform_code),
        CODES.get(forms.qform_code, forms.qform_code),
        distance,
        followed,
    )


def _written(numbers: tuple[float, ...]) -> str:
    return "x".join(f"{number:.4g}" for number in numbers)


def _states_spacing(path: Path) -> bool:
    """Whether the header of an NRRD or MetaImage file states a spacing, for which ITK takes 1 otherwise."""
    return nrrd.states_spacing(path) if nrrd.is_nrrd(path) else metaimage.states_spacing(path)


def _read_file(path: Path) -> SimpleITK.Image:
    return _read_checked(path, several=False)


def read_layer(path: Path, layer: int) -> Volume:
    """Return a layer of a segmentation whose segments may overlap (`nrrd.layers_of`).

    Raises
    ------
    ValueError
        If there is no such layer; those of `read_image`.
    """
    image = _read_checked(path, several=True)
    if layer >= image.GetNumberOfComponentsPerPixel():
        msg = f"{path} has {image.GetNumberOfComponentsPerPixel()} layers, its segments name layer {layer}"
        raise ValueError(msg)
    return volume_of(SimpleITK.VectorIndexSelectionCast(image, layer))


def _read_checked(path: Path, *, several: bool) -> SimpleITK.Image:
    """Read a file of a format that its beginning shows, after its header was checked."""
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(itk_name(path))
    reader.SetImageIO(_format_of(path))
    if nrrd.is_nrrd(path):
        nrrd.check_header(path).check()
    elif metaimage.is_metaimage(path):
        metaimage.check_header(path).check()
    with _reading(path, told=False):
        reader.ReadImageInformation()
    _refuse_content(path, reader, several=several)
    with _reading(path):
        image: SimpleITK.Image = reader.Execute()
    return image


@contextmanager
def _reading(path: Path, *, told: bool = True) -> Iterator[None]:
    """Turn a failure of ITK's readers into one line, and log its warnings unless they will come again."""
    try:
        with native_messages_logged() as printed:
            yield
    except RuntimeError:  # its text is about ITK's internals
        raise _damaged(path) from None
    for text in warnings_in(printed) if told else ():
        if not any(said in text for said in _SAID_BY_US):
            _log.warning("%s: %s", path, text.removeprefix(f"{path} "))


def _damaged(path: Path) -> ValueError:
    return ValueError(
        f"{path} is truncated or damaged, or in an unusual encoding: its voxels cannot be read; "
        "copy or export it again, or convert it to NIfTI"
    )


def _format_of(path: Path) -> str:
    """Return ITK's reader of a file; no other reader of ITK sees a file.

    Other formats are refused: a PNG has neither a spacing nor the intensities of the scanner.
    """
    with path.open("rb") as file:
        start = file.read(8)
    if start.startswith(b"NRRD"):
        return "NrrdImageIO"
    if metaimage.is_metaimage(path):
        return "MetaImageIO"
    if nifti.has_header(path):
        return "NiftiImageIO"
    fault = fault_of(path)
    if fault is not None:
        msg = f"{path} {fault}"
        raise ValueError(msg)
    name = next((name for magic, name in _NAMES_OF_OTHERS.items() if start.startswith(magic)), "")
    got = f"a {name} image" if name else "another kind of file, or a truncated header"
    msg = f"{path} must be a readable NIfTI, NRRD, MHA or DICOM image, got {got}"
    raise ValueError(msg)


def _refuse_content(path: Path, reader: SimpleITK.ImageFileReader, *, several: bool) -> None:
    if reader.GetPixelID() in (SimpleITK.sitkComplexFloat32, SimpleITK.sitkComplexFloat64):
        msg = f"{path} must hold one real number per voxel, got complex numbers; write their magnitude first"
        raise ValueError(msg)
    if not several:
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
