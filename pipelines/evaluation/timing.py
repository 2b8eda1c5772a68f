"""How long exact and synthetic maps of the same slices take on this machine."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.cohorts.cohort import is_phantom
from pipelines.reports.tables import counted

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from glcm_cuda import GLCMSettings

PAPERS_SLICE = 512 * 512

TOLERANCE = 1e-6
"""Largest difference of the exact maps: each rounds an entropy below 8 to float32 once."""

PHANTOM = "phantom-malignant-01"
PHANTOM_SIZE = 512
PHANTOM_SLICES = 8

PHANTOM_SEED = 1
"""Not 0, the seed of the phantom cohort: a network trained on that has not seen these slices."""


@dataclass(frozen=True)
class Slices:
    """What is mapped: a (Z, Y, X) array, its name, and how many slices its patient has."""

    array: npt.NDArray[Any]
    name: str
    patient_slices: int

    @property
    def is_phantom(self) -> bool:
        """Whether the slices are computer-generated."""
        return is_phantom([self.name])


@dataclass(frozen=True)
class Method:
    """One way to a map. `kind`: exact, dense or surrogate; `device`: cpu or gpu."""

    kind: str
    device: str
    name: str
    run: Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]]


@dataclass
class Timing:
    """Seconds for all slices: the first call (compilation and warm-up) apart from the repeats."""

    kind: str
    device: str
    name: str
    first_seconds: float
    seconds: list[float] = field(default_factory=list)
    pearson: float | None = None

    @property
    def median(self) -> float:
        """Median of the repeats."""
        return statistics.median(self.seconds)


@dataclass(frozen=True)
class Benchmark:
    """Everything that was measured, and where."""

    slices: Slices
    settings: GLCMSettings
    model: str | None
    repeats: int
    timings: list[Timing]
    largest_difference: float
    machine: dict[str, Any]


def phantom_slices(count: int) -> Slices:
    """Return slices from the middle of a phantom patient that is in no phantom cohort of seed 0."""
    from pipelines.cohorts.phantoms import phantom_volume

    depth = max(count, PHANTOM_SLICES)
    array, _ = phantom_volume(PHANTOM, size=PHANTOM_SIZE, slices=depth, seed=PHANTOM_SEED)
    return Slices(_middle(array, count), f"{PHANTOM}, seed {PHANTOM_SEED}", depth)


def image_slices(path: Path, count: int) -> Slices:
    """Return slices from the middle of an image.

    Raises
    ------
    FileNotFoundError, ValueError
        If the image cannot be read or has fewer slices.
    """
    from pipelines.images.reading import read_image

    array = read_image(path).array
    array = array.reshape((-1, *array.shape[-2:]))
    if len(array) < count:
        msg = f"{path} has {counted(len(array), 'slice')}, fewer than the {count} asked for with --slices"
        raise ValueError(msg)
    return Slices(_middle(array, count), path.name, len(array))


def measure(
    slices: Slices,
    model_path: Path | None,
    *,
    repeats: int,
    progress: Callable[[int, int], None] | None = None,
) -> Benchmark:
    """Time every method on the same slices, taking turns: noise of the machine hits all alike.

    Parameters
    ----------
    slices : Slices
    model_path : path or None
        A network; its settings are those of all maps (the preset ``radsynth`` without it).
    repeats : int
        Timed calls of each method, after one that is timed apart.
    progress : callable (done, total), optional

    Raises
    ------
    ValueError
        If the exact maps differ by more than 1e-6, or the settings are none of the dense algorithm.
    """
    from pipelines.evaluation.baseline import dense

    machine = describe_machine()
    settings, surrogates = _surrogates(model_path)
    dense.check_settings(settings)
    methods = [*_exact_methods(settings), *_dense_methods(settings), *surrogates]
    calls = _Progress(progress, len(methods) * (repeats + 1))
    timings, maps = [], []
    for method in methods:
        seconds, entropy = _timed(method, slices.array)
        timings.append(Timing(method.kind, method.device, method.name, seconds))
        maps.append(entropy)
        calls.advance()
    difference = _largest_difference(methods, maps)
    for timing, entropy in zip(timings, maps, strict=True):
        if timing.kind == "surrogate":
            timing.pearson = _pearson(maps[0], entropy, settings.radius)
    for _ in range(repeats):
        for timing, method in zip(timings, methods, strict=True):
            timing.seconds.append(_timed(method, slices.array)[0])
            calls.advance()
    model = None if model_path is None else model_path.name
    return Benchmark(slices, settings, model, repeats, timings, difference, machine)


def summary(result: Benchmark) -> list[dict[str, Any]]:
    """Return one row of numbers per method, all from its median except where the name says else."""
    voxels = result.slices.array.size
    reference = {kind: _median_of(result, kind, "cpu") for kind in ("dense", "exact")}
    per_patient = result.slices.patient_slices / len(result.slices.array)
    return [
        {
            "method": timing.name,
            "kind": timing.kind,
            "device": timing.device,
            "first_call_seconds": timing.first_seconds,
            "median_seconds": timing.median,
            "fastest_seconds": min(timing.seconds),
            "slowest_seconds": max(timing.seconds),
            "seconds_per_512_slice": timing.median * PAPERS_SLICE / voxels,
            "seconds_per_patient": timing.median * per_patient,
            "voxels_per_second": voxels / timing.median,
            "voxels_per_second_low": voxels / max(timing.seconds),
            "voxels_per_second_high": voxels / min(timing.seconds),
            "times_faster_than_dense_cpu": reference["dense"] / timing.median,
            "times_faster_than_exact_cpu": reference["exact"] / timing.median,
            "pearson": timing.pearson,
        }
        for timing in result.timings
    ]


def as_json(result: Benchmark) -> str:
    """Return the whole result as JSON, every repeat included."""
    document = {
        "phantom": result.slices.is_phantom,
        "image": result.slices.name,
        "shape": list(result.slices.array.shape),
        "patient_slices": result.slices.patient_slices,
        "glcm": result.settings.to_dict(),
        "model": result.model,
        "repeats": result.repeats,
        "largest_difference_of_exact_maps": result.largest_difference,
        "machine": result.machine,
        "methods": summary(result),
        "timings": [asdict(timing) for timing in result.timings],
    }
    return json.dumps(document, indent=2) + "\n"


def _exact_methods(settings: GLCMSettings) -> Iterator[Method]:
    from numba import get_num_threads

    from glcm_cuda import entropy_map
    from glcm_cuda.engines.choice import available_backends

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


def _dense_methods(settings: GLCMSettings) -> Iterator[Method]:
    from numba import get_num_threads

    from glcm_cuda.engines.choice import available_backends
    from pipelines.evaluation.baseline.dense import dense_entropy_map

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


def _surrogates(model_path: Path | None) -> tuple[GLCMSettings, list[Method]]:
    """Return the settings of all maps, and the network on every device."""
    if model_path is None:
        from glcm_cuda import GLCMSettings

        return GLCMSettings(), []
    from surrogate import glcm_settings, load_model

    settings = glcm_settings(load_model(model_path))
    return settings, [_surrogate(model_path, device) for device in keras_devices()]


def _surrogate(model_path: Path, device: str) -> Method:
    import keras

    from surrogate import dense_model, load_model, synthesize

    # Loaded where it will run, so that no call moves the weights.
    with keras.device(device):
        model = dense_model(load_model(model_path))

    def run(image: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        with keras.device(device):
            return synthesize(image, model)

    kind = device.partition(":")[0]
    return Method("surrogate", kind, f"Surrogate, {keras.backend.backend()}, {kind.upper()}", run)


def keras_devices() -> list[str]:
    """Return the first CPU and the first GPU that the Keras backend in use can compute on."""
    import keras

    if keras.backend.backend() == "torch":
        import torch

        return ["cpu:0", "gpu:0"] if torch.cuda.is_available() else ["cpu:0"]
    found = []
    for kind in ("cpu", "gpu"):
        try:
            found += keras.distribution.list_devices(kind)[:1]
        except RuntimeError:  # JAX raises for a platform it lacks, TensorFlow returns none
            continue
    return found


@dataclass
class _Progress:
    """Counts calls for a progress bar that may not be there."""

    report: Callable[[int, int], None] | None
    total: int
    done: int = 0

    def advance(self) -> None:
        self.done += 1
        if self.report is not None:
            self.report(self.done, self.total)


def _timed(method: Method, image: npt.NDArray[Any]) -> tuple[float, npt.NDArray[np.float32]]:
    """Return the seconds from image to map in host memory, and the map."""
    start = time.perf_counter()
    entropy = method.run(image)
    return time.perf_counter() - start, entropy


@contextmanager
def _threads(count: int) -> Iterator[None]:
    from numba import get_num_threads, set_num_threads

    before = get_num_threads()
    set_num_threads(count)
    try:
        yield
    finally:
        set_num_threads(before)


def _largest_difference(methods: Sequence[Method], maps: Sequence[npt.NDArray[np.float32]]) -> float:
    """Compare every exact and dense map with the first; a benchmark of wrong maps is none."""
    import numpy as np

    largest = 0.0
    for method, entropy in zip(methods, maps, strict=True):
        if method.kind == "surrogate":
            continue
        if not np.array_equal(np.isnan(entropy), np.isnan(maps[0])):
            msg = f"{method.name} and {methods[0].name} have NaN at different voxels; nothing was timed"
            raise ValueError(msg)
        difference = float(np.nanmax(np.abs(entropy - maps[0])))
        if difference > TOLERANCE:
            msg = (
                f"{method.name} and {methods[0].name} must agree to {TOLERANCE:g}, got a difference of "
                f"{difference:g}; nothing was timed"
            )
            raise ValueError(msg)
        largest = max(largest, difference)
    return largest


def _pearson(exact: npt.NDArray[np.float32], synthetic: npt.NDArray[np.float32], radius: int) -> float:
    """Correlation away from the borders, where the two have different windows."""
    from surrogate.agreement import summarize

    inner = (slice(None), slice(radius, -radius), slice(radius, -radius))
    return summarize(exact[inner], synthetic[inner]).pearson


def _median_of(result: Benchmark, kind: str, device: str) -> float:
    """Median of the first such method: the one with all threads."""
    return next(t.median for t in result.timings if (t.kind, t.device) == (kind, device))


def _middle(array: npt.NDArray[Any], count: int) -> npt.NDArray[Any]:
    start = (len(array) - count) // 2
    return array[start : start + count]


def describe_machine() -> dict[str, Any]:
    """Return what the timings depend on: processor, memory, GPU, system and versions."""
    import platform

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": _cpu_model() or platform.processor() or platform.machine(),
        "cores": cores,
        "memory_gib": _memory_gib(),
        "gpu": _gpu(),
        "system": platform.platform(),
        "load_average_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "versions": {"python": platform.python_version(), **_versions()},
    }


def _cpu_model() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None


def _gpu() -> str | None:
    """Return name and driver of the first GPU as the driver's own tool tells them."""
    import shutil
    import subprocess

    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    query = [tool, "--query-gpu=name,driver_version", "--format=csv,noheader", "--id=0"]
    answer = subprocess.run(query, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        return None
    name, _, driver = answer.stdout.strip().partition(", ")
    return f"{name} (driver {driver})"


def _versions() -> dict[str, str]:
    """Return the versions of what is installed of the packages that compute."""
    from importlib.metadata import PackageNotFoundError, version

    import glcm_cuda

    names = ("numpy", "numba", "numba-cuda", "keras", "tensorflow", "tensorflow-cpu", "jax", "torch")
    found = {"radsynth": glcm_cuda.__version__}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
