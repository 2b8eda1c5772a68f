"""Measurements of `benchmarks/peers.py`: crops, checks of values, turns."""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from _peer_tools import Adapter, Tool, ToolError, command_of

from glcm_cuda import GLCMSettings, entropy_map, quantize

TOLERANCE = 1e-5
"""Largest difference that counts as agreement, in the map's unit: r.texture and ITK sum in float32."""

EDGES = (16, 32, 64, 128, 256, 512)

Case = tuple[int, int]
"""Number of levels, and edge of the window."""


@dataclass(frozen=True)
class Slice:
    """The image: a (Y, X) array whose crops are centred on the pixel (`centre`, `centre`)."""

    array: npt.NDArray[Any]
    centre: int
    name: str
    phantom: bool


@dataclass(frozen=True)
class Effort:
    """Most seconds of one call, and number of turns."""

    call_seconds: float
    turns: int


@dataclass(frozen=True)
class Crops:
    """Crops of the slice in the grey levels of a case, as files in a folder."""

    image: Slice
    case: Case
    folder: Path

    def levels(self, edge: int) -> npt.NDArray[np.uint8]:
        """Return the crop with `edge` pixels, in the levels of the whole slice."""
        levels = quantize(self.image.array, GLCMSettings(levels=self.case[0]))
        first = [int(np.clip(self.image.centre - edge // 2, 0, size - edge)) for size in levels.shape]
        return np.ascontiguousarray(levels[first[0] : first[0] + edge, first[1] : first[1] + edge])

    def file(self, edge: int) -> Path:
        """Return the file of the crop with `edge` pixels; it is written at the first call."""
        path = self.folder / f"levels{self.case[0]}_edge{edge}.npy"
        if not path.exists():
            np.save(path, self.levels(edge))
        return path


@dataclass
class Run:
    """Calls of one tool in one case with a number of threads: 1, or None for the tool's default."""

    case: Case
    threads: int | None
    edge: int
    levels_file: Path
    check: dict[str, Any]
    seconds: list[float] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return the run as it is written."""
        return {
            "levels": self.case[0],
            "window": self.case[1],
            "threads": "default" if self.threads is None else self.threads,
            "shape": [self.edge, self.edge],
            "seconds": self.seconds,
            "ns_per_voxel": statistics.median(self.seconds) / self.edge**2 * 1e9,
            **self.check,
        }


@dataclass
class Entry:
    """A tool in the comparison: its process once it has started, its error if any, and its runs."""

    tool: Tool
    adapter: Adapter | None = None
    problem: str = ""
    runs: list[Run] = field(default_factory=list)

    @contextmanager
    def giving_up(self) -> Iterator[Adapter | None]:
        """Yield the process if the tool still works; if it fails, note why and do not call it again."""
        try:
            yield None if self.problem else self.adapter
        except ToolError as error:
            self.problem = str(error)
            print(self.problem, file=sys.stderr)

    def start(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        """Start the process; see `Adapter`."""
        with self.giving_up():
            self.adapter = Adapter(self.tool, command_of(self.tool), folder, environment)

    def probe(self, crops: Crops, call_seconds: float) -> None:
        """Find the largest crop that fits the time and check its values; these calls are not timed."""
        with self.giving_up() as adapter:
            if adapter is None:
                return
            for threads in (1, None) if adapter.parallel else (1,):
                edge, found = _largest(adapter, crops, threads, call_seconds)
                inner = crops.case[1] // 2 if self.tool.inside_only else 0
                check = compare(found, expected(self.tool, crops.levels(edge), crops.case), inner)
                self.runs.append(Run(crops.case, threads, edge, crops.file(edge), check))

    def take_turn(self, case: Case) -> None:
        """Time the runs of a case; the adapter repeats very short ones."""
        with self.giving_up() as adapter:
            for run in self.runs if adapter else ():
                if run.case == case:
                    run.seconds.append(adapter.seconds(run.levels_file, *case, run.threads))

    def as_dict(self) -> dict[str, Any]:
        """Return the entry as it is written."""
        tool, adapter = self.tool, self.adapter
        return {
            "name": tool.name,
            "title": tool.title,
            "definition": tool.definition,
            "mirrored_by": dict(tool.settings),
            "computes_besides": tool.computes,
            "reference": tool.reference,
            "problem": self.problem,
            "versions": adapter.versions if adapter else {},
            "startup_seconds": adapter.startup_seconds if adapter else None,
            "parallel": adapter.parallel if adapter else False,
            "runs": [run.as_dict() for run in self.runs if run.seconds],
        }


def measure(tools: Sequence[Tool], image: Slice, cases: Sequence[Case], effort: Effort) -> dict[str, Any]:
    """Return how the tools were measured, and for each tool its description and all times.

    A tool that is missing or fails is reported in the results and on standard error; the others go on.
    """
    entries = [Entry(tool) for tool in tools]
    with tempfile.TemporaryDirectory() as folder, _started(entries, Path(folder)):
        for case in cases:
            print(f"{case[0]} levels, window {case[1]}x{case[1]}", file=sys.stderr)
            crops = Crops(image, case, Path(folder))
            for entry in entries:
                entry.probe(crops, effort.call_seconds)
            for _ in range(effort.turns):
                for entry in entries:
                    entry.take_turn(case)
    return {
        "turns": effort.turns,
        "tolerance": TOLERANCE,
        "cases": [{"levels": levels, "window": window} for levels, window in cases],
        "tools": [entry.as_dict() for entry in entries],
    }


def expected(tool: Tool, levels: npt.NDArray[np.uint8], case: Case) -> npt.NDArray[np.float32]:
    """Return RadSynth's map in the settings that mirror the tool's definition."""
    number, window = case
    # Bins of width 1 from 0 leave the levels as they are.
    fields = {"levels": number, "window": window, "intensity_range": (0, number), **tool.settings}
    return entropy_map(levels, GLCMSettings(**fields), backend="cpu")


def compare(
    found: npt.NDArray[Any], wanted: npt.NDArray[np.float32], margin: int, tolerance: float = TOLERANCE
) -> dict[str, Any]:
    """Compare a tool's map with RadSynth's.

    Parameters
    ----------
    found, wanted : (Y, X) arrays
        The tool's map and RadSynth's, in one unit.
    margin : int
        Width of the border that is not compared, in voxels.
    tolerance : float
        Largest difference that counts as agreement.

    Returns
    -------
    dict
        ``agrees``, ``largest_difference`` (None if there is none) and ``verdict``, a phrase.
    """
    if found.shape != wanted.shape:
        return _disagreement(f"the map has shape {found.shape} instead of {wanted.shape}")
    inner = tuple(slice(margin, size - margin) for size in wanted.shape)
    if not np.array_equal(np.isfinite(found[inner]), np.isfinite(wanted[inner])):
        return _disagreement("voxels without a value differ")
    largest = float(np.nanmax(np.abs(found[inner] - wanted[inner]), initial=0.0))
    if largest > tolerance:
        return _disagreement(f"values differ by {largest:.2g}", largest)
    return {"agrees": True, "largest_difference": largest, "verdict": f"agrees to {largest:.0e}"}


def _disagreement(verdict: str, largest: float | None = None) -> dict[str, Any]:
    return {"agrees": False, "largest_difference": largest, "verdict": verdict}


@contextmanager
def _started(entries: Sequence[Entry], folder: Path) -> Iterator[None]:
    """Start the tools one after another, because start-up is timed; stop them at the end."""
    # Fill RadSynth's cache of machine code, or its start-up would include compilation.
    for merged in (False, True):
        settings = GLCMSettings(symmetric=not merged, aggregate="merge" if merged else "mean")
        entropy_map(np.zeros((8, 8)), settings, backend="cpu")
    try:
        for entry in entries:
            entry.start(folder)
        yield
    finally:
        for entry in entries:
            if entry.adapter is not None:
                entry.adapter.close()


def _largest(
    adapter: Adapter, crops: Crops, threads: int | None, call_seconds: float
) -> tuple[int, npt.NDArray[Any]]:
    """Return the edge of the largest crop that can be mapped in the time, and the tool's map of it.

    The edge is doubled as long as four times the last duration fits. One call before the first warms up.
    """
    map_file = crops.folder / "map.npy"
    adapter.seconds(crops.file(EDGES[0]), *crops.case, threads)
    for edge in EDGES:
        seconds = adapter.seconds(crops.file(edge), *crops.case, threads, map_file)
        if 4 * seconds > call_seconds or 2 * edge > min(crops.image.array.shape):
            break
    return edge, np.load(map_file)
