"""The cases of `bench_gpu`: values against the CPU, times, start-up, profiler and sanitizers."""

from __future__ import annotations

import contextlib
import csv
import functools
import gzip
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt
from numba import config, cuda

from glcm_cuda import GLCMSettings, entropy_map, feature_maps
from glcm_cuda.engines.cuda import slabs
from glcm_cuda.families.glcm.cuda import stages
from glcm_cuda.families.glcm.cuda.entropy_kernels import March
from glcm_cuda.families.launching import compiled
from glcm_cuda.families.registry import features_named
from glcm_cuda.families.stage import Task
from glcm_cuda.levels.bins import bins_between
from pipelines.evaluation.baseline.dense import dense_entropy_map

DATA = Path(os.environ.get("RADSYNTH_DATA", Path(__file__).parents[1] / ".." / "shared" / "data"))
REAL = "breast_ucsf/UCSF-BR-06_post1.nii.gz"
ENTROPY = ("joint_entropy",)
ALL_BUT_MCC = tuple(feature.name for feature in features_named("glcm") if feature.name != "mcc")
OTHER_FAMILIES = ("firstorder", "glrlm", "glszm", "gldm", "ngtdm")

_MOST_SECONDS = 3.0
"""Repeats of a kernel end after this time, and at least two are made."""

_TOOL_SECONDS = 45
"""A profiler or sanitizer that takes longer is killed, with all its processes."""

_ERRORS_FOUND, _KILLED = 9, 124
"""Exit codes: of compute-sanitizer, as it is told below, and of timeout."""


@dataclass(frozen=True)
class Sizes:
    """Shapes of the images and numbers of repeats."""

    stack: tuple[int, int, int] = (128, 512, 512)
    volume: tuple[int, int, int] = (60, 256, 256)
    features: tuple[int, int, int] = (16, 512, 512)
    families: tuple[int, int, int] = (16, 256, 256)
    checked: tuple[int, int, int] = (20, 200, 211)
    features_checked: int = 4  # slices
    most_levels: int = 65_536
    real: bool = True
    inputs: int = 4  # volumes that take turns; four of 134 MB are larger than any cache
    repeats: int = 20


REHEARSAL = Sizes((2, 24, 32), (3, 12, 16), (1, 6, 16), (2, 6, 8), (2, 5, 6), 1, 10_000, False, 2, 2)
"""Tiny images, for an emulator; times of them say nothing."""

SIMULATOR = Sizes((1, 3, 4), (1, 2, 3), (1, 2, 3), (1, 2, 3), (1, 3, 4), 1, 1000, False, 2, 2)
"""For Numba's simulator, which runs the kernels as Python: with few levels, whose overflow NumPy misses."""

WAYS: dict[str, Callable[[], contextlib.AbstractContextManager[object]]] = {
    "as it is": contextlib.nullcontext,
    "a table look-up per pair, no names": lambda: mock.patch.object(March, "named", False),
    **{
        f"strips of at most {rows} rows": lambda rows=rows: mock.patch.object(stages, "_LONGEST_STRIP", rows)
        for rows in (16, 32, 128)
    },
    **{
        f"{warps} warps to a block": lambda warps=warps: mock.patch.object(March, "block", (32, warps))
        for warps in (1, 2, 8)
    },
}
"""Other ways to run the kernel of 5x5."""

_FIRST_MAP = """
import time, numpy as np
from glcm_cuda import entropy_map
start = time.perf_counter()
entropy_map(np.random.default_rng(0).random((5, 6)), backend="cuda")
print(time.perf_counter() - start)
"""

_SANITISED = """
import numpy as np
from glcm_cuda import GLCMSettings, entropy_map, feature_maps
image = np.random.default_rng(0).random((9, 33, 40))
for fields in ({}, {"window": 11}, {"aggregate": "merge"}, {"dimensions": 3, "window": 3}, {"levels": 999}):
    entropy_map(image, GLCMSettings(**fields), mask=image > 0.1, backend="cuda")
    print("entropy", fields, flush=True)
for fields in ({}, {"aggregate": "merge", "symmetric": False}, {"bin_width": 0.1, "masked_window": False}):
    feature_maps(image[:2], "glcm", GLCMSettings(**fields), mask=image[:2] > 0.1, backend="cuda")
    print("features", fields, flush=True)
for family in ("firstorder", "glrlm", "glszm", "gldm", "ngtdm"):
    feature_maps(image[:2], family, GLCMSettings(window=3), mask=image[:2] > 0.1, backend="cuda")
    print(family, flush=True)
"""

