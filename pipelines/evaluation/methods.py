"""The ways to an entropy map that are timed: exact, dense, and a network on every device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import get_num_threads, set_num_threads

from glcm_cuda import GLCMSettings, entropy_map
from glcm_cuda.engines.choice import available_backends
from pipelines.evaluation.baseline.dense import dense_entropy_map
from pipelines.reports.tables import counted


@dataclass(frozen=True)
class Method:
    """One way to compute a map.

    Parameters
    ----------
    kind : {"exact", "dense", "surrogate"}
    device : {"cpu", "gpu"}
    name : str
        As tables and figures print it.
    run : callable
        From a (Z, Y, X) image to its float32 map of the same shape, in host memory.
    """

    kind: str
    device: str
    name: str
    run: Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]]


def exact_methods(settings: GLCMSettings) -> Iterator[Method]:
    """Yield the exact engine on all CPU threads, on one thread, and on CUDA if it can be used."""

    def on_cpu(image: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        return entropy_map(image, settings, backend="cpu")

    def on_one_thread(image: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        with _threads(1):
            return on_cpu(image)

    threads = get_num_threads()
    yield Method("exact", "cpu", f"Exact, CPU, {counted(threads, 'thread')}", on_cpu)
    if threads > 1:
        yield Method("exact", "cpu", "Exact, CPU, 1 thread", on_one_thread)
    if "cuda" in available_backends():
        yield Method(
            "exact", "gpu", "Exact, CUDA", lambda image: entropy_map(image, settings, backend="cuda")
        )


def dense_methods(settings: GLCMSettings) -> Iterator[Method]:
    """Yield the paper's dense-matrix algorithm on the CPU, and on CUDA if it can be used."""
    yield Method(
        "dense",
        "cpu",
        f"Dense, CPU, {counted(get_num_threads(), 'thread')}",
        lambda image: dense_entropy_map(image, settings),
    )
    if "cuda" in available_backends():
        yield Method(
            "dense", "gpu", "Dense, CUDA", lambda image: dense_entropy_map(image, settings, backend="cuda")
        )


def surrogate_methods(model_path: Path | None) -> tuple[GLCMSettings, list[Method]]:
    """Return the settings of the model, and the network on every device of its Keras backend.

    Without a model: the default settings, and no method. Keras is needed only with one.
    """
    if model_path is None:
        return GLCMSettings(), []
    from surrogate import glcm_settings, load_model

    settings = glcm_settings(load_model(model_path))
    return settings, [_surrogate_method(model_path, device) for device in keras_devices()]


def _surrogate_method(model_path: Path, device: str) -> Method:
    import keras

    from surrogate import dense_model, load_model, synthesize

    # Loaded on the device that runs it, so that no timed call moves the weights.
    with keras.device(device):
        model = dense_model(load_model(model_path))

    def run(image: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        with keras.device(device):
            return synthesize(image, model)

    platform = device.partition(":")[0]
    return Method("surrogate", platform, f"Surrogate, {keras.backend.backend()}, {platform.upper()}", run)


def keras_devices() -> list[str]:
    """Return the first CPU and the first GPU that the Keras backend in use can compute on."""
    import keras

    if keras.backend.backend() == "torch":
        import torch

        return ["cpu:0", "gpu:0"] if torch.cuda.is_available() else ["cpu:0"]
    devices = []
    for platform in ("cpu", "gpu"):
        try:
            devices += keras.distribution.list_devices(platform)[:1]
        except RuntimeError:  # JAX raises for a platform it lacks, TensorFlow returns none
            continue
    return devices


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = get_num_threads()
    set_num_threads(count)
    try:
        yield
    finally:
        set_num_threads(before)
