"""The figures of ``radsynth explain``: filters, patches of extreme output, what raises a patch's value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from pipelines.reports.figures import COLOURS, new_figure, save_figure

if TYPE_CHECKING:
    from surrogate.explanation import Drops, Explanation, Filters

NUMBERED_WINDOW = 7
"""Widest patches with the levels written in their voxels; in wider ones they would be illegible."""

_COLUMNS_OF_FILTERS = 16
_PART_NAMES = {"smooth": "smooth part"}

_SMALL = 1e-3
"""Smaller values may be rounding errors of float32."""

_BAR: dict[str, Any] = {"shrink": 0.85, "aspect": 18, "pad": 0.015}


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Texts and limits that all figures of a network share.

    Parameters
    ----------
    network : str
        Name of the network.
    quantity : str
        What it predicts, with the unit: ``joint entropy (bits)``.
    levels : int
        Number of grey levels.
    largest : float, optional
        Upper bound of the quantity, if known.
    """

    network: str
    quantity: str
    levels: int
    largest: float | None = None


@dataclass(frozen=True, kw_only=True)
class ExtremeRow:
    """One row of patches: (n, w, w) levels and their (n,) values."""

    name: str
    patches: npt.NDArray[np.uint8]
    predicted: npt.NDArray[np.float32]
    exact: npt.NDArray[np.float32]


def draw_filters(filters: Filters, path: Path, labels: Labels) -> None:
    """Write the kernels of the first layer, numbered row by row, in one symmetric colour scale."""
    count, height, width = filters.weights.shape
    columns = min(_COLUMNS_OF_FILTERS, count)
    rows = math.ceil(count / columns)
    figure = new_figure(
        1.6 + 0.55 * columns, 1.25 + 0.52 * rows * height / width, _filters_title(filters, labels)
    )
    ax = figure.subplots()
    reach = float(np.abs(filters.weights).max()) or 1.0
    mosaic = _mosaic(filters.weights, rows, columns)
    shown = ax.imshow(mosaic, cmap="RdBu_r", vmin=-reach, vmax=reach)
    ax.set_facecolor("0.85")
    ax.set_xticks(np.arange(columns) * (width + 1) + (width - 1) / 2, [f"+{i}" for i in range(columns)])
    firsts = [str(row * columns) for row in range(rows)]
    ax.set_yticks(np.arange(rows) * (height + 1) + (height - 1) / 2, firsts)
    ax.tick_params(length=0, labelsize=8)
    ax.set_xlabel(
        "filter number, row + column" + ("" if filters.random_share is None else ", strongest first")
    )
    figure.colorbar(shown, ax=ax, label=filters.meaning, **_BAR)
    _save(figure, path)


def draw_extremes(rows: Sequence[ExtremeRow], path: Path, labels: Labels) -> None:
    """Write rows of patches under their values, in the grey scale of all levels."""
    columns = max(len(row.patches) for row in rows)
    title = f"{labels.network}: patches with the highest and lowest {labels.quantity}"
    if labels.largest is not None:
        title += f"; the largest possible value is {labels.largest:.3g}"
    reach = max(float(np.abs(values).max()) for row in rows for values in (row.predicted, row.exact))
    figure = new_figure(2.2 + 1.75 * columns, 0.9 + 2.2 * len(rows), title)
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for row, line in zip(rows, axes, strict=True):
        for ax in line[len(row.patches) :]:
            ax.set_visible(False)
        for ax, patch, predicted, exact in zip(line, row.patches, row.predicted, row.exact, strict=False):
            shown = _draw_patch(ax, patch, (0, labels.levels - 1))
            ax.set_title(_values_text(float(predicted), float(exact), reach), fontsize=8.5)
        line[0].set_ylabel(row.name, fontsize=10)
    figure.colorbar(
        shown, ax=axes, label=f"grey level (0 to {labels.levels - 1})", **(_BAR | {"shrink": 0.5})
    )
    _save(figure, path)


def draw_explanation(explanation: Explanation, path: Path, labels: Labels, *, title: str) -> None:
    """Write a patch, the patch without each part, and the drops by part and by voxel.

    `title` names the patch.
    """
    figure = new_figure(12.0, 6.4, f"{labels.network}: {title}")
    halves: Any = figure.subfigures(2, 1, height_ratios=(1, 1.15))
    upper, lower = halves
    _draw_patches(upper, explanation, labels)
    voxels, parts = lower.subfigures(1, 2, width_ratios=(1.15, 1))
    _draw_voxels(voxels, explanation, labels)
    _draw_parts(parts.subplots(), explanation, labels)
    _save(figure, path)


