"""Values and speed of the CUDA backend on this machine's device.

    python benchmarks/bench_gpu.py

1. Compares maps with the CPU backend: entropy bit by bit, the other features to 1e-6, with a count of the
   values whose bits differ. The images are random and, if the folder of real images exists
   (RADSYNTH_DATA), real.
2. Runs compute-sanitizer if it is installed.
3. Times the kernels by device events, with inputs that take turns so that none is still in the cache; whole
   maps from NumPy to NumPy and from device to device; other ways of counting and of dividing the work; the
   paper's dense matrices; and the CPU.

Writes ``benchmarks/results/<device>.json`` and prints a table. In Numba's simulator it runs on tiny images
and only prints, as a rehearsal.
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
from glcm_cuda import GLCMSettings, entropy_map, feature_maps
from glcm_cuda.engines.cuda import engine, slabs
from glcm_cuda.families.glcm.cuda.entropy_kernels import March
from glcm_cuda.families.launching import compiled
from glcm_cuda.families.registry import NAMES, features_named
from glcm_cuda.families.stage import Task
from glcm_cuda.levels.quantize import bins_between
from pipelines.evaluation.baseline.dense import dense_entropy_map

RESULTS = Path(__file__).parent / "results"
DATA = Path(os.environ.get("RADSYNTH_DATA", Path(__file__).parents[1] / ".." / "shared" / "data"))
REAL = "breast_ucsf/UCSF-BR-06_post1.nii.gz"

SIMULATED = bool(config.ENABLE_CUDASIM)
REPEATS = 2 if SIMULATED else 20
INPUTS = 2 if SIMULATED else 4
"""Volumes that take turns; four of 134 MB are larger than any cache."""

STACK, VOLUME = ((1, 3, 4), (1, 2, 3)) if SIMULATED else ((128, 512, 512), (60, 256, 256))
FEATURES_STACK = (1, 3, 4) if SIMULATED else (16, 512, 512)
ENTROPY = ("joint_entropy",)
ALL_BUT_MCC = tuple(name for name in NAMES if name != "mcc")
CASES = {
    "5x5": (GLCMSettings(), STACK),
    "5x5, 256 levels": (GLCMSettings(levels=256), STACK),
    "5x5, 65,536 levels": (GLCMSettings(levels=65_536), STACK),
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
FEATURE_CASES = {
    "contrast": (GLCMSettings(), FEATURES_STACK, ("contrast",)),
    "joint energy": (GLCMSettings(), FEATURES_STACK, ("joint_energy",)),
    "all but MCC": (GLCMSettings(), FEATURES_STACK, ALL_BUT_MCC),
    "all but MCC, merged": (GLCMSettings(aggregate="merge"), FEATURES_STACK, ALL_BUT_MCC),
    "all but MCC, 3x3x3": (GLCMSettings(dimensions=3, window=3), VOLUME, ALL_BUT_MCC),
    "MCC": (GLCMSettings(), FEATURES_STACK, ("mcc",)),
}
"""Other features, of 5x5 windows unless the name says otherwise."""
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
from glcm_cuda import GLCMSettings, entropy_map, feature_maps
image = np.random.default_rng(0).random((9, 33, 40))
for fields in ({}, {"window": 11}, {"aggregate": "merge"}, {"dimensions": 3, "window": 3}, {"levels": 999}):
    entropy_map(image, GLCMSettings(**fields), mask=image > 0.1, backend="cuda")
for fields in ({}, {"aggregate": "merge", "symmetric": False}, {"bin_width": 0.1, "masked_window": False}):
    feature_maps(image[:2], "all", GLCMSettings(**fields), mask=image[:2] > 0.1, backend="cuda")
"""


def main() -> None:
    report: dict[str, Any] = environment()
    report["start_up_s"] = [start_up() for _ in range(2)]
    report["checked"] = [*checked()]
    report["features_checked"] = features_checked()
    report["sanitizer"] = sanitised()
    report["kernels"] = {name: kernel_times(*case) for name, case in CASES.items()}
    report["features"] = {name: kernel_times(*case) for name, case in FEATURE_CASES.items()}
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
    """Yield the names of the images whose maps have the CPU's bits; raise an error if one has not."""
    for name, image in images().items():
        for fields in (
            {},
            {"window": 11},
            {"aggregate": "merge"},
            {"dimensions": 3, "window": 3},
            {"levels": 65_536 if not SIMULATED else 10_000},  # Python ints: NumPy misses their overflow
        ):
            chosen = GLCMSettings(**fields)
            for mask in (None, image > np.median(image)):
                found = entropy_map(image, chosen, mask=mask, backend="cuda")
                np.testing.assert_array_equal(found, entropy_map(image, chosen, mask=mask, backend="cpu"))
        yield name


