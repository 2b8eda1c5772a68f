"""Seconds per slice of each network, dense and patch by patch.

    python benchmarks/dense_synthesis.py

The input is a 512x512 slice of smoothed noise at 64 levels. All cases take turns in one process, on the
CPU. The networks are not trained, since their time does not depend on the weights. Prints medians as
Markdown and writes benchmarks/results/dense_synthesis.json.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
from _machine import RESULTS, machine, write_json

from glcm_cuda import GLCMSettings
from surrogate import NetworkSettings, build_model, dense_model, synthesize, synthesize_patches

EDGE, TURNS = 512, 3
# Window and network.
CASES = [
    (5, NetworkSettings()),
    (5, NetworkSettings(pool_stride=1)),
    (5, NetworkSettings(architecture="equality")),
    (5, NetworkSettings(architecture="analytic")),
    (11, NetworkSettings(padding="valid", pool_stride=1)),
    (27, NetworkSettings(padding="valid")),
]
STRIP = 64
"""Rows on which patch by patch is timed; its time is proportional to them."""


def main() -> None:
    chance = np.random.default_rng(0)
    slice_ = chance.normal(size=(EDGE, EDGE)).cumsum(axis=0).cumsum(axis=1)
    rows = []
    print("| window | network | dense, s | patch by patch, s | gain |")
    print("| --- | --- | --- | --- | --- |")
    for window, network in CASES:
        dense, patches = timed(slice_, GLCMSettings(window=window), network)
        rows.append({"window": window, "network": network.to_dict(), "dense": dense, "patches": patches})
        name = network.architecture
        if name == "radsynth":
            name += f", {network.padding}, stride {network.pool_stride}"
        print(f"| {window} | {name} | {dense:.2f} | {patches:.2f} | {patches / dense:.1f} |", flush=True)
    write_json({"machine": machine(), "edge": EDGE, "medians": rows}, RESULTS / "dense_synthesis.json")


def timed(slice_: np.ndarray, glcm: GLCMSettings, network: NetworkSettings) -> tuple[float, float]:
    """Return the median seconds of a slice, dense and patch by patch, measured in turns."""
    model = build_model(glcm, network)
    dense = dense_model(model)
    ways: tuple[Callable[[], object], ...] = (
        lambda: synthesize(slice_, dense),
        lambda: synthesize_patches(slice_[:STRIP], model),
    )
    seconds: list[list[float]] = [[], []]
    for turn in range(TURNS + 1):
        for way, found in zip(ways, seconds, strict=True):
            start = time.perf_counter()
            way()
            if turn:  # the first one compiles
                found.append(time.perf_counter() - start)
    whole, strip = (statistics.median(found) for found in seconds)
    return whole, strip * EDGE / STRIP


if __name__ == "__main__":
    main()
