"""Whether training waits for its data: minibatches per second, and steps with streamed and cached data.

    python benchmarks/minibatches.py

The store holds 400,000 random 5x5 patches in four cases; minibatches have 2,000. Prints medians and writes
benchmarks/results/minibatches.json.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
from _machine import RESULTS, machine, write_json

from glcm_cuda import GLCMSettings
from glcm_cuda.store.layout import CaseRecord, CaseSource
from glcm_cuda.store.patches import Samples
from glcm_cuda.store.writing import StoreWriter
from surrogate import NetworkSettings, PatchDataset, build_model

CASES, ROWS, BATCH, STEPS, TURNS = 4, 100_000, 2000, 40, 5


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = written(Path(folder) / "store.h5")
        patients = [f"p{case}" for case in range(CASES)]
        results: dict[str, float] = {}
        for augment in (0.0, 0.5):
            rate = patches_per_second(PatchDataset(store, patients, BATCH, 0, augment))
            results[f"patches_per_second_augment_{augment}"] = rate
            print(f"augment {augment}: {rate / 1e6:.2f} million patches per second")
        for name in ("radsynth", "equality"):
            model = build_model(GLCMSettings(), NetworkSettings(architecture=name))
            model.compile(optimizer="adam", loss="mse")
            for augment in (0.0, 0.5):
                cached, streamed = step_seconds(model, PatchDataset(store, patients, BATCH, 0, augment))
                results |= {f"{name}_{augment}_cached": cached, f"{name}_{augment}_streamed": streamed}
                print(
                    f"{name}, augment {augment}: step {1000 * cached:.1f} ms cached, "
                    f"{1000 * streamed:.1f} ms streamed, {streamed / cached:.2f} times"
                )
    write_json({"machine": machine(), "results": results}, RESULTS / "minibatches.json")


def written(path: Path) -> Path:
    """Write the store; its values do not matter."""
    chance = np.random.default_rng(0)
    writer = StoreWriter(path, GLCMSettings(), seed=0, samples_per_case=ROWS)
    sources = []
    for case in range(CASES):
        patches = chance.integers(0, 64, (ROWS, 5, 5), dtype=np.uint8)
        places = np.zeros(ROWS, np.int32)
        samples = Samples(
            patches, chance.random(ROWS, np.float32), places, places, places, places.astype(np.uint8)
        )
        source = CaseSource(patient=f"p{case}", group="", image=f"p{case}.nii", sha256=str(case))
        record = CaseRecord(**vars(source), intensity_range=(0.0, 1.0), shape=(1, 9, 9), count=ROWS)
        writer.add(record, samples)
        sources.append(source)
    return writer.finish(sources)


def patches_per_second(dataset: PatchDataset) -> float:
    """Return the median rate over whole epochs."""
    rates = []
    for _ in range(TURNS):
        start = time.perf_counter()
        for index in range(len(dataset)):
            dataset[index]
        rates.append(dataset.rows / (time.perf_counter() - start))
        dataset.on_epoch_end()
    dataset.close()
    return statistics.median(rates)


def step_seconds(model: keras.Model, dataset: PatchDataset) -> tuple[float, float]:
    """Return the median seconds of a step, with one minibatch repeated and with the data set, in turns."""
    same = dataset[0]
    model.train_on_batch(*same)
    cached, streamed = [], []
    for _ in range(TURNS):
        for found, minibatch in ((cached, lambda index: same), (streamed, dataset.__getitem__)):
            start = time.perf_counter()
            for index in range(STEPS):
                model.train_on_batch(*minibatch(index))
            found.append((time.perf_counter() - start) / STEPS)
    dataset.close()
    return statistics.median(cached), statistics.median(streamed)


if __name__ == "__main__":
    main()
