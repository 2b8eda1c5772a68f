"""Functions that compiled functions alone call: part of the caller's code, without an entry from Python."""

from __future__ import annotations

import functools
from typing import Any

from numba import njit

inlined: Any = functools.partial(
    njit, forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True, error_model="numpy"
)
"""Decorator ``@inlined()``. Calls would copy the fields of every array, and entries take long to compile.

Numbers divided by 0 are infinite or NaN, as in kernels.
"""
