"""Values and speed of the CUDA backend on the device at hand.

    python benchmarks/bench_gpu.py

Compares maps of random and, where the folder of real images is (RADSYNTH_DATA), of real data with the
CPU backend, bit by bit; runs compute-sanitizer where it is installed; times the kernels by device events,
with inputs that take turns so that none is in the cache still, whole maps from NumPy to NumPy and from
device to device, the ways of counting and of sharing out that were considered, the paper's dense
matrices, and the CPU. Writes ``benchmarks/results/<device>.json`` and prints a table. In Numba's
simulator it runs on tiny images and prints instead of writing: a rehearsal.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numba
import numpy as np
from numba import config, cuda

import glcm_cuda
from glcm_cuda import GLCMSettings, entropy_map
from glcm_cuda import cuda as engine
from glcm_cuda.kernels import March, compiled
from pipelines.dense import dense_entropy_map

RESULTS = Path(__file__).parent / "results"
DATA = Path(os.environ.get("RADSYNTH_DATA", Path(__file__).parents[1] / ".." / "shared" / "data"))
REAL = "breast_ucsf/UCSF-BR-06_post1.nii.gz"

SIMULATED = bool(config.ENABLE_CUDASIM)
REPEATS = 2 if SIMULATED else 20
INPUTS = 2 if SIMULATED else 4
"""Volumes that take turns; four of 134 MB are more than any cache."""

STACK, VOLUME = ((1, 3, 4), (1, 2, 3)) if SIMULATED else ((128, 512, 512), (60, 256, 256))
CASES = {
    "5x5": (GLCMSettings(), STACK),
    "5x5, 256 levels": (GLCMSettings(levels=256), STACK),
    "5x5, distance 2": (GLCMSettings(distance=2), STACK),
    "5x5, merged": (GLCMSettings(aggregate="merge"), STACK),
    "3x3": (GLCMSettings(window=3), STACK),
    "7x7": (GLCMSettings(window=7), STACK),
    "11x11": (GLCMSettings(window=11), STACK),
    "3x3x3": (GLCMSettings(dimensions=3, window=3), VOLUME),
    "5x5x5": (GLCMSettings(dimensions=3), VOLUME),
    "7x7x7": (GLCMSettings(dimensions=3, window=7), VOLUME),
    "5x5, one slice": (GLCMSettings(), (1, *STACK[1:])),
}
WAYS: dict[str, Callable[[], contextlib.AbstractContextManager[object]]] = {
    "as it is": contextlib.nullcontext,
    "a table look-up per pair, no names": lambda: mock.patch.object(March, "named", False),
    **{
        f"strips of at most {rows} rows": lambda rows=rows: mock.patch.object(engine, "_LONGEST_STRIP", rows)
        for rows in (16, 32, 128)
    },
    **{
        f"{warps} warps to a block": lambda warps=warps: mock.patch.object(March, "block", (32, warps))
        for warps in (1, 2, 8)
    },
}
"""Other ways to run the kernel of the first case."""

SANITISED = """
import numpy as np
from glcm_cuda import GLCMSettings, entropy_map
image = np.random.default_rng(0).random((9, 33, 40))
for fields in ({}, {"window": 11}, {"aggregate": "merge"}, {"dimensions": 3, "window": 3}):
    entropy_map(image, GLCMSettings(**fields), mask=image > 0.1, backend="cuda")
"""


def main() -> None:
    report: dict[str, Any] = environment()
    report["start_up_s"] = [start_up() for _ in range(2)]
    report["checked"] = [*checked()]
    report["sanitizer"] = sanitised()
    report["kernels"] = {name: kernel_times(*case) for name, case in CASES.items()}
    report["ways"] = {}
    for name, way in WAYS.items():
        compiled.cache_clear()
        with way():
            report["ways"][name] = kernel_times(*CASES["5x5"])
    compiled.cache_clear()
    report["maps"] = map_times()
    show(report)
    if not SIMULATED:
        path = RESULTS / f"{str(report['device']).replace(' ', '-').lower()}.json"
        path.write_text(json.dumps(report, indent=1) + "\n")
        print(path)


def checked() -> Iterator[str]:
    """Yield the names of the images whose maps have the CPU's bits; raise an error at one that has not."""
    for name, image in images().items():
        for fields in ({}, {"window": 11}, {"aggregate": "merge"}, {"dimensions": 3, "window": 3}):
            chosen = GLCMSettings(**fields)
            for mask in (None, image > np.median(image)):
                found = entropy_map(image, chosen, mask=mask, backend="cuda")
                np.testing.assert_array_equal(found, entropy_map(image, chosen, mask=mask, backend="cpu"))
        yield name


def images() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shape = (2, 5, 6) if SIMULATED else (20, 200, 211)
    found = {"random": rng.normal(size=shape).astype(np.float32)}
    if not SIMULATED and (DATA / REAL).exists():
        found[REAL] = nifti_voxels(DATA / REAL)
    return found


def nifti_voxels(path: Path) -> np.ndarray:
    """Voxels of a NIfTI-1 file as they are stored: machines with a GPU need not have a reader."""
    data = gzip.decompress(path.read_bytes())
    dimensions = np.frombuffer(data, "<i2", 8, 40)
    kind = {2: "u1", 4: "<i2", 8: "<i4", 16: "<f4", 64: "<f8", 512: "<u2"}[
        int(np.frombuffer(data, "<i2", 1, 70)[0])
    ]
    shape = dimensions[3:0:-1]
    start = int(np.frombuffer(data, "<f4", 1, 108)[0])
    return np.frombuffer(data, kind, int(np.prod(shape)), start).reshape(shape)


