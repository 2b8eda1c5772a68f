"""``radsynth cohort``: the CSV of a cohort, the standard of its intensities, its images prepared."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from glcm_cuda.base.files import replacing
from pipelines.cohorts.attempts import Attempts, naming
from pipelines.cohorts.cohort import Case, case_files, read_cohort
from pipelines.cohorts.listing import Row, rows_of, write_rows
from pipelines.images.masks import read_labels
from pipelines.images.output_paths import refuse_output
from pipelines.images.preprocessing import Preprocessing
from pipelines.images.provenance import sidecar_path, source_record, write_sidecar
from pipelines.images.reading import read_image
from pipelines.images.volume import Volume
from pipelines.images.writing import write_volume
from pipelines.reports.tables import counted
from pipelines.shell.errors import OneLineErrors
from pipelines.shell.options import Command, force_option, preprocessing_options
from pipelines.shell.outputs import refuse_foreign_folder, refuse_inputs
from pipelines.shell.progress import progress_bar

_log = logging.getLogger(__name__)

_PREPROCESSED = ("cohort.csv", "*.nii.gz", "*.nii.gz.json")


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
    from pipelines.images.intensity_standard import learn_standard, write_standard

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
    from pipelines.images.preprocessing import moved_labels
    from pipelines.images.preprocessing import preprocess as taken

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


if __name__ == "__main__":
    command()
