"""Numba's cache of machine code: where there can be one, and what keeps it valid."""

from __future__ import annotations

import functools
import inspect
import logging
import re
import sys
import threading
import time
import zlib
from collections import defaultdict
from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit
from numba.core import event

_Function = TypeVar("_Function", bound=Callable[..., Any])

_log = logging.getLogger(__name__)

_IMPORT = re.compile(r"^\s*from (glcm_cuda[\w.]*) import (?:\(([^)]*)\)|(.+))$", re.MULTILINE)


class _Compiling(event.Listener):  # type: ignore[misc] # Numba's types are not read
    """Says that our code is being compiled, once in a process, and how long each function took.

    A record of the log has the attribute `compiled`: the seconds, which are also those of the step around it.
    """

    def __init__(self) -> None:
        self.told = False
        self.begun: dict[int, list[float]] = defaultdict(list)

    def on_start(self, event: Any) -> None:
        """Note the time; a function's callees are compiled inside it."""
        self.begun[threading.get_ident()].append(time.perf_counter())
        module = event.data["dispatcher"].py_func.__module__
        if not self.told and module.startswith("glcm_cuda."):
            self.told = True
            _log.info("compiling code for this machine%s", ": once, it is kept" if can_cache() else "")

    def on_end(self, event: Any) -> None:
        """Log how long the outermost function took."""
        begun = self.begun[threading.get_ident()]
        seconds = time.perf_counter() - begun.pop()
        if not begun:
            name = event.data["dispatcher"].py_func.__name__
            _log.debug("compiled %s in %.2f s", name, seconds, extra={"compiled": seconds})


COMPILING = _Compiling()
event.register("numba:compile", COMPILING)


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


def versioned(module: str) -> Callable[[_Function], _Function]:
    """Return a decorator that names a function after the sources that its machine code comes from.

    Numba's cache checks only the date of the file that holds the function, and it reads all that it has for a
    function of that name, also the names of classes that are gone. With a name of its own for every version
    of a module, and of any module of this package that it imports, code of other versions is never met.

    Parameters
    ----------
    module : str
        The ``__name__`` of the module that compiles the function.
    """

    def named(function: _Function) -> _Function:
        function.__qualname__ += f"_{_fingerprint(module):08x}"
        return function

    return named


@functools.cache
def _fingerprint(module: str) -> int:
    """Return the CRC-32 of the sources of a module and of those of this package that it imports."""
    sources: dict[str, str] = {}
    _collect(module, sources)
    return zlib.crc32("".join(sources[name] for name in sorted(sources)).encode())


def _collect(module: str, sources: dict[str, str]) -> None:
    """Add the source of a module and, at any depth, of the modules of this package that it imports."""
    if module in sources:
        return
    sources[module] = inspect.getsource(sys.modules[module])
    for package, in_parentheses, in_line in _IMPORT.findall(sources[module]):
        for name in (in_parentheses or in_line).split(","):
            imported = f"{package}.{name.split()[0]}" if name.strip() else package
            imported = imported if imported in sys.modules else package
            if imported in sys.modules:  # not one that is imported only to check types
                _collect(imported, sources)
