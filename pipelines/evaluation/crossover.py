"""Where, if anywhere, a network is faster than the exact engine: over windows, features and dimensions."""

from __future__ import annotations

import csv
import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from glcm_cuda import feature_maps
from glcm_cuda.engines.choice import Backend, available_backends
from glcm_cuda.families.registry import requested
from glcm_cuda.settings import GLCMSettings
from pipelines.evaluation.machine import describe_machine
from pipelines.evaluation.methods import keras_devices
from pipelines.evaluation.timing import PAPERS_SLICE
from pipelines.reports.figures import Line, draw_crossover
from pipelines.reports.tables import counted, markdown_table
from surrogate import NetworkSettings, build_model, dense_model, synthesize_features

WINDOWS = (3, 5, 7, 9, 11)
WINDOWS_3D = (3, 5, 7)

FEATURES: tuple[tuple[str, ...], ...] = (
    ("joint_entropy",),
    ("joint_entropy", "contrast", "correlation", "idm", "joint_energy"),
    tuple(requested("glcm")),
)
"""One, several, all of the GLCM: more features cost the exact engine time, but a network hardly any."""

EDGE, DEPTH = 256, 4
"""Size of the image for exact maps: one slice for 2D windows, `DEPTH` slices for 3D."""

TILE = 128
"""Edge of the image for networks: the tiles that `synthesize` works in."""

EXACT = "exact"


@dataclass(frozen=True)
class Case:
    """One method with one combination of settings.

    Parameters
    ----------
    method : str
        `EXACT` or the network's name.
    device : str
        ``cpu``, or ``gpu`` for CUDA and the GPU of the Keras backend.
    dimensions, window, features : int
        Dimensions of the windows, their edge in voxels, and the number of features mapped at once.
    voxels : int
        Voxels that one call maps.
    prepare : callable
        Returns the function to time.
    """

    method: str
    device: str
    dimensions: int
    window: int
    features: int
    voxels: int
    prepare: Callable[[], Callable[[], object]]

    @property
    def setting(self) -> tuple[str, int, int, int]:
        """Device, dimensions, window and features: cases that share them are compared."""
        return self.device, self.dimensions, self.window, self.features


@dataclass(frozen=True)
class Timed:
    """A case and the seconds for a 512x512 slice, the median of the repeats."""

    case: Case
    seconds: float


def measure(repeats: int, progress: Callable[[int, int], None] | None = None) -> list[Timed]:
    """Time exact maps and untrained networks, whose speed does not depend on the weights.

    Parameters
    ----------
    repeats : int
        Timed calls of each case, after one that compiles.
    progress : callable (done, total), optional
        Called after each case.

    Returns
    -------
    list of Timed
        Exact maps first.
    """
    cases = [*_exact_cases(), *_network_cases()]
    timed = []
    for number, case in enumerate(cases, start=1):
        run = case.prepare()
        run()
        seconds = []
        for _ in range(repeats):
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
        timed.append(Timed(case, statistics.median(seconds) * PAPERS_SLICE / case.voxels))
        if progress is not None:
            progress(number, len(cases))
    return timed


def write_crossover(folder: Path, repeats: int, progress: Callable[[int, int], None] | None = None) -> str:
    """Time all cases, write the results into an existing folder, and return the verdict."""
    timed = measure(repeats, progress)
    write(timed, folder)
    return verdict(timed)


