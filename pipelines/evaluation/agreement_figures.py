"""What the figures of an evaluation show: slices of representative patients, points by tissue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.cohorts.tissues import ALL
from pipelines.evaluation.comparison import Compared, Evaluation, Maps, read_maps
from pipelines.reports.figures import MapRow, Panel

LESION = "lesion"
"""Name of the tissue that figures outline."""


def map_rows(result: Evaluation) -> list[MapRow]:
    """Return the rows of Figure 2: of each group its representative patient."""
    groups = [group for group in result.groups if group != ALL] or [ALL]
    return [_map_row(result, representative(result, group)) for group in groups]


def representative(result: Evaluation, group: str) -> Compared:
    """Return the patient with the median correlation of the group (of two, the lower)."""
    patients = [patient for patient in result.pooled if patient.entry.case.group == group]
    ranked = sorted(patients, key=lambda patient: np.nan_to_num(patient.moments[ALL].pearson, nan=-2.0))
    return ranked[(len(ranked) - 1) // 2]


def _map_row(result: Evaluation, patient: Compared) -> MapRow:
    case = patient.entry.case
    maps = read_maps(patient.entry, result.run.settings, result.feature, result.backend)
    index = _shown_slice(maps, case.tissues)
    r = patient.moments[ALL].pearson
    return MapRow(
        title=f"{case.group}: {case.patient}\nslice {index + 1} of {len(maps.image)}, r = {r:.4f}",
        image=maps.image[index],
        exact=maps.exact[index],
        synthetic=maps.synthetic[index],
        lesion=None if maps.labels is None else _lesion(maps.labels[index], case.tissues),
        aspect=maps.aspect,
    )


def _shown_slice(maps: Maps, tissues: Mapping[int, str]) -> int:
    """Return the slice with the most lesion, else the most tissue, else the middle one."""
    if maps.labels is None:
        return len(maps.image) // 2
    lesion = _lesion(maps.labels, tissues)
    shown = lesion if lesion.any() else maps.labels != 0
    return int(shown.sum(axis=(1, 2)).argmax())


def _lesion(labels: npt.NDArray[np.uint8], tissues: Mapping[int, str]) -> npt.NDArray[np.bool_]:
    """Return the voxels of the tissue that is called lesion, if one is."""
    return np.isin(labels, [label for label, name in tissues.items() if name.casefold() == LESION])


def panels(result: Evaluation) -> list[Panel]:
    """Return one panel per tissue, as in the paper; one of `ALL` if no patient has labels."""
    tissues = [tissue for tissue in result.tissues if tissue != ALL] or [ALL]
    return [
        Panel(tissue=tissue, points=_points(result, tissue), statistics=result.table[ALL, tissue])
        for tissue in tissues
    ]


def _points(result: Evaluation, tissue: str) -> dict[str, tuple[Any, Any]]:
    points: dict[str, list[tuple[Any, Any]]] = {}
    for patient in result.pooled:
        if tissue in patient.points:
            points.setdefault(patient.entry.case.group, []).append(patient.points[tissue])
    order = [*result.groups, ALL]
    return {
        group: (np.concatenate([x for x, _ in points[group]]), np.concatenate([y for _, y in points[group]]))
        for group in sorted(points, key=order.index)
    }
