"""Speed of the CPU backend over windows, levels and threads.

    python benchmarks/bench_cpu.py

Prints nanoseconds per voxel on one thread, from an image in memory to its map, and the gain of all
threads: the median of repetitions that take turns, since machines are noisy. Compilation is apart.
"""

from __future__ import annotations

import statistics
import time

import numba
import numpy as np

from glcm_cuda import GLCMSettings, entropy_map

REPEATS = 7
CASES = {
    "5x5, 64 levels": (GLCMSettings(), (512, 512)),
    "5x5, 256 levels": (GLCMSettings(levels=256), (512, 512)),
    "5x5, merged": (GLCMSettings(aggregate="merge"), (512, 512)),
    "5x5, distance 2": (GLCMSettings(distance=2), (512, 512)),
    "7x7, 64 levels": (GLCMSettings(window=7), (512, 512)),
    "11x11, 64 levels": (GLCMSettings(window=11), (512, 512)),
    "5x5x5, 64 levels": (GLCMSettings(dimensions=3), (20, 128, 128)),
}


def main() -> None:
    rng = np.random.default_rng(0)
    threads = numba.get_num_threads()
    images = {name: rng.normal(size=shape).astype(np.float32) for name, (_, shape) in CASES.items()}
    start = time.perf_counter()
    entropy_map(images["5x5, 64 levels"], backend="cpu")
    print(f"first call {time.perf_counter() - start:.2f} s (compiles, or reads the cache)")
    times: dict[tuple[str, int], list[float]] = {}
    for _ in range(REPEATS):
        for name, (settings, _) in CASES.items():
            for count in (1, threads):
                numba.set_num_threads(count)
                start = time.perf_counter()
                entropy_map(images[name], settings, backend="cpu")
                times.setdefault((name, count), []).append(time.perf_counter() - start)
    print(f"{'':18}ns per voxel, 1 thread   gain of {threads} threads")
    for name, image in images.items():
        one, several = (statistics.median(times[name, count]) for count in (1, threads))
        print(f"{name:18}{one / image.size * 1e9:20.0f}{one / several:22.2f}")


if __name__ == "__main__":
    main()
