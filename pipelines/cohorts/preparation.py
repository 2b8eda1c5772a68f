"""A cohort prepared: its intensity standard, and its images after the steps before the texture."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from glcm_cuda.base.files import replacing
from pipelines.cohorts.attempts import naming
from pipelines.cohorts.cohort import Case, case_files, read_cohort
from pipelines.cohorts.listing import Row, write_rows
from pipelines.cohorts.runner import FAILED, each_case
from pipelines.images.intensity_standard import learn_standard, write_standard
from pipelines.images.masks import read_labels
from pipelines.images.output_paths import refuse_output
from pipelines.images.preprocessing import (
    Preprocessing,
    moved_labels,
    preprocess,
)
from pipelines.images.provenance import sidecar_path, source_record, write_sidecar
from pipelines.images.reading import read_image
from pipelines.images.volume import Volume
from pipelines.images.writing import write_volume
from pipelines.shell.outputs import refuse_foreign_folder, refuse_inputs
from pipelines.shell.progress import progress_bar

_OWN_FILES = ("cohort.csv", FAILED, "*.nii.gz", "*.nii.gz.json")


def write_cohort_standard(cohort: Path, output: Path, *, force: bool) -> None:
    """Learn the intensity standard of a cohort's images and write it as JSON.

    Raises
    ------
    FileExistsError
        If `output` exists and `force` is False.
    FileNotFoundError, TypeError, ValueError
        If the cohort or an image of it is unfit.
    """
    refuse_output(output, force=force)
    cases = read_cohort(cohort)
    with progress_bar("Standard", len(cases)) as progress:
        write_standard(learn_standard(_images(cases, progress)), output, force=force)


def preprocess_cohort(cohort: Path, folder: Path, steps: Preprocessing, *, force: bool) -> Path:
    """Write the images of a cohort after the steps, and a cohort of them; return its CSV.

    Images that are there, made from the same image by the same steps, are kept.

    Raises
    ------
    FileExistsError
        If the folder holds something else and `force` is False.
    FileNotFoundError, TypeError, ValueError
        If no step is given, one does not suit a cohort, or (after all others are done) a case fails.
    """
    _check_steps(steps)
    refuse_foreign_folder(folder, _OWN_FILES, force=force)
    cases = read_cohort(cohort)
    table = folder / "cohort.csv"
    refuse_inputs([table], [cohort, *case_files(cases)])
    rows: list[Row] = []
    each_case(
        "Preprocessing",
        cases,
        lambda case: rows.append(_preprocessed(case, folder, steps)),
        folder / FAILED,
    )
    write_rows(rows, table, force=True)
    return table


def _check_steps(steps: Preprocessing) -> None:
    if steps.is_off:
        msg = (
            "give at least one step: --n4, --resample, --clip, --standardize, --normalize or --clip-outliers"
        )
        raise ValueError(msg)
    steps.refuse_lone_interpolators()
    if steps.subtract is not None:
        msg = "--subtract works on a single image; use it with `radsynth map`, not with a cohort"
        raise ValueError(msg)


def _preprocessed(case: Case, folder: Path, steps: Preprocessing) -> Row:
    """Write image and labels of a case after the steps, unless they are there; return its row."""
    image, labels = folder / f"{case.patient}.nii.gz", folder / f"{case.patient}_labels.nii.gz"
    record = {**source_record(case.image), **case.choice.to_dict(), **steps.to_dict()}
    if case.labels is not None:
        record |= source_record(case.labels, "labels")
    if not _is_there(image, record):
        before = read_image(case.image, case.choice)
        after = preprocess(before, steps)
        if case.labels is not None:
            moved = moved_labels(read_labels(case.labels, before), before, after, steps)
            write_volume(replace(after, array=moved), labels, force=True)
        with replacing(sidecar_path(image), force=True) as sidecar:
            write_sidecar(sidecar, record)
            write_volume(after, image, force=True)
    return Row(
        patient=case.patient,
        image=image,
        group=case.group,
        labels=None if case.labels is None else labels,
        phantom=case.phantom,
        tissues=case.tissues,
    )


def _is_there(image: Path, record: dict[str, Any]) -> bool:
    """Whether an image made from the same source by the same steps exists; its record is written last."""
    try:
        written: dict[str, Any] = json.loads(sidecar_path(image).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return image.exists() and written == json.loads(json.dumps(record))


def _images(cases: Sequence[Case], progress: Callable[[int, int], None]) -> Iterator[Volume]:
    for done, case in enumerate(cases, start=1):
        with naming(case.patient):
            yield read_image(case.image, case.choice)
        progress(done, len(cases))
