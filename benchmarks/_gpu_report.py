"""The report of `bench_gpu`: what it is about, its cases, and their results, written after every case."""

from __future__ import annotations

import contextlib
import importlib
import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from numba import config, cuda

from glcm_cuda.base.files import replacing
from pipelines.evaluation.machine import describe_machine

_PACKAGES = ("cuda-bindings", "cuda-core", "nvidia-nvjitlink", "nvidia-nvvm", "nvidia-cuda-nvrtc")
_LONGEST_ERROR = 300


@dataclass(frozen=True)
class Case:
    """One thing to find out about a device.

    `group` is what `--only` may name beside the case itself, `measures` says what the result is about, and
    `run` returns it, as JSON can hold it, or raises an error where a check has failed.
    """

    name: str
    group: str
    measures: str
    run: Callable[[], dict[str, Any]]


class Report:
    """A JSON file that is complete after every case.

    Parameters
    ----------
    folder : Path
        Gets ``<device>.json``, or ``<device>-rehearsal.json``.
    rehearsal : bool
        Whether the images are tiny, so that no time says anything about the device.
    resume : bool
        Add to the file that the folder holds, and skip the cases that it has.

    Raises
    ------
    ValueError
        If the file that is to be resumed is of another environment.
    """

    def __init__(self, folder: Path, *, rehearsal: bool, resume: bool) -> None:
        environment = {"rehearsal": rehearsal, **describe_environment()}
        name = environment["device"]["name"].replace(" ", "-").lower()
        self.path = folder / f"{name}{'-rehearsal' if rehearsal else ''}.json"
        self._document: dict[str, Any] = {"environment": environment, "cases": {}}
        if resume and self.path.exists():
            found = json.loads(self.path.read_text())
            if found["environment"] != json.loads(json.dumps(environment)):
                msg = (
                    f"{self.path} is of another device, commit or version; remove it, or run without --resume"
                )
                raise ValueError(msg)
            self._document["cases"] = found["cases"]
        self.write()

    @property
    def cases(self) -> dict[str, dict[str, Any]]:
        """Results by the names of the cases."""
        found: dict[str, dict[str, Any]] = self._document["cases"]
        return found

    def has(self, case: Case) -> bool:
        """Return whether the report has a result of a case that is no failure."""
        return "failed" not in self.cases.get(case.name, {"failed": ""})

    def add(self, case: Case, result: dict[str, Any], took: float) -> None:
        """Add the result of a case, which took some seconds, and write the file."""
        self.cases[case.name] = {"measures": case.measures, "took_s": round(took, 2), **result}
        self.write()

    def write(self) -> None:
        """Write the file to a temporary name and rename it."""
        with replacing(self.path, force=True) as temporary:
            temporary.write_text(json.dumps(self._document, indent=1) + "\n")


def run_cases(cases: Sequence[Case], report: Report, ends: float | None) -> bool:
    """Run cases in their order, each whatever became of those before it; return whether none has failed.

    Parameters
    ----------
    cases : sequence of Case
        The ones that the report has already are skipped.
    report : Report
        Gets every result as soon as it is there, and ``{"failed": reason}`` of a case that raised an error.
    ends : float, optional
        Time of `time.monotonic` at which no case may run any more; the one that does is stopped.
    """
    passed = True
    for case in cases:
        if report.has(case):
            continue
        began = time.monotonic()
        if ends is not None and began >= ends:
            print(f"no time was left for {case.name} and what would have come after it", flush=True)
            break
        try:
            with _stopped_at(ends):
                result = case.run()
        except _OutOfTimeError:
            print(f"{case.name}: stopped, the time was over", flush=True)
            break
        except Exception as error:  # whatever goes wrong on a device must not cost the other cases
            passed, result = False, {"failed": _in_short(error)}
        report.add(case, result, time.monotonic() - began)
        print(f"{case.name}: {summary(result)}", flush=True)
    return passed


class _OutOfTimeError(BaseException):
    """The budget is spent. No handler of errors on the way may take it for one."""


@contextlib.contextmanager
def _stopped_at(ends: float | None) -> Iterator[None]:
    """Raise `_OutOfTimeError` in the block at a time of `time.monotonic`, if there is one."""

    def stop(*_: object) -> None:
        raise _OutOfTimeError

    if ends is None:
        yield
        return
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(ends - time.monotonic(), 1e-3))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _in_short(error: Exception) -> str:
    """Return an error as one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:_LONGEST_ERROR]


def summary(result: dict[str, Any]) -> str:
    """Return what to print of a result."""
    if "voxels_per_s" in result:
        return f"{result['voxels_per_s']:.3g} voxels/s"
    return ", ".join(f"{name} {value}" for name, value in result.items() if name != "settings")


def describe_environment() -> dict[str, Any]:
    """Return the device, the machine, and the versions of everything that compiles or runs kernels."""
    machine = describe_machine()
    del machine["load_average_before"]  # changes from run to run
    machine["versions"] |= _package_versions()
    return {
        "device": {"name": "simulator"} if config.ENABLE_CUDASIM else _describe_device(),
        "commit": _commit(),
        "machine": machine,
    }


def _describe_device() -> dict[str, Any]:
    """Return what the driver says of the current device, and the versions of driver and compilers."""
    device = cuda.get_current_device()
    name = device.name.decode() if isinstance(device.name, bytes) else device.name
    return {
        "name": name,
        "compute_capability": ".".join(map(str, device.compute_capability)),
        "multiprocessors": device.MULTIPROCESSOR_COUNT,
        "memory_gib": round(cuda.current_context().get_memory_info().total / 2**30, 1),
        "driver_supports_cuda": _asked(lambda: cuda.cudadrv.driver.driver.get_version()),
        "nvvm": _asked(lambda: importlib.import_module("cuda.bindings.nvvm").version()),
        "nvjitlink": _asked(lambda: importlib.import_module("cuda.bindings.nvjitlink").version()),
    }


def _asked(version_of: Callable[[], Sequence[int]]) -> str:
    """Return the version that a library of CUDA says, or why it does not: no case depends on it."""
    try:
        return ".".join(map(str, version_of()))
    except Exception as error:
        return f"unknown, {_in_short(error)}"


def _package_versions() -> dict[str, str]:
    """Return the versions of those packages of CUDA that are installed."""
    found = {}
    for name in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _commit() -> str:
    """Return the commit of the checkout, with a plus if modules have changed; "" if git knows none."""
    changed = _git("status", "--porcelain", "--", "*.py")
    return _git("rev-parse", "HEAD") + ("+" if changed else "")


def _git(*arguments: str) -> str:
    """Return what git prints for the checkout; "" without git or a repository."""
    if shutil.which("git") is None:
        return ""
    command = ["git", "-C", str(Path(__file__).parents[1]), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
