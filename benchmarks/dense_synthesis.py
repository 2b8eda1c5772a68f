"""Seconds per slice: exact, and each network dense and patch by patch, over windows and features.

    python benchmarks/dense_synthesis.py

A 512x512 slice of smoothed noise at 64 levels, all in turns in one process, on the CPU. The networks are
not trained: their time does not depend on the weights. Prints medians as Markdown and writes
benchmarks/results/dense_synthesis.json.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
from _machine import RESULTS, machine, write_json

from glcm_cuda import GLCMSettings, feature_maps
from surrogate import NetworkSettings, build_model, dense_model, synthesize_features, synthesize_patches

EDGE, TURNS = 512, 3
FIVE = ("joint_entropy", "contrast", "correlation", "idm", "joint_energy")
EQUALITY, ANALYTIC = NetworkSettings(architecture="equality"), NetworkSettings(architecture="analytic")
# Window, features, network, whether patch by patch is timed too (it is slow).
CASES = [
    (3, FIVE[:1], EQUALITY, False),
    (3, FIVE[:1], ANALYTIC, False),
    (5, FIVE[:1], NetworkSettings(), True),
    (5, FIVE[:1], NetworkSettings(pool_stride=1), True),
    (5, FIVE[:1], EQUALITY, True),
    (5, FIVE[:1], ANALYTIC, True),
    (5, FIVE, NetworkSettings(), False),
    (5, FIVE, EQUALITY, False),
    (7, FIVE[:1], NetworkSettings(), False),
    (11, FIVE[:1], NetworkSettings(padding="valid", pool_stride=1), True),
    (27, FIVE[:1], NetworkSettings(padding="valid"), True),
]
STRIP = 64
"""Rows that patch by patch is timed on; its time is proportional."""


def main() -> None:
    chance = np.random.default_rng(0)
    slice_ = chance.normal(size=(EDGE, EDGE)).cumsum(axis=0).cumsum(axis=1)
    rows = []
    print(
        "| window | features | network | exact, s | dense, s | patch by patch, s | gain | exact is faster |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for window, features, network, patched in CASES:
        row = timed(slice_, GLCMSettings(window=window), features, network, patched=patched)
        rows.append({"window": window, "features": list(features), "network": network.to_dict(), **row})
        name = network.architecture
        if name == "radsynth":
            name += f", {network.padding}, stride {network.pool_stride}"
        exact, dense, patches = row["exact"], row["dense"], row["patches"]
        by_patch = " | " if patches is None else f"{patches:.2f} | {patches / dense:.1f} times"
        print(
            f"| {window} | {len(features)} | {name} | {exact:.4f} | {dense:.2f} | {by_patch} | "
            f"{dense / exact:.0f} times |",
            flush=True,
        )
    write_json({"machine": machine(), "edge": EDGE, "medians": rows}, RESULTS / "dense_synthesis.json")


def timed(
    slice_: np.ndarray,
    glcm: GLCMSettings,
    features: tuple[str, ...],
    network: NetworkSettings,
    *,
    patched: bool,
) -> dict[str, float | None]:
    """Median seconds of each way, taking turns."""
    model = build_model(glcm, network, features)
    dense = dense_model(model)
    ways: dict[str, Callable[[], object]] = {
        "exact": lambda: feature_maps(slice_, features, glcm, backend="cpu"),
        "dense": lambda: synthesize_features(slice_, dense),
    }
    if patched:
        ways["patches"] = lambda: synthesize_patches(slice_[:STRIP], model)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(TURNS + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if turn:  # the first one compiles
                seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(found) for name, found in seconds.items()}
    patches = medians["patches"] * EDGE / STRIP if patched else None
    return {"exact": medians["exact"], "dense": medians["dense"], "patches": patches}


if __name__ == "__main__":
    main()
