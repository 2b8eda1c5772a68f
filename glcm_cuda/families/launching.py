"""Compiling and launching of CUDA kernels."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from numba import cuda

from glcm_cuda.base.cache import can_cache

BLOCK = (32, 4)
"""Threads of a block: along x, one warp, and along y."""


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
    kernel[grid, block, stream](*arguments)
