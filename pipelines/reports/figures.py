"""The paper's Figures 2 and 3 for a run, and the plot of the benchmark.

Figures are drawn without pyplot: no window system, no state shared between them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipelines.reports.names import with_unit
from surrogate.agreement import Agreement

Values = npt.NDArray[np.floating[Any]]

DPI = 150
# The palette of Okabe and Ito, which colour-blind readers can tell apart.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
LESION_COLOUR = "#FF9500"


@dataclass(frozen=True, kw_only=True)
class MapRow:
    """One patient's slice in Figure 2; all arrays are (Y, X).

    `aspect` is the height of a pixel over its width; `lesion` is None where there is none.
    """

    title: str
    image: npt.NDArray[Any]
    exact: npt.NDArray[np.float32]
    synthetic: npt.NDArray[np.float32]
    lesion: npt.NDArray[np.bool_] | None
    aspect: float


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One tissue in Figure 3: sampled points by group, and the statistics over all voxels."""

    tissue: str
    points: dict[str, tuple[Values, Values]]
    statistics: Agreement


@dataclass(frozen=True)
class Bar:
    """One method in the benchmark's plot: voxels per second; `kind` chooses the colour."""

    kind: str
    name: str
    median: float
    low: float
    high: float
    note: str


@dataclass(frozen=True)
class Line:
    """One method in a plot over windows: (window, seconds) points."""

    name: str
    exact: bool
    points: list[tuple[int, float]]


def draw_maps(rows: Sequence[MapRow], path: Path, *, title: str, feature: str, unit: str | None) -> None:
    """Write image, exact map, synthetic map and difference side by side, one row per patient.

    The two maps share one colour scale over all rows (from the 0.5th to the 99.5th percentile of the
    exact values), the differences another, symmetric about 0.
    """
    figure = new_figure(10.6, 0.9 + 2.55 * len(rows), title)
    axes = figure.subplots(len(rows), 4, squeeze=False)
    low, high = _percentiles([row.exact for row in rows], (0.5, 99.5))
    (reach,) = _percentiles([np.abs(row.synthetic - row.exact) for row in rows], (99.5,))
    reach = max(reach, 1e-6)
    for row, line in zip(rows, axes, strict=True):
        difference = row.synthetic - row.exact
        # Clipped: one bright vessel would leave everything else dark.
        dark, bright = _percentiles([row.image], (0.5, 99.5))
        line[0].imshow(row.image, cmap="gray", vmin=dark, vmax=bright, aspect=row.aspect)
        maps = [
            ax.imshow(values, cmap="viridis", vmin=low, vmax=high, aspect=row.aspect)
            for ax, values in zip(line[1:3], (row.exact, row.synthetic), strict=True)
        ]
        errors = line[3].imshow(difference, cmap="RdBu_r", vmin=-reach, vmax=reach, aspect=row.aspect)
        line[0].set_ylabel(row.title, fontsize=10)
        for ax in line:
            _outline(ax, row.lesion)
            ax.set_xticks([])
            ax.set_yticks([])
    columns = ("Image", f"Exact {feature}", f"Synthetic {feature}", "Synthetic − exact")
    for ax, name in zip(axes[0], columns, strict=True):
        ax.set_title(name, fontsize=11)
    bar: dict[str, Any] = {
        "extend": "both",
        "orientation": "horizontal",
        "aspect": 40,
        "pad": 0.01,
        "shrink": 0.9,
    }
    figure.colorbar(maps[0], ax=axes[:, 1:3], label=with_unit(feature, unit), **bar)
    figure.colorbar(errors, ax=axes[:, 3], label=with_unit("difference", unit), **(bar | {"aspect": 18}))
    save_figure(figure, path)


def draw_agreement(
    panels: Sequence[Panel], path: Path, *, title: str, feature: str, unit: str | None
) -> None:
    """Write a scatter plot (top) and a Bland-Altman plot (bottom) for every tissue.

    References
    ----------
    Bland and Altman 1986, Lancet 327:307-310.
    """
    figure = new_figure(0.8 + 3.6 * len(panels), 7.6, title)
    axes = figure.subplots(2, len(panels), squeeze=False, sharex=True, sharey="row")
    # One colour per group in every panel, although some groups lack a tissue.
    groups = list(dict.fromkeys(group for panel in panels for group in panel.points))
    colours = {group: COLOURS[i % len(COLOURS)] for i, group in enumerate(groups)}
    for panel, scatter, altman in zip(panels, axes[0], axes[1], strict=True):
        _draw_scatter(scatter, panel, colours)
        _draw_bland_altman(altman, panel, colours, unit)
        scatter.set_xlabel(with_unit(f"exact {feature}", unit))
        altman.set_xlabel(with_unit("mean of exact and synthetic", unit))
    axes[0, 0].set_ylabel(with_unit(f"synthetic {feature}", unit))
    axes[1, 0].set_ylabel(with_unit("synthetic − exact", unit))
    _set_ranges(axes, panels)
    _legend(axes[0, 0], colours)
    save_figure(figure, path)


