"""Speed of the CPU backend over windows, levels and threads.

    python benchmarks/bench_cpu.py

Prints nanoseconds per voxel on one thread, from an image in memory to its map, and the speed-up by all
threads. These are medians of repetitions; the cases take turns, since machines are noisy. A window compiles
in its first turn, which the median hides.
"""

from __future__ import annotations

import statistics
import time

import numba
import numpy as np

from glcm_cuda import GLCMSettings, entropy_map

SLICE, VOLUME = (512, 512), (60, 256, 256)
CASES = {
    "5x5, 64 levels": (GLCMSettings(), SLICE, 41),
    "5x5, 16 levels": (GLCMSettings(levels=16), SLICE, 41),
    "5x5, 256 levels": (GLCMSettings(levels=256), SLICE, 41),
    "5x5, distance 2": (GLCMSettings(distance=2), SLICE, 41),
    "5x5, merged": (GLCMSettings(aggregate="merge"), SLICE, 41),
    "7x7, 64 levels": (GLCMSettings(window=7), SLICE, 41),
    "9x9, 64 levels": (GLCMSettings(window=9), SLICE, 41),
    "11x11, 64 levels": (GLCMSettings(window=11), SLICE, 41),
    "5x5, volume": (GLCMSettings(), VOLUME, 11),
    "3x3x3, volume": (GLCMSettings(dimensions=3, window=3), VOLUME, 3),
    "3x5x5, volume": (GLCMSettings(dimensions=3, window=(3, 5, 5)), VOLUME, 3),
    "5x5x5, volume": (GLCMSettings(dimensions=3), VOLUME, 3),
    "7x7x7, volume": (GLCMSettings(dimensions=3, window=7), VOLUME, 3),
}
"""Settings, shape and number of repetitions; the volume has the 60 slices of 256x256 of a breast MRI."""


def main() -> None:
    rng = np.random.default_rng(0)
    threads = numba.get_num_threads()
    images = {name: rng.normal(size=shape).astype(np.float32) for name, (_, shape, _) in CASES.items()}
    start = time.perf_counter()
    entropy_map(images["5x5, 64 levels"], backend="cpu")
    print(f"first call {time.perf_counter() - start:.2f} s (compiles, or reads the cache)")
    times: dict[tuple[str, int], list[float]] = {}
    for turn in range(max(repeats for *_, repeats in CASES.values())):
        for name, (settings, _, repeats) in CASES.items():
            for count in (1, threads) if turn < repeats else ():
                numba.set_num_threads(count)
                start = time.perf_counter()
                entropy_map(images[name], settings, backend="cpu")
                times.setdefault((name, count), []).append(time.perf_counter() - start)
    print(f"{'':18}ns per voxel, 1 thread   gain of {threads} threads   seconds, {threads} threads")
    for name, image in images.items():
        one, several = (statistics.median(times[name, count]) for count in (1, threads))
        print(f"{name:18}{one / image.size * 1e9:20.0f}{one / several:22.2f}{several:23.4f}")


if __name__ == "__main__":
    main()
