"""Numba's cache of machine code: where there can be one, and what keeps it valid."""

from __future__ import annotations

import functools
import inspect
import logging
import re
import sys
import zlib

from numba import njit

_log = logging.getLogger(__name__)

_IMPORTED = re.compile(r"^from (glcm_cuda[\w.]*) import (\w+)", re.MULTILINE)


@functools.cache
def can_cache() -> bool:
    """Return whether Numba has a folder for machine code; the log says once if it has none.

    Without one (a read-only installation and no home, as in containers and on clusters) code is compiled in
    memory, in every run again. Numba itself would refuse to compile.
    """
    try:
        njit(cache=True)(_nothing)
    except RuntimeError:
        _log.warning(
            "no folder for compiled code can be written, so it is compiled again in every run; "
            "set NUMBA_CACHE_DIR to a folder that can"
        )
        return False
    return True


def _nothing() -> None:
    """A function that is never called, to see whether Numba would cache it."""


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
