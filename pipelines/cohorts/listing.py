"""The rows of a cohort CSV, found in folders of DICOM or NIfTI."""

from __future__ import annotations

import csv
import logging
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from glcm_cuda.base.files import replacing
from pipelines.cohorts.cohort import CHOICE_COLUMNS, COLUMNS
from pipelines.images.dicom.headers import Contents, Found, contents_of, files_below, hashed
from pipelines.images.dicom.phases import Phase, phases_of, uneven, without_copies
from pipelines.images.dicom.series import series_frames
from pipelines.images.output_paths import MAP_SUFFIXES

_log = logging.getLogger(__name__)

_SUFFIXES = (*MAP_SUFFIXES, ".mhd")
_ENTITY = re.compile(r"(?:^|_)(sub|ses)-([^_/]+)")
# Words by which files of labels are told from images, as BIDS and the usual tools name them.
_LABELS = re.compile(r"(?:^|[_.-])(dseg|seg|segmentation|mask|label|labels|roi)(?=[_.-]|$)", re.IGNORECASE)
_IMAGE = re.compile(r"[_-](image|img)$", re.IGNORECASE)
_MORE_COLUMNS = ("study", "session", "modality", "description", "slices")
_UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One volume of a cohort.

    Parameters
    ----------
    patient : str
        Name, as files may be called.
    image : Path
        A file, or the folder of a series.
    group : str
        From participants.tsv of BIDS; otherwise "unknown".
    labels : Path, optional
        Label image beside it.
    series, phase : str
        What to choose in the folder; empty where there is one.
    about : dict
        The columns of `_MORE_COLUMNS` that are known.
    """

    patient: str
    image: Path
    group: str = _UNKNOWN
    labels: Path | None = None
    series: str = ""
    phase: str = ""
    about: dict[str, str] = field(default_factory=dict)


def rows_of(
    folder: Path, series: str | None = None, phase: int | None = None, *, keep_ids: bool = False
) -> list[Row]:
    """Return the volumes that a folder holds; what cannot be used is warned of and left out.

    Parameters
    ----------
    folder : path
        With folders in it.
    series : str, optional
        Part of a description, or of a file's name, in any case.
    phase : int, optional
        Of series with several.
    keep_ids : bool
        Name patients by their IDs.
    """
    contents = contents_of(folder)
    for problem in contents.problems:
        _log.warning("%s", problem)
    rows = [*_dicom_rows(contents, phase, series), *_file_rows(folder, series)]
    return [row if keep_ids else _anonymous(row) for row in rows]


def write_rows(rows: Sequence[Row], path: Path, *, force: bool = False) -> None:
    """Write a cohort's CSV; images and labels relative to it."""

    def relative(image: Path | None) -> str:
        return "" if image is None else Path(os.path.relpath(image, path.parent)).as_posix()

    with (
        replacing(path, force=force) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow((*COLUMNS, *CHOICE_COLUMNS, *_MORE_COLUMNS))
        for row in rows:
            known = [row.about.get(name, "") for name in _MORE_COLUMNS]
            images = (relative(row.image), relative(row.labels))
            writer.writerow((row.patient, row.group, *images, row.series, row.phase, *known))


def _anonymous(row: Row) -> Row:
    return replace(row, patient=hashed(row.patient))


def _dicom_rows(contents: Contents, wanted_phase: int | None, wanted: str | None) -> Iterator[Row]:
    studies: dict[str, int] = {}
    for found in contents.series:
        if found.is_localizer or not _has(found.description, wanted):
            continue
        study = str(found.first.get("StudyInstanceUID") or "")
        number = studies.setdefault(study, len(studies) + 1)
        for phase in _phases(found):
            if len(phase.members) > 1 and (not phase.name or wanted_phase in (None, phase.number)):
                yield _dicom_row(contents, found, phase, number)


def _phases(found: Found) -> list[Phase]:
    """Return the volumes of a series; none, with a warning, where it is not regular."""
    members, copies = without_copies(found.members)
    try:
        phases = phases_of(Path(found.description), series_frames(members))
    except ValueError as error:
        _log.warning("left out: %s", error)
        return []
    problems = [*copies, *(how for how in map(uneven, phases) if how is not None)]
    if problems:
        _log.warning("left out: %s, %s", found.summary(), problems[0])
        return []
    return phases


def _dicom_row(contents: Contents, found: Found, phase: Phase, study: int) -> Row:
    image = _place(found)
    shared = sum(_place(other) == image or image in _place(other).parents for other in contents.series) > 1
    return Row(
        patient=found.patient or _UNKNOWN,
        image=image,
        series=str(_number_in(contents, found, image)) if shared else "",
        phase=str(phase.number) if phase.name else "",
        about={
            "study": str(study),
            "modality": found.modality,
            "description": found.description,
            "slices": str(len(phase.members)),
        },
    )


def _place(found: Found) -> Path:
    """Return the one file of a series, or the folder that has all its files in or below it."""
    paths = [path for path, _ in found.members]
    return paths[0] if len(paths) == 1 else Path(os.path.commonpath([path.parent for path in paths]))


def _number_in(contents: Contents, found: Found, folder: Path) -> int:
    """Return what number a series has in a folder of its own; the order is that of the whole."""
    inside = [other for other in contents.series if all(folder in path.parents for path, _ in other.members)]
    return inside.index(found) + 1


def _file_rows(folder: Path, wanted: str | None) -> Iterator[Row]:
    files = [path for path in files_below(folder) if path.name.lower().endswith(_SUFFIXES)]
    images = [path for path in files if not _LABELS.search(_stem(path))]
    labels = [path for path in files if _LABELS.search(_stem(path))]
    groups = _groups(folder)
    for image in images:
        if not _has(image.name, wanted):
            continue
        entities = dict(_ENTITY.findall(_stem(image)))
        patient = f"sub-{entities['sub']}" if "sub" in entities else _IMAGE.sub("", _stem(image))
        yield Row(
            patient=patient,
            image=image,
            group=groups.get(patient, _UNKNOWN),
            labels=_labels_of(image, labels),
            about={"session": entities.get("ses", ""), "description": _stem(image).rpartition("_")[2]},
        )


def _labels_of(image: Path, labels: Sequence[Path]) -> Path | None:
    """Return the label image whose name begins as the image's does; of several none is taken."""
    stem = _stem(image)
    starts = {stem, stem.rpartition("_")[0]} - {""}
    found = [path for path in labels if _LABELS.split(_stem(path))[0].rstrip("_.-") in starts]
    near = [path for path in found if path.parent == image.parent] or found
    return near[0] if len(near) == 1 else None


def _groups(folder: Path) -> dict[str, str]:
    """Return the group of each patient as BIDS' participants.tsv has it."""
    path = folder / "participants.tsv"
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    column = next((name for name in ("group", "diagnosis") if rows and name in rows[0]), None)
    return {} if column is None else {row["participant_id"]: row[column] or _UNKNOWN for row in rows}


def _stem(path: Path) -> str:
    suffix = next(end for end in sorted(_SUFFIXES, key=len, reverse=True) if path.name.lower().endswith(end))
    return path.name[: -len(suffix)]


def _has(text: str, part: str | None) -> bool:
    return part is None or part.casefold() in text.casefold()
