"""How long exact and synthetic maps of the same slices take on this machine."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from glcm_cuda import GLCMSettings
from glcm_cuda.store.layout import is_phantom_name
from pipelines.cohorts.phantom_images import phantom_volume
from pipelines.evaluation.baseline import dense
from pipelines.evaluation.machine import describe_machine
from pipelines.evaluation.methods import Method, dense_methods, exact_methods, surrogate_methods
from pipelines.images.reading import read_image
from pipelines.reports.tables import counted
from surrogate.agreement import summarize

PAPERS_SLICE = 512 * 512

TOLERANCE = 1e-6
"""Largest difference allowed between exact maps, in bits: each rounds an entropy below 8 to float32 once."""

PHANTOM = "phantom-malignant-01"
PHANTOM_SIZE = 512
PHANTOM_SLICES = 8

PHANTOM_SEED = 1
"""Not 0, the seed of the phantom cohort: a network trained on that has not seen these slices."""


@dataclass(frozen=True)
class Slices:
    """The slices to map: a (Z, Y, X) array, its name, and the number of slices of the whole patient."""

    array: npt.NDArray[Any]
    name: str
    patient_slices: int
    is_phantom: bool = False


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
    """Everything that was measured, and on which machine."""

    slices: Slices
    settings: GLCMSettings
    model: str | None
    repeats: int
    timings: list[Timing]
    largest_difference: float
    machine: dict[str, Any]


def phantom_slices(count: int) -> Slices:
    """Return slices from the middle of a phantom patient that the cohort of seed 0 does not contain."""
    depth = max(count, PHANTOM_SLICES)
    array, _ = phantom_volume(PHANTOM, size=PHANTOM_SIZE, slices=depth, seed=PHANTOM_SEED)
    return Slices(_middle(array, count), f"{PHANTOM}, seed {PHANTOM_SEED}", depth, is_phantom=True)


def image_slices(path: Path, count: int) -> Slices:
    """Return slices from the middle of an image.

    Raises
    ------
    FileNotFoundError, ValueError
        If the image cannot be read or has fewer slices.
    """
    array = read_image(path).array
    array = array.reshape((-1, *array.shape[-2:]))
    if len(array) < count:
        msg = f"{path} has {counted(len(array), 'slice')}, but --slices asks for {count}"
        raise ValueError(msg)
    return Slices(_middle(array, count), path.name, len(array), is_phantom_name(path.name))


def measure(
    slices: Slices,
    model_path: Path | None,
    *,
    repeats: int,
    progress: Callable[[int, int], None] | None = None,
) -> Benchmark:
    """Time every method on the same slices, in turns, so that noise of the machine affects all alike.

    Parameters
    ----------
    slices : Slices
    model_path : path or None
        A network; all maps have its settings, or without one those of the preset ``radsynth``.
    repeats : int
        Timed calls of each method, after a first one that is reported separately.
    progress : callable (done, total), optional

    Raises
    ------
    ValueError
        If the exact maps differ by more than 1e-6, or the dense algorithm does not support the settings.
    """
    machine = describe_machine()
    settings, surrogates = surrogate_methods(model_path)
    dense.check_settings(settings)
    methods = [*exact_methods(settings), *dense_methods(settings), *surrogates]
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
    """Return one row of numbers per method, from its median unless the name says otherwise."""
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


@dataclass
class _Progress:
    """Counts calls for an optional progress bar."""

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


def _largest_difference(methods: Sequence[Method], maps: Sequence[npt.NDArray[np.float32]]) -> float:
    """Return the largest difference of the exact and dense maps from the first; refuse maps that differ."""
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
    """Return the correlation away from the borders, where exact and synthetic windows differ."""
    inner = (slice(None), slice(radius, -radius), slice(radius, -radius))
    return summarize(exact[inner], synthetic[inner]).pearson


def _median_of(result: Benchmark, kind: str, device: str) -> float:
    """Return the median of the first such method, which uses all threads."""
    return next(t.median for t in result.timings if (t.kind, t.device) == (kind, device))


def _middle(array: npt.NDArray[Any], count: int) -> npt.NDArray[Any]:
    start = (len(array) - count) // 2
    return array[start : start + count]
