"""The list of a cohort's images: a CSV with the columns patient, group, image, labels."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from glcm_cuda.store.layout import is_phantom_name
from pipelines.cohorts.tissues import TISSUES_COLUMN, tissues_of
from pipelines.images.dicom.series import Choice

COLUMNS = ("patient", "group", "image", "labels")

CHOICE_COLUMNS = ("series", "phase")
"""Optional columns: which volume of a DICOM folder is meant."""

MASK_COLUMN = "mask"
"""Optional column: where maps and features of regions are computed, in place of the labels."""

PHANTOM_COLUMN = "phantom"
"""Optional column: whether the image is synthetic, not of a patient."""

_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True)
class Case:
    """One row of a cohort.

    Parameters
    ----------
    patient, group : str
        Name of the patient, from which output files are named, and the group.
    image : Path
        A file, or the folder of one DICOM series.
    labels : Path or None
        Tissue labels, 0 for none.
    choice : Choice
        Which series and phase of the image.
    phantom : bool
        Whether the image is synthetic, not of a patient.
    tissues : dict of int to str
        Names of the labels.
    mask : Path, optional
        Where maps and features of regions are computed, in place of the labels.
    """

    patient: str
    group: str
    image: Path
    labels: Path | None
    choice: Choice = field(default_factory=Choice)
    phantom: bool = False
    tissues: dict[int, str] = field(default_factory=dict)
    mask: Path | None = None

    @property
    def region(self) -> Path | None:
        """Where maps and features of regions are computed: the mask, or else the labels."""
        return self.labels if self.mask is None else self.mask

    @property
    def chosen_image(self) -> str:
        """Name of the image without its folder, and the series and phase that are chosen."""
        chosen = "".join(f", {name} {value}" for name, value in self.choice.to_dict().items())
        return f"{self.image.name}{chosen}"


def read_cohort(path: str | os.PathLike[str]) -> list[Case]:
    """Cases of a cohort, in the order of the file.

    Parameters
    ----------
    path : path
        CSV in UTF-8 with a header; the columns series, phase, mask, phantom and tissues are optional,
        others are ignored.
        Paths are relative to the CSV. Without a value of phantom the patient's name tells a phantom.

    Returns
    -------
    list of Case
        With absolute paths to files and folders that exist.

    Raises
    ------
    FileNotFoundError, IsADirectoryError, ValueError
        If the file does not exist or is not a CSV, a column or value is missing or a row has too many values,
        a patient is listed twice (upper and lower case count as equal) or cannot be a file name, a path does
        not exist, or there is no case.
    """
    path = Path(path)
    if not path.exists():
        msg = f"cohort {path} does not exist; give a CSV with the columns {', '.join(COLUMNS)}"
        raise FileNotFoundError(msg)
    if path.is_dir():
        msg = f"COHORT must be a CSV file, got a folder: {path}"
        raise IsADirectoryError(msg)
    cases = [_case(path, line, row) for line, row in _rows(path)]
    if not cases:
        msg = f"cohort {path} must list at least one case, got none"
        raise ValueError(msg)
    check_unique(f"cohort {path}", cases)
    return cases


def case_files(cases: Iterable[Case]) -> list[Path]:
    """Images, labels and masks of the cases."""
    return [path for case in cases for path in (case.image, case.labels, case.mask) if path is not None]


def phantom_text(phantom: bool | None) -> str:
    """Return the value of the column phantom; empty if it is not known."""
    return "" if phantom is None else str(phantom).lower()


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the line number and the stripped values of every row."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            columns = reader.fieldnames or ()
            _check_columns(path, columns)
            for row in reader:
                if None in row:  # the csv module's key for values beyond the header
                    msg = (
                        f"cohort {path}, line {reader.line_num}: expected {len(columns)} values, got "
                        f"{len(columns) + len(row[None])}; put quotes around values with a comma"
                    )
                    raise ValueError(msg)
                read = (*COLUMNS, *CHOICE_COLUMNS, MASK_COLUMN, PHANTOM_COLUMN, TISSUES_COLUMN)
                yield reader.line_num, {name: row.get(name, "").strip() for name in read}
    except (UnicodeDecodeError, csv.Error) as error:
        msg = f"cohort {path} must be a CSV file in UTF-8, got a file that cannot be read as one ({error})"
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
        choice=Choice(series=row["series"] or None, phase=_phase(where, row["phase"])),
        phantom=_phantom(where, row[PHANTOM_COLUMN], patient),
        tissues=_tissues(where, row[TISSUES_COLUMN]),
        mask=_existing(path, line, "mask", row[MASK_COLUMN]) if row[MASK_COLUMN] else None,
    )


def _phase(where: str, text: str) -> int | None:
    if text and not text.isdecimal():
        msg = f"{where}: phase must be empty or a whole number from 1, got {text!r}"
        raise ValueError(msg)
    return int(text) if text else None


def _phantom(where: str, text: str, patient: str) -> bool:
    if not text:
        return is_phantom_name(patient)
    if text.casefold() not in _TRUTH:
        msg = f"{where}: phantom must be empty, true or false, got {text!r}"
        raise ValueError(msg)
    return _TRUTH[text.casefold()]


def _tissues(where: str, text: str) -> dict[int, str]:
    try:
        return tissues_of(text)
    except ValueError as error:
        msg = f"{where}: {error}"
        raise ValueError(msg) from error


def _existing(path: Path, line: int, name: str, value: str) -> Path:
    absolute = (path.parent / value).absolute()
    if not absolute.exists():
        msg = f"cohort {path}, line {line}: {name} does not exist: {absolute}; paths are relative to the CSV"
        raise ValueError(msg)
    return absolute


def check_unique(name: str, cases: Iterable[Case]) -> None:
    """Raise ValueError if two cases have one name, or names that differ in upper and lower case alone."""
    seen: dict[str, str] = {}
    for case in cases:
        other = seen.get(case.patient.casefold())
        if other == case.patient:
            msg = f"{name} must list each patient once, got {case.patient} twice"
            raise ValueError(msg)
        if other is not None:
            msg = (
                f"{name}: patient names must differ in more than case, got {other} and {case.patient}: "
                "on some systems their files would share a name; rename one"
            )
            raise ValueError(msg)
        seen[case.patient.casefold()] = case.patient
