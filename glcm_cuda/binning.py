"""The loop that bins intensities, compiled: apart, since Numba is slow to import."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from . import definition
from .bins import Bins
from .cache import fingerprint
from .definition import bin_level, level_by_edges
from .threads import run_in_parts

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
    sources = fingerprint(definition)

    @njit(nogil=True, cache=True, error_model="numpy")
    def bin_range(source, how, out, start, stop):  # type: ignore[no-untyped-def]
        _ = sources
        top, low, high, factor, span = how
        for place in range(np.uint64(start), np.uint64(stop)):
            out[place] = bin_level(np.float64(source[place]), top, low, high, factor, span)

    return bin_range


@functools.cache
def _compiled_by_edges() -> Any:
    sources = fingerprint(definition)

    @njit(nogil=True, cache=True, error_model="numpy")
    def bin_range_by_edges(source, how, out, start, stop):  # type: ignore[no-untyped-def]
        _ = sources
        edges, step = how
        for place in range(np.uint64(start), np.uint64(stop)):
            out[place] = level_by_edges(np.float64(source[place]), edges, step)

    return bin_range_by_edges
