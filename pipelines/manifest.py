"""``radsynth cohort``: the CSV of a cohort, the standard of its intensities, its images prepared."""

from __future__ import annotations

import csv
import json
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click

from glcm_cuda.files import replacing

from .cohort import CHOICE_COLUMNS, COLUMNS, Attempts, Case, case_files, naming, read_cohort
from .dicom import series_frames
from .headers import Contents, Found, contents_of, files_below, hashed
from .imaging import MAP_SUFFIXES, read_image, refuse_output, write_volume
from .masks import read_labels
from .options import Command, OneLineErrors, force_option, preprocessing_options, progress_bar
from .outputs import refuse_foreign_folder, refuse_inputs
from .phases import Phase, phases_of, uneven, without_copies
from .preprocessing import Preprocessing
from .provenance import sidecar_path, source_record, write_sidecar
from .report import counted
from .volume import Volume

_log = logging.getLogger(__name__)

_SUFFIXES = (*MAP_SUFFIXES, ".mhd")
_ENTITY = re.compile(r"(?:^|_)(sub|ses)-([^_/]+)")
# Words by which files of labels are told from images, as BIDS and the usual tools name them.
_LABELS = re.compile(r"(?:^|[_.-])(dseg|seg|segmentation|mask|label|labels|roi)(?=[_.-]|$)", re.IGNORECASE)
_IMAGE = re.compile(r"[_-](image|img)$", re.IGNORECASE)
_MORE_COLUMNS = ("study", "session", "modality", "description", "slices")
_UNKNOWN = "unknown"
_PREPROCESSED = ("cohort.csv", "*.nii.gz", "*.nii.gz.json")


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


class _Group(OneLineErrors, click.Group):
    """Commands with errors in one line."""


@click.group(cls=_Group)
def command() -> None:
    """Make the CSV that lists a cohort's images."""


@command.command(cls=Command)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The cohort's CSV.")
@click.option("--series", help="Only series (or files) whose description (or name) has this in it.")
@click.option("--phase", type=int, help="Only this phase of series that have several, from 1.")
@click.option("--keep-ids", is_flag=True, help="Name patients by their IDs instead of hashes of them.")
@force_option
def scan(
    folder: Path, output: Path, series: str | None, phase: int | None, keep_ids: bool, force: bool
) -> None:
    """Write the CSV of a cohort from what FOLDER holds: DICOM, or NIfTI, NRRD and MHA as BIDS names them.

    One row for each volume: patient, group, image, labels, series, phase, and what else is known. What reads
    a cohort wants one row for each patient: choose with --series and --phase, or delete rows. Label images
    that stand beside an image under its name (..._dseg, _mask, _seg, _label) go with it.

    \b
    Example:
      radsynth cohort scan studies -o cohort.csv --series "DCE" --phase 2
      cohort.csv
      24 volumes of 24 patients
    """
    if not folder.is_dir():
        msg = f"FOLDER must be a folder, got {folder}"
        raise NotADirectoryError(msg)
    refuse_output(output, force=force)
    rows = rows_of(folder, series, phase, keep_ids=keep_ids)
    if not rows:
        wanted = "" if series is None and phase is None else " that --series and --phase mean"
        msg = f"{folder} holds no image{wanted}; `radsynth inspect` says what it holds"
        raise ValueError(msg)
    write_rows(rows, output, force=force)
    counts = Counter(row.patient for row in rows)
    several = [patient for patient, count in counts.items() if count > 1]
    if several:
        _log.warning(
            "%s with several volumes (%s): choose one of each with --series and --phase, or delete rows",
            counted(len(several), "patient"),
            ", ".join(several[:5]) + (", ..." if len(several) > 5 else ""),
        )
    click.echo(output)
    click.echo(f"{counted(len(rows), 'volume')} of {counted(len(counts), 'patient')}")


