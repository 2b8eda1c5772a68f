"""What `radsynth stability` writes: tables, figures, a page, and the maps that survive."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from glcm_cuda.levels.arrays import bounding_box
from pipelines.images.masks import MaskChoice
from pipelines.images.provenance import made_by
from pipelines.reliability.analysis import Analysis
from pipelines.reliability.curve import MOST_AT_BOUNDS, Point, recommended
from pipelines.reliability.figures import MapPicture, draw_curve, draw_dendrogram, draw_heat_map, draw_maps
from pipelines.reliability.perturbations import OF_SETTINGS
from pipelines.reliability.redundancy import linkage
from pipelines.reliability.survivors import write_survivors
from pipelines.reliability.tables import (
    bins_told,
    correlation_rows,
    curve_rows,
    figure,
    stability_rows,
    verdict_rows,
)
from pipelines.reliability.verdict import Thresholds, survivors
from pipelines.reports.tables import counted, html_figure, html_notice, html_page, html_table, write_csv

_PICTURED = 2
"""Best maps, and worst maps, that are drawn."""

_SURROUNDINGS = 10
"""Voxels around the mask that pictures show."""

_HOW_TO_READ = (
    "ICC(A,1) asks whether a voxel has the same value again, against the differences between voxels of the "
    "mask. Neighbouring windows share voxels: the interval counts one independent observation per window's "
    "worth of voxels. It is wide where all voxels moved alike: two measurements tell little of how much "
    "such offsets vary. Changes of settings are judged by rank, since many features change their scale with "
    "them. What repeats need not mean anything; what does not repeat cannot."
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """All that a run found.

    Parameters
    ----------
    analysis : Analysis
        Of the case.
    planes : Analysis, optional
        Of windows in planes, where those in three dimensions span uneven spacings.
    thresholds : Thresholds
        Of the verdict.
    record : dict
        Inputs, seed and backend.
    choice : MaskChoice
        Which voxels of the mask.
    """

    analysis: Analysis
    planes: Analysis | None
    thresholds: Thresholds
    record: dict[str, Any]
    choice: MaskChoice


def write_report(outcome: Outcome, folder: Path) -> Path:
    """Write every file into an existing folder; return the page."""
    analysis = outcome.analysis
    rows = [row for one in (analysis, outcome.planes) if one is not None for row in stability_rows(one)]
    if rows:
        write_csv(folder / "stability.csv", rows)
    write_csv(folder / "verdict.csv", list(verdict_rows(analysis, outcome.planes)))
    if analysis.redundancy.features:
        write_csv(folder / "correlation.csv", list(correlation_rows(analysis)))
    if analysis.curve:
        write_csv(folder / "curve.csv", list(curve_rows(analysis.curve)))
    names = survivors(analysis.verdicts)
    if names:
        chosen = [feature for feature in analysis.features if feature.name in names]
        write_survivors(folder / "survivors.yaml", chosen, analysis.case.settings, outcome.choice)
    _write_record(outcome, folder / "stability.json")
    page = folder / "report.html"
    title = "Which maps repeat, and which say the same"
    page.write_text(html_page(title, _parts(outcome, names, folder)), encoding="utf-8")
    return page


def _write_record(outcome: Outcome, path: Path) -> None:
    analysis = outcome.analysis
    record = {
        "kind": "stability of texture maps",
        **outcome.record,
        "settings": analysis.case.settings.to_dict(),
        "voxels": int(np.count_nonzero(analysis.case.mask)),
        "levels": asdict(analysis.used),
        "thresholds": asdict(outcome.thresholds),
        "perturbations": [
            {"kind": one.kind, "name": one.name, **one.details, **({"unfit": one.unfit} if one.unfit else {})}
            for one in analysis.perturbations
        ],
        **made_by(),
    }
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _parts(outcome: Outcome, names: Sequence[str], folder: Path) -> Iterator[str]:
    """Yield the parts of the page; figures are written on the way."""
    analysis = outcome.analysis
    yield from _notices(analysis, outcome.planes, names)
    yield f"<p>{escape(_scope(outcome))}</p><p>{escape(_HOW_TO_READ)}</p>"
    yield html_table("Verdict", *_verdict_table(outcome))
    yield f"<p>{escape(_thresholds_told(outcome.thresholds))}</p>"
    yield from _heat_map(analysis, folder / "heat_map.png")
    yield from _pictures(analysis, folder / "maps.png")
    if len(analysis.redundancy.features) > 1:
        tree, path = linkage(analysis.redundancy), folder / "dendrogram.png"
        draw_dendrogram(tree, analysis.redundancy.features, outcome.thresholds.same, path)
        voxels = counted(analysis.redundancy.voxels, "voxel")
        yield html_figure(path, f"Maps that say the same, by their rank correlation over {voxels}.")
    yield from _curve(analysis, folder / "curve.png")
    yield html_table("Perturbations", ("name", "kind", "what"), _perturbation_rows(analysis))


def _notices(analysis: Analysis, planes: Analysis | None, names: Sequence[str]) -> Iterator[str]:
    if not names:
        yield html_notice("No map is kept.")
    if planes is not None:
        yield html_notice(
            "Windows in three dimensions span spacings that differ more than twofold: what lies above and "
            "below counts as near as what lies beside. Columns 2d have windows in two dimensions."
        )
    for one in analysis.perturbations:
        if one.unfit:
            yield html_notice(f"{one.name}: left out: {one.unfit}")


def _scope(outcome: Outcome) -> str:
    analysis, record = outcome.analysis, outcome.record
    settings, used = analysis.case.settings, analysis.used
    window = "x".join(map(str, settings.edges[-settings.dimensions :]))
    voxels = counted(int(np.count_nonzero(analysis.case.mask)), "voxel")
    return (
        f"{record['image']}, mask {record['mask']}: {voxels}; "
        f"{bins_told(settings)}, window {window}, range over the {settings.range_over}. The mask holds "
        f"{used.in_mask} of {used.of_levels} levels, the median window {used.in_window:g}."
    )


def _thresholds_told(limits: Thresholds) -> str:
    return (
        f"keep: lower bound of the ICC of {limits.keep:g} or more under every change of the acquisition "
        f"(noise, shift, resampling, mask, retest); drop: an ICC below {limits.drop:g}, or a constant map. "
        f"Doubtful: between the two, rank correlation below {limits.rank:g} under a change of the settings, "
        f"more than {100 * limits.at_bounds:g} % of the voxels within 5 % of floor or ceiling, or r of "
        f"{limits.local_sd:g} or more with a monotone function of the local standard deviation. Maps of a "
        f"cluster have absolute rank correlations of {limits.same:g} or more with each other."
    )


def _verdict_table(outcome: Outcome) -> tuple[list[str], list[list[str]]]:
    header = ["map", "verdict", "lowest bound", "stands for it", "spread / noise", "r local SD", "why"]
    keys = ("lowest_icc_low", "spread_to_noise", "local_sd_r")
    rows = []
    for row in verdict_rows(outcome.analysis, outcome.planes):
        low, noise, r = (figure(row[key]) for key in keys)
        cells = [row["feature"], row["verdict"], low, row["representative"], noise, r, row["reasons"]]
        if outcome.planes is not None:
            cells[3:3] = [row["verdict_2d"], figure(row["lowest_icc_low_2d"])]
        rows.append(cells)
    if outcome.planes is not None:
        header[3:3] = ["verdict 2d", "lowest bound 2d"]
    return header, rows


def _heat_map(analysis: Analysis, path: Path) -> Iterator[str]:
    made = [one for one in analysis.perturbations if not one.unfit]
    if not made:
        return
    icc = np.array(
        [
            [analysis.agreements[feature.name][one.kind, one.name].icc for one in made]
            for feature in analysis.features
        ]
    )
    words = [analysis.verdicts[feature.name].word for feature in analysis.features]
    names = [feature.name for feature in analysis.features]
    draw_heat_map(icc, names, [one.name for one in made], words, path)
    yield html_figure(path, "ICC(A,1) of every map under every perturbation. Names: kept, doubtful, dropped.")


def _pictures(analysis: Analysis, path: Path) -> Iterator[str]:
    """Draw the maps with the largest and the smallest lower bounds in the slice with most of the mask."""
    ranked = sorted(
        (name for name, one in analysis.verdicts.items() if np.isfinite(one.lowest)),
        key=lambda name: -analysis.verdicts[name].lowest,
    )
    chosen = list(dict.fromkeys([*ranked[:_PICTURED], *ranked[-_PICTURED:]]))
    if not chosen:
        return
    case = analysis.case
    axis = case.settings.slice_axis if case.image.ndim == 3 else None
    place, spacing = _slice_of(case.mask, axis), list(case.spacing_mm)
    del spacing[axis or 0]
    frame = bounding_box(case.mask[place], _SURROUNDINGS)
    pictures = [_picture(analysis, name, place, frame) for name in chosen]
    image, mask = case.image[place][frame], case.mask[place][frame]
    draw_maps(image, mask, pictures, spacing[0] / spacing[1], path)
    yield html_figure(
        path, "The maps that repeat best and worst, before and after the change that moves them most."
    )


def _slice_of(mask: npt.NDArray[np.bool_], axis: int | None) -> tuple[Any, ...]:
    """Return the index of the slice with most of a mask across an axis; of everything in 2D."""
    if axis is None:
        return (slice(None), slice(None))
    counts = mask.sum(axis=tuple(other for other in range(3) if other != axis))
    return tuple(int(np.argmax(counts)) if other == axis else slice(None) for other in range(3))


def _picture(analysis: Analysis, name: str, place: tuple[Any, ...], frame: tuple[slice, ...]) -> MapPicture:
    """Return a map in a frame of a slice, before and after the change that moves it most."""
    row = [feature.name for feature in analysis.features].index(name)
    found = analysis.agreements[name]
    low = {key: one.low for key, one in found.items() if key[0] not in OF_SETTINGS and np.isfinite(one.low)}
    _, perturbation = min(low, key=lambda key: low[key])
    after = np.load(analysis.paths[perturbation], mmap_mode="r")[row]
    before, changed = (
        _in_volume(values, analysis.case.mask)[place][frame] for values in (analysis.maps[row], after)
    )
    return MapPicture(title=name, perturbation=perturbation, before=before, after=changed)


def _in_volume(values: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    volume = np.full(mask.shape, np.nan, np.float32)
    volume[mask] = values
    return volume


def _curve(analysis: Analysis, path: Path) -> Iterator[str]:
    if not analysis.curve or analysis.curve_feature is None:
        return
    series: dict[str, list[tuple[str, float, float]]] = {}
    for point in sorted(
        analysis.curve, key=lambda one: (one.settings.levels, -(one.settings.bin_width or 0))
    ):
        settings, bins = point.settings, bins_told(point.settings).replace(" levels", "")
        name = f"range over the {settings.range_over}, window {settings.window}"
        values = (bins, point.saturation.at_bounds, point.saturation.spread_to_noise)
        series.setdefault(name, []).append(values)
    draw_curve(series, analysis.curve_feature.name, path)
    yield html_figure(path, f"Where {analysis.curve_feature.name} leaves its floor and its ceiling.")
    yield f"<p>{escape(recommendation(analysis.curve))}</p>"


def recommendation(points: Sequence[Point]) -> str:
    """Return the setting that tells most apart, with the figures before and after."""
    own, best = points[0], recommended(points)
    if best is own:
        return f"No setting with this window tells more apart than this one: {_point_told(own)}."
    return (
        f"With this window, {_setting_told(best)} would tell more apart (most spread against noise with at "
        f"most {100 * MOST_AT_BOUNDS:g} % of the voxels at floor or ceiling, if there is such a setting). "
        f"Before: {_point_told(own)}. After: {_point_told(best)}."
    )


def _setting_told(point: Point) -> str:
    return f"{bins_told(point.settings)} over the range of the {point.settings.range_over}"


def _point_told(point: Point) -> str:
    saturation = point.saturation
    return (
        f"{_setting_told(point)}: {100 * saturation.at_floor:.0f} % of the voxels at the floor, "
        f"{100 * saturation.at_ceiling:.0f} % at the ceiling, spread {figure(saturation.spread_to_noise)} "
        f"times the noise, {point.used.in_window:g} levels in the median window"
    )


def _perturbation_rows(analysis: Analysis) -> Iterator[tuple[str, str, str]]:
    for one in analysis.perturbations:
        what = "; ".join(f"{key}: {value}" for key, value in one.details.items())
        yield one.name, one.kind, one.unfit or what