def draw_speeds(bars: Sequence[Bar], path: Path, *, title: str, subtitle: str) -> None:
    """Write the voxels per second of each method on a logarithmic axis, with the spread."""
    figure = new_figure(9.6, 1.6 + 0.55 * len(bars), title)
    ax = figure.subplots()
    places = np.arange(len(bars))[::-1]
    medians = np.array([bar.median for bar in bars])
    spread = np.array([[bar.median - bar.low, bar.high - bar.median] for bar in bars]).T
    kinds = list(dict.fromkeys(bar.kind for bar in bars))
    colours = [COLOURS[kinds.index(bar.kind)] for bar in bars]
    ax.barh(places, medians, color=colours, height=0.62)
    ax.errorbar(medians, places, xerr=spread, fmt="none", ecolor="black", capsize=4, linewidth=1.2)
    ax.set_yticks(places, [bar.name for bar in bars])
    ax.set_xscale("log")
    # A logarithmic axis has no zero for the bars to start from: start below the slowest.
    ax.set_xlim(10 ** math.floor(math.log10(min(bar.low for bar in bars)) - 0.5), _top(bars))
    for place, bar in zip(places, bars, strict=True):
        ax.annotate(
            bar.note, (bar.high, place), xytext=(8, 0), textcoords="offset points", va="center", fontsize=9
        )
    ax.set_xlabel("voxels per second (median; whiskers: slowest and fastest repeat)")
    ax.set_title(subtitle, fontsize=9)
    ax.grid(axis="x", which="major", alpha=0.4)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)


def draw_crossover(panels: dict[str, list[Line]], path: Path, *, title: str) -> None:
    """Write the seconds of each method over windows, one panel per dimensions and number of features.

    Exact methods are solid; a method has one colour in all panels.
    """
    figure = new_figure(3.4 * min(len(panels), 3) + 2.4, 3.2 * math.ceil(len(panels) / 3) + 0.8, title)
    axes = figure.subplots(math.ceil(len(panels) / 3), min(len(panels), 3), sharey=True, squeeze=False)
    names = list(dict.fromkeys(line.name for lines in panels.values() for line in lines))
    for ax, (name, lines) in zip(axes.flat, panels.items(), strict=False):
        for line in lines:
            colour = COLOURS[names.index(line.name) % len(COLOURS)]
            style = "-" if line.exact else "--"
            ax.plot(*zip(*line.points, strict=True), style, marker="o", color=colour, label=line.name)
        ax.set_title(name, fontsize=11)
        ax.set_yscale("log")
        ax.set_xlabel("window (voxels)")
        ax.set_xticks(sorted({window for line in lines for window, _ in line.points}))
        ax.grid(which="major", alpha=0.4)
    for ax in axes.flat[len(panels) :]:
        ax.set_axis_off()
    for ax in axes[:, 0]:
        ax.set_ylabel("seconds per 512x512 slice")
    handles = {
        label: handle
        for ax in axes.flat
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles, loc="outside right upper", fontsize=9)
    save_figure(figure, path)


def p_text(p: float) -> str:
    """Return a p-value as figures and tables print it; empty for NaN."""
    if math.isnan(p):
        return ""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def new_figure(width: float, height: float, title: str) -> Figure:
    """Return an empty figure of a size in inches, with its title."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(title, fontsize=12)
    return figure


def save_figure(figure: Figure, path: Path, **options: Any) -> None:
    """Write a figure as PNG; `options` go to matplotlib's `savefig`."""
    figure.savefig(path, dpi=DPI, metadata={"Software": "radsynth"}, **options)


def _percentiles(arrays: Sequence[npt.NDArray[Any]], percent: tuple[float, ...]) -> tuple[float, ...]:
    """Return percentiles over the finite values of all arrays; windows without a pair are NaN."""
    values = np.concatenate([array[np.isfinite(array)] for array in arrays])
    return tuple(float(p) for p in np.percentile(values, percent))


