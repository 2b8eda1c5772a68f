"""The CSV of a cohort, listed from folders of DICOM or NIfTI."""

from __future__ import annotations

import csv
import logging
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from glcm_cuda.base.files import replacing
from pipelines.cohorts.cohort import CHOICE_COLUMNS, COLUMNS, PHANTOM_COLUMN, phantom_text
from pipelines.cohorts.tissues import TISSUES_COLUMN, tissues_text
from pipelines.images.dicom.headers import Contents, Found, contents_of, files_below, hashed
from pipelines.images.dicom.phases import Phase, phases_of, uneven, without_copies
from pipelines.images.dicom.series import series_frames
from pipelines.images.output_paths import MAP_SUFFIXES, refuse_output
from pipelines.reports.tables import counted

_log = logging.getLogger(__name__)

IMAGE_SUFFIXES = (*MAP_SUFFIXES, ".mhd")
"""Of the files that are listed beside DICOM."""

_ENTITY = re.compile(r"(?:^|_)(sub|ses)-([^_/]+)")
# Words that mark a label image in file names, as BIDS and common tools use them.
_LABELS = re.compile(r"(?:^|[_.-])(dseg|seg|segmentation|mask|label|labels|roi)(?=[_.-]|$)", re.IGNORECASE)
_IMAGE = re.compile(r"[_-](image|img)$", re.IGNORECASE)
_MORE_COLUMNS = ("study", "session", "modality", "description", "slices")
_UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a cohort's CSV: a volume.

    Parameters
    ----------
    patient : str
        Name, usable as a file name.
    image : Path
        A file, or the folder of a series.
    group : str
        From participants.tsv of BIDS; otherwise "unknown".
    labels : Path, optional
        Label image that belongs to the image.
    series, phase : str
        Which volume of the folder is meant; empty if it holds only one.
    phantom : bool, optional
        Whether the image is synthetic; None where nothing says so.
    tissues : dict of int to str
        Names of the labels.
    about : dict
        Known values of the descriptive columns, `_MORE_COLUMNS`.
    """

    patient: str
    image: Path
    group: str = _UNKNOWN
    labels: Path | None = None
    series: str = ""
    phase: str = ""
    phantom: bool | None = None
    tissues: dict[int, str] = field(default_factory=dict)
    about: dict[str, str] = field(default_factory=dict)


def list_cohort(
    folder: Path, output: Path, series: str | None, phase: int | None, *, keep_ids: bool, force: bool
) -> str:
    """Write the CSV of the volumes that a folder holds, and warn of patients with several.

    Parameters
    ----------
    folder, series, phase, keep_ids
        See `rows_of`.
    output : path
        The CSV.
    force : bool
        Replace a CSV that exists.

    Returns
    -------
    str
        One line: how many volumes of how many patients.

    Raises
    ------
    NotADirectoryError, FileExistsError, ValueError
        If `folder` is no folder or holds no such volume, or `output` exists and `force` is False.
    """
    if not folder.is_dir():
        msg = f"FOLDER must be a folder, got {folder}"
        raise NotADirectoryError(msg)
    refuse_output(output, force=force)
    rows = rows_of(folder, series, phase, keep_ids=keep_ids)
    if not rows:
        wanted = "" if series is None and phase is None else " that matches --series and --phase"
        msg = f"{folder} holds no image{wanted}; `radsynth inspect` shows what it holds"
        raise ValueError(msg)
    write_rows(rows, output, force=force)
    counts = Counter(row.patient for row in rows)
    _warn_of_several([patient for patient, count in counts.items() if count > 1])
    return f"{counted(len(rows), 'volume')} of {counted(len(counts), 'patient')}"


def _warn_of_several(patients: Sequence[str]) -> None:
    if patients:
        _log.warning(
            "%s with several volumes (%s): select one per patient with --series and --phase, or delete rows",
            counted(len(patients), "patient"),
            ", ".join(patients[:5]) + (", ..." if len(patients) > 5 else ""),
        )


def rows_of(
    folder: Path, series: str | None = None, phase: int | None = None, *, keep_ids: bool = False
) -> list[Row]:
    """Return the volumes in a folder; unusable ones are left out with a warning.

    Parameters
    ----------
    folder : path
        Searched with its subfolders.
    series : str, optional
        Part of a series description or of a file name, in upper or lower case.
    phase : int, optional
        The phase to take from series that have several.
    keep_ids : bool
        Name patients by their IDs instead of hashes of them.
    """
    contents = contents_of(folder)
    for problem in contents.problems:
        _log.warning("%s", problem)
    rows = [*_dicom_rows(contents, phase, series), *_file_rows(folder, series)]
    return [row if keep_ids else _anonymous(row) for row in rows]


def volumes_in(folder: Path) -> list[Row]:
    """Return the volumes in a folder: DICOM under hashes of the patients' IDs, other files by their names."""
    contents = contents_of(folder)
    for problem in contents.problems:
        _log.warning("%s", problem)
    return [*map(_anonymous, _dicom_rows(contents, None, None)), *_file_rows(folder, None)]


