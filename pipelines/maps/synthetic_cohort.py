"""Synthetic maps of a cohort, each by a network that was not trained on the patient."""

from __future__ import annotations

import csv
import json
import logging
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from glcm_cuda.base.files import replacing
from pipelines.cohorts.cohort import (
    CHOICE_COLUMNS,
    COLUMNS,
    PHANTOM_COLUMN,
    Case,
    case_files,
    phantom_text,
    read_cohort,
)
from pipelines.cohorts.runner import FAILED, each_case
from pipelines.cohorts.runs import read_run, synthetic_column
from pipelines.cohorts.tissues import TISSUES_COLUMN, tissues_text
from pipelines.images.dicom.series import Choice
from pipelines.images.masks import read_labels
from pipelines.images.provenance import sha256_of, sidecar_path
from pipelines.images.reading import read_image
from pipelines.maps.synthetic import (
    CHECK_FAILED,
    MapFiles,
    Model,
    SourceImage,
    Synthesis,
    announce_without_card,
    load,
    write_maps,
)
from pipelines.reports.tables import counted
from pipelines.shell.outputs import refuse_foreign_folder, refuse_inputs
from surrogate.exact import ENTROPY
from surrogate.honesty.checks import refuse_other_settings

_log = logging.getLogger(__name__)

_OWN_FILES = ("index.csv", FAILED, "*_synthetic.nii.gz", "*_synthetic.nii.gz.json")


@dataclass(frozen=True)
class Job:
    """One patient of a cohort, the model that maps them, and the outputs.

    Parameters
    ----------
    case : Case
        The patient's row.
    model : Path
        Model of the fold that held the patient out.
    fold : str
        Number of the fold; empty if the patient was not part of the training.
    outputs : dict
        Path of the map of every feature.
    """

    case: Case
    model: Path
    fold: str
    outputs: dict[str, Path]


def synthesize_cohort(cohort: Path, folder: Path, run: Path, synthesis: Synthesis, *, force: bool) -> Path:
    """Write the maps of a cohort and their index; return the index's path."""
    refuse_foreign_folder(folder, _OWN_FILES, force=force)
    cases = read_cohort(cohort)
    features = _features(run)
    jobs = _jobs(cases, folder, _read_folds(run), run, features)
    outputs = [path for job in jobs for path in job.outputs.values()]
    refuse_inputs([folder / "index.csv", *outputs], [cohort, *case_files(cases)])
    wanted = [job for job in jobs if not is_done(job, synthesis)]
    if not force:
        for job in wanted:
            _refuse_other(job, synthesis)
    if len(wanted) < len(jobs):
        kept = len(jobs) - len(wanted)
        _log.info("%d of %s are already mapped and are kept", kept, counted(len(jobs), "patient"))
    models = _models(run, {job.model for job in wanted}, features)
    by_patient = {job.case.patient: job for job in wanted}

    def make(case: Case) -> None:
        job = by_patient[case.patient]
        files = MapFiles(maps=job.outputs, force=True)
        write_maps(_source(case), models[job.model], synthesis, files, fold=job.fold)

    each_case("Synthetic maps", [job.case for job in wanted], make, folder / FAILED)
    index = _write_index(jobs, folder, features)
    _tell_failed(jobs)
    return index


def _source(case: Case) -> SourceImage:
    volume = read_image(case.image, case.choice)
    labels = None if case.labels is None else read_labels(case.labels, volume)
    return SourceImage(
        path=case.image, volume=volume, choice=case.choice, labels=labels, tissues=case.tissues
    )


def _tell_failed(jobs: Sequence[Job]) -> None:
    """Log the patients whose maps failed their check, of this run or an earlier one."""
    failed = [job.case.patient for job in jobs if any(map(_has_failed, job.outputs.values()))]
    if failed:
        _log.warning(
            "%s: the maps of %s of %d; do not use them, or give --fallback exact for exact ones",
            CHECK_FAILED,
            _some(failed),
            len(jobs),
        )


def _has_failed(output: Path) -> bool:
    record = json.loads(sidecar_path(output).read_text(encoding="utf-8"))
    return bool(record["spot_check"]["failed"]) and record["fallback"] is None


def _features(run: Path) -> tuple[str, ...]:
    """Return the features that the models of a run predict."""
    return read_run(run).features if (run / "run.json").is_file() else ENTROPY


def _models(run: Path, paths: Collection[Path], features: tuple[str, ...]) -> dict[Path, Model]:
    """Load the models of a run; refuse those whose maps could not be evaluated together."""
    models = {path: load(path) for path in sorted(paths)}
    for path, model in models.items():
        if model.features != features:
            msg = f"{path} predicts {', '.join(model.features)}, the run {', '.join(features)}; train again"
            raise ValueError(msg)
    if models:
        first = next(iter(models.values())).settings
        expected = read_run(run).settings if (run / "run.json").is_file() else first
        for path, model in models.items():
            refuse_other_settings(model.settings, expected, str(path))
            announce_without_card(model)
    return models


