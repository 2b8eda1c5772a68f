"""The cases that a command is given: a cohort's CSV, several images, or a folder of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from glcm_cuda.store.layout import is_phantom_name
from pipelines.cohorts.cohort import Case, check_unique, read_cohort
from pipelines.cohorts.listing import IMAGE_SUFFIXES, Row, rows_of_files, volumes_in
from pipelines.images.dicom.series import Choice


def is_study(sources: Sequence[Path], *, alone: bool) -> bool:
    """Whether a command is given several cases: a CSV, several paths, or a folder of images.

    Parameters
    ----------
    sources : sequence of Path
        What it reads.
    alone : bool
        Whether the other options say that a folder is one image (of DICOM).
    """
    return len(sources) > 1 or sources[0].suffix.lower() == ".csv" or (sources[0].is_dir() and not alone)


def cases_of(sources: Sequence[Path]) -> list[Case]:
    """Return the cases of a study.

    Parameters
    ----------
    sources : sequence of Path
        One CSV of a cohort, or images and folders. Folders are listed as `radsynth cohort scan` does, and a
        label image beside an image (same name with _mask, _seg, _label) belongs to it.

    Raises
    ------
    FileNotFoundError, IsADirectoryError, ValueError
        Those of `read_cohort`; if a path does not exist, a CSV is one of several, there is no image, or two
        images give one patient.
    """
    if sources[0].suffix.lower() == ".csv" and len(sources) == 1:
        return read_cohort(sources[0])
    for path in sources:
        if path.suffix.lower() == ".csv":
            msg = f"{path.name} is one of {len(sources)} inputs; give one CSV alone, or images and folders"
            raise ValueError(msg)
        if not path.exists():
            msg = f"{path} does not exist"
            raise FileNotFoundError(msg)
    rows = [row for path in sources for row in _rows_of(path, alone=len(sources) == 1)]
    cases = [_case(row) for row in rows]
    if not cases:
        named = ", ".join(path.name for path in sources[:3])
        msg = f"no image in {named}; `radsynth inspect` shows what is there"
        raise ValueError(msg)
    check_unique("a study without a CSV (`radsynth cohort scan` writes one to edit)", cases)
    return cases


def _rows_of(path: Path, *, alone: bool) -> list[Row]:
    """Return the volumes of a file or folder; a folder with one, among several, gives it its own name."""
    if path.is_dir():
        rows = volumes_in(path)
        return [replace(rows[0], patient=path.name)] if len(rows) == 1 and not alone else rows
    if not path.name.lower().endswith(IMAGE_SUFFIXES):
        return [Row(patient=path.name.split(".", maxsplit=1)[0], image=path)]
    return [row for row in rows_of_files(sorted(path.parent.iterdir())) if row.image == path]


def _case(row: Row) -> Case:
    return Case(
        patient=row.patient,
        group=row.group,
        image=row.image.absolute(),
        labels=None if row.labels is None else row.labels.absolute(),
        choice=Choice(series=row.series or None, phase=int(row.phase) if row.phase else None),
        phantom=is_phantom_name(row.patient),
    )
