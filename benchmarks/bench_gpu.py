"""Values and speed of the CUDA backend on the device at hand.

    python benchmarks/bench_gpu.py

Compares the bits with the CPU backend, times the kernels alone and a map from array to array, and
writes ``benchmarks/results/<device>.json``. In Numba's simulator it runs on tiny images and prints
instead of writing: a rehearsal.
"""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
from numba import config, cuda

import glcm_cuda
from glcm_cuda import GLCMSettings, entropy_map
from glcm_cuda.cuda import BLOCK, compiled_kernels
from glcm_cuda.definition import LOG_ONE, fixed_log2
from glcm_cuda.offsets import directions

RESULTS = Path(__file__).parent / "results"
SIMULATED = bool(config.ENABLE_CUDASIM)
REPEATS = 2 if SIMULATED else 20
CASES = {
    "2D 5x5": (GLCMSettings(), (1, 5, 6) if SIMULATED else (128, 512, 512)),
    "2D 5x5 merged": (GLCMSettings(aggregate="merge"), (1, 5, 6) if SIMULATED else (32, 512, 512)),
    "2D 11x11": (GLCMSettings(window=11), (1, 5, 6) if SIMULATED else (8, 512, 512)),
    "3D 5x5x5": (GLCMSettings(dimensions=3), (2, 3, 4) if SIMULATED else (16, 256, 256)),
}


def main() -> None:
    rng = np.random.default_rng(0)
    cases = {name: measured(rng, settings, shape) for name, (settings, shape) in CASES.items()}
    for name, case in cases.items():
        print(
            f"{name:14} {case['shape']!s:16} first call {case['first_call_s']:.2f} s, "
            f"kernels {case['kernel_voxels_per_s']:.3g} voxel/s, "
            f"array to array {case['array_voxels_per_s']:.3g} voxel/s, same bits as the CPU"
        )
    if not SIMULATED:
        device = cuda.get_current_device().name.decode()
        report = {"device": device, **environment(), "cases": cases}
        path = RESULTS / f"{device.replace(' ', '-').lower()}.json"
        path.write_text(json.dumps(report, indent=1) + "\n")
        print(path)


def measured(
    rng: np.random.Generator, settings: GLCMSettings, shape: tuple[int, int, int]
) -> dict[str, object]:
    """Check the bits of one case on a part of its image and time the whole."""
    image = rng.normal(size=shape).astype(np.float32)
    part = image[: 1 + 2 * settings.radius, :64, :64]
    start = time.perf_counter()
    found = entropy_map(part, settings, backend="cuda")
    first_call = time.perf_counter() - start
    np.testing.assert_array_equal(found, entropy_map(part, settings, backend="cpu"))
    kernel_times = repeated(launcher(rng, settings, shape))
    array_times = repeated(lambda: entropy_map(image, settings, backend="cuda"))
    return {
        "settings": settings.to_dict(),
        "shape": shape,
        "first_call_s": first_call,
        "kernel_s": kernel_times,
        "kernel_voxels_per_s": image.size / statistics.median(kernel_times),
        "array_s": array_times,
        "array_voxels_per_s": image.size / statistics.median(array_times),
    }


def launcher(
    rng: np.random.Generator, settings: GLCMSettings, shape: tuple[int, int, int]
) -> Callable[[], None]:
    """Return a function that runs both kernels on arrays that lie on the device already."""
    offsets = directions(settings.dimensions, settings.distance)
    radii = settings.radii
    code_kernel, count_kernel = compiled_kernels(
        tuple(map(tuple, offsets.tolist())),
        radii,
        settings.levels,
        settings.symmetric,
        settings.aggregate == "merge",
    )
    levels = cuda.to_device(rng.integers(0, settings.levels, shape, np.int16))
    codes = cuda.device_array((len(offsets), *shape), np.int32)
    out = cuda.device_array(shape, np.float32)
    log_table = cuda.to_device(fixed_log2(np.arange(1 + len(offsets) * int(np.prod(settings.edges)))))
    grid = tuple(-(-size // block) for size, block in zip(shape[::-1], BLOCK, strict=True))

    def launch() -> None:
        code_kernel[grid, BLOCK](levels, codes)
        count_kernel[grid, BLOCK](codes, log_table, 1.0 / LOG_ONE, out)
        cuda.synchronize()

    return launch


def repeated(work: Callable[[], object]) -> list[float]:
    """Seconds of every repetition, after one that does not count."""
    work()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return times


def environment() -> dict[str, object]:
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True)
    driver = subprocess.run(
        ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"], capture_output=True, text=True
    )
    return {
        "driver": driver.stdout.strip(),
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
