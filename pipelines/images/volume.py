"""Images as values: voxels and their place in space."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import SimpleITK

from pipelines.images.formats.nifti_forms import NiftiForms, place_of

# NIfTI stores float32: spacings agree to 1e-6, origins and directions to a little less.
_SPACING_TOLERANCE = 1e-3
_ORIGIN_TOLERANCE_VOXELS = 0.05
_DIRECTION_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Volume:
    """An image and its place in space.

    Parameters
    ----------
    array : (Z, Y, X) or (Y, X) array
        Intensities in the image's own unit and dtype.
    spacing_mm, origin_mm : tuples of 2 or 3 floats
        In the order x, y, z, as in SimpleITK.
    direction : tuple of 4 or 9 floats
        Cosines, row by row, as in SimpleITK.
    sources : tuple of paths
        The DICOM files of the image; empty for other formats.
    modality : str
        DICOM's modality, such as MR; empty for other formats.
    forms : NiftiForms, optional
        Of a NIfTI file, its two statements of the place of the voxels, which may differ. Spacing, origin and
        direction are those of the form that ITK follows.
    has_spacing : bool
        Whether the file states a spacing; if not, it is 1.
    """

    array: npt.NDArray[Any]
    spacing_mm: tuple[float, ...]
    origin_mm: tuple[float, ...]
    direction: tuple[float, ...]
    sources: tuple[Path, ...] = ()
    modality: str = ""
    forms: NiftiForms | None = None
    has_spacing: bool = True

    @property
    def zyx_spacing_mm(self) -> tuple[float, float, float]:
        """Distance of neighbouring voxels along z, y and x, in mm; 1 along the z that a 2D image lacks."""
        x, y, z = (*self.spacing_mm, 1.0)[:3]
        return z, y, x

    def cropped(self, box: tuple[slice, ...]) -> Volume:
        """Return the part of the image in a box, at its place in space."""
        first = [part.start for part in reversed(box)]
        start = np.array(first) * self.spacing_mm
        cosines = np.reshape(self.direction, (len(box), len(box)))
        origin = tuple(float(place) for place in self.origin_mm + cosines @ start)
        x, y, z = (*first, 0)[:3]
        forms = None if self.forms is None else self.forms.cropped((x, y, z))
        return replace(self, array=np.ascontiguousarray(self.array[box]), origin_mm=origin, forms=forms)


def refuse_without_spacing(name: str, volume: Volume, advice: str = "") -> None:
    """Raise ValueError if a file does not state its spacing, which something needs; `name` says what."""
    if not volume.has_spacing:
        msg = (
            f"{name} needs the spacing of voxels in mm, which the image's header does not state; write it "
            f"there (NRRD: spacings, MetaImage: ElementSpacing){advice}"
        )
        raise ValueError(msg)


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """A part of an image, and where it lies in the whole.

    Parameters
    ----------
    volume : Volume
        The voxels in a box, at their place in space.
    whole : Volume
        The grid of the whole image; its voxels may not be there.
    box : tuple of slices
        The part's voxels on that grid.
    """

    volume: Volume
    whole: Volume
    box: tuple[slice, ...]

    @classmethod
    def all_of(cls, volume: Volume) -> Self:
        """Return a part that is the whole."""
        return cls(volume=volume, whole=volume, box=tuple(slice(0, size) for size in volume.array.shape))

    def placed(self, box: tuple[slice, ...]) -> tuple[slice, ...]:
        """Return a box of the part's voxels as one on the grid of the whole."""
        pairs = zip(self.box, box, strict=True)
        return tuple(slice(own.start + one.start, own.start + one.stop) for own, one in pairs)

    def filled(
        self, values: npt.NDArray[np.float32], box: tuple[slice, ...], value: float
    ) -> npt.NDArray[np.float32]:
        """Return an array on the grid of the whole that holds `values` in a box of the part.

        Elsewhere it holds `value`. Values of the whole are returned as they are.
        """
        if values.shape == self.whole.array.shape:
            return values
        whole = np.full(self.whole.array.shape, value, np.float32)
        whole[self.placed(box)] = values
        return whole


def geometry_differences(other: Volume, volume: Volume, tolerance: float | None = None) -> list[str]:
    """Return the differences between the geometries of two images, with values in the order x, y, z.

    Of NIfTI images with two forms that differ, one form of each must agree: tools keep either. A tolerance
    replaces ours, in the unit of ITK: the distance of voxels along x, and for directions 1.
    """
    if other.array.shape != volume.array.shape:
        return [f"size {other.array.shape[::-1]} where the image has {volume.array.shape[::-1]}"]
    differences = _place_differences(other, volume, tolerance)
    if differences and any(
        not _place_differences(one, two, tolerance) for one in _by_forms(other) for two in _by_forms(volume)
    ):
        return []
    return differences


def _by_forms(volume: Volume) -> list[Volume]:
    """Return a volume at its place, at that of each form of its NIfTI header, and as ITK alone reads it."""
    if volume.forms is None or len(volume.origin_mm) != 3:
        return [volume]
    places = [place_of(matrix) for matrix in volume.forms.matrices().values()]
    as_itk = replace(volume, spacing_mm=volume.forms.stated_spacing_mm)
    return [volume, as_itk, *(replace(volume, **vars(place)) for place in places)]


def _place_differences(other: Volume, volume: Volume, tolerance: float | None) -> list[str]:
    spacing = min(volume.spacing_mm)
    tolerances = {
        "spacing_mm": _SPACING_TOLERANCE * spacing,
        "origin_mm": _ORIGIN_TOLERANCE_VOXELS * spacing,
        "direction": _DIRECTION_TOLERANCE,
    }
    if tolerance is not None:
        place = tolerance * volume.spacing_mm[0]
        tolerances = {"spacing_mm": place, "origin_mm": place, "direction": tolerance}
    differences = []
    for field, allowed in tolerances.items():
        one, two = getattr(other, field), getattr(volume, field)
        if not np.allclose(one, two, rtol=0.0, atol=allowed):
            differences.append(
                f"{field.replace('_mm', '')} {_rounded(one)} where the image has {_rounded(two)}"
            )
    return differences


def _rounded(numbers: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(round(float(number), 4) + 0.0 for number in numbers)


def volume_of(image: SimpleITK.Image) -> Volume:
    """Return an image of SimpleITK as a volume."""
    return Volume(
        array=SimpleITK.GetArrayFromImage(image),
        spacing_mm=tuple(image.GetSpacing()),
        origin_mm=tuple(image.GetOrigin()),
        direction=tuple(image.GetDirection()),
    )


def itk_name(path: Path) -> str:
    """Return a path as ITK takes it.

    Raises
    ------
    ValueError
        If it is not UTF-8: SimpleITK would end the process.
    """
    name = str(path)
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        msg = f"{shown} is not a name in UTF-8, which ITK needs; rename the file or its folder"
        raise ValueError(msg) from None
    return name


def image_of(volume: Volume) -> SimpleITK.Image:
    """Return a volume as an image of SimpleITK."""
    image = SimpleITK.GetImageFromArray(volume.array)
    image.SetSpacing(volume.spacing_mm)
    image.SetOrigin(volume.origin_mm)
    image.SetDirection(volume.direction)
    return image
