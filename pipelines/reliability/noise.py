"""The level of the noise in an image, estimated in the image itself."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

_DIFFERENCE = np.array([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]])
"""Immerkaer's difference of two Laplacians, which is 0 on planes; its squares sum to 36."""

_MEDIAN_OF_NORMAL = 0.6744897501960817
"""Median of the absolute value of a standard normal variable."""

ESTIMATOR = (
    "Immerkaer 1996 (Fast noise variance estimation): response of each slice to a difference of Laplacians; "
    "in place of its mean the median over the mask (Donoho and Johnstone 1994), which edges hardly move"
)
"""How `noise_level` estimates, for records and reports."""


def noise_level(image: npt.NDArray[Any], mask: npt.NDArray[np.bool_]) -> float:
    """Return the standard deviation of the noise in the voxels of a mask, in the image's unit.

    Texture of the size of a voxel counts as noise; in interpolated images, whose noise is smooth, the
    estimate is too low.

    Parameters
    ----------
    image : (Z, Y, X) or (Y, X) array
        Intensities. Slices are taken one by one.
    mask : bool array of the same shape
        Where the noise is of interest.

    References
    ----------
    `ESTIMATOR`.
    """
    kernel = _DIFFERENCE.reshape((1,) * (image.ndim - 2) + (3, 3))
    response = ndimage.convolve(image.astype(np.float64), kernel, mode="nearest")
    median = float(np.median(np.abs(response[mask])))
    return median / (_MEDIAN_OF_NORMAL * math.sqrt(float(np.sum(_DIFFERENCE**2))))
