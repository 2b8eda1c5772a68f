"""Tables, figures and the page that `radsynth evaluate` writes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipelines.cohorts.runs import ALL, TISSUES, in_order
from pipelines.evaluation.comparison import POINTS_PER_PATIENT, Compared, Evaluation, Maps, read_maps
from pipelines.reports.figures import MapRow, Panel, draw_agreement, draw_maps, p_text
from pipelines.reports.names import feature_title, with_unit
from pipelines.reports.tables import (
    counted,
    html_figure,
    html_notice,
    html_page,
    html_table,
    markdown_table,
    write_csv,
)

if TYPE_CHECKING:
    from surrogate.agreement import Agreement

_PHANTOM_IMAGES = (
    "PHANTOM: the images are computer-generated, not patients; the numbers test the software and say "
    "nothing about clinical images."
)
_PHANTOM_MODEL = "MODEL TRAINED ON PHANTOMS: the networks saw computer-generated images only, no patient."
_HELD_OUT = (
    "Held out: every synthetic map compared here is by a network that was not trained on that patient."
)
_NOT_HELD_OUT = (
    "NOT HELD OUT: every synthetic map compared here is by a network that was trained on that very "
    "patient; expect worse agreement on new patients."
)
_HONESTY = (
    "A synthetic map is an approximation. The exact engine computed the maps it is compared with; where "
    "exact values matter, use the engine. Which of the two is faster on a machine, `radsynth benchmark` "
    "measures."
)
_INTERVAL = "In brackets: 95 % confidence interval, bootstrap over patients; none with one patient."
_PERCENT = (
    "Percentage difference: |synthetic − exact| / exact × 100, mean ± standard deviation over voxels, in "
    "per cent. The paper does not say whether its 0.07 ± 0.06 is a fraction or per cent."
)
_DESCRIBED = (
    "network",
    "training",
    "keras_backend",
    "seed",
    "validation_rmse",
    "validation_deviation",
    "store",
    "store_sha256",
    "versions",
)


def write_evaluation(result: Evaluation, folder: Path) -> Path:
    """Write every table and figure into an existing folder; return the path of the report.

    All names start with ``phantom_`` where phantoms are involved.
    """
    prefix = "phantom_" if result.is_phantom else ""

    def path(name: str) -> Path:
        return folder / f"{prefix}{name}"

    write_csv(path("agreement.csv"), _pooled_rows(result))
    write_csv(path("agreement_by_patient.csv"), _patient_rows(result))
    write_csv(path("table1.csv"), _table1_rows(result))
    path("table1.md").write_text(table1(result) + "\n", encoding="utf-8")
    subject, feature = _subject(result), feature_title(result.feature)
    title = f"{subject[0].upper()}{subject[1:]}"
    maps, scatter = path("figure2.png"), path("figure3.png")
    heading = f"{title}: exact and synthetic {feature} maps"
    draw_maps(_map_rows(result), maps, title=heading, feature=feature, unit=result.unit)
    heading = f"{title}: agreement over all groups"
    draw_agreement(_panels(result), scatter, title=heading, feature=feature, unit=result.unit)
    report = path("report.html")
    report.write_text(_page(result, maps, scatter), encoding="utf-8")
    return report


def table1(result: Evaluation) -> str:
    """Return both parts of the paper's Table 1 as Markdown, with what must be known beside them."""
    header = _header(result)
    parts = [f"# Table 1, {_subject(result)}", *_notices(result)]
    for title, note, cell in _parts(result):
        parts += [f"## {title}", markdown_table(header, _table1_cells(result, cell)), note]
    parts += _unlabelled(result)
    return "\n\n".join(parts)


def _subject(result: Evaluation) -> str:
    words = f"run {result.run.name}"
    if result.is_phantom:
        words = f"phantom {words}" if result.phantom_images else f"phantom-trained {words}"
    return words if result.held_out else f"{words}, NOT held out"


def _notices(result: Evaluation) -> list[str]:
    """What a reader must know before the numbers."""
    notices = [_HELD_OUT if result.held_out else _NOT_HELD_OUT]
    if result.is_phantom:
        notices.insert(0, _PHANTOM_IMAGES if result.phantom_images else _PHANTOM_MODEL)
    left_out = len(result.patients) - len(result.pooled)
    if left_out:
        notices.append(
            f"Not held out: {left_out} of {counted(len(result.patients), 'patient')}, in "
            "agreement_by_patient.csv and in nothing else."
        )
    return notices


def _unlabelled(result: Evaluation) -> list[str]:
    """What the columns of tissues do not show: patients that are in "all" alone, with everything."""
    count = sum(patient.entry.case.labels is None for patient in result.pooled)
    if not count:
        return []
    return [
        f"Without tissue labels: {count} of {counted(len(result.pooled), 'patient')}; the whole image, "
        f'background included, counts in "{ALL}" and in no tissue.'
    ]


