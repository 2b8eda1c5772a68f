"""C and C++ in, shared libraries out."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from ptx.generation import program
from ptx.parsing import parsed

NATIVE = Path(__file__).parent / "native"
"""Folder of what is written in C and C++."""

_OPTIONS = ("-O1", "-shared", "-fPIC", f"-I{NATIVE}")

# Sums wrap, and no two operations are contracted to one: both as PTX has it. Generated code has unused parts.
_OF_A_KERNEL = ("-std=gnu11", "-w", "-fwrapv", "-ffp-contract=off")


def missing_compiler() -> str:
    """Return the name of a compiler that is not installed, or an empty string."""
    return next((name for name in ("gcc", "g++") if shutil.which(name) is None), "")


def kernel_library(ptx: str, file: str) -> bytes:
    """Return the kernel of a PTX module, kept as `file`, as a shared library; native/kernels.hpp loads it.

    Raises
    ------
    NotEmulatedError
        If the PTX has something that the emulator does not know.
    """
    source = program(parsed(ptx), file)
    with tempfile.TemporaryDirectory() as folder:
        written, library = Path(folder) / "kernel.c", Path(folder) / "kernel.so"
        written.write_text(source)
        _compile("gcc", *_OF_A_KERNEL, written, library, "-lm")
        return library.read_bytes()


def build_driver(folder: Path) -> Path:
    """Build the driver into a folder, unless it is there; return its file."""
    driver = folder / "libcuda.so.1"
    if not driver.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            made = Path(temporary) / driver.name
            source = NATIVE / "driver.cpp"
            _compile("g++", "-std=c++17", "-Wall", f"-Wl,-soname,{driver.name}", source, made, "-ldl")
            made.replace(driver)
    return driver


def _compile(compiler: str, *arguments: object) -> None:
    """Run a compiler; its last arguments are the source, the library to make, and libraries to link."""
    *options, source, library, linked = arguments
    command = [compiler, *_OPTIONS, *options, "-o", library, source, linked]
    subprocess.run([str(part) for part in command], check=True)