def features_checked() -> dict[str, int]:
    """Compare all features with the CPU's; return for each the number of values whose bits differ."""
    differing = dict.fromkeys(NAMES, 0)
    for image in images().values():
        part = image[: 1 if SIMULATED else 4]
        for fields in ({}, {"symmetric": False, "aggregate": "merge"}, {"dimensions": 3, "window": 3}):
            chosen = GLCMSettings(**fields)
            found, expected = (
                feature_maps(part, "all", chosen, backend=backend) for backend in ("cuda", "cpu")
            )
            for name, values in expected.items():
                np.testing.assert_allclose(found[name], values, rtol=1e-6, atol=1e-9, err_msg=name)
                differing[name] += int(np.count_nonzero(found[name] != values))
    return differing


def images() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shape = (2, 5, 6) if SIMULATED else (20, 200, 211)
    found = {"random": rng.normal(size=shape).astype(np.float32)}
    if not SIMULATED and (DATA / REAL).exists():
        found[REAL] = nifti_voxels(DATA / REAL)
    return found


def nifti_voxels(path: Path) -> np.ndarray:
    """Return the stored voxels of a NIfTI-1 file; machines with a GPU may have no reader installed."""
    data = gzip.decompress(path.read_bytes())
    dimensions = np.frombuffer(data, "<i2", 8, 40)
    kind = {2: "u1", 4: "<i2", 8: "<i4", 16: "<f4", 64: "<f8", 512: "<u2"}[
        int(np.frombuffer(data, "<i2", 1, 70)[0])
    ]
    shape = dimensions[3:0:-1]
    start = int(np.frombuffer(data, "<f4", 1, 108)[0])
    return np.frombuffer(data, kind, int(np.prod(shape)), start).reshape(shape)


def kernel_times(
    settings: GLCMSettings, shape: tuple[int, int, int], names: tuple[str, ...] = ENTROPY
) -> dict[str, object]:
    """Time all kernels of a map, with the intensities on the device."""
    rng = np.random.default_rng(0)
    sources = [cuda.to_device(rng.normal(size=shape).astype(np.float32)) for _ in range(INPUTS)]
    out = cuda.device_array((len(names), *shape), np.float32)
    dtype = np.dtype(np.float32)
    task = Task(settings, bins_between(-4.0, 4.0, settings, dtype), features_named(names))
    job = slabs.Job(task, dtype, False, shape)
    block = (slice(0, shape[0]), slice(0, shape[1]))
    scratch = slabs.Scratch(job, [block])
    times = timed(lambda turn: slabs.map_block(job, sources[turn % INPUTS], None, (0, 0), scratch, out, 0))
    return {"settings": settings.to_dict(), "shape": shape, "features": names, **rates(times, shape)}


def timed(launch: Callable[[int], object]) -> list[float]:
    """Return the seconds of every launch between two device events, after two launches that warm up."""
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
    """Time whole maps side by side, with another input array at every turn."""
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
        "one slice, all features but MCC, NumPy to NumPy": (
            lambda image: feature_maps(image, ALL_BUT_MCC, backend="cuda"),
            slices,
            5,
        ),
        "one slice, all features but MCC, CPU": (
            lambda image: feature_maps(image, ALL_BUT_MCC, backend="cpu"),
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
    """Return the seconds of the first map in a new process: context, kernels compiled or from the cache."""
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
    """Return the results of compute-sanitizer for small maps, or why there are none."""
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
    different = {name: number for name, number in report["features_checked"].items() if number}
    print(f"features whose values have not all the CPU's bits: {different or 'none'}")
    for title in ("kernels", "features", "ways", "maps"):
        for name, case in report[title].items():
            print(f"{title:9}{name:48}{case['voxels_per_s']:12.3g} voxel/s")


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
