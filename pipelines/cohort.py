"""The list of a cohort's images: a CSV with the columns patient, group, image, labels."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

COLUMNS = ("patient", "group", "image", "labels")


@dataclass(frozen=True)
class Case:
    """One row of a cohort.

    Parameters
    ----------
    patient, group : str
        Name of the patient, which also names the files made from the case, and the group.
    image : Path
        A file, or the folder of one DICOM series.
    labels : Path or None
        Tissue labels: 1 fatty, 2 glandular, 3 lesion.
    """

    patient: str
    group: str
    image: Path
    labels: Path | None


def read_cohort(path: str | os.PathLike[str]) -> list[Case]:
    """Cases of a cohort, in the order of the file.

    Parameters
    ----------
    path : path
        CSV in UTF-8 with a header; other columns than ours are ignored. Paths are relative to it.

    Returns
    -------
    list of Case
        With absolute paths, which all exist.

    Raises
    ------
    FileNotFoundError, ValueError
        If the file does not exist or is no CSV, a column or a value is missing, a patient is
        there twice or cannot name a file, a path does not exist, or there is no case.
    """
    path = Path(path)
    if not path.exists():
        msg = f"cohort {path} does not exist; give a CSV with the columns {', '.join(COLUMNS)}"
        raise FileNotFoundError(msg)
    cases = [_case(path, line, row) for line, row in _rows(path)]
    if not cases:
        msg = f"cohort {path} must list at least one case, got none"
        raise ValueError(msg)
    _check_unique(path, cases)
    return cases


def is_phantom(patients: Iterable[str]) -> bool:
    """Whether all patients are synthetic, as their names say."""
    names = list(patients)
    return bool(names) and all(name.startswith("phantom") for name in names)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and stripped values of every row."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restkey="", restval="")
            _check_columns(path, reader.fieldnames or ())
            for row in reader:
                yield reader.line_num, {name: row[name].strip() for name in COLUMNS}
    except (UnicodeDecodeError, csv.Error) as error:
        msg = f"cohort {path} must be a CSV in UTF-8, got something else ({error})"
        raise ValueError(msg) from error


def _check_columns(path: Path, columns: Iterable[str]) -> None:
    columns = list(columns)
    missing = [name for name in COLUMNS if name not in columns]
    if missing:
        msg = (
            f"cohort {path} lacks the columns {', '.join(missing)}; expected {','.join(COLUMNS)} "
            f"separated by commas, got {','.join(columns) or 'an empty file'}"
        )
        raise ValueError(msg)


def _case(path: Path, line: int, row: dict[str, str]) -> Case:
    where = f"cohort {path}, line {line}"
    for name in ("patient", "group", "image"):
        if not row[name]:
            msg = f"{where}: {name} must not be empty"
            raise ValueError(msg)
    patient = row["patient"]
    if patient.startswith(".") or any(
        character in '/\\:*?"<>|' or not character.isprintable() for character in patient
    ):
        msg = f"{where}: patient must be usable as a file name, got {patient!r}"
        raise ValueError(msg)
    return Case(
        patient=patient,
        group=row["group"],
        image=_existing(path, line, "image", row["image"]),
        labels=_existing(path, line, "labels", row["labels"]) if row["labels"] else None,
    )


def _existing(path: Path, line: int, name: str, value: str) -> Path:
    found = (path.parent / value).absolute()
    if not found.exists():
        msg = f"cohort {path}, line {line}: {name} does not exist: {found}; paths are relative to the CSV"
        raise ValueError(msg)
    return found


def _check_unique(path: Path, cases: list[Case]) -> None:
    seen: set[str] = set()
    for case in cases:
        if case.patient in seen:
            msg = f"cohort {path} must list every patient once, got {case.patient} twice"
            raise ValueError(msg)
        seen.add(case.patient)
