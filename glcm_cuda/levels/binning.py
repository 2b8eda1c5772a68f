"""The loop that bins intensities, compiled: apart, since Numba is slow to import."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from glcm_cuda.base.cache import fingerprint
from glcm_cuda.base.threads import run_in_parts
from glcm_cuda.levels.bins import Bins

NATIVE = tuple(np.dtype(name) for name in ("uint8", "int16", "uint16", "float32", "float64"))
"""Types with a loop of their own; others come as float64, which is what every loop computes in."""

_CHUNK = 1 << 18
"""Voxels worth a thread."""


def bin_values(source: npt.NDArray[np.generic], bins: Bins, out: npt.NDArray[np.integer]) -> None:
    """Write the level of every intensity. Both arrays are flat."""
    loop: Any
    how: tuple[Any, ...]
    if bins.edges is None:
        loop, how = _compiled(), (float(bins.levels - 1), bins.low, bins.high, bins.factor, bins.span)
    else:
        loop, how = _compiled_by_edges(), (bins.edges, bins.span)

    def bin_some(start: int, stop: int) -> None:
        loop(source, how, out, start * _CHUNK, min(stop * _CHUNK, source.size))

    run_in_parts(bin_some, -(-source.size // _CHUNK))


@functools.cache
def _compiled() -> Any:
    sources = fingerprint(__name__)

    @njit(nogil=True, cache=True, error_model="numpy")
    def bin_range(source, how, out, start, stop):  # type: ignore[no-untyped-def]
        _ = sources
        top, low, high, factor, span = how
        for place in range(np.uint64(start), np.uint64(stop)):
            out[place] = bin_level(np.float64(source[place]), top, low, high, factor, span)

    return bin_range


@functools.cache
def _compiled_by_edges() -> Any:
    sources = fingerprint(__name__)

    @njit(nogil=True, cache=True, error_model="numpy")
    def bin_range_by_edges(source, how, out, start, stop):  # type: ignore[no-untyped-def]
        _ = sources
        edges, step = how
        for place in range(np.uint64(start), np.uint64(stop)):
            out[place] = level_by_edges(np.float64(source[place]), edges, step)

    return bin_range_by_edges


@njit(inline="always")
def bin_level(value, top, low, high, factor, span):  # type: ignore[no-untyped-def]
    """``factor * (x - low) / span``, whose whole part is the level; at most `top`, a float.

    Intensities outside [low, high] count as its nearer end, NaN as `low`; `span` must be positive.
    """
    value = value if value > low else low
    value = value if value < high else high
    return min(factor * (value - low) / span, top)


@njit(inline="always")
def level_by_edges(value, edges, step):  # type: ignore[no-untyped-def]
    """Level of an intensity whose bin's lower edge is looked up; edges are about `step` apart.

    Intensities below the first edge are level 0, as is NaN; the last bin has no upper edge.
    """
    top = len(edges) - 1
    guess = (value - edges[0]) / step
    level = int(min(guess, np.float64(top))) if guess > 0 else 0
    while level > 0 and value < edges[level]:
        level -= 1
    while level < top and value >= edges[level + 1]:
        level += 1
    return level
