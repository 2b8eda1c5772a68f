"""Training steps in float32 and in mixed precision, on the device that Keras finds.

    python benchmarks/training_precision.py
    KERAS_BACKEND=torch python benchmarks/training_precision.py

Minibatches have 2,000 random 5x5 patches; the two precisions take turns. Prints medians and their ratio,
and writes benchmarks/results/training_precision.json. The models' cards say how precision affects
agreement.
"""

from __future__ import annotations

import statistics
import time
from typing import get_args

import keras
import numpy as np
from _machine import RESULTS, machine, write_json

from glcm_cuda import GLCMSettings
from surrogate import NetworkSettings, build_model
from surrogate.settings import Precision
from surrogate.training import computing_in

BATCH, STEPS, TURNS = 2000, 20, 7


def main() -> None:
    chance = np.random.default_rng(0)
    patches = chance.integers(0, 64, (BATCH, 5, 5, 1)).astype(np.float32)
    values = chance.random((BATCH, 1), np.float32)
    results: dict[str, float] = {}
    for name in ("radsynth", "equality"):
        seconds: dict[str, list[float]] = {precision: [] for precision in get_args(Precision)}
        models = {precision: compiled(name, precision) for precision in seconds}
        for model in models.values():
            model.train_on_batch(patches, values)
        for _ in range(TURNS):
            for precision, model in models.items():
                start = time.perf_counter()
                for _ in range(STEPS):
                    model.train_on_batch(patches, values)  # returning the loss waits for the end of the step
                seconds[precision].append((time.perf_counter() - start) / STEPS)
        medians = {precision: statistics.median(found) for precision, found in seconds.items()}
        results |= {f"{name}_{precision}": found for precision, found in medians.items()}
        ratio = medians["float32"] / medians["bfloat16"]
        listed = ", ".join(f"{1000 * found:.2f} ms in {precision}" for precision, found in medians.items())
        print(f"{name}: a step takes {listed}: {ratio:.2f} times as fast")
    document = {"machine": machine(), "keras_backend": keras.backend.backend(), "step_seconds": results}
    write_json(document, RESULTS / "training_precision.json")


def compiled(architecture: str, precision: Precision) -> keras.Model:
    """Return an untrained network with this precision."""
    with computing_in(precision):
        model = build_model(GLCMSettings(), NetworkSettings(architecture=architecture))
    model.compile(optimizer="adam", loss="mse")
    return model


if __name__ == "__main__":
    main()