def write(timed: list[Timed], folder: Path) -> Path:
    """Write crossover.json, .csv, .md and .png into an existing folder; return the path of the Markdown."""
    rows = [_row(timing) for timing in timed]
    document = {"seconds_per": "512x512 slice", "machine": describe_machine(), "cases": rows}
    (folder / "crossover.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    with (folder / "crossover.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    path = folder / "crossover.md"
    path.write_text(markdown(timed) + "\n", encoding="utf-8")
    draw_crossover(_lines(timed), folder / "crossover.png", title="Seconds per 512x512 slice, by window")
    return path


def markdown(timed: list[Timed]) -> str:
    """Return verdict and table as Markdown."""
    header = ["device", "dimensions", "features", "method", *(f"window {window}" for window in WINDOWS)]
    table: dict[tuple[str, int, int, str], dict[int, float]] = {}
    for timing in timed:
        case = timing.case
        table.setdefault((case.device, case.dimensions, case.features, case.method), {})[case.window] = (
            timing.seconds
        )
    rows = [
        [
            *(str(part) for part in key),
            *(f"{seconds[window]:.2g}" if window in seconds else "" for window in WINDOWS),
        ]
        for key, seconds in sorted(table.items())
    ]
    return "\n\n".join(
        [
            "# Seconds per 512x512 slice: exact engine and networks",
            verdict(timed),
            markdown_table(header, rows),
            f"Medians, scaled by the number of voxels. Exact: one slice of {EDGE}x{EDGE}, or {DEPTH} slices "
            f"for 3D windows. Networks: a tile of {TILE}x{TILE}; they are untrained, which does not change "
            "the time. Blank where the network cannot be built; no network takes 3D windows.",
        ]
    )


def verdict(timed: list[Timed]) -> str:
    """Return where a network is faster than the exact engine on the same device, or how close one comes."""
    exact = {timing.case.setting: timing.seconds for timing in timed if timing.case.method == EXACT}
    ratios = {
        timing.case: timing.seconds / exact[timing.case.setting]
        for timing in timed
        if timing.case.method != EXACT and timing.case.setting in exact
    }
    faster = [case for case, ratio in ratios.items() if ratio < 1]
    if not faster:
        case = min(ratios, key=lambda case: ratios[case])
        return (
            f"**No network is faster than the exact engine in any of these {len(ratios)} comparisons.** The "
            f"closest, {_named(case)}, takes {ratios[case]:.1f} times as long."
        )
    listed = "; ".join(f"{_named(case)}, {1 / ratios[case]:.1f} times" for case in faster)
    return f"**Faster than the exact engine in {len(faster)} of {len(ratios)} comparisons**: {listed}."


def _named(case: Case) -> str:
    features = counted(case.features, "feature")
    return f"{case.method}, window {case.window}, {features}, {case.device.upper()}"


def _row(timing: Timed) -> dict[str, Any]:
    case = timing.case
    return {
        "method": case.method,
        "device": case.device,
        "dimensions": case.dimensions,
        "window": case.window,
        "features": case.features,
        "seconds": timing.seconds,
    }


def _lines(timed: list[Timed]) -> dict[str, list[Line]]:
    """Return the lines of each panel, by the panel's title."""
    panels: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for timing in timed:
        case = timing.case
        panel = panels.setdefault(f"{case.dimensions}D, {counted(case.features, 'feature')}", {})
        panel.setdefault(f"{case.method}, {case.device.upper()}", []).append((case.window, timing.seconds))
    return {
        title: [Line(name, name.startswith(EXACT), points) for name, points in lines.items()]
        for title, lines in panels.items()
    }


def _exact_cases() -> Iterator[Case]:
    slices = _noise(DEPTH, EDGE)
    devices: dict[str, Backend] = {"cpu": "cpu", "gpu": "cuda"}
    present = [device for device, backend in devices.items() if backend in available_backends()]
    # All features with 3D windows take minutes, and no network takes 3D windows.
    settings = [(2, features) for features in FEATURES] + [(3, features) for features in FEATURES[:-1]]
    for device, (dimensions, features) in itertools.product(present, settings):
        image = slices[0] if dimensions == 2 else slices
        for window in WINDOWS if dimensions == 2 else WINDOWS_3D:
            glcm = GLCMSettings(window=window, dimensions=dimensions)
            prepare = partial(_exact, image, features, glcm, devices[device])
            yield Case(EXACT, device, dimensions, window, len(features), image.size, prepare)


def _exact(
    image: npt.NDArray[Any], features: Sequence[str], glcm: GLCMSettings, backend: Backend
) -> Callable[[], object]:
    return lambda: feature_maps(image, features, glcm, backend=backend)


def _network_cases() -> Iterator[Case]:
    for device, (name, network) in itertools.product(keras_devices(), _networks().items()):
        only = FEATURES[:1] if network.architecture == "analytic" else FEATURES
        for features, window in itertools.product(only, WINDOWS):
            if network.takes_window(window):
                prepare = partial(_network, network, features, GLCMSettings(window=window), device)
                platform = device.partition(":")[0]
                yield Case(name, platform, 2, window, len(features), TILE**2, prepare)


def _networks() -> dict[str, NetworkSettings]:
    return {
        "radsynth": NetworkSettings(),
        "radsynth, no padding": NetworkSettings(padding="valid", pool_stride=1),
        "equality": NetworkSettings(architecture="equality"),
        "analytic": NetworkSettings(architecture="analytic"),
    }


def _network(
    network: NetworkSettings, features: Sequence[str], glcm: GLCMSettings, device: str
) -> Callable[[], object]:
    tile = _noise(1, TILE)[0]
    with keras.device(device):
        model = dense_model(build_model(glcm, network, features))

    def run() -> object:
        with keras.device(device):
            return synthesize_features(tile, model)

    return run


def _noise(depth: int, edge: int) -> npt.NDArray[np.float64]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(depth, edge, edge)).cumsum(axis=1).cumsum(axis=2)
