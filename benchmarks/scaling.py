"""How the time of `entropy_map` on the CPU grows with voxels, window, levels and threads.

    python benchmarks/scaling.py [-o DIR]

The images are independent noise, in which the codes of pairs are as different as they can be. Times are
medians of repetitions that take turns; compilation is not included. Writes scaling.json into
benchmarks/results and the figure into docs/figures, or both into DIR.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
from _machine import FIGURES, RESULTS, machine, machine_line, save_figure, write_json

from glcm_cuda import GLCMSettings, entropy_map
from pipelines.reports.figures import COLOURS
from pipelines.reports.tables import counted, markdown_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

REPEATS = 9
ALL_THREADS = numba.get_num_threads()
SLICES = (256, 512, 1024, 2048, 4096)
VOLUMES_2D = (64, 128, 192)
VOLUMES_3D = (64, 96)
WINDOWS = (3, 5, 7, 9, 11, 13, 15)
LEVELS = (8, 16, 32, 64, 128, 256)


@dataclass
class Point:
    """One configuration and its times; `line` and `x` place it in the figure."""

    panel: str
    line: str
    x: int
    shape: tuple[int, ...]
    settings: GLCMSettings = field(default_factory=GLCMSettings)
    threads: int = ALL_THREADS
    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.seconds)

    @property
    def ns_per_voxel(self) -> float:
        """Nanoseconds."""
        return self.median / float(np.prod(self.shape)) * 1e9

    def as_dict(self) -> dict[str, Any]:
        """Return the point as it is written."""
        return {
            "panel": self.panel,
            "line": self.line,
            "shape": list(self.shape),
            "settings": self.settings.to_dict(),
            "threads": self.threads,
            "seconds": self.seconds,
            "median_seconds": self.median,
            "ns_per_voxel": self.ns_per_voxel,
        }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Time of entropy_map over voxels, window, levels, threads.")
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="folder for results and figure")
    options = parser.parse_args(arguments)
    described = machine()
    points = list(configurations())
    measure(points, REPEATS)
    print(table(points))
    results, figures = (options.output, options.output) if options.output else (RESULTS, FIGURES)
    document = {"machine": described, "repeats": REPEATS, "points": [point.as_dict() for point in points]}
    write_json(document, results / "scaling.json")
    draw(points, figures / "scaling.png", machine_line(described))
    print(results / "scaling.json")


def configurations() -> Iterator[Point]:
    """Yield all configurations that are timed."""
    volumetric = GLCMSettings(dimensions=3)
    for edge in SLICES:
        yield Point("voxels", "slice, 5x5", edge**2, (edge, edge))
    for edge in VOLUMES_2D:
        yield Point("voxels", "volume, 5x5", edge**3, (edge,) * 3)
    for edge in VOLUMES_3D:
        yield Point("voxels", "volume, 5x5x5", edge**3, (edge,) * 3, volumetric)
    for threads in (1, ALL_THREADS) if ALL_THREADS > 1 else (1,):
        line = counted(threads, "thread")
        for window in WINDOWS:
            yield Point("window", line, window, (512, 512), GLCMSettings(window=window), threads)
        for levels in LEVELS:
            yield Point("levels", line, levels, (512, 512), GLCMSettings(levels=levels), threads)
    for threads in range(1, ALL_THREADS + 1):
        yield Point("threads", "slice, 5x5", threads, (1024, 1024), threads=threads)
        yield Point("threads", "volume, 5x5x5", threads, (64,) * 3, volumetric, threads)


def measure(points: Sequence[Point], repeats: int) -> None:
    """Time all points in turns, after one call with each of the settings that warms up."""
    rng = np.random.default_rng(0)
    images = {shape: rng.random(shape, np.float32) for shape in {point.shape for point in points}}
    for settings in {point.settings for point in points}:
        entropy_map(rng.random((8, 16, 16), np.float32), settings, backend="cpu")
    for turn in range(repeats):
        print(f"turn {turn + 1} of {repeats}", file=sys.stderr)
        for point in points:
            numba.set_num_threads(point.threads)
            start = time.perf_counter()
            entropy_map(images[point.shape], point.settings, backend="cpu")
            point.seconds.append(time.perf_counter() - start)
    numba.set_num_threads(ALL_THREADS)


def table(points: Sequence[Point]) -> str:
    """Return the medians as Markdown."""
    header = ["over", "image", "window", "levels", "threads", "s", "ns per voxel"]
    return markdown_table(
        header,
        [
            [
                point.panel,
                "x".join(map(str, point.shape)),
                "x".join([str(point.settings.window)] * point.settings.dimensions),
                str(point.settings.levels),
                str(point.threads),
                f"{point.median:.4f}",
                f"{point.ns_per_voxel:.1f}",
            ]
            for point in points
        ],
    )


def draw(points: Sequence[Point], path: Path, caption: str) -> None:
    """Write four panels: seconds over voxels, time per voxel over window and levels, gain over threads."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7), layout="constrained")
    figure.suptitle("Exact entropy maps on the CPU: how the time grows", fontsize=13)
    (voxels, window), (levels, threads) = figure.subplots(2, 2)
    all_threads = counted(ALL_THREADS, "thread")
    _draw_panel(voxels, points, "voxels", lambda point: point.median)
    _name(voxels, f"64 levels, {all_threads}", "voxels", "seconds")
    voxels.set(xscale="log", yscale="log")
    _draw_panel(window, points, "window", lambda point: point.ns_per_voxel)
    _name(window, "512x512, 64 levels", "edge of the window", "ns per voxel")
    window.set(xticks=WINDOWS, ylim=(0, None))
    _draw_panel(levels, points, "levels", lambda point: point.ns_per_voxel)
    _name(levels, "512x512, 5x5", "levels", "ns per voxel")
    levels.set_xscale("log", base=2)
    levels.set_xticks(LEVELS, map(str, LEVELS))
    levels.set_ylim(0, None)
    alone = {point.line: point.median for point in points if (point.panel, point.x) == ("threads", 1)}
    _draw_panel(threads, points, "threads", lambda point: alone[point.line] / point.median)
    counts = range(1, ALL_THREADS + 1)
    threads.plot(counts, counts, "--", color="grey", linewidth=1, label="ideal")
    _name(threads, "1024x1024 and 64x64x64, 64 levels", "threads", "times as fast as 1 thread")
    threads.set(ylim=(0, None))
    threads.xaxis.get_major_locator().set_params(integer=True)
    for ax in (voxels, window, levels, threads):
        ax.legend(fontsize=9, frameon=False)
    figure.supxlabel(textwrap.fill(caption, 130), fontsize=8)
    save_figure(figure, path)


def _draw_panel(ax: Axes, points: Sequence[Point], panel: str, value: Callable[[Point], float]) -> None:
    """Draw the lines of a panel."""
    chosen = [point for point in points if point.panel == panel]
    for line, colour, mark in zip(dict.fromkeys(p.line for p in chosen), COLOURS, "osD", strict=False):
        own = [point for point in chosen if point.line == line]
        xs, ys = [point.x for point in own], [value(point) for point in own]
        ax.plot(xs, ys, marker=mark, color=colour, linewidth=1.4, markersize=5, label=line)


def _name(ax: Axes, title: str, x: str, y: str) -> None:
    ax.set_title(title, fontsize=10)
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.grid(alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
