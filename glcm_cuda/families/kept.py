"""What is kept with a CUDA device from one map to the next, since it takes long to make."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from numba import cuda

_Kept = TypeVar("_Kept")

_MOST_TABLES = 16
"""Tables that are kept with a device. The largest of usual windows take 512 KB each."""

_lock = threading.Lock()
_simulated: dict[Any, Any] = {}
"""Stands for the `extras` of a context in Numba's simulator, whose contexts have none."""


def kept(make: Callable[[], _Kept]) -> _Kept:
    """Return what a function makes for the current device; it is called once.

    The result is kept in the device's context, so that it goes when the context is closed (``cuda.close``).
    """
    extras = getattr(cuda.current_context(), "extras", _simulated)
    with _lock:
        if make not in extras:
            extras[make] = make()
        found: _Kept = extras[make]
    return found


def device_table(make: Callable[..., npt.NDArray[np.generic]], *arguments: Hashable) -> Any:
    """Return on the current device the table that a function makes for some arguments.

    The tables used last are kept. They are not to be changed, since maps share them. Any stream may read
    them: their copy is complete.
    """
    return kept(_tables)(make, *arguments)


def _tables() -> Callable[..., Any]:
    """Return the tables of one device, which are copied there when they are first asked for."""
    return functools.lru_cache(_MOST_TABLES)(_copied)


def _copied(make: Callable[..., npt.NDArray[np.generic]], *arguments: Hashable) -> Any:
    """Return the table that a function makes, copied to the current device."""
    table = cuda.to_device(make(*arguments))
    cuda.default_stream().synchronize()
    return table
