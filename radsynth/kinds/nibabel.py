"""Images of nibabel: the first axis is i, the last k, as `affine` counts them; that is x, y, z of ITK."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.images.formats.nifti_forms import place_of
from pipelines.images.volume import Volume
from radsynth.kinds.kind import Map, Spacing, refuse_not_real, refuse_spacing

_TO_RAS = np.array([[-1.0], [-1.0], [1.0]])
"""ITK counts to the left and to the back, nibabel to the right and to the front."""


class NibabelKind:
    """Spatial images of nibabel: NIfTI, MGH and others."""

    name = "a nibabel image"
    takes_arrays = False

    def owns(self, image: object) -> bool:
        """Whether this is a spatial image of nibabel."""
        library = sys.modules.get("nibabel")
        return library is not None and isinstance(image, library.spatialimages.SpatialImage)

    def is_placed(self, image: object) -> bool:
        """True: the affine is the place."""
        return True

    def volumes(self, image: Any, name: str, spacing: Spacing) -> tuple[Volume, ...]:
        """Return the image with the geometry of its affine; a 2D image as one slice."""
        refuse_spacing(spacing, self.name)
        if len(image.shape) not in (2, 3):
            shape = tuple(image.shape)
            msg = f"{name} must be 2D or 3D, got shape {shape}; take one volume, as {name}.slicer[..., 0]"
            raise ValueError(msg)
        array = np.asanyarray(image.dataobj)
        refuse_not_real(array, name)
        if image.affine is None:
            msg = f"{name} must have an affine, got None"
            raise ValueError(msg)
        place = place_of(np.asarray(image.affine, np.float64)[:3])
        return (Volume(array.reshape((*array.shape, 1)[:3]).T, **vars(place)),)

    def image(self, maps: Sequence[Map], volumes: Sequence[Volume], source: Any, *, moved: bool) -> Any:
        """Return a map with the source's class, affine and header, but for the type and range of its values.

        Where the source was resampled, the affine is that of the new grid.
        """
        values = maps[0].T
        header = source.header.copy()
        header.set_data_dtype(np.float32)
        for name in ("cal_min", "cal_max"):
            if name in header:
                header[name] = 0
        if moved:
            return type(source)(values, _affine(volumes[0]), header)
        return type(source)(values.reshape(source.shape), source.affine, header)


def _affine(volume: Volume) -> npt.NDArray[np.float64]:
    """Return the affine of a volume, from (i, j, k) to mm (right, anterior, superior)."""
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(volume.direction, (3, 3)) * _TO_RAS * np.array(volume.spacing_mm)
    affine[:3, 3] = np.array(volume.origin_mm) * _TO_RAS[:, 0]
    return affine
