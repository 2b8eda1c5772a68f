"""The loop that bins intensities, compiled: apart, since Numba is slow to import."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from .threads import run_in_parts

NATIVE = tuple(np.dtype(name) for name in ("uint8", "int16", "uint16", "float32", "float64"))
"""Types with a loop of their own; others come as float64, which is what every loop computes in."""

_CHUNK = 1 << 18
"""Voxels worth a thread."""


def bin_values(
    source: npt.NDArray[np.generic], levels: int, low: float, high: float, out: npt.NDArray[np.integer]
) -> None:
    """Write ``floor(levels * (x - low) / (high - low))``, the highest intensity in the top bin.

    Intensities outside [low, high] count as its nearer end, NaN as `low`. Both arrays are flat.
    """

    def bin_some(start: int, stop: int) -> None:
        _bin_range(source, levels, low, high, out, start * _CHUNK, min(stop * _CHUNK, source.size))

    run_in_parts(bin_some, -(-source.size // _CHUNK))


@njit(nogil=True, cache=True, error_model="numpy")
def _bin_range(source, levels, low, high, out, start, stop):  # type: ignore[no-untyped-def]
    for place in range(np.uint64(start), np.uint64(stop)):
        value = np.float64(source[place])
        value = value if value > low else low
        value = value if value < high else high
        level = levels * (value - low) / (high - low)
        out[place] = min(level, np.float64(levels - 1))  # no integer holds an infinite level
