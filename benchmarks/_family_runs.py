"""Measurements of `families.py` and `features.py`: regions, checks of values, turns, first maps."""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from _peer_runs import Entry
from _peer_tools import Adapter, Tool, ToolError

from glcm_cuda.families.registry import features_named

FAMILIES = ("firstorder", "glrlm", "glszm", "gldm", "ngtdm")

GROUPS = {
    "joint entropy": ("glcm_JointEntropy",),
    "the other 22": tuple(
        one.full_name for one in features_named("glcm") if one.name not in ("joint_entropy", "mcc")
    ),
    "MCC": ("glcm_MCC",),
}
"""Parts of the family glcm that are measured by themselves, in `benchmarks/features.py`."""

ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "NUMBA")}
"""Variables of every tool's process."""

TOLERANCE = 2e-7
"""Largest difference that counts as agreement, relative above 1: maps of RadSynth are float32."""

LARGEST_BUSYNESS = 1e9
"""More is rounding instead of a denominator of 0; docs/conventions.md, section 6."""

Shape = tuple[int, int, int]
Values = Mapping[str, npt.NDArray[np.floating]]


@dataclass(frozen=True)
class Subject:
    """An image: a (Z, Y, X) array of intensities; regions are cut out around `centre`."""

    name: str
    array: npt.NDArray[Any]
    centre: Shape
    phantom: bool = False

    def around(self, shape: Shape) -> npt.NDArray[Any]:
        """Return the part of this shape around the centre, moved where the image ends."""
        first = [
            int(np.clip(at - edge // 2, 0, size - edge))
            for at, edge, size in zip(self.centre, shape, self.array.shape, strict=True)
        ]
        return self.array[tuple(slice(low, low + edge) for low, edge in zip(first, shape, strict=True))]

    def bin_width(self, levels: int) -> float:
        """Return the width of bins of which the image has about this many."""
        return float(np.ptp(self.array.astype(float))) / levels


@dataclass(frozen=True)
class Configuration:
    """Windows and levels, and the regions that each tool maps in about a second."""

    name: str
    dimensions: int
    radius: int
    levels: int
    regions: Mapping[str, Shape]
    goal: float | None = None
    """Microseconds per voxel of the five families together."""

    @property
    def radii(self) -> Shape:
        return (self.radius if self.dimensions == 3 else 0, self.radius, self.radius)

    def full_share(self, shape: Shape) -> float:
        """Return the mean share of the voxels of a full window that windows have which this shape clips."""
        shares = (
            1 - radius * (radius + 1) / (size * (2 * radius + 1))
            for radius, size in zip(self.radii, shape, strict=True)
        )
        return float(np.prod(list(shares)))


@dataclass
class Run:
    """Maps of one family by one tool: times of the processor, and how its values agree with RadSynth's."""

    entry: Entry
    request: dict[str, Any]
    voxels: int
    share: float
    verdict: str
    seconds: list[float] = field(default_factory=list)

    def take_turn(self) -> None:
        with self.entry.giving_up() as adapter:
            if adapter is not None:
                self.seconds.append(adapter.ask(self.request)["seconds"])

    def as_dict(self) -> dict[str, Any]:
        """Return the run as it is written."""
        return {
            "tool": self.entry.tool.name,
            "voxels": self.voxels,
            "share_of_full_windows": self.share,
            "seconds": self.seconds,
            "us_per_voxel": statistics.median(self.seconds) / self.voxels / self.share * 1e6,
            "verdict": self.verdict,
        }


def measure(
    tools: Sequence[Tool],
    subjects: Sequence[Subject],
    configurations: Sequence[Configuration],
    families: Sequence[str],
    turns: int,
) -> dict[str, Any]:
    """Return the tools and all times; the first tool is the one that the others are compared with.

    `families` names families or `GROUPS`. Another tool that is missing or fails is reported in the results
    and on standard error; the rest go on. Raises ToolError if the first fails.
    """
    entries = [Entry(tool) for tool in tools]
    cases = []
    with tempfile.TemporaryDirectory() as name, _started(entries, Path(name)):
        for subject in subjects:
            for configuration in configurations:
                print(f"{subject.name}: {configuration.name}", file=sys.stderr)
                for family in families:
                    runs = _probed(entries, subject, configuration, family, Path(name))
                    for _ in range(turns):
                        for run in runs:
                            run.take_turn()
                    cases.append({
                        "image": subject.name,
                        "configuration": configuration.name,
                        "family": family,
                        "runs": [run.as_dict() for run in runs if run.seconds],
                    })  # fmt: skip
    return {
        "families": list(families),
        "turns": turns,
        "tolerance": TOLERANCE,
        "tools": [
            {
                "name": entry.tool.name,
                "title": entry.tool.title,
                "versions": entry.adapter.versions if entry.adapter else {},
                "problem": entry.problem,
            }
            for entry in entries
        ],
        "images": [
            {"name": one.name, "shape": list(one.array.shape), "phantom": one.phantom} for one in subjects
        ],
        "configurations": [{"name": one.name, "goal_us": one.goal} for one in configurations],
        "cases": cases,
    }


@contextmanager
def _started(entries: Sequence[Entry], folder: Path) -> Iterator[None]:
    """Start the tools, and stop them at the end."""
    try:
        for entry in entries:
            entry.start(folder, ONE_THREAD)
        yield
    finally:
        for entry in entries:
            if entry.adapter is not None:
                entry.adapter.close()


def _probed(
    entries: Sequence[Entry], subject: Subject, configuration: Configuration, family: str, folder: Path
) -> list[Run]:
    """Return the runs of the tools that work; compilation and the first map of a region are not timed."""
    features = features_named(GROUPS.get(family, family))
    common = {
        "family": features[0].family,
        "features": [feature.pyradiomics for feature in features],
        "dimensions": configuration.dimensions,
        "radius": configuration.radius,
        "bin_width": subject.bin_width(configuration.levels),
    }
    smallest = min(configuration.regions.values(), key=math.prod)
    checked = common | {"image_file": _region(subject, configuration, smallest, True, folder)}
    runs: list[Run] = []
    reference: Values = {}
    for entry in entries:
        with entry.giving_up() as adapter:
            if adapter is None:
                continue
            values = _values(adapter, checked, folder / f"{entry.tool.name}.npz")
            reference = reference or values
            shape, grown = configuration.regions[entry.tool.name], entry is not entries[0]
            file = _region(subject, configuration, shape, grown, folder)
            timed = common | {"image_file": file, "maps_file": None}
            adapter.ask(timed)
            share = 1.0 if grown else configuration.full_share(shape)
            runs.append(Run(entry, timed, math.prod(shape), share, compare(values, reference)))
        if entries[0].problem:
            raise ToolError(entries[0].problem)
    return runs


def _values(adapter: Adapter, request: Mapping[str, Any], maps_file: Path) -> Values:
    """Return a tool's values at the voxels of a region."""
    adapter.ask({**request, "maps_file": str(maps_file)})
    with np.load(maps_file) as found:
        return dict(found)


def _region(subject: Subject, configuration: Configuration, shape: Shape, grown: bool, folder: Path) -> str:
    """Write a region and its mask; `grown` by the radius, so that no window is clipped. Return the file."""
    radii = np.array(configuration.radii) * grown
    size = tuple(int(edge) for edge in np.add(shape, 2 * radii))
    part = np.ascontiguousarray(subject.around(size))
    mask = np.zeros(size, np.uint8)
    mask[tuple(slice(radius, radius + edge) for radius, edge in zip(radii, shape, strict=True))] = 1
    path = folder / ("_".join(map(str, (*shape, *radii))) + ".npz")
    np.savez(path, image=part, mask=mask)
    return str(path)


def compare(found: Values, reference: Values) -> str:
    """Return how the values of a tool agree with RadSynth's, in a phrase."""
    largest, worst = 0.0, ""
    for name, expected in reference.items():
        kept = ~_undefined(name, reference, found)
        if not np.array_equal(np.isnan(found[name][kept]), np.isnan(expected[kept])):
            return f"voxels without a value differ: {name}"
        distance = np.abs(found[name] - expected) / np.maximum(1, np.abs(expected))
        difference = float(np.nanmax(distance[kept], initial=0.0))
        if difference > largest:
            largest, worst = difference, name
    if largest > TOLERANCE:
        return f"values differ by {largest:.1g}: {worst}"
    return f"agrees to {largest:.0e}"


def _undefined(name: str, reference: Values, found: Values) -> npt.NDArray[np.bool_]:
    """Return where the peers' values are rounding: see docs/conventions.md, section 6."""
    if name in ("Skewness", "Kurtosis"):
        return reference["Range"] == 0
    if name == "Busyness":
        return (reference[name] == 0) & (found[name] > LARGEST_BUSYNESS)
    return np.zeros(reference[name].shape, bool)


_FIRST_MAP = """
import sys, time
import numba, numpy as np
from glcm_cuda import GLCMSettings, feature_maps
family, dimensions, radius, levels = sys.argv[1], *map(int, sys.argv[2:])
settings = GLCMSettings(dimensions=dimensions, window=2 * radius + 1, levels=levels)
image = np.random.default_rng(0).integers(0, 100, (3, 9, 9), np.int16)
start = time.process_time()
feature_maps(image, family.split(), settings, backend="cpu")
print(time.process_time() - start)
"""


def first_map(configuration: Configuration, family: str) -> float:
    """Return the seconds of the processor that a first map takes, compiling, with an empty cache of code.

    `family` is a family or the names of features, with spaces between them.
    """
    fields = (family, configuration.dimensions, configuration.radius, configuration.levels)
    with tempfile.TemporaryDirectory() as cache:
        done = subprocess.run(
            [sys.executable, "-c", _FIRST_MAP, *map(str, fields)],
            env=os.environ | ONE_THREAD | {"NUMBA_CACHE_DIR": cache},
            capture_output=True,
            text=True,
            check=True,
        )
    return float(done.stdout)