_PROFILED = """
import numpy as np
from glcm_cuda import entropy_map
entropy_map(np.random.default_rng(0).random({shape}, np.float32), backend="cuda")
"""

METRICS = (
    "gpu__time_duration.sum",
    "launch__registers_per_thread",
    "sm__inst_executed.sum",
    "sm__throughput.avg.pct_of_peak_sustained_elapsed",
    "sm__warps_active.avg.pct_of_peak_sustained_active",
    "smsp__issue_active.avg.pct_of_peak_sustained_active",
    "dram__bytes_read.sum",
    "dram__bytes_write.sum",
    "dram__throughput.avg.pct_of_peak_sustained_elapsed",
    "l1tex__data_bank_conflicts_pipe_lsu.sum",
    "smsp__average_warp_latency_per_inst_issued.ratio",
)
"""What the report keeps of Nsight Compute's numbers; the file beside it has all."""


class CheckError(AssertionError):
    """A map is not what it must be, or a tool has found an error."""


@functools.cache
def random_volumes(shape: tuple[int, int, int], number: int) -> tuple[npt.NDArray[np.float32], ...]:
    """Return volumes of standard normal numbers, made once in a process."""
    rng = np.random.default_rng(0)
    return tuple(rng.standard_normal(shape, np.float32) for _ in range(number))


@functools.cache
def volumes_on_device(shape: tuple[int, int, int], number: int) -> tuple[Any, ...]:
    """Return `random_volumes` on the device, copied once in a process."""
    return tuple(cuda.to_device(volume) for volume in random_volumes(shape, number))


# Values


def bits(sizes: Sizes, fields: dict[str, Any], masked: bool) -> dict[str, Any]:
    """Compare entropy maps with the CPU's, bit by bit, but for which NaN marks a window without pairs."""
    chosen = GLCMSettings(**fields)
    for name, image in _images(sizes).items():
        mask = image > np.median(image) if masked else None
        found, expected = (
            entropy_map(image, chosen, mask=mask, backend=backend) for backend in ("cuda", "cpu")
        )
        same = (found.view(np.int32) == expected.view(np.int32)) | (np.isnan(found) & np.isnan(expected))
        differing = int(np.count_nonzero(~same))
        if differing:
            msg = f"{differing} of {found.size} voxels of {name} have not the CPU's bits"
            raise CheckError(msg)
    return {"settings": chosen.to_dict(), "have the CPU's bits": [*_images(sizes)]}