def _draw_patches(figure: Any, explanation: Explanation, labels: Labels) -> None:
    patches = {"patch": explanation.patch}
    patches |= {f"without {_PART_NAMES.get(part, part)}": rest for part, rest in explanation.without.items()}
    everything = np.stack(list(patches.values()))
    span = int(everything.min()), max(int(everything.max()), int(everything.min()) + 1)
    axes = figure.subplots(1, len(patches))
    predicted, exact = (
        [drops.value, *(drops.value - fall for fall in drops.parts.values())]
        for drops in (explanation.predicted, explanation.exact)
    )
    reach = max(map(abs, predicted + exact))
    for ax, (name, patch), *pair in zip(axes, patches.items(), predicted, exact, strict=True):
        shown = _draw_patch(ax, patch, span)
        ax.set_title(name, fontsize=11)
        ax.set_xlabel(_values_text(pair[0], pair[1], reach), fontsize=9)
    figure.colorbar(
        shown, ax=axes, label=f"grey level (of {labels.levels})", ticks=MaxNLocator(integer=True), **_BAR
    )


def _draw_voxels(figure: Any, explanation: Explanation, labels: Labels) -> None:
    axes = figure.subplots(1, 2)
    drops = {"predicted": explanation.predicted.voxels, "exact": explanation.exact.voxels}
    reach = max(float(np.abs(values).max()) for values in drops.values()) or 1.0
    for ax, (name, values) in zip(axes, drops.items(), strict=True):
        texts = [_number(float(value), reach, 2) for value in values.flat]
        shown = ax.imshow(values, cmap="RdBu_r", vmin=-reach, vmax=reach)
        ax.set_title(f"{name} drop by voxel", fontsize=11)
        ax.set_xlabel("when this voxel is set to the patch's median", fontsize=9)
        _write_numbers(ax, values, texts, np.abs(values) > 0.6 * reach)
        ax.set_xticks([])
        ax.set_yticks([])
    figure.colorbar(shown, ax=axes, label=f"drop of {labels.quantity}", **_BAR)


def _draw_parts(ax: Axes, explanation: Explanation, labels: Labels) -> None:
    places = np.arange(len(explanation.without))[::-1]
    falls = [*explanation.predicted.parts.values(), *explanation.exact.parts.values()]
    reach = max(map(abs, falls))
    for shift, name, colour in ((0.19, "predicted", COLOURS[0]), (-0.19, "exact", COLOURS[1])):
        drops: Drops = getattr(explanation, name)
        bars = ax.barh(places + shift, list(drops.parts.values()), height=0.36, color=colour, label=name)
        texts = [_number(value, reach, 3) for value in drops.parts.values()]
        ax.bar_label(bars, texts, padding=3, fontsize=9)
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set_yticks(places, list(explanation.without))
    ax.margins(x=0.18)
    ax.set_xlabel(f"drop of {labels.quantity} without the part")
    ax.set_title("contribution of each part", fontsize=11)
    ax.legend(fontsize=9, frameon=False, loc="best")
    ax.spines[["top", "right"]].set_visible(False)


def _draw_patch(ax: Axes, patch: npt.NDArray[np.uint8], span: tuple[int, int]) -> AxesImage:
    low, high = span
    shown = ax.imshow(patch, cmap="gray", vmin=low, vmax=high)
    _write_numbers(ax, patch, [str(level) for level in patch.flat], patch < (low + high) / 2)
    ax.set_xticks([])
    ax.set_yticks([])
    return shown


def _write_numbers(
    ax: Axes, values: npt.NDArray[Any], texts: Sequence[str], dark: npt.NDArray[np.bool_]
) -> None:
    """Write a number into every voxel, in white on dark voxels."""
    edge = len(values)
    if edge > NUMBERED_WINDOW:
        return
    for place, (text, white) in enumerate(zip(texts, dark.flat, strict=True)):
        y, x = divmod(place, edge)
        colour = "white" if white else "black"
        ax.text(x, y, text, ha="center", va="center", color=colour, fontsize=7.5 if edge <= 5 else 6)


def _filters_title(filters: Filters, labels: Labels) -> str:
    """Return the title; for learned kernels with the share of power in their means."""
    what = f"{labels.network}: first layer, {filters.layer}"
    count, height, width = filters.weights.shape
    if filters.random_share is None:
        return f"{what}, {count} comparisons from the definition, not learned"
    shares = (round(100 * share) for share in (filters.mean_share, filters.random_share))
    share = "{} % of their power is in their means (random weights: {} %)".format(*shares)
    return f"{what}, {count} filters of {height}×{width}\n{share}"


def _mosaic(weights: npt.NDArray[np.float32], rows: int, columns: int) -> npt.NDArray[np.float32]:
    """Return the kernels side by side, one voxel of NaN between them."""
    count, height, width = weights.shape
    tiles = np.full((rows * columns, height + 1, width + 1), np.nan, np.float32)
    tiles[:count, :height, :width] = weights
    tiles = tiles.reshape(rows, columns, height + 1, width + 1).swapaxes(1, 2)
    return tiles.reshape(rows * (height + 1), columns * (width + 1))[:-1, :-1]


def _values_text(predicted: float, exact: float, reach: float) -> str:
    return f"predicted {_number(predicted, reach, 3)}, exact {_number(exact, reach, 3)}"


def _number(value: float, reach: float, figures: int) -> str:
    """Return a value with the decimals that numbers near `reach` need for `figures` significant figures."""
    digits = max(0, figures - 1 - math.floor(math.log10(max(reach, _SMALL))))
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _save(figure: Figure, path: Path) -> None:
    save_figure(figure, path, bbox_inches="tight")
