"""From intensities to grey levels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from glcm_cuda.levels.arrays import optional_mask, real_array
from glcm_cuda.levels.bins import Bins, bins_for
from glcm_cuda.settings import GLCMSettings


def quantize(
    image: npt.ArrayLike,
    settings: GLCMSettings | None = None,
    *,
    mask: npt.ArrayLike | None = None,
    bins: Bins | None = None,
) -> npt.NDArray[Any]:
    """Grey levels of an image.

    Parameters
    ----------
    image : array of real numbers, any shape
        Intensities in any unit.
    settings : GLCMSettings, optional
        The fields about bins are used: `levels` or `bin_width`, `bin_edges`, and those of the range.
    mask : array of the image's shape, optional
        Non-zero inside. NaN and infinities are allowed outside, unless windows reach beyond the mask
        (``masked_window=False``); the level they get is unspecified.
    bins : Bins, optional
        The bins, if they are known; by default they are found in `image` (`find_bins`).

    Returns
    -------
    uint8 array of the image's shape, or uint16 with more than 256 levels
        Levels from 0. By default ``floor(levels * (x - low) / (high - low))``, with the highest
        intensity in the top bin. An image of one intensity is all level 0.

    Raises
    ------
    TypeError, ValueError
        If the image does not hold real numbers, is empty, or holds NaN or infinities inside the mask;
        if the mask has another shape, has no voxels, or holds NaN or infinities; if `bin_width` needs
        more than 65,536 levels.

    References
    ----------
    docs/definition.md, section 1; IBSI reference manual, discretisation.

    Examples
    --------
    >>> quantize([0.0, 1.0, 2.0, 4.0], GLCMSettings(levels=4)).tolist()
    [0, 1, 2, 3]
    >>> quantize([50, 74, 75, 166], GLCMSettings(bin_width=25)).tolist()
    [0, 0, 1, 4]
    """
    array = real_array(image)
    bins = bins_for(array, settings or GLCMSettings(), optional_mask(mask, array.shape), bins)
    return bin_levels(array, bins, np.uint8 if bins.levels <= 256 else np.uint16)


def bin_levels(array: npt.NDArray[np.generic], bins: Bins, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Levels of intensities in known bins; see `quantize`.

    Parameters
    ----------
    array : array of real numbers, any shape
        NaN and infinities, possible only outside a mask, get an unspecified level.
    bins : Bins
        See `find_bins`.
    dtype : dtype
        An integer type that holds ``bins.levels``.

    Returns
    -------
    array of `dtype`, of the same shape
        Levels from 0.
    """
    out = np.zeros(array.shape, dtype)
    if bins.edges is not None or bins.span > 0:
        from glcm_cuda.levels.binning import NATIVE, bin_values

        with np.errstate(over="ignore"):  # beyond float64 is beyond every bin
            source = array if array.dtype in NATIVE else array.astype(np.float64)
        bin_values(np.ascontiguousarray(source).reshape(-1), bins, out.reshape(-1))
    return out