def rows_of_files(files: Sequence[Path], groups: Mapping[str, str] | None = None) -> Iterator[Row]:
    """Yield the images among files with the label images that belong to them.

    Parameters
    ----------
    files : sequence of Path
        Images and label images; files of other formats are left out.
    groups : mapping, optional
        Group of each patient.
    """
    known = [path for path in files if path.name.lower().endswith(IMAGE_SUFFIXES)]
    labels = [path for path in known if _LABELS.search(_stem(path))]
    for image in known:
        if image in labels:
            continue
        entities = dict(_ENTITY.findall(_stem(image)))
        patient = f"sub-{entities['sub']}" if "sub" in entities else _IMAGE.sub("", _stem(image))
        yield Row(
            patient=patient,
            image=image,
            group=(groups or {}).get(patient, _UNKNOWN),
            labels=_labels_of(image, labels),
            about={"session": entities.get("ses", ""), "description": _stem(image).rpartition("_")[2]},
        )


def write_rows(rows: Sequence[Row], path: Path, *, force: bool = False) -> None:
    """Write a cohort's CSV, with the paths of images and labels relative to it."""

    def relative(image: Path | None) -> str:
        return "" if image is None else Path(os.path.relpath(image, path.parent)).as_posix()

    with (
        replacing(path, force=force) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file)
        said, named = any(row.phantom is not None for row in rows), any(row.tissues for row in rows)
        more = [*[PHANTOM_COLUMN] * said, *[TISSUES_COLUMN] * named]
        writer.writerow((*COLUMNS, *CHOICE_COLUMNS, *more, *_MORE_COLUMNS))
        for row in rows:
            known = [row.about.get(name, "") for name in _MORE_COLUMNS]
            images = (relative(row.image), relative(row.labels))
            about = [*[phantom_text(row.phantom)] * said, *[tissues_text(row.tissues)] * named]
            writer.writerow((row.patient, row.group, *images, row.series, row.phase, *about, *known))


def _anonymous(row: Row) -> Row:
    return replace(row, patient=hashed(row.patient))


def _dicom_rows(contents: Contents, wanted_phase: int | None, wanted: str | None) -> Iterator[Row]:
    studies: dict[str, int] = {}
    for series in contents.series:
        if series.is_localizer or not _contains(series.description, wanted):
            continue
        study = str(series.first.get("StudyInstanceUID") or "")
        number = studies.setdefault(study, len(studies) + 1)
        for phase in _phases(series):
            if len(phase.members) > 1 and (not phase.name or wanted_phase in (None, phase.number)):
                yield _dicom_row(contents, series, phase, number)


def _phases(series: Found) -> list[Phase]:
    """Return the volumes of a series; none, with a warning, if its slices are not regular."""
    members, copies = without_copies(series.members)
    source = Path(series.description)
    try:
        phases = phases_of(source, series_frames(source, members))
    except ValueError as error:
        _log.warning("left out: %s", error)
        return []
    problems = [*copies, *(problem for problem in map(uneven, phases) if problem is not None)]
    if problems:
        _log.warning("left out: %s, %s", series.summary(), problems[0])
        return []
    return phases


def _dicom_row(contents: Contents, series: Found, phase: Phase, study: int) -> Row:
    image = _location(series)
    locations = [_location(other) for other in contents.series]
    shared = sum(location == image or image in location.parents for location in locations) > 1
    return Row(
        patient=series.patient or _UNKNOWN,
        image=image,
        series=str(_number_in(contents, series, image)) if shared else "",
        phase=str(phase.number) if phase.name else "",
        about={
            "study": str(study),
            "modality": series.modality,
            "description": series.description,
            "slices": str(len(phase.members)),
        },
    )


def _location(series: Found) -> Path:
    """Return the single file of a series, or the deepest folder that holds all its files."""
    paths = [path for path, _ in series.members]
    return paths[0] if len(paths) == 1 else Path(os.path.commonpath([path.parent for path in paths]))


def _number_in(contents: Contents, series: Found, folder: Path) -> int:
    """Return the number of a series among those that lie entirely in a folder, from 1."""
    in_folder = [
        other for other in contents.series if all(folder in path.parents for path, _ in other.members)
    ]
    return in_folder.index(series) + 1


def _file_rows(folder: Path, wanted: str | None) -> Iterator[Row]:
    rows = rows_of_files(list(files_below(folder)), _groups(folder))
    return (row for row in rows if _contains(row.image.name, wanted))


def _labels_of(image: Path, labels: Sequence[Path]) -> Path | None:
    """Return the label image whose name begins like the image's; none if several do."""
    stem = _stem(image)
    starts = {stem, stem.rpartition("_")[0]} - {""}
    matching = [path for path in labels if _LABELS.split(_stem(path))[0].rstrip("_.-") in starts]
    candidates = [path for path in matching if path.parent == image.parent] or matching
    return candidates[0] if len(candidates) == 1 else None


def _groups(folder: Path) -> dict[str, str]:
    """Return the group of each patient from BIDS' participants.tsv."""
    path = folder / "participants.tsv"
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    column = next((name for name in ("group", "diagnosis") if rows and name in rows[0]), None)
    return {} if column is None else {row["participant_id"]: row[column] or _UNKNOWN for row in rows}


def _stem(path: Path) -> str:
    suffix = next(
        end for end in sorted(IMAGE_SUFFIXES, key=len, reverse=True) if path.name.lower().endswith(end)
    )
    return path.name[: -len(suffix)]


def _contains(text: str, part: str | None) -> bool:
    return part is None or part.casefold() in text.casefold()
