"""Images from files, and into files."""

from __future__ import annotations

import os
from typing import Any

import SimpleITK

from pipelines.images.dicom.series import Choice
from pipelines.images.output_paths import check_map_path
from pipelines.images.reading import read_image
from pipelines.images.volume import image_of
from pipelines.images.writing import write_volume
from radsynth.arguments import path_of
from radsynth.kinds.finding import kind_of
from radsynth.kinds.kind import Spacing


def read(
    path: str | os.PathLike[str], *, series: str | None = None, phase: int | None = None
) -> SimpleITK.Image:
    """Return the image of a file, a folder of DICOM or an archive, with its geometry.

    Parameters
    ----------
    path : path
        NIfTI, NRRD, MHA or MHD, DICOM file or folder, or a zip archive of one of these.
    series : str, optional
    phase : int, optional
        Which of several in DICOM, as ``radsynth inspect`` lists them.

    Raises
    ------
    ValueError, OSError
        If it is no such image; see `pipelines.images.reading.read_image`.
    """
    return image_of(read_image(path_of("path", path), Choice(series=series, phase=phase)))


def write(image: Any, path: str | os.PathLike[str], *, spacing: Spacing = None, force: bool = False) -> None:
    """Write an image, whole or not at all.

    Parameters
    ----------
    image : SimpleITK image, nibabel image, NumPy array or torch tensor
        See `radsynth.map`; of a tensor one channel. The type of the voxels is kept.
    path : path
        Its suffix sets the format: .nii, .nii.gz, .nrrd or .mha.
    spacing : sequence of float, optional
        See `radsynth.map`.
    force : bool
        Replace a file that exists.

    Raises
    ------
    TypeError, ValueError
        If the image or the suffix is unfit.
    OSError
        If the file exists, or cannot be written.
    """
    target = path_of("path", path)
    check_map_path(target, force=force)
    volumes = kind_of(image, "image").volumes(image, "image", spacing)
    if len(volumes) > 1:
        msg = f"image must have one channel, got {len(volumes)}; write them one by one, as image[:1]"
        raise ValueError(msg)
    write_volume(volumes[0], target, force=force)
