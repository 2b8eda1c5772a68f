"""Compiling and launching CUDA kernels."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from numba import cuda

BLOCK = (32, 4)
"""Threads of a block along x, a warp, and across."""


@functools.cache
def compiled(kernel: Callable[..., Callable[..., None]], *specification: Any) -> Any:
    """Return a kernel for a specification, compiled or read from Numba's cache."""
    return cuda.jit(kernel(*specification), cache=True)


def launch(
    kernel: Any, shape: Sequence[int], stream: Any, *arguments: Any, block: tuple[int, int] = BLOCK
) -> None:
    """Start a kernel with a thread for every element of a (Z, Y, X) shape."""
    depth, height, width = shape
    grid = (-(-width // block[0]), -(-height // block[1]), depth)
    kernel[grid, block, stream](*arguments)
