"""The compiled loops that bin intensities, in a module of their own because importing Numba is slow."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from glcm_cuda.base.cache import can_cache, versioned
from glcm_cuda.base.threads import run_in_parts
from glcm_cuda.levels.bins import Bins

NATIVE = tuple(np.dtype(name) for name in ("uint8", "int16", "uint16", "float32", "float64"))
"""Types that the loops are compiled for. Others are converted to float64, in which every loop computes."""

_CHUNK = 1 << 18
"""Voxels that make a part worth a thread."""


def bin_values(source: npt.NDArray[np.generic], bins: Bins, out: npt.NDArray[np.integer]) -> None:
    """Write the level of every intensity.

    Parameters
    ----------
    source : (N,) array
        Intensities, of a type in `NATIVE`.
    bins : Bins
        With edges or with a positive span.
    out : (N,) array of integers
        Receives the levels; wide enough for ``bins.levels``.
    """
    loop: Any
    parameters: tuple[Any, ...]
    if bins.edges is None:
        loop = _compiled()
        parameters = float(bins.levels - 1), bins.low, bins.high, bins.factor, bins.span
    else:
        loop, parameters = _compiled_by_edges(), (bins.edges, bins.span)

    def bin_chunks(start: int, stop: int) -> None:
        loop(source, parameters, out, start * _CHUNK, min(stop * _CHUNK, source.size))

    run_in_parts(bin_chunks, -(-source.size // _CHUNK))


@functools.cache
def _compiled() -> Any:
    """Return the loop for bins of equal width, compiled or read from Numba's cache."""

    @njit(nogil=True, cache=can_cache(), error_model="numpy")
    @versioned(__name__)
    def bin_range(source, parameters, out, start, stop):  # type: ignore[no-untyped-def]
        top, low, high, factor, span = parameters
        # Unsigned indices, here and in all compiled loops, save the test for negative ones and let the loop
        # become vector instructions.
        for place in range(np.uint64(start), np.uint64(stop)):
            # The assignment cuts off the fraction: what is stored is the level, in [0, top].
            out[place] = bin_level(np.float64(source[place]), top, low, high, factor, span)

    return bin_range


@functools.cache
def _compiled_by_edges() -> Any:
    """Return the loop for bins given by their edges, compiled or read from Numba's cache."""

    @njit(nogil=True, cache=can_cache(), error_model="numpy")
    @versioned(__name__)
    def bin_range_by_edges(source, parameters, out, start, stop):  # type: ignore[no-untyped-def]
        edges, step = parameters
        for place in range(np.uint64(start), np.uint64(stop)):
            out[place] = level_by_edges(np.float64(source[place]), edges, step)

    return bin_range_by_edges


@njit(inline="always")
def bin_level(value, top, low, high, factor, span):  # type: ignore[no-untyped-def]
    """Return ``factor * (x - low) / span``, at most `top`, as a float; its integer part is the level.

    Intensities outside [low, high] count as the nearer end, NaN as `low`. `span` must be positive.
    """
    value = value if value > low else low  # false for NaN, which becomes `low`
    value = value if value < high else high
    # The highest intensity gives `factor`, one level too many with a fixed number of bins.
    return min(factor * (value - low) / span, top)


@njit(inline="always")
def level_by_edges(value, edges, step):  # type: ignore[no-untyped-def]
    """Return the level of an intensity: the number of the last lower edge that is not above it.

    Intensities below the first edge have level 0, and so has NaN; the last bin has no upper edge. The edges
    are about `step` apart.
    """
    top = len(edges) - 1
    # Guess the bin from the mean step, limited to [0, top] before it becomes an int; false for NaN.
    guess = (value - edges[0]) / step
    level = int(min(guess, np.float64(top))) if guess > 0 else 0
    # Rounding puts the guess at most a few bins off: go down, then up, to the bin that holds the value.
    while level > 0 and value < edges[level]:
        level -= 1
    while level < top and value >= edges[level + 1]:
        level += 1
    # Now edges[level] <= value < edges[level + 1], where these edges exist.
    return level
