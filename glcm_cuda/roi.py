"""One entropy for a whole region of interest, as the IBSI reference values are stated."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .definition import LOG_ONE, NO_PAIR, fixed_log2, is_distinct, mean_entropy, scaled_entropy
from .offsets import directions
from .quantize import mask_array
from .settings import GLCMSettings
from .tally import fill_codes


def roi_entropy(
    levels: npt.NDArray[np.uint8],
    settings: GLCMSettings | None = None,
    *,
    mask: npt.ArrayLike | None = None,
    pool_slices: bool = False,
) -> float:
    """Entropy of the co-occurrence matrix of a whole region.

    Parameters
    ----------
    levels : (Z, Y, X) uint8 array
        Grey levels in ``[0, settings.levels)``.
    settings : GLCMSettings, optional
        All but the window and the quantisation count. With `dimensions` and `aggregate` they choose
        among the six aggregations of IBSI: 2D by direction or merged (BTW3, SUJT), 2.5D (JJUI, ZW7Z;
        with `pool_slices`), 3D (ITBB, IAZD).
    mask : (Z, Y, X) array, optional
        Non-zero inside; by default everything is.
    pool_slices : bool
        Pool the counts of all slices, rather than average the entropies of the slices. Without
        meaning for ``dimensions=3``, where a pair may span two slices.

    Returns
    -------
    float
        In the unit of ``settings.log_base``; NaN if the region holds no pair.

    References
    ----------
    docs/definition.md, section 6; IBSI reference manual, joint entropy (TU9B).

    Examples
    --------
    >>> roi_entropy(np.array([[[0, 1], [0, 1]]], np.uint8), GLCMSettings(levels=2))
    1.0
    """
    settings = settings or GLCMSettings()
    stack = np.array(levels, np.int16)
    if mask is not None:
        stack[mask_array(mask, stack.shape) == 0] = NO_PAIR
    offsets = directions(settings.dimensions, settings.distance)
    depth, height, width = stack.shape
    codes = np.empty((width + 2, len(offsets), depth, height), np.uint32)
    fill_codes(codes, stack, offsets, (0, 0, 0), 0, 0, settings.levels, settings.symmetric)
    matrices = [codes] if settings.aggregate == "merge" else list(np.moveaxis(codes, 1, 0))
    if settings.dimensions == 2 and not pool_slices:
        matrices = [part for matrix in matrices for part in np.moveaxis(matrix, -2, 0)]
    pairs = [matrix[matrix < settings.levels**2] for matrix in matrices]
    entropies = [_entropy(found, settings) for found in pairs if found.size]
    return float(mean_entropy(sum(entropies), len(entropies), settings.log_unit / LOG_ONE))


def _entropy(codes: npt.NDArray[np.uint32], settings: GLCMSettings) -> float:
    """Scaled entropy of the pairs with these codes."""
    kinds, counts = np.unique(codes, return_counts=True)
    log_sum = int(counts @ fixed_log2(counts))
    distinct = sum(
        int(count) * is_distinct(kind, settings.levels, settings.symmetric)
        for kind, count in zip(kinds, counts, strict=True)
    )
    return float(scaled_entropy(codes.size, log_sum, distinct, fixed_log2(np.arange(codes.size + 1))))
