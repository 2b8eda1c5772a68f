"""Keeping Numba's cache of machine code right."""

from __future__ import annotations

import inspect
import re
import sys
import zlib

_IMPORTED = re.compile(r"^from (glcm_cuda[\w.]*) import (\w+)", re.MULTILINE)


def fingerprint(module: str) -> int:
    """Return a number that changes with the source of a module, or of any of ours that it imports.

    Numba looks at the date of a function's own file alone. A closure over this number, which it does see,
    keeps it from using machine code that was compiled from other versions of the other files.

    Parameters
    ----------
    module : str
        The ``__name__`` of the module in which a function is compiled.
    """
    sources: dict[str, str] = {}
    _collect(module, sources)
    return zlib.crc32("".join(sources[name] for name in sorted(sources)).encode())


def _collect(module: str, sources: dict[str, str]) -> None:
    """Add the source of a module and of all that it imports of the package, at any depth."""
    if module in sources:
        return
    sources[module] = inspect.getsource(sys.modules[module])
    for package, name in _IMPORTED.findall(sources[module]):
        imported = f"{package}.{name}"
        _collect(imported if imported in sys.modules else package, sources)
