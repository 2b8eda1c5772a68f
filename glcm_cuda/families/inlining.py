"""Functions that become part of the compiled functions that call them."""

from __future__ import annotations

import functools
from typing import Any

from numba import njit

inlined: Any = functools.partial(njit, forceinline=True, no_cfunc_wrapper=True, error_model="numpy")
"""Decorator ``@inlined()``. A call would copy the fields of every array, which takes long in small windows.

Numbers divided by 0 are infinite or NaN, as in kernels.
"""