def kernel_times(settings: GLCMSettings, shape: tuple[int, int, int]) -> dict[str, object]:
    """Time all kernels of a map, on intensities that lie on the device."""
    rng = np.random.default_rng(0)
    sources = [cuda.to_device(rng.normal(size=shape).astype(np.float32)) for _ in range(INPUTS)]
    out = cuda.device_array(shape, np.float32)
    task = engine._Task(settings, (-4.0, 4.0), np.dtype(np.float32), False, shape)
    block = (slice(0, shape[0]), slice(0, shape[1]))
    scratch = engine._Scratch(task, [block])
    with engine._quiet():
        times = timed(lambda turn: engine._map(task, sources[turn % INPUTS], None, (0, 0), scratch, out, 0))
    return {"settings": settings.to_dict(), "shape": shape, **rates(times, shape)}


def timed(launch: Callable[[int], object]) -> list[float]:
    """Seconds of every launch between two events on the device, after two that do not count."""
    for turn in range(2):
        launch(turn)
    times = []
    for turn in range(REPEATS):
        before, after = cuda.event(), cuda.event()
        clock = time.perf_counter()
        before.record()
        launch(turn)
        after.record()
        after.synchronize()
        times.append(time.perf_counter() - clock if SIMULATED else before.elapsed_time(after) / 1000)
    return times


def map_times() -> dict[str, object]:
    """Time whole maps side by side; the array from which they start is another at every turn."""
    rng = np.random.default_rng(0)
    stacks = [rng.normal(size=STACK).astype(np.float32) for _ in range(2)]
    slices = [stack[:1] for stack in stacks]
    on_device = [cuda.to_device(stack) for stack in stacks]

    def device_to_device(stack: object) -> None:
        entropy_map(stack, out=out)
        cuda.synchronize()

    out = cuda.device_array(STACK, np.float32)
    buffer = np.empty(STACK, np.float32)
    ways = {
        "NumPy to NumPy": (lambda stack: entropy_map(stack, backend="cuda"), stacks, 5),
        "NumPy to NumPy, into an array that exists": (
            lambda stack: entropy_map(stack, backend="cuda", out=buffer),
            stacks,
            5,
        ),
        "device to device": (device_to_device, on_device, 10),
        "one slice, NumPy to NumPy": (lambda image: entropy_map(image, backend="cuda"), slices, 20),
        "one slice, dense matrices, CUDA": (
            lambda image: dense_entropy_map(image, backend="cuda"),
            slices,
            3,
        ),
        "one slice, CPU": (lambda image: entropy_map(image, backend="cpu"), slices, 20),
        "NumPy to NumPy, CPU": (lambda stack: entropy_map(stack, backend="cpu"), stacks, 3),
    }
    found: dict[str, object] = {}
    for name, (work, inputs, repeats) in ways.items():
        work(inputs[0])
        times = []
        for turn in range(2 if SIMULATED else repeats):
            clock = time.perf_counter()
            work(inputs[turn % 2])
            times.append(time.perf_counter() - clock)
        found[name] = rates(times, inputs[0].shape)
    return found


def rates(times: list[float], shape: tuple[int, ...]) -> dict[str, object]:
    return {"seconds": times, "voxels_per_s": float(np.prod(shape)) / statistics.median(times)}


def start_up() -> float:
    """Seconds of the first map in a process of its own: context, and kernels compiled or from the cache."""
    code = """
import time, numpy as np
from glcm_cuda import entropy_map
start = time.perf_counter()
entropy_map(np.random.default_rng(0).random((5, 6)), backend="cuda")
print(time.perf_counter() - start)
"""
    return float(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    )


def sanitised() -> str:
    """Return what compute-sanitizer says of small maps, or why it says nothing."""
    program = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    if SIMULATED or not Path(program).exists():
        return "compute-sanitizer is not installed"
    said = []
    for tool in ("memcheck", "racecheck", "initcheck"):
        command = [program, "--tool", tool, "--error-exitcode", "9", sys.executable, "-c", SANITISED]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        said.append(f"{tool}: exit code {ended.returncode}, {ended.stdout.strip().splitlines()[-1:]}")
    return "; ".join(said)


def show(report: dict[str, Any]) -> None:
    first, again = report["start_up_s"]
    print(f"{report['device']}: first map of a process {first:.1f} s, of the next {again:.1f} s")
    print(f"the CPU's bits: {', '.join(report['checked'])}; {report['sanitizer']}")
    for title in ("kernels", "ways", "maps"):
        for name, case in report[title].items():
            print(f"{title:8}{name:44}{case['voxels_per_s']:12.3g} voxel/s")


def environment() -> dict[str, Any]:
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    driver = ""
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        driver = subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "device": "simulator" if SIMULATED else str(cuda.get_current_device().name),
        "driver": driver,
        "commit": commit.stdout.strip(),
        "versions": {
            "python": platform.python_version(),
            "glcm_cuda": glcm_cuda.__version__,
            "numba": numba.__version__,
            "numpy": np.__version__,
        },
    }


if __name__ == "__main__":
    main()