def _read_folds(run: Path) -> dict[str, str]:
    """Return the fold that held out each patient of a run; empty if nobody was held out."""
    path = run / "folds.csv"
    if not path.is_file():
        msg = f"a cohort needs the output folder of `radsynth train`, got {run} without folds.csv"
        raise ValueError(msg)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, restval="")
        if not {"patient", "fold"} <= set(reader.fieldnames or ()):
            msg = f"{path} must have the columns patient and fold; train again"
            raise ValueError(msg)
        return {row["patient"]: row["fold"] for row in reader}


def _jobs(
    cases: Sequence[Case], folder: Path, folds: dict[str, str], run: Path, features: Sequence[str]
) -> list[Job]:
    """Choose the model of every patient; the log names those whom it did not hold out."""
    _announce(cases, folds)
    jobs = []
    for case in cases:
        # If nobody was held out there is one model, fold 0; new patients may have any.
        fold = folds.get(case.patient) or "0"
        shown = fold if case.patient in folds else ""
        model = run / f"fold{fold}.keras"
        outputs = {feature: folder / _map_name(case.patient, feature) for feature in features}
        jobs.append(Job(case, model, shown, outputs))
    for model in sorted({job.model for job in jobs}):
        if not model.is_file():
            msg = f"{run} lacks {model.name}: its training did not finish; run `radsynth train` again"
            raise ValueError(msg)
    return jobs


def _map_name(patient: str, feature: str) -> str:
    return f"{patient}_{'entropy' if feature == 'joint_entropy' else feature}_synthetic.nii.gz"


def _announce(cases: Sequence[Case], folds: dict[str, str]) -> None:
    new = [case.patient for case in cases if case.patient not in folds]
    if new:
        _log.info("not part of the training, mapped with fold 0: %s", _some(new))
    seen = [case.patient for case in cases if folds.get(case.patient) == ""]
    if seen:
        _log.info("nobody was held out, the model was trained on: %s", _some(seen))


def _some(names: Sequence[str]) -> str:
    return f"{counted(len(names), 'patient')} ({', '.join(names[:5])}{', ...' if len(names) > 5 else ''})"


def is_done(job: Job, synthesis: Synthesis) -> bool:
    """Whether all maps exist, of this image and model, and exact or synthetic as `synthesis` asks."""
    return all(_is_current(output, job, synthesis) for output in job.outputs.values())


def _is_current(output: Path, job: Job, synthesis: Synthesis) -> bool:
    try:
        record = json.loads(sidecar_path(output).read_text(encoding="utf-8"))
        return bool(
            output.exists()
            and "clipped" in record  # maps of older versions were checked less
            and record["source_sha256"] == sha256_of(job.case.image)
            and Choice(series=record.get("series"), phase=record.get("phase")) == job.case.choice
            and record["model_sha256"] == sha256_of(job.model)
            and (record["fallback"] == "exact") == (record["spot_check"]["failed"] and synthesis.fallback)
        )
    except (FileNotFoundError, NotADirectoryError, ValueError, LookupError, TypeError):
        return False


def _refuse_other(job: Job, synthesis: Synthesis) -> None:
    for output in job.outputs.values():
        if output.exists() and not _is_current(output, job, synthesis):
            msg = f"{output} exists, from another image, model or --fallback; give --force to replace it"
            raise FileExistsError(msg)


def _write_index(jobs: Sequence[Job], folder: Path, features: Sequence[str]) -> Path:
    index = folder / "index.csv"
    with (
        replacing(index, force=True) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file)
        synthetic = [synthetic_column(feature, features) for feature in features]
        known = (*COLUMNS, *CHOICE_COLUMNS, PHANTOM_COLUMN, TISSUES_COLUMN)
        writer.writerow((*known, *synthetic, "model", "fold"))
        writer.writerows(_index_row(job, folder) for job in jobs)
    return index


def _index_row(job: Job, folder: Path) -> tuple[str, ...]:
    case = job.case
    labels = "" if case.labels is None else str(case.labels.resolve())
    chosen = case.choice.to_dict()
    choice = [str(chosen.get(name, "")) for name in CHOICE_COLUMNS]
    about = phantom_text(case.phantom), tissues_text(case.tissues)
    known = (case.patient, case.group, str(case.image.resolve()), labels, *choice, *about)
    model = Path(os.path.relpath(job.model, folder)).as_posix()
    return *known, *(output.name for output in job.outputs.values()), model, job.fold
