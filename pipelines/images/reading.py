"""Reading images of every format."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import SimpleITK

from pipelines.images import nifti
from pipelines.images.archives import opened
from pipelines.images.dicom.headers import is_dicom
from pipelines.images.dicom.series import Choice, read_dicom, refuse_other_object
from pipelines.images.native_messages import native_messages_logged
from pipelines.images.volume import Volume, volume_of

_FORMATS = ("Nifti", "Nrrd", "Meta", "GDCM")  # as ITK names them
_PAIRS = (".hdr", ".img", ".img.gz")


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
    return _read_nifti(path) if nifti.is_nifti(path) else volume_of(_read_file(path))


def _read_nifti(path: Path) -> Volume:
    volume = volume_of(_read_file(path))
    nifti.scan(path).restore(volume.array)
    return volume


def _read_file(path: Path) -> SimpleITK.Image:
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    _refuse_format(path, reader)
    with _reading(path):
        reader.ReadImageInformation()
    _refuse_content(path, reader)
    with _reading(path):
        image: SimpleITK.Image = reader.Execute()
    return image


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn a failure of ITK's readers into one line; what they print goes to the log."""
    try:
        with native_messages_logged():
            yield
    except RuntimeError:  # its text is about ITK's internals
        raise _damaged(path) from None


def _damaged(path: Path) -> ValueError:
    return ValueError(
        f"{path} is truncated or damaged, or in an unusual encoding: its voxels cannot be read; "
        "copy or export it again, or convert it to NIfTI"
    )


def _refuse_format(path: Path, reader: SimpleITK.ImageFileReader) -> None:
    """Refuse other formats: a PNG has neither a spacing nor the intensities of the scanner."""
    with native_messages_logged():
        name = reader.GetImageIOFromFileName(str(path)).removesuffix("ImageIO")
    if not name and is_dicom(path):
        raise _damaged(path)
    if name not in _FORMATS:
        got = f"a {name} image" if name else "a file of another kind, or cut in its header"
        msg = f"{path} must be a readable NIfTI, NRRD, MHA or DICOM image, got {got}"
        raise ValueError(msg)


def _refuse_content(path: Path, reader: SimpleITK.ImageFileReader) -> None:
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