def _outline(ax: Axes, lesion: npt.NDArray[np.bool_] | None) -> None:
    if lesion is not None and lesion.any() and not lesion.all():
        ax.contour(lesion, levels=[0.5], colors=[LESION_COLOUR], linewidths=1.2)


def _draw_scatter(ax: Axes, panel: Panel, colours: dict[str, str]) -> None:
    exact, synthetic, colour = _shuffled(panel, colours)
    _cloud(ax, exact, synthetic, colour)
    ax.axline((0, 0), slope=1, color="black", linewidth=0.9, linestyle="--")
    s = panel.statistics
    interval = "" if math.isnan(s.pearson_low) else f"\n95 % CI {s.pearson_low:.4f} to {s.pearson_high:.4f}"
    _note(ax, f"r = {s.pearson:.4f}{interval}\nRMSE {s.rmse:.4f}")
    ax.set_title(
        f"{panel.tissue}\n{s.voxels:,} voxels, {s.patients} patient{'s' * (s.patients != 1)}", fontsize=10
    )


def _draw_bland_altman(ax: Axes, panel: Panel, colours: dict[str, str], unit: str | None) -> None:
    exact, synthetic, colour = _shuffled(panel, colours)
    _cloud(ax, (exact + synthetic) / 2, synthetic - exact, colour)
    s = panel.statistics
    ax.axhline(0, color="grey", linewidth=0.8)
    ax.axhline(s.bias, color="black", linewidth=1.3)
    for limit in (s.limit_low, s.limit_high):
        ax.axhline(limit, color="black", linewidth=1.1, linestyle="--")
    p = "" if math.isnan(s.bias_p) else f", p {p_text(s.bias_p)}"
    bias = f"bias {s.bias:+.4f}{f' {unit}' if unit else ''}{p}"
    _note(ax, f"{bias}\nlimits {s.limit_low:+.3f} to {s.limit_high:+.3f}")


def _shuffled(panel: Panel, colours: dict[str, str]) -> tuple[Values, Values, list[str]]:
    """Return the points of all groups in random order, so that no group hides the others."""
    exact, synthetic = (np.concatenate(values) for values in zip(*panel.points.values(), strict=True))
    colour = [colours[group] for group, pair in panel.points.items() for _ in pair[0]]
    order = np.random.default_rng(0).permutation(exact.size)
    return exact[order], synthetic[order], [colour[i] for i in order]


def _cloud(ax: Axes, x: Values, y: Values, colour: list[str]) -> None:
    ax.scatter(x, y, s=3, c=colour, alpha=0.3, linewidths=0)


def _legend(ax: Axes, colours: dict[str, str]) -> None:
    handles = [
        ax.plot([], [], linestyle="none", marker="o", markersize=5, color=colour, label=group)[0]
        for group, colour in colours.items()
    ]
    ax.legend(handles=handles, loc="lower right", fontsize=8, framealpha=0.9)


def _note(ax: Axes, text: str) -> None:
    box = {"boxstyle": "round,pad=0.3", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
    ax.text(0.03, 0.97, text, transform=ax.transAxes, va="top", ha="left", fontsize=9, bbox=box, zorder=5)


def _set_ranges(axes: npt.NDArray[Any], panels: Sequence[Panel]) -> None:
    """Frame nearly all points: a few outliers must not compress the rest."""
    pairs = [pair for panel in panels for pair in panel.points.values()]
    low, high = _percentiles([values for pair in pairs for values in pair], (0.1, 99.9))
    margin = max(0.05 * (high - low), 1e-3)
    axes[0, 0].set_xlim(low - margin, high + margin)
    axes[0, 0].set_ylim(low - margin, high + 4 * margin)
    errors = _percentiles([synthetic - exact for exact, synthetic in pairs], (0.1, 99.9))
    statistics = [panel.statistics for panel in panels]
    limits = [limit for s in statistics for limit in (s.limit_low, s.limit_high) if math.isfinite(limit)]
    reach = max(*(abs(error) for error in (*errors, *limits)), 1e-3)
    axes[1, 0].set_ylim(-1.2 * reach, 1.55 * reach)


def _top(bars: Sequence[Bar]) -> float:
    """Return the end of the axis, which leaves room for the note beside the longest bar."""
    highest, lowest = max(bar.high for bar in bars), min(bar.low for bar in bars)
    return float(highest * max(highest / lowest, 10) ** 0.6)
