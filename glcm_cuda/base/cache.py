"""Keeping Numba's cache of machine code right."""

from __future__ import annotations

import inspect
import zlib
from types import ModuleType


def fingerprint(*modules: ModuleType) -> int:
    """Return a number that changes with the source of modules.

    Numba looks at the date of a function's own file alone. A closure over this number, which it does
    see, keeps it from using machine code of what other files were.
    """
    return zlib.crc32("".join(inspect.getsource(module) for module in modules).encode())
