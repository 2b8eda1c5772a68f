"""The agreement of synthetic with exact maps as tables, and the notices that go with them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from pipelines.cohorts.tissues import ALL
from pipelines.evaluation.comparison import Compared, Evaluation
from pipelines.reports.figures import p_text
from pipelines.reports.names import with_unit
from pipelines.reports.tables import counted, markdown_table
from surrogate.agreement import Agreement

_PHANTOM_IMAGES = (
    "PHANTOM: the images are computer-generated, not patients; these numbers test the software and say "
    "nothing about clinical images."
)
_PHANTOM_MODEL = (
    "MODEL TRAINED ON PHANTOMS: the networks were trained on computer-generated images only, not on patients."
)
_HELD_OUT = (
    "Held out: every synthetic map compared here comes from a network that was not trained on that patient."
)
_NOT_HELD_OUT = (
    "NOT HELD OUT: every synthetic map compared here comes from a network that was trained on the same "
    "patient; expect worse agreement on new patients."
)
_INTERVAL = (
    "In brackets: 95 % confidence interval (bootstrap over patients); not given for one patient. Of all "
    "groups: correlation within the groups, so that differences between their means do not count."
)
_RMSE = "Root mean square of synthetic − exact over voxels."
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


def table1(result: Evaluation) -> str:
    """Return the paper's Table 1, and the RMSE, as Markdown, with the notices and notes they need."""
    header = table1_header(result)
    parts = [f"# Table 1, {subject_of(result)}", *notices(result)]
    for title, note, cell in table1_parts(result):
        parts += [f"## {title}", markdown_table(header, table1_cells(result, cell)), note]
    parts += unlabelled(result)
    return "\n\n".join(parts)


def subject_of(result: Evaluation) -> str:
    """Return what was evaluated: the run, and whether it is of phantoms or not held out."""
    words = f"run {result.run.name}"
    if result.is_phantom:
        words = f"phantom {words}" if result.phantom_images else f"phantom-trained {words}"
    return words if result.held_out else f"{words}, NOT held out"


def notices(result: Evaluation) -> list[str]:
    """Return what a reader must know before the numbers."""
    notices = [_HELD_OUT if result.held_out else _NOT_HELD_OUT]
    if result.is_phantom:
        notices.insert(0, _PHANTOM_IMAGES if result.phantom_images else _PHANTOM_MODEL)
    left_out = len(result.patients) - len(result.pooled)
    if left_out:
        notices.append(
            f"Not held out: {left_out} of {counted(len(result.patients), 'patient')}, listed only in "
            "agreement_by_patient.csv."
        )
    return notices


def unlabelled(result: Evaluation) -> list[str]:
    """Return a note on patients without tissue labels, who count in "all" alone."""
    count = sum(patient.entry.case.labels is None for patient in result.pooled)
    if not count:
        return []
    return [
        f"Without tissue labels: {count} of {counted(len(result.pooled), 'patient')}; their whole "
        f'image, background included, counts in "{ALL}" and in no tissue.'
    ]


def table1_header(result: Evaluation) -> list[str]:
    """Return the header of Table 1: the group, then the tissues."""
    return ["group", *result.tissues]


def table1_parts(result: Evaluation) -> list[tuple[str, str, Callable[[Agreement], str]]]:
    """Return title, note and cell function of the parts of Table 1: the paper's two, and the RMSE."""
    phantom = "phantom, " if result.is_phantom else ""
    return [
        (f"(a) Pearson correlation ({phantom}synthetic against exact)", _INTERVAL, _correlation),
        (f"(b) Percentage difference ({phantom}per cent)", _PERCENT, _percentage),
        (f"(c) RMSE ({phantom}{result.unit or 'in the unit of the feature'})", _RMSE, _rmse),
    ]


def table1_cells(result: Evaluation, cell: Callable[[Agreement], str]) -> list[list[str]]:
    """Return one row per group; a cell is blank if the group has no such tissue."""
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


def _rmse(agreement: Agreement) -> str:
    return f"{agreement.rmse:.4g}"


def table1_rows(result: Evaluation) -> list[dict[str, Any]]:
    """Return all parts of Table 1 as rows of a CSV."""
    rows = []
    for title, _, cell in table1_parts(result):
        for cells in table1_cells(result, cell):
            rows.append({"table": title} | dict(zip(table1_header(result), cells, strict=True)))
    return rows


def pooled_rows(result: Evaluation) -> list[dict[str, Any]]:
    """Return the agreement of every group and tissue as rows of a CSV."""
    held_out = _yes(result.held_out)
    return [
        {"group": group, "tissue": tissue, "held_out": held_out} | asdict(result.table[group, tissue])
        for group in result.groups
        for tissue in result.tissues
        if (group, tissue) in result.table
    ]


def patient_rows(result: Evaluation) -> list[dict[str, Any]]:
    """Return the agreement of every patient and tissue as rows of a CSV."""
    return [
        _patient_row(patient, tissue)
        for patient in result.patients
        for tissue in result.tissues_in_order(patient.moments)
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
        "rmse": moments.rmse,
        "percent_mean": percent_mean,
        "percent_sd": percent_sd,
        "zeros_left_out": moments.voxels - moments.nonzero,
        "bias": moments.mean_difference,
        "limit_low": limit_low,
        "limit_high": limit_high,
    }


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def bland_altman_table(result: Evaluation) -> tuple[list[str], list[list[str]]]:
    """Return header and cells of the Bland-Altman table."""
    header = ["group", "tissue", "voxels", "patients"]
    header += [with_unit(name, result.unit) for name in ("RMSE", "bias", "limits")] + ["p"]
    rows = [
        [
            row["group"],
            row["tissue"],
            f"{row['voxels']:,}",
            str(row["patients"]),
            f"{row['rmse']:.4f}",
            f"{row['bias']:+.4f}",
            f"{row['limit_low']:+.4f} to {row['limit_high']:+.4f}",
            p_text(row["bias_p"]).removeprefix("= "),
        ]
        for row in pooled_rows(result)
    ]
    return header, rows


def patients_table(result: Evaluation) -> tuple[list[str], list[list[str]]]:
    """Return header and cells of the table of patients."""
    header = ["patient", "group", "fold", "model", "held out", "correlation"]
    header += [with_unit("RMSE", result.unit), "percentage difference"]
    rows = []
    for patient in result.patients:
        entry, moments = patient.entry, patient.moments[ALL]
        mean, deviation = moments.percent
        rows.append(
            [
                entry.case.patient,
                entry.case.group,
                entry.fold or "not in training set",
                entry.model,
                _yes(entry.held_out),
                f"{moments.pearson:.4f}",
                f"{moments.rmse:.4f}",
                f"{mean:.2f} ± {deviation:.2f}",
            ]
        )
    return header, rows


def settings_table(result: Evaluation) -> list[tuple[str, str]]:
    """Return the run's settings from run.json; entries it lacks are left out."""
    described = {key: result.run.description[key] for key in _DESCRIBED if key in result.run.description}
    run = result.run
    rows = {"run": run.name, "feature": result.feature, "glcm": run.settings.to_dict(), **described}
    return [(key, value if isinstance(value, str) else json.dumps(value)) for key, value in rows.items()]
