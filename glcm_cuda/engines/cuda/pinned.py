"""Pinned memory of the host, which is slow to allocate and therefore used again by the next map."""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt
from numba import cuda

from glcm_cuda.families.kept import kept

Buffer = npt.NDArray[np.uint8]

MOST_WAITING = 1 << 28
"""Bytes of pinned memory that wait for the next map, for each device. Two slabs take 36 MB with 2D windows
of a float32 image and a mask, and about 150 MB with 3D windows."""


class PinnedMemory:
    """Buffers of pinned memory that wait for the next map on a device. Safe in threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[Buffer] = []  # the one that has waited longest first

    def take(self, size: int) -> Buffer:
        """Return a buffer of at least `size` bytes: the smallest that waits, or a new one."""
        with self._lock:
            fitting = [place for place, buffer in enumerate(self._waiting) if buffer.size >= size]
            if fitting:
                return self._waiting.pop(min(fitting, key=lambda place: self._waiting[place].size))
        buffer: Buffer = cuda.pinned_array(size, np.uint8)
        return buffer

    def give_back(self, buffer: Buffer) -> None:
        """Keep a buffer that no transfer uses any more; what waits beyond `MOST_WAITING` is freed."""
        with self._lock:
            self._waiting.append(buffer)
            while sum(waiting.size for waiting in self._waiting) > MOST_WAITING:
                self._waiting.pop(0)


def pinned_memory() -> PinnedMemory:
    """Return the pinned memory of the current device."""
    return kept(PinnedMemory)
