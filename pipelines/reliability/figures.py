"""Figures of a stability run: the heat map, the dendrogram, and the best and worst maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.cluster import hierarchy

from pipelines.reports.figures import LESION_COLOUR, new_figure, save_figure

Values = npt.NDArray[np.floating[Any]]

_ROW_INCHES = 0.16
_COLOURS = {"keep": "#009E73", "doubtful": "#E69F00", "drop": "#D55E00"}


def draw_heat_map(
    icc: Values, features: Sequence[str], perturbations: Sequence[str], words: Sequence[str], path: Path
) -> None:
    """Write the ICC of features (rows) under perturbations (columns); names have the verdict's colour.

    `icc` is (features, perturbations); NaN, where there is no figure, stays grey.
    """
    width, height = 3.6 + 0.42 * len(perturbations), 2.2 + _ROW_INCHES * len(features)
    figure = new_figure(width, height, "ICC(A,1); grey where it has no value")
    ax = figure.subplots()
    ax.set_facecolor("#bbbbbb")
    shown = ax.imshow(np.ma.masked_invalid(icc), cmap="viridis", vmin=0, vmax=1, aspect="auto")
    ax.set_xticks(range(len(perturbations)), perturbations, rotation=90, fontsize=8)
    ax.set_yticks(range(len(features)), features, fontsize=7)
    for tick, word in zip(ax.get_yticklabels(), words, strict=True):
        tick.set_color(_COLOURS[word])
    figure.colorbar(shown, ax=ax, shrink=0.8)
    save_figure(figure, path)


def draw_dendrogram(tree: Values, features: Sequence[str], threshold: float, path: Path) -> None:
    """Write the hierarchical clusters of maps, with the threshold at which they are cut."""
    figure = new_figure(8.0, 1.6 + _ROW_INCHES * len(features), "Maps that say the same")
    ax = figure.subplots()
    hierarchy.dendrogram(
        tree,
        labels=list(features),
        orientation="left",
        ax=ax,
        leaf_font_size=7,
        color_threshold=1 - threshold,
    )
    ax.axvline(1 - threshold, color="black", linewidth=0.8, linestyle="--")
    ax.set_xlabel("1 − |rank correlation|, complete linkage; the dashed line cuts the clusters")
    save_figure(figure, path)


@dataclass(frozen=True, kw_only=True, eq=False)
class MapPicture:
    """One map in a slice: before and after the perturbation that changes it most; NaN outside the mask."""

    title: str
    perturbation: str
    before: Values
    after: Values


def draw_maps(
    image: Values, mask: npt.NDArray[np.bool_], pictures: Sequence[MapPicture], aspect: float, path: Path
) -> None:
    """Write the image's slice, and below it each map before and after, with one colour scale per map."""
    figure = new_figure(7.2, 1.0 + 2.7 * (len(pictures) + 1), "Best and worst maps")
    axes = figure.subplots(len(pictures) + 1, 2, squeeze=False)
    low, high = np.percentile(image, (0.5, 99.5))
    axes[0, 0].imshow(image, cmap="gray", vmin=low, vmax=high, aspect=aspect)
    axes[0, 0].contour(mask, levels=[0.5], colors=[LESION_COLOUR], linewidths=1.0)
    axes[0, 0].set_title("image and mask", fontsize=9)
    axes[0, 1].set_axis_off()
    for line, picture in zip(axes[1:], pictures, strict=True):
        both = np.concatenate([picture.before.ravel(), picture.after.ravel()])
        low, high = np.nanpercentile(both, (1, 99))
        for ax, values, what in zip(
            line, (picture.before, picture.after), ("before", picture.perturbation), strict=True
        ):
            shown = ax.imshow(values, cmap="viridis", vmin=low, vmax=high, aspect=aspect)
            ax.set_title(f"{picture.title}: {what}", fontsize=9)
        figure.colorbar(shown, ax=list(line), shrink=0.8)
    for ax in axes.flat:
        ax.set_xticks([])
        ax.set_yticks([])
    save_figure(figure, path)


def draw_curve(series: Mapping[str, Sequence[tuple[str, float, float]]], feature: str, path: Path) -> None:
    """Write shares at the bounds (left) and spread against noise (right) over levels.

    Parameters
    ----------
    series : mapping
        By range and window: points of (levels or width of bins, part at floor or ceiling, spread over noise).
    feature : str
        What the title calls it.
    path : Path
        PNG.
    """
    figure = new_figure(10.0, 4.2, f"{feature}: levels, windows and range")
    bounds, noise = figure.subplots(1, 2)
    names = {point[0] for points in series.values() for point in points}
    bins = sorted(names, key=lambda name: float(name.split()[-1]))
    for name, points in series.items():
        dashed = "--" if name.startswith("range over the mask") else "-"
        places = [bins.index(point[0]) for point in points]
        style: dict[str, Any] = {"linestyle": dashed, "marker": "o", "markersize": 4}
        bounds.plot(places, [100 * point[1] for point in points], label=name, **style)
        noise.plot(places, [point[2] for point in points], **style)
    bounds.set_ylabel("% of the voxels at floor or ceiling")
    noise.set_ylabel("spread in the mask / noise of the map")
    for ax in (bounds, noise):
        ax.set_xticks(range(len(bins)), bins)
        ax.set_xlabel("grey levels, or width of a bin")
        ax.set_ylim(bottom=0)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    save_figure(figure, path)