def features_near(sizes: Sizes, family: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Compare a family's features with the CPU's to 1e-6; count for each the values whose bits differ."""
    chosen = GLCMSettings(**fields)
    differing = {feature.name: 0 for feature in features_named(family)}
    for image in _images(sizes).values():
        part = image[: sizes.features_checked]
        found, expected = (feature_maps(part, family, chosen, backend=backend) for backend in ("cuda", "cpu"))
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, rtol=1e-6, atol=1e-9, err_msg=name)
            differing[name] += int(np.count_nonzero(found[name] != values) - np.isnan(values).sum())
    others = {name: number for name, number in differing.items() if number}
    return {"settings": chosen.to_dict(), "values without the CPU's bits": others or "none"}


@functools.cache
def _images(sizes: Sizes) -> dict[str, npt.NDArray[Any]]:
    """Return the images on which values are compared, by their names."""
    found: dict[str, npt.NDArray[Any]] = {"random": random_volumes(sizes.checked, 1)[0]}
    if sizes.real and (DATA / REAL).exists():
        found[REAL] = _nifti_voxels(DATA / REAL)
    return found


def _nifti_voxels(path: Path) -> npt.NDArray[Any]:
    """Return the stored voxels of a NIfTI-1 file; machines with a GPU may have no reader installed."""
    data = gzip.decompress(path.read_bytes())
    dimensions = np.frombuffer(data, "<i2", 8, 40)
    kind = {2: "u1", 4: "<i2", 8: "<i4", 16: "<f4", 64: "<f8", 512: "<u2"}[
        int(np.frombuffer(data, "<i2", 1, 70)[0])
    ]
    shape = dimensions[3:0:-1]
    start = int(np.frombuffer(data, "<f4", 1, 108)[0])
    return np.frombuffer(data, kind, int(np.prod(shape)), start).reshape(shape)


# Times


def kernel_times(
    sizes: Sizes,
    settings: GLCMSettings,
    shape: tuple[int, int, int],
    names: Sequence[str] = ENTROPY,
) -> dict[str, Any]:
    """Time all kernels of a map, from intensities on the device to maps there, as one block."""
    sources, features = volumes_on_device(shape, sizes.inputs), features_named(names)
    out = cuda.device_array((len(features), *shape), np.float32)
    dtype = np.dtype(np.float32)
    task = Task(settings, bins_between(-4.0, 4.0, settings, dtype), features)
    job = slabs.Job(task, dtype, False, shape)
    scratch = slabs.Scratch(job, [(slice(0, shape[0]), slice(0, shape[1]))])

    def launch(turn: int) -> None:
        slabs.map_block(job, sources[turn % sizes.inputs], None, (0, 0), scratch, out, 0)

    times = _event_times(launch, sizes.repeats)
    return {"settings": settings.to_dict(), "features": list(names), **_rates(times, shape)}


def way_times(sizes: Sizes, way: Callable[[], contextlib.AbstractContextManager[object]]) -> dict[str, Any]:
    """Time the kernels of 5x5 in another way of running them."""
    compiled.cache_clear()
    try:
        with way():
            return kernel_times(sizes, GLCMSettings(), sizes.stack)
    finally:
        compiled.cache_clear()


def _event_times(launch: Callable[[int], object], repeats: int) -> list[float]:
    """Return the seconds of launches between two device events, after two launches that warm up."""
    for turn in range(2):
        launch(turn)
    times: list[float] = []
    while len(times) < repeats and (len(times) < 2 or sum(times) < _MOST_SECONDS):
        before, after = cuda.event(), cuda.event()
        clock = time.perf_counter()
        before.record()
        launch(len(times))
        after.record()
        after.synchronize()
        simulated = time.perf_counter() - clock  # whose events know no time
        times.append(simulated if config.ENABLE_CUDASIM else before.elapsed_time(after) / 1000)
    return times


def map_times(work: Callable[[Any], object], inputs: Sequence[Any], repeats: int) -> dict[str, Any]:
    """Time whole maps, with another input at every turn, after one that warms up."""
    work(inputs[0])
    times = []
    for turn in range(repeats):
        clock = time.perf_counter()
        work(inputs[turn % len(inputs)])
        times.append(time.perf_counter() - clock)
    return _rates(times, inputs[0].shape)


def device_to_device(sizes: Sizes) -> dict[str, Any]:
    """Time maps of arrays on the device into one there, with the search for the range of intensities."""
    out = cuda.device_array(sizes.stack, np.float32)

    def work(stack: Any) -> None:
        entropy_map(stack, out=out)
        cuda.synchronize()

    return map_times(work, volumes_on_device(sizes.stack, sizes.inputs), min(10, sizes.repeats))


def host_to_host(
    sizes: Sizes, work: Callable[[Any], object], repeats: int, slices: int | None = None
) -> dict[str, Any]:
    """Time maps of arrays in the host's memory: of the whole stack, or of its first slices."""
    stacks = random_volumes(sizes.stack, sizes.inputs)[:2]
    return map_times(work, [stack[:slices] for stack in stacks], min(repeats, sizes.repeats))


def into_an_array(sizes: Sizes) -> dict[str, Any]:
    """Time maps of arrays in the host's memory into an array that exists."""
    out = np.empty(sizes.stack, np.float32)
    return host_to_host(sizes, lambda stack: entropy_map(stack, backend="cuda", out=out), 5)


def entropy(backend: str) -> Callable[[Any], object]:
    """Return what maps the entropy of an image on a backend."""
    return lambda image: entropy_map(image, backend=backend)


def all_but_mcc(backend: str) -> Callable[[Any], object]:
    """Return what maps all features but MCC of an image on a backend."""
    return lambda image: feature_maps(image, ALL_BUT_MCC, backend=backend)


def dense_on_cuda(image: Any) -> object:
    """Map an image by the paper's dense matrices on the device."""
    return dense_entropy_map(image, backend="cuda")


def _rates(times: Sequence[float], shape: tuple[int, ...]) -> dict[str, Any]:
    """Return times with the voxels per second of their median."""
    per_second = float(np.prod(shape)) / statistics.median(times)
    return {"shape": list(shape), "seconds": list(times), "voxels_per_s": per_second}


# Other processes


def start_up() -> dict[str, Any]:
    """Time the first map of a process: with an empty cache of machine code, and with what that one left."""
    with tempfile.TemporaryDirectory() as cache:
        found = {}
        for name in ("empty cache", "filled cache"):
            environment = os.environ | {"NUMBA_CACHE_DIR": cache, "CUDA_CACHE_PATH": cache}
            ended = _python(_FIRST_MAP, env=environment)
            if ended.returncode:
                raise CheckError(_last_line(ended))
            found[f"{name}, s"] = round(float(ended.stdout), 2)
    return found


def profile(sizes: Sizes, file: Path) -> dict[str, Any]:
    """Count what one launch of the kernel of 5x5 does with Nsight Compute; `file` gets all of its numbers."""
    tool = _tool("ncu")
    if tool is None:
        return {"not run": "ncu is not installed"}
    # The clocks are left alone. The first direction fills the caches; the second is profiled.
    options = ["--clock-control", "none", "--set", "full", "--csv", "--page", "raw", "--kernel-name-base"]
    options += ["mangled", "--kernel-name", "regex:count", "--launch-skip", "1", "--launch-count", "1"]
    ended = _python(_PROFILED.format(shape=sizes.features), [*_limited(tool), *options])
    file.write_text(ended.stdout + ended.stderr)
    found = _metrics(ended.stdout)
    return {"metrics": found} if found else _unfinished(ended)


def _metrics(printed: str) -> dict[str, str]:
    """Return the metrics of the kernel in a table of Nsight Compute: a row of names, of units, of values."""
    lines = [line for line in printed.splitlines() if line.startswith('"')]
    if len(lines) < 3:
        return {}
    names, units, values = csv.reader(lines[:3])
    rows = {name: f"{value} {unit}".strip() for name, unit, value in zip(names, units, values, strict=True)}
    return {name: rows[name] for name in METRICS if name in rows}


def sanitised(tool: str) -> dict[str, Any]:
    """Run a tool of compute-sanitizer over small maps; print what it says unless nothing is wrong."""
    program = _tool("compute-sanitizer")
    if program is None:
        return {"not run": "compute-sanitizer is not installed"}
    options = ["--tool", tool, "--error-exitcode", str(_ERRORS_FOUND)]
    ended = _python(_SANITISED, [*_limited(program), *options])
    if ended.returncode:
        print(ended.stdout, ended.stderr, sep="")
    if ended.returncode == _ERRORS_FOUND:
        raise CheckError(_last_line(ended))
    return _unfinished(ended) if ended.returncode else {"found": _last_line(ended)}


def _tool(name: str) -> str | None:
    """Return the path of a program of CUDA's toolkit, or None."""
    home = Path(os.environ.get("CUDA_HOME", "/usr/local/cuda"))
    return shutil.which(name) or shutil.which(str(home / "bin" / name))


def _limited(program: str) -> list[str]:
    """Return the beginning of a command that is killed, with its children, when it takes too long."""
    return ["timeout", "--kill-after=2", str(_TOOL_SECONDS), program]


def _python(code: str, before: Sequence[str] = (), **options: Any) -> subprocess.CompletedProcess[str]:
    """Run Python code in another process, below a tool if `before` is the beginning of its command.

    When the time of the benchmark is over, the process is ended, and with `_limited` also its children.
    """
    command = [*before, sys.executable, "-c", code]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes, **options) as process:
        try:
            out, errors = process.communicate()
        except BaseException:
            process.terminate()
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, errors)


def _unfinished(ended: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Return how far a tool came that was killed, or why it refused the device or the program."""
    if ended.returncode == _KILLED:
        return {f"killed after {_TOOL_SECONDS} s": _last_line(ended)}
    return {f"refused, exit code {ended.returncode}": _last_line(ended)}


def _last_line(ended: subprocess.CompletedProcess[str]) -> str:
    """Return the last line that a process printed; of its errors, if it printed nothing else."""
    lines = [line.strip() for line in (ended.stderr + "\n" + ended.stdout).splitlines() if line.strip()]
    return lines[-1] if lines else "no output"
