"""Writing maps and volumes."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK

from glcm_cuda.base.files import replacing, second_temporary, temporary_folder
from glcm_cuda.base.steps import step
from pipelines.images.formats import nifti
from pipelines.images.formats.native_messages import native_messages_logged
from pipelines.images.formats.nifti_forms import NiftiForms
from pipelines.images.output_paths import check_map_path
from pipelines.images.provenance import sidecar_path, write_sidecar
from pipelines.images.volume import Volume, image_of, itk_name

_COMPRESSION = 6
"""Level of gzip, that of ITK."""

_LEAST_COMPRESSION = 1


def write_map(
    array: npt.NDArray[Any],
    volume: Volume,
    path: str | os.PathLike[str],
    *,
    provenance: dict[str, Any],
    force: bool = False,
) -> None:
    """Write a map as float32 with the geometry of its image, and its provenance beside it.

    Both files are written whole or not at all; if writing fails, existing files stay as they are.

    Parameters
    ----------
    array : array of the volume's shape
        The map; NaN where it is undefined.
    volume : Volume
        The image of the map.
    path : path
        Its suffix sets the format: .nii, .nii.gz, .nrrd or .mha. The provenance goes to ``<path>.json``.
    provenance : dict
        What `provenance` returned.
    force : bool
        Replace existing files.

    Raises
    ------
    ValueError
        If the suffix is another, or the map does not have the shape of the image.
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
    """Write a map and its provenance under temporary names; rename them if the block ends without an error.

    Parameters and errors are those of `write_map`.
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
        _write_whole(values, temporary, path)
        del array, values  # so that many maps are not kept in memory until all are written
        yield


def write_volume(volume: Volume, path: str | os.PathLike[str], *, force: bool = False) -> None:
    """Write an image with its dtype and geometry, whole or not at all.

    Parameters and errors are those of `write_map`.
    """
    path = Path(path)
    with replacing(path, force=force) as temporary:
        _write_whole(volume, temporary, path)


@step("writing")
def _write_whole(volume: Volume, temporary: Path, path: Path) -> None:
    """Write an image, and read NIfTI back: ITK reports no error if the disk is full."""
    image, name = image_of(volume), itk_name(temporary)
    try:
        if nifti.is_nifti(temporary):
            _write_nifti(image, volume.forms, temporary)
            nifti.scan(temporary)
        else:
            with native_messages_logged():
                SimpleITK.WriteImage(image, name, True)
    except (RuntimeError, ValueError):
        free = shutil.disk_usage(temporary.parent).free / 1e6
        msg = (
            f"could not write {path} completely ({free:.0f} MB free on that disk); free some space, "
            "or check quota, permissions and the limit on file size, and run again"
        )
        raise OSError(msg) from None


def _write_nifti(image: SimpleITK.Image, forms: NiftiForms | None, temporary: Path) -> None:
    """Write an image with both forms of its source; ITK writes one form as both."""
    if temporary.suffix.lower() != ".gz":
        _write_plain(image, forms, temporary)
        return
    if forms is None:
        with native_messages_logged():
            SimpleITK.WriteImage(image, str(temporary), True)
        return
    plain = second_temporary(temporary, ".nii")
    try:
        _write_plain(image, forms, plain)
        _compress(plain, temporary)
    finally:
        plain.unlink(missing_ok=True)


def _write_plain(image: SimpleITK.Image, forms: NiftiForms | None, path: Path) -> None:
    """Write an uncompressed file."""
    with native_messages_logged():
        SimpleITK.WriteImage(image, str(path), False)
    if forms is not None:
        _set_forms(path, image, forms)


def _set_forms(path: Path, image: SimpleITK.Image, forms: NiftiForms) -> None:
    """Replace the geometry in the header of an uncompressed file."""
    with path.open("r+b") as file:
        header = file.read(nifti.HEADER_BYTES)
        order = nifti.byte_order(header)
        written = NiftiForms.read(header, order)
        changed = forms.with_spacing_mm(image.GetSpacing()).readable_in_itk(written)
        file.seek(0)
        file.write(changed.written_into(header, order))


@dataclass(frozen=True, kw_only=True)
class LightWriter:
    """Writes arrays on one grid as .nii.gz with the least compression; several threads may use it.

    A map that is constant beyond a region takes a tenth of the time that ITK needs for it.

    Parameters
    ----------
    header : bytes
        What precedes the voxels in the file.
    """

    header: bytes

    @classmethod
    def of(cls, volume: Volume, dtype: npt.DTypeLike) -> LightWriter:
        """Return what writes arrays of a type on the grid of an image."""
        empty = replace(volume, array=np.zeros(volume.array.shape, dtype))
        with temporary_folder() as folder:
            plain = folder / "image.nii"
            _write_plain(image_of(empty), empty.forms, plain)
            nifti.scan(plain)
            with plain.open("rb") as file:
                return cls(header=file.read(plain.stat().st_size - empty.array.nbytes))

    def write(self, slices: Iterable[npt.NDArray[Any]], temporary: Path) -> None:
        """Write the slices of an array, which need not be in memory together, to a name of `replacing`."""
        with _zipped(temporary, _LEAST_COMPRESSION) as target:
            target.write(self.header)
            for one in slices:
                target.write(np.ascontiguousarray(one).data)


def _compress(plain: Path, path: Path) -> None:
    with plain.open("rb") as source, _zipped(path, _COMPRESSION) as target:
        shutil.copyfileobj(source, target, 1 << 20)


@contextmanager
def _zipped(path: Path, level: int) -> Iterator[gzip.GzipFile]:
    """Open a file for compressed bytes that depend on what is written alone."""
    with path.open("wb") as raw, gzip.GzipFile("", "wb", level, raw, 0) as target:
        yield target
