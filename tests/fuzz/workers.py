"""Processes in which commands run, watched from outside: for death, for time, for memory."""

from __future__ import annotations

import importlib
import json
import logging
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers import TESTS

MOST_SECONDS = 300.0
"""After so long a command is taken to hang."""

JOBS_PER_WORKER = 400
"""A worker is replaced after so many commands, so that what it may have gathered is gone."""

ROOM_BYTES = 6 << 30
"""Address space beyond what the imports map."""


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Parameters
    ----------
    code : int
        Exit code; negative, the signal that ended the worker.
    stdout, stderr : str
        What it printed, native libraries included.
    seconds : float
        Time of the processor.
    grown_mb : float
        By how much the largest memory in use exceeds that before the command.
    """

    code: int
    stdout: str
    stderr: str
    seconds: float
    grown_mb: float


class DeadWorkerError(Exception):
    """The process ended, or was ended after `MOST_SECONDS`, before its command did."""


class Worker:
    """A process that runs commands one after another, each as if it was called in a shell."""

    def __init__(self, *, keras: bool = False) -> None:
        self._keras = keras
        self._process: subprocess.Popen[str] | None = None
        self._jobs = 0

    def run(self, arguments: Sequence[str], folder: Path) -> Ended:
        """Run a command with `folder` for its temporary files and what it prints."""
        if self._process is None or self._jobs >= JOBS_PER_WORKER:
            self.close()
            self._start()
        self._jobs += 1
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"arguments": list(arguments), "folder": str(folder)}) + "\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], MOST_SECONDS)
        line = self._process.stdout.readline() if ready else ""
        stderr = _read(folder / "stderr")
        if line:
            return Ended(**json.loads(line), stdout=_read(folder / "stdout"), stderr=stderr)
        self._process.kill()
        code = self._process.wait()
        self.close()
        reason = f"the worker died with code {code}" if ready else f"not done after {MOST_SECONDS:.0f} s"
        msg = f"{reason}\n{stderr}"
        raise DeadWorkerError(msg)

    def _start(self) -> None:
        self._jobs = 0
        variables = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([TESTS, *sys.path[1:]]),
            "NUMBA_NUM_THREADS": "1",
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fuzz.workers", *(["keras"] if self._keras else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=variables,
        )

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.communicate()  # closes its input, after which it ends
            self._process = None


def _read(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def _serve(*, keras: bool) -> None:
    """Run the commands that come in on stdin, and say on what was stdout how each ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the fuzzer is told, and ends its workers
    answers = os.fdopen(os.dup(1), "w")
    _import_all(keras=keras)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM_BYTES, used + ROOM_BYTES))
    for line in sys.stdin:
        job = json.loads(line)
        answers.write(json.dumps(_run(job["arguments"], Path(job["folder"]))) + "\n")
        answers.flush()


def _import_all(*, keras: bool) -> None:
    """Import what commands import when they are called, so that each starts at once."""
    doors = ("map", "roi", "inspection", "manifest", "groundtruth", "train", "synthesize")
    libraries = ("maps.exact", "maps.region", "images.contents", "cohorts.preparation", "maps.exact_cohort")
    of_keras = ("maps.synthetic", "cohorts.training") if keras else ()
    for name in (*doors, *libraries, *of_keras):
        importlib.import_module(f"pipelines.{name}")


class _Compiling(logging.Handler):
    """Adds up how long functions were compiled: once on a machine, and no fault of a file."""

    seconds = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        self.seconds += getattr(record, "compiled", 0.0)


def _run(arguments: list[str], folder: Path) -> dict[str, Any]:
    """Run one command with the descriptors of stdout and stderr on files, as native code writes to them."""
    from pipelines.__main__ import main

    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    tempfile.tempdir = str(temporary)
    kept = [os.dup(1), os.dup(2)]
    for number, name in ((1, "stdout"), (2, "stderr")):
        file = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(file, number)
        os.close(file)
    Path("/proc/self/clear_refs").write_text("5")  # the largest memory in use counts from here
    compiling = _Compiling()
    logging.getLogger("glcm_cuda").addHandler(compiling)
    before, started = _status("VmRSS"), time.process_time()
    try:
        main(arguments, prog_name="radsynth")
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    seconds, grown = time.process_time() - started - compiling.seconds, _status("VmHWM") - before
    logging.getLogger("glcm_cuda").removeHandler(compiling)
    sys.stdout.flush()
    sys.stderr.flush()
    for number, copy in zip((1, 2), kept, strict=True):
        os.dup2(copy, number)
        os.close(copy)
    return {"code": code, "seconds": round(seconds, 3), "grown_mb": round(grown / 1024, 1)}


def _status(name: str) -> int:
    """Return a figure of the process in kB, as the kernel states it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name + ":")).split()[1])


if __name__ == "__main__":
    _serve(keras="keras" in sys.argv[1:])
