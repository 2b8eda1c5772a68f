"""An image in the host's memory as a volume, together with its mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self, TypeVar

import numpy as np
import numpy.typing as npt

from glcm_cuda.levels.arrays import optional_mask, real_array
from glcm_cuda.levels.bins import Bins, bins_for
from glcm_cuda.settings import GLCMSettings

_Number = TypeVar("_Number", bound=np.generic)


@dataclass(frozen=True)
class MaskedVolume:
    """An image as a volume, together with its mask.

    Parameters
    ----------
    image : (Z, Y, X) array of real numbers
        Intensities, not empty.
    mask : (Z, Y, X) array or None
        Non-zero inside, where there is at least one voxel.
    """

    image: npt.NDArray[np.generic]
    mask: npt.NDArray[np.generic] | None

    @classmethod
    def of(cls, image: npt.ArrayLike, mask: npt.ArrayLike | None) -> Self:
        """Return a slice or a volume and its mask.

        Raises
        ------
        TypeError, ValueError
            If the image or the mask is unfit (see `quantize`), or the image is not 2D or 3D.
        """
        array = real_array(image)
        volume, mask = as_volume(array), optional_mask(mask, array.shape)
        return cls(volume, None if mask is None else mask.reshape(volume.shape))

    def bins(self, settings: GLCMSettings, bins: Bins | None) -> Bins:
        """Return `bins` if they are given, else those of the image; see `quantize.bins_for`."""
        return bins_for(self.image, settings, self.mask, bins)


def as_volume(array: npt.NDArray[_Number]) -> npt.NDArray[_Number]:
    """Return a (Y, X) or (Z, Y, X) array as a (Z, Y, X) view; raise ValueError for other dimensions."""
    if array.ndim not in (2, 3):
        msg = f"image must have two or three dimensions, got shape {array.shape}"
        raise ValueError(msg)
    return array.reshape((-1, *array.shape[-2:]))
