"""Makes numba-cuda link kernels to PTX and give the driver libraries for the CPU, not machine code."""

from __future__ import annotations

import hashlib
import importlib.abc
import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

FOLDER_VARIABLE = "PTX_EMULATOR_FOLDER"
"""Environment variable: folder of the emulator's files; it is set where programs are emulated."""

_DRIVER = "numba.cuda.cudadrv.driver"
"""The module of numba-cuda with the linker."""


def emulate_linked_kernels() -> None:
    """Patch numba-cuda's linker as soon as it is imported, which programs that use no CUDA never do."""
    sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder):
    """Finds numba-cuda's module as usual, and patches it after it has run."""

    def __init__(self) -> None:
        self._looking = False

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the module's spec with a loader that patches; None for all other modules."""
        if name != _DRIVER or self._looking:
            return None
        self._looking = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._looking = False
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_and_patch(module: ModuleType) -> None:
                load(module)
                module._Linker.complete = _complete

            spec.loader.exec_module = load_and_patch  # type: ignore[method-assign]
        return spec


def _complete(linker: Any) -> Any:
    """Link as `_Linker.complete` does, but to PTX; return a library in place of a cubin."""
    from cuda.core import ObjectCode  # heavy, and numba-cuda has it by now

    from ptx.building import kernel_library

    ptx = bytes(linker.get_linked_ptx()).decode().rstrip("\0")
    # Faults name lines of the PTX, so it is kept.
    file = Path(os.environ[FOLDER_VARIABLE]) / f"{hashlib.sha256(ptx.encode()).hexdigest()[:12]}.ptx"
    file.write_text(ptx)
    return ObjectCode.from_cubin(kernel_library(ptx, file.name))
