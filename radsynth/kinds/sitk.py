"""Images of SimpleITK: index order x, y, z; arrays of them are z, y, x."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import SimpleITK

from pipelines.images.volume import Volume, image_of, volume_of
from radsynth.kinds.kind import Map, Spacing, refuse_spacing

_COMPLEX = (SimpleITK.sitkComplexFloat32, SimpleITK.sitkComplexFloat64)


class SimpleITKKind:
    """Images of SimpleITK."""

    name = "a SimpleITK image"
    takes_arrays = True

    def owns(self, image: object) -> bool:
        """Whether this is an image of SimpleITK."""
        return isinstance(image, SimpleITK.Image)

    def is_placed(self, image: SimpleITK.Image) -> bool:
        """True: SimpleITK's images have a place."""
        return True

    def volumes(self, image: SimpleITK.Image, name: str, spacing: Spacing) -> tuple[Volume, ...]:
        """Return the image with its geometry; refuse colours, complex numbers and 4D."""
        refuse_spacing(spacing, self.name)
        components = image.GetNumberOfComponentsPerPixel()
        if components != 1 or image.GetPixelID() in _COMPLEX:
            got = "complex numbers" if components == 1 else f"{components} (a colour or vector image)"
            msg = f"{name} must hold one real number per voxel, got {got}"
            raise TypeError(msg)
        if image.GetDimension() not in (2, 3):
            size = "x".join(map(str, image.GetSize()))
            msg = f"{name} must be 2D or 3D, got {image.GetDimension()}D ({size}); extract one volume of it"
            raise ValueError(msg)
        return (volume_of(image),)

    def image(
        self, maps: Sequence[Map], volumes: Sequence[Volume], source: object, *, moved: bool
    ) -> SimpleITK.Image:
        """Return a map with the geometry of its volume."""
        return placed(maps[0], volumes[0])


def placed(values: Any, volume: Volume) -> SimpleITK.Image:
    """Return an array (Z, Y, X) or (Y, X) as an image on the grid of a volume."""
    return image_of(replace(volume, array=values))