@command.command(cls=Command)
@click.argument("cohort", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The standard, as JSON.")
@force_option
def standard(cohort: Path, output: Path, force: bool) -> None:
    """Learn the intensity standard of COHORT's images, for --standardize of other commands.

    The mean landmarks of their histograms (Nyul, Udupa and Zhang 2000): MR intensities have no unit, and this
    puts those of one protocol on one scale.

    \b
    Example:
      radsynth cohort standard cohort.csv -o t1.json
      radsynth map breast.nii.gz -o entropy.nii.gz --standardize t1.json
    """
    from .preprocessing import learn_standard, write_standard

    refuse_output(output, force=force)
    cases = read_cohort(cohort)
    with progress_bar("Standard", len(cases)) as progress:
        write_standard(learn_standard(_counted(cases, progress)), output, force=force)
    click.echo(output)


@command.command(cls=Command)
@click.argument("cohort", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder.")
@preprocessing_options
@force_option
def preprocess(cohort: Path, output: Path, steps: Preprocessing, force: bool) -> None:
    """Write the images of COHORT after the steps, and the CSV of a cohort of them.

    So a network learns, maps and is evaluated on the same images. Labels go along by the nearest voxel. Each
    image has the steps beside it as JSON. Images that are there already, of the same image and steps, are
    kept; a case that fails does not stop the rest.

    \b
    Example:
      radsynth cohort preprocess cohort.csv -o n4 --n4 --resample 1,1,0
      radsynth groundtruth n4/cohort.csv -o store.h5
    """
    if steps.is_off:
        msg = "give at least one step: --n4, --resample, --standardize, --normalize or --clip-outliers"
        raise ValueError(msg)
    if steps.subtract is not None:
        msg = "--subtract takes one image; it goes with `radsynth map`, not with a cohort"
        raise ValueError(msg)
    refuse_foreign_folder(output, _PREPROCESSED, force=force)
    cases = read_cohort(cohort)
    refuse_inputs([output / "cohort.csv"], [cohort, *case_files(cases)])
    attempts, rows = Attempts(len(cases)), []
    with progress_bar("Preprocessing", len(cases)) as progress:
        for done, case in enumerate(cases, start=1):
            with attempts.of(case.patient):
                rows.append(_preprocessed(case, output, steps))
            progress(done, len(cases))
    attempts.finish()
    write_rows(rows, output / "cohort.csv", force=True)
    click.echo(output / "cohort.csv")


def _preprocessed(case: Case, folder: Path, steps: Preprocessing) -> Row:
    """Write image and labels of a case after the steps, unless they are there; return its row."""
    from .preprocessing import moved_labels
    from .preprocessing import preprocess as taken

    image, labels = folder / f"{case.patient}.nii.gz", folder / f"{case.patient}_labels.nii.gz"
    record = {**source_record(case.image), **case.choice.to_dict(), **steps.to_dict()}
    if case.labels is not None:
        record |= source_record(case.labels, "labels")
    if not _is_there(image, record):
        before = read_image(case.image, case.choice)
        after = taken(before, steps)
        if case.labels is not None:
            moved = moved_labels(read_labels(case.labels, before), before, after)
            write_volume(replace(after, array=moved), labels, force=True)
        with replacing(sidecar_path(image), force=True) as sidecar:
            write_sidecar(sidecar, record)
            write_volume(after, image, force=True)
    return Row(
        patient=case.patient,
        image=image,
        group=case.group,
        labels=None if case.labels is None else labels,
    )


def _is_there(image: Path, record: dict[str, Any]) -> bool:
    """Whether an image is there, made from the same with the same steps; the record is written last."""
    try:
        found: dict[str, Any] = json.loads(sidecar_path(image).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return image.exists() and found == json.loads(json.dumps(record))


def _counted(cases: Sequence[Case], progress: Callable[[int, int], None]) -> Iterator[Volume]:
    for done, case in enumerate(cases, start=1):
        with naming(case.patient):
            yield read_image(case.image, case.choice)
        progress(done, len(cases))


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


# DICOM


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


# Files


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


if __name__ == "__main__":
    command()