def _scope(result: Evaluation) -> str:
    settings = result.run.settings
    return (
        f"{counted(len(result.pooled), 'patient')}; voxels within {settings.radius} of the border are left "
        "out (there the exact window is clipped and the network's is reflected), and so is the background "
        "where there are tissue labels."
    )


def _header(result: Evaluation) -> list[str]:
    return ["group", *result.tissues]


def _parts(result: Evaluation) -> list[tuple[str, str, Callable[[Agreement], str]]]:
    """Title, note and cell of the two parts of Table 1."""
    phantom = "phantom, " if result.is_phantom else ""
    return [
        (f"(a) Pearson correlation ({phantom}synthetic against exact)", _INTERVAL, _correlation),
        (f"(b) Percentage difference ({phantom}per cent)", _PERCENT, _percentage),
    ]


def _table1_cells(result: Evaluation, cell: Callable[[Agreement], str]) -> list[list[str]]:
    """One row per group; blank where a group has no such tissue."""
    return [
        [
            group,
            *(
                cell(result.table[group, tissue]) if (group, tissue) in result.table else ""
                for tissue in result.tissues
            ),
        ]
        for group in result.groups
    ]


def _correlation(agreement: Agreement) -> str:
    if math.isnan(agreement.pearson):
        return "not defined"
    text = f"{agreement.pearson:.4f}"
    if math.isnan(agreement.pearson_low):
        return text
    return f"{text} ({agreement.pearson_low:.4f} to {agreement.pearson_high:.4f})"


def _percentage(agreement: Agreement) -> str:
    if math.isnan(agreement.percent_mean):
        return "not defined"
    return f"{agreement.percent_mean:.2f} ± {agreement.percent_sd:.2f}"


def _table1_rows(result: Evaluation) -> list[dict[str, Any]]:
    rows = []
    for title, _, cell in _parts(result):
        for cells in _table1_cells(result, cell):
            rows.append({"table": title} | dict(zip(_header(result), cells, strict=True)))
    return rows


def _pooled_rows(result: Evaluation) -> list[dict[str, Any]]:
    held_out = _yes(result.held_out)
    return [
        {"group": group, "tissue": tissue, "held_out": held_out} | asdict(result.table[group, tissue])
        for group in result.groups
        for tissue in result.tissues
        if (group, tissue) in result.table
    ]


def _patient_rows(result: Evaluation) -> list[dict[str, Any]]:
    return [
        _patient_row(patient, tissue) for patient in result.patients for tissue in in_order(patient.moments)
    ]


def _patient_row(patient: Compared, tissue: str) -> dict[str, Any]:
    entry, moments = patient.entry, patient.moments[tissue]
    percent_mean, percent_sd = moments.percent
    limit_low, limit_high = moments.limits
    return {
        "patient": entry.case.patient,
        "group": entry.case.group,
        "tissue": tissue,
        "held_out": _yes(entry.held_out),
        "fold": entry.fold,
        "model": entry.model,
        "voxels": moments.voxels,
        "pearson": moments.pearson,
        "percent_mean": percent_mean,
        "percent_sd": percent_sd,
        "zeros_left_out": moments.voxels - moments.nonzero,
        "bias": moments.mean_difference,
        "limit_low": limit_low,
        "limit_high": limit_high,
    }


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _map_rows(result: Evaluation) -> list[MapRow]:
    groups = [group for group in result.groups if group != ALL] or [ALL]
    return [_map_row(result, representative(result, group)) for group in groups]


