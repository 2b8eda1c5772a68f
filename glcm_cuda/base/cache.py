"""Fingerprints of source code, which keep Numba's cache of machine code valid."""

from __future__ import annotations

import inspect
import re
import sys
import zlib

_IMPORTED = re.compile(r"^from (glcm_cuda[\w.]*) import (\w+)", re.MULTILINE)


def fingerprint(module: str) -> int:
    """Return a number that changes when a module, or any module of this package that it imports, changes.

    Numba's cache checks only the date of the file that holds the function. Numba does see the values that a
    function closes over, so a function that closes over this number is compiled anew when a file that it
    depends on has changed.

    Parameters
    ----------
    module : str
        The ``__name__`` of the module that compiles the function.

    Returns
    -------
    int
        CRC-32 of the sources, in ``[0, 2**32)``.
    """
    sources: dict[str, str] = {}
    _collect(module, sources)
    return zlib.crc32("".join(sources[name] for name in sorted(sources)).encode())


def _collect(module: str, sources: dict[str, str]) -> None:
    """Add the source of a module and, at any depth, of the modules of this package that it imports."""
    if module in sources:
        return
    sources[module] = inspect.getsource(sys.modules[module])
    for package, name in _IMPORTED.findall(sources[module]):
        imported = f"{package}.{name}"
        _collect(imported if imported in sys.modules else package, sources)
