"""Compiling and launching of CUDA kernels."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any

from numba import config, cuda

from glcm_cuda.base.cache import can_cache

BLOCK = (32, 4)
"""Threads of a block: along x, one warp, and along y."""

_starting = threading.Lock()


@functools.cache
def compiled(kernel: Callable[..., Callable[..., None]], *specification: Any) -> Any:
    """Return a kernel for a specification, compiled or read from Numba's cache.

    Parameters
    ----------
    kernel : callable (*specification)
        Returns the kernel as a Python function.
    *specification : hashable
        What the kernel is compiled for.
    """
    return cuda.jit(kernel(*specification), cache=can_cache())


def launch(
    kernel: Any, shape: Sequence[int], stream: Any, *arguments: Any, block: tuple[int, int] = BLOCK
) -> None:
    """Start a kernel with one thread for every element of a (Z, Y, X) shape; do not wait for it."""
    depth, height, width = shape
    grid = (-(-width // block[0]), -(-height // block[1]), depth)
    start(kernel, grid, block, stream, *arguments)


def start(kernel: Any, grid: Any, block: Any, stream: Any, *arguments: Any) -> None:
    """Call ``kernel[grid, block, stream](*arguments)``; safe in threads, and without advice on small grids.

    Two threads must not make Numba load a kernel at the same time, so that one kernel is started after the
    other. A small image need not fill a device. Numba warns when a kernel meets a small grid for the first
    time, and a setting of the whole process decides whether it does. It is changed for that moment alone;
    filters of Python's warnings are not safe in threads.
    """
    with _starting:
        warned, config.CUDA_LOW_OCCUPANCY_WARNINGS = config.CUDA_LOW_OCCUPANCY_WARNINGS, 0
        try:
            configured = kernel[grid, block, stream]
        finally:
            config.CUDA_LOW_OCCUPANCY_WARNINGS = warned
        configured(*arguments)