def representative(result: Evaluation, group: str) -> Compared:
    """Return the patient whose correlation is the median of the group (the lower of the middle two)."""
    patients = [patient for patient in result.pooled if patient.entry.case.group == group]
    ranked = sorted(patients, key=lambda patient: np.nan_to_num(patient.moments[ALL].pearson, nan=-2.0))
    return ranked[(len(ranked) - 1) // 2]


def _map_row(result: Evaluation, patient: Compared) -> MapRow:
    case = patient.entry.case
    maps = read_maps(patient.entry, result.run.settings, result.feature)
    index = _shown_slice(maps)
    r = patient.moments[ALL].pearson
    return MapRow(
        title=f"{case.group}: {case.patient}\nslice {index + 1} of {len(maps.image)}, r = {r:.4f}",
        image=maps.image[index],
        exact=maps.exact[index],
        synthetic=maps.synthetic[index],
        lesion=None if maps.labels is None else _lesion(maps.labels[index]),
        aspect=maps.aspect,
    )


def _shown_slice(maps: Maps) -> int:
    """Return the slice with the most lesion, else the most tissue, else the middle one."""
    if maps.labels is None:
        return len(maps.image) // 2
    lesion = _lesion(maps.labels)
    shown = lesion if lesion.any() else maps.labels != 0
    return int(shown.sum(axis=(1, 2)).argmax())


def _lesion(labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    (label,) = (label for label, name in TISSUES.items() if name == "lesion")
    lesion: npt.NDArray[np.bool_] = labels == label
    return lesion


def _panels(result: Evaluation) -> list[Panel]:
    """One panel per tissue, as in the paper; `ALL` only where there are no labels."""
    tissues = [tissue for tissue in result.tissues if tissue != ALL] or [ALL]
    return [
        Panel(tissue=tissue, points=_points(result, tissue), statistics=result.table[ALL, tissue])
        for tissue in tissues
    ]


def _points(result: Evaluation, tissue: str) -> dict[str, tuple[Any, Any]]:
    found: dict[str, list[tuple[Any, Any]]] = {}
    for patient in result.pooled:
        if tissue in patient.points:
            found.setdefault(patient.entry.case.group, []).append(patient.points[tissue])
    order = [*result.groups, ALL]
    return {
        group: (np.concatenate([x for x, _ in found[group]]), np.concatenate([y for _, y in found[group]]))
        for group in sorted(found, key=order.index)
    }


def _page(result: Evaluation, maps: Path, scatter: Path) -> str:
    header = _header(result)
    parts = [html_notice(text) for text in _notices(result)]
    parts.append(f"<p>{_scope(result)}</p>")
    for title, note, cell in _parts(result):
        parts += [html_table(f"Table 1 {title}", header, _table1_cells(result, cell)), f"<p>{note}</p>"]
    parts += [f"<p>{escape(note)}</p>" for note in _unlabelled(result)]
    subject = _subject(result)
    parts += [
        html_table(f"Bland-Altman agreement, {subject}", *_bland_altman(result)),
        "<p>Bias: mean of synthetic − exact. Limits of agreement: bias ± 1.96 standard deviations over "
        "voxels. p: t-test that the patients' mean differences average 0; none with one patient.</p>",
        html_figure(
            maps,
            f"Figure 2, {subject}: of each group the patient of median correlation. The lesion is outlined. "
            f"Colours are shared by all rows{f', in {result.unit}' if result.unit else ''}.",
        ),
        html_figure(
            scatter,
            f"Figure 3, {subject}: scatter (top, identity dashed) and Bland-Altman plots (bottom, bias "
            "solid, limits dashed) by tissue. Drawn are up to "
            f"{POINTS_PER_PATIENT} random voxels per patient and tissue; the numbers are over all voxels.",
        ),
        html_notice(_HONESTY),
        html_table("Patients", *_patients_table(result)),
        html_table("Settings", ("name", "value"), _settings_table(result)),
    ]
    return html_page(f"Exact against synthetic {feature_title(result.feature)}: {subject}", parts)


def _bland_altman(result: Evaluation) -> tuple[list[str], list[list[str]]]:
    header = ["group", "tissue", "voxels", "patients"]
    header += [with_unit("bias", result.unit), with_unit("limits", result.unit), "p"]
    rows = [
        [
            row["group"],
            row["tissue"],
            f"{row['voxels']:,}",
            str(row["patients"]),
            f"{row['bias']:+.4f}",
            f"{row['limit_low']:+.4f} to {row['limit_high']:+.4f}",
            p_text(row["bias_p"]).removeprefix("= "),
        ]
        for row in _pooled_rows(result)
    ]
    return header, rows


def _patients_table(result: Evaluation) -> tuple[list[str], list[list[str]]]:
    header = ["patient", "group", "fold", "model", "held out", "correlation", "percentage difference"]
    rows = []
    for patient in result.patients:
        entry, moments = patient.entry, patient.moments[ALL]
        mean, deviation = moments.percent
        rows.append(
            [
                entry.case.patient,
                entry.case.group,
                entry.fold or "not in the training",
                entry.model,
                _yes(entry.held_out),
                f"{moments.pearson:.4f}",
                f"{mean:.2f} ± {deviation:.2f}",
            ]
        )
    return header, rows


def _settings_table(result: Evaluation) -> list[tuple[str, str]]:
    """Return the run's own description; what run.json lacks is left out."""
    described = {key: result.run.description[key] for key in _DESCRIBED if key in result.run.description}
    run = result.run
    rows = {"run": run.name, "feature": result.feature, "glcm": run.settings.to_dict(), **described}
    return [(key, value if isinstance(value, str) else json.dumps(value)) for key, value in rows.items()]
