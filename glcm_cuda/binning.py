"""The loop that bins intensities, compiled: apart, since Numba is slow to import."""

from __future__ import annotations

import numpy as np
from numba import njit, prange

NATIVE = tuple(np.dtype(name) for name in ("uint8", "int16", "uint16", "float32", "float64"))
"""Types with a loop of their own; others come as float64, which is what every loop computes in."""

_CHUNK = 1 << 14
"""Voxels to a task."""


@njit(parallel=True, cache=True, error_model="numpy")
def bin_values(source, levels, low, high, out):  # type: ignore[no-untyped-def]
    """Write ``floor(levels * (x - low) / (high - low))``, the highest intensity in the top bin.

    Intensities outside [low, high] count as its nearer end, NaN as `low`.
    """
    for chunk in prange((source.size + _CHUNK - 1) // _CHUNK):
        for place in range(np.uint64(chunk * _CHUNK), np.uint64(min((chunk + 1) * _CHUNK, source.size))):
            value = np.float64(source[place])
            value = value if value > low else low
            value = value if value < high else high
            level = np.int32(levels * (value - low) / (high - low))
            out[place] = np.uint8(min(level, np.int32(levels - 1)))
