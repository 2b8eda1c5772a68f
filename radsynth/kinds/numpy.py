"""Arrays of NumPy: axes z, y, x; or y, x."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.images.volume import Volume
from radsynth.kinds.kind import Map, Spacing, checked_spacing, refuse_not_real, unplaced

_LEAST_PICTURE = 16
"""Voxels along both edges of what may be a picture."""


class NumPyKind:
    """Arrays (Z, Y, X) or (Y, X)."""

    name = "a NumPy array"
    takes_arrays = True

    def owns(self, image: object) -> bool:
        """Whether this is an array of NumPy."""
        return isinstance(image, np.ndarray)

    def is_placed(self, image: object) -> bool:
        """False: an array states no place."""
        return False

    def volumes(self, image: npt.NDArray[Any], name: str, spacing: Spacing) -> tuple[Volume, ...]:
        """Return the array as a volume; the spacing is along z, y and x."""
        if image.ndim not in (2, 3):
            msg = f"{name} must be an array (z, y, x) or (y, x), got shape {image.shape}"
            raise ValueError(msg)
        refuse_not_real(image, name)
        _refuse_colours(image, name)
        axes = "z, y and x" if image.ndim == 3 else "y and x"
        return (unplaced(image, checked_spacing(spacing, axes, image.ndim)[::-1]),)

    def image(self, maps: Sequence[Map], volumes: Sequence[Volume], source: object, *, moved: bool) -> Map:
        """Return the map as it is."""
        return maps[0]


def _refuse_colours(image: npt.NDArray[Any], name: str) -> None:
    """Raise ValueError if an array is a picture (Y, X, 3 or 4): its columns would be taken for slices."""
    height, width, channels = (*image.shape, 1)[:3]
    if image.dtype == np.uint8 and channels in (3, 4) and min(height, width) > _LEAST_PICTURE:
        msg = (
            f"{name} must be an array (z, y, x) or (y, x), got the shape of a colour image, {image.shape}; "
            "convert it to grey, or a volume of so few columns to another dtype than uint8"
        )
        raise ValueError(msg)
