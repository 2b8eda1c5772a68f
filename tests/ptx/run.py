"""Run a program on the emulator in place of a CUDA device.

    python tests/ptx/run.py COMMAND [ARGUMENT ...]

Every process that the command starts sees one device, or PTX_EMULATOR_DEVICES, with 4096 MiB of memory each,
or PTX_EMULATOR_MIB. The driver, PTX and compiled kernels are kept in build/ptx. See docs/ptx.md.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from ptx.building import build_driver, missing_compiler  # noqa: E402
from ptx.linking import FOLDER_VARIABLE  # noqa: E402


def main(command: Sequence[str]) -> None:
    """Replace this process by the command; end with one line if there is no emulator for it."""
    if not command:
        raise SystemExit("usage: python tests/ptx/run.py COMMAND [ARGUMENT ...]")
    if name := missing_compiler():
        raise SystemExit(f"the PTX emulator needs gcc and g++, and {name} was not found; install it")
    environment = emulated(build_driver(folder()).parent)
    check = [sys.executable, "-c", "from ptx.faults import why_not_emulated as why; print(why(), end='')"]
    if reason := subprocess.run(check, env=environment, capture_output=True, text=True, check=True).stdout:
        raise SystemExit(f"the PTX emulator cannot be used: {reason}")
    if shutil.which(command[0]) is None:
        raise SystemExit(f"there is no program {command[0]!r} to run on the PTX emulator")
    os.execvpe(command[0], list(command), environment)


def folder() -> Path:
    """Return the folder for what this version of the emulator makes: kernels of another one do not fit."""
    sources = sorted([*HERE.glob("*.py"), *HERE.glob("native/*")])
    version = hashlib.sha256(b"".join(file.read_bytes() for file in sources)).hexdigest()[:12]
    return HERE.parents[1] / "build" / "ptx" / version


def emulated(made: Path) -> dict[str, str]:
    """Return an environment in which the emulator is the CUDA driver."""
    environment = dict(os.environ)
    for name in ("NUMBA_ENABLE_CUDASIM", "NUMBA_DISABLE_JIT", "NUMBA_DISABLE_CUDA"):
        environment.pop(name, None)
    for name, values in (
        ("LD_LIBRARY_PATH", [made]),
        ("PYTHONPATH", [HERE / "hook", HERE.parent]),
    ):
        before = [environment[name]] if environment.get(name) else []
        environment[name] = os.pathsep.join([*map(str, values), *before])
    environment[FOLDER_VARIABLE] = str(made)
    environment["NUMBA_CACHE_DIR"] = str(made / "cache")
    return environment


if __name__ == "__main__":
    main(sys.argv[1:])
