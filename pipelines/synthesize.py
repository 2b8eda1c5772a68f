"""``radsynth synthesize``: synthetic maps of one image, or of a cohort with a run's models."""

from __future__ import annotations

import csv
import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from glcm_cuda.checks import check_choice
from surrogate.settings import Runtime

from .cohort import Case, case_files, naming, read_cohort
from .options import Command, force_option, progress_bar
from .outputs import refuse_foreign_folder, refuse_inputs
from .report import counted

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from surrogate.card import Card
    from surrogate.checks import SpotCheck

    from .imaging import Volume

_log = logging.getLogger(__name__)

INDEX_COLUMNS = ("patient", "group", "image", "labels", "synthetic", "model", "fold")
_OWN_FILES = ("index.csv", "*_entropy_synthetic.nii.gz", "*_entropy_synthetic.nii.gz.json")
KIND = "synthetic GLCM entropy map (network prediction)"


@dataclass(frozen=True)
class Model:
    """A loaded model and where it came from.

    Parameters
    ----------
    network : keras.Model
        Ready to predict whole slices.
    path : Path
        Its ``.keras`` file.
    sha256 : str
        Checksum of the file.
    card : Card or None
        What was measured of it; None where no card lies beside the file.
    """

    network: Any
    path: Path
    sha256: str
    card: Card | None


@dataclass(frozen=True)
class Synthesis:
    """How maps are made, whatever the image.

    Parameters
    ----------
    tile : int
        Edge of the squares that are computed at a time, in voxels.
    runtime : {"keras", "onnxruntime"}
        What computes the network.
    fallback : bool
        Whether a map that fails its check is replaced by the exact one.
    error_map : Path or None
        Where the error map goes.
    """

    tile: int
    runtime: Runtime
    fallback: bool
    error_map: Path | None = None


@dataclass(frozen=True)
class Job:
    """One patient of a cohort and the model that may be used: one that has not seen them.

    Parameters
    ----------
    case : Case
        The patient's row.
    model : Path
        Model of the fold that held the patient out.
    fold : str
        The fold's number; empty if the run does not know the patient.
    output : Path
        The map.
    """

    case: Case
    model: Path
    fold: str
    output: Path


@click.command(cls=Command)
@click.argument("source", metavar="INPUT", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Map; of a cohort a folder."
)
@click.option(
    "--model",
    "model_path",
    required=True,
    type=click.Path(path_type=Path),
    help="A .keras file; for a cohort the folder of a training run.",
)
@click.option(
    "--tile",
    type=int,
    default=128,
    show_default=True,
    help="Edge of the squares that are computed at a time, in voxels; bounds the memory.",
)
@click.option(
    "--runtime",
    metavar="keras|onnxruntime",
    default="keras",
    show_default=True,
    help="What computes the network.",
)
@click.option(
    "--error-map",
    type=click.Path(path_type=Path),
    help="Write how far off each voxel may be: 95 % of the model's errors were no larger.",
)
@click.option(
    "--fallback",
    metavar="exact",
    help="exact: where the check of a map fails, write the exact map instead.",
)
@click.option("--preview", type=click.Path(path_type=Path), help="Draw a slice of image and map to this PNG.")
@force_option
def command(
    source: Path,
    output: Path,
    model_path: Path,
    tile: int,
    runtime: Any,
    error_map: Path | None,
    fallback: str | None,
    preview: Path | None,
    force: bool,
) -> None:
    """Synthetic entropy map of an image, or of every patient of a cohort.

    INPUT is an image (NIfTI, NRRD, MHA, DICOM file, folder of one DICOM series) with --model FILE.keras,
    or a cohort's CSV with --model RUN: then every patient is mapped with the model of the fold that held
    them out, and OUTPUT/index.csv lists the maps. Maps that are there already, of the same image and the
    same model, are kept.

    Every map is checked: 2,000 random voxels against the exact engine, and against the model's card. What
    is worse than the card says is warned of, and stands beside the map (docs/honesty.md).

    \b
    Example:
      radsynth synthesize breast.nii.gz -o synthetic.nii.gz --model runs/demo/training/fold0.keras
      synthetic.nii.gz
      60x256x256 voxels, 64 levels, 21.4 s on tensorflow
      check of 2000 voxels: r 0.9786, bias -0.0123, largest error 0.871 bits
    """
    if tile < 1:
        msg = f"--tile must be 1 or more, got {tile}"
        raise ValueError(msg)
    if fallback not in (None, "exact"):
        msg = f"--fallback must be exact, got {fallback}"
        raise ValueError(msg)
    check_choice("--runtime", runtime, get_args(Runtime))
    how = Synthesis(tile, runtime, fallback is not None, error_map)
    if source.suffix.lower() == ".csv":
        for option, value in (("--preview", preview), ("--error-map", error_map)):
            if value is not None:
                msg = f"{option} goes with a single image, got a cohort"
                raise ValueError(msg)
        click.echo(_synthesize_cohort(source, output, model_path, how, force=force))
    else:
        summary = _synthesize_image(source, output, model_path, how, preview, force=force)
        click.echo(output)
        click.echo(summary)


def _synthesize_image(
    source: Path, output: Path, model_path: Path, how: Synthesis, preview: Path | None, *, force: bool
) -> str:
    from .imaging import check_map_path, refuse_input_as_output
    from .preview import check_preview_path, write_preview

    if model_path.is_dir():
        msg = f"one image needs one model, a .keras file; {model_path} is a folder, give a file of it"
        raise ValueError(msg)
    refuse_input_as_output(output, source)
    check_map_path(output, force=force)
    if preview is not None:
        check_preview_path(preview, force=force)
    if how.error_map is not None:
        refuse_input_as_output(how.error_map, source)
        check_map_path(how.error_map, force=force)
    model = _load(model_path)
    if how.error_map is not None and model.card is None:
        msg = f"--error-map needs the model card beside {model_path}; train writes it"
        raise ValueError(msg)
    start = time.perf_counter()
    with progress_bar("Synthetic map") as progress:
        volume, entropy, check = _write_synthetic(source, output, model, how, force=force, progress=progress)
    seconds = time.perf_counter() - start
    settings = _settings(model)
    if preview is not None:
        write_preview(volume, entropy, preview, settings, title=_title(check, how), force=force)
    shape = "x".join(str(edge) for edge in entropy.shape)
    return (
        f"{shape} voxels, {settings.levels} levels, {seconds:.1f} s on {_backend()}\n"
        f"{'exact map written instead, check' if check.failed and how.fallback else 'check'} of "
        f"{counted(check.voxels, 'voxel')}: r {check.pearson:.4f}, bias {check.bias:+.4f}, "
        f"largest error {check.largest:.3f} {settings.unit}"
    )


def _title(check: SpotCheck, how: Synthesis) -> str:
    return "entropy, exact in place of synthetic" if check.failed and how.fallback else "synthetic entropy"


def _synthesize_cohort(cohort: Path, folder: Path, run: Path, how: Synthesis, *, force: bool) -> Path:
    """Write the maps of a cohort and their index; return the index's path."""
    refuse_foreign_folder(folder, _OWN_FILES, force=force)
    cases = read_cohort(cohort)
    jobs = _jobs(cases, folder, _read_folds(run), run)
    refuse_inputs([folder / "index.csv", *(job.output for job in jobs)], [cohort, *case_files(cases)])
    wanted = [job for job in jobs if not _is_done(job, how)]
    if not force:
        for job in wanted:
            _refuse_other(job)
    if len(wanted) < len(jobs):
        _log.info("%d of %d maps are there already and kept", len(jobs) - len(wanted), len(jobs))
    load = cache(_load)
    with progress_bar("Synthetic maps", len(wanted)) as progress:
        for done, job in enumerate(wanted, start=1):
            with naming(job.case.patient):
                _write_synthetic(job.case.image, job.output, load(job.model), how, force=True, fold=job.fold)
            progress(done, len(wanted))
    return _write_index(jobs, folder)


def _write_synthetic(
    source: Path,
    output: Path,
    model: Model,
    how: Synthesis,
    *,
    force: bool,
    progress: Callable[[int, int], None] | None = None,
    **details: Any,
) -> tuple[Volume, npt.NDArray[np.float32], SpotCheck]:
    """Map one image, check the map and write it; return image, what was written and the check."""
    from glcm_cuda import entropy_map, intensity_range
    from surrogate import model_features, synthesize
    from surrogate.checks import spot_check
    from surrogate.model import keras_versions

    from .imaging import provenance, read_image, write_map

    volume = read_image(source)
    settings = _settings(model)
    entropy = synthesize(volume.array, model.network, tile=how.tile, runtime=how.runtime, progress=progress)
    (feature,) = model_features(model.network)
    check = spot_check(volume.array, entropy, settings, feature, model.card)
    _report(check, output, model)
    kind, backend = KIND, f"Keras {_keras_version()} on {_backend()}"
    replaced = check.failed and how.fallback
    if replaced:
        _log.warning("%s: the exact map is written instead", output)
        kind, backend = "GLCM entropy map, exact in place of a synthetic one", "cpu"
    record = provenance(
        source=source,
        settings=settings,
        intensity_range=intensity_range(volume.array, settings),
        backend=backend,
        kind=kind,
        model=model.path.name,
        model_sha256=model.sha256,
        runtime=how.runtime,
        spot_check=check.to_dict(),
        fallback="exact" if replaced else None,
        **details,
    )
    record["software"] |= keras_versions()
    if how.error_map is not None and model.card is not None:
        error = model.card.error_band.at(entropy)
        error = 0 * error if replaced else error
        about = {**record, "kind": "half width of the band that holds 95 % of the errors of a synthetic map"}
        write_map(error, volume, how.error_map, provenance=about, force=force)
    written = entropy_map(volume.array, settings, backend="cpu") if replaced else entropy
    write_map(written, volume, output, provenance=record, force=force)
    return volume, written, check


def _report(check: SpotCheck, output: Path, model: Model) -> None:
    if model.card is None:
        _log.info("%s has no model card: the check has nothing to be compared with", model.path.name)
    for warning in check.warnings:
        _log.warning("%s: %s", output, warning)


def _read_folds(run: Path) -> dict[str, str]:
    """Return the fold that held out each patient of a run; empty where nobody was held out."""
    path = run / "folds.csv"
    if not path.is_file():
        msg = f"a cohort needs the folder of a training run, with folds.csv in it; {run} is none"
        raise ValueError(msg)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, restval="")
        if not {"patient", "fold"} <= set(reader.fieldnames or ()):
            msg = f"{path} must have the columns patient and fold; train again"
            raise ValueError(msg)
        return {row["patient"]: row["fold"] for row in reader}


def _jobs(cases: Sequence[Case], folder: Path, folds: dict[str, str], run: Path) -> list[Job]:
    """Choose the model of every patient, saying where it is not one that held them out."""
    _announce(cases, folds)
    jobs = []
    for case in cases:
        # Where nobody was held out there is one model, fold 0; a stranger may have any.
        fold = folds.get(case.patient) or "0"
        shown = fold if case.patient in folds else ""
        model = run / f"fold{fold}.keras"
        jobs.append(Job(case, model, shown, folder / f"{case.patient}_entropy_synthetic.nii.gz"))
    for model in sorted({job.model for job in jobs}):
        if not model.is_file():
            msg = f"{run} lacks {model.name}: its training did not finish; run radsynth train again"
            raise ValueError(msg)
    return jobs


def _announce(cases: Sequence[Case], folds: dict[str, str]) -> None:
    strangers = [case.patient for case in cases if case.patient not in folds]
    if strangers:
        _log.info("new to the run, mapped with fold 0: %s", _some(strangers))
    seen = [case.patient for case in cases if folds.get(case.patient) == ""]
    if seen:
        _log.info("nobody was held out, trained on were: %s", _some(seen))


def _some(names: Sequence[str]) -> str:
    return f"{counted(len(names), 'patient')} ({', '.join(names[:5])}{', ...' if len(names) > 5 else ''})"


def _is_done(job: Job, how: Synthesis) -> bool:
    """Whether the map is there, made from the same image with the same model, and replaced if it must be."""
    from .imaging import sha256_of, sidecar_path

    try:
        record = json.loads(sidecar_path(job.output).read_text(encoding="utf-8"))
        failed = bool(record.get("spot_check", {}).get("warnings"))
        return bool(
            job.output.exists()
            and bool(record.get("fallback")) == (how.fallback and failed)
            and record["source_sha256"] == sha256_of(job.case.image)
            and record["model_sha256"] == sha256_of(job.model)
        )
    except (FileNotFoundError, NotADirectoryError, ValueError, LookupError, TypeError):
        return False


def _refuse_other(job: Job) -> None:
    if job.output.exists():
        msg = f"{job.output} exists, of another image or model; give --force to replace it"
        raise FileExistsError(msg)


def _write_index(jobs: Sequence[Job], folder: Path) -> Path:
    from glcm_cuda.files import replacing

    index = folder / "index.csv"
    with (
        replacing(index, force=True) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(INDEX_COLUMNS)
        writer.writerows(_index_row(job, folder) for job in jobs)
    return index


def _index_row(job: Job, folder: Path) -> tuple[str, ...]:
    labels = "" if job.case.labels is None else str(job.case.labels.resolve())
    model = Path(os.path.relpath(job.model, folder)).as_posix()
    image = str(job.case.image.resolve())
    return job.case.patient, job.case.group, image, labels, job.output.name, model, job.fold


def _load(path: Path) -> Model:
    from surrogate import dense_model, load_model, model_features
    from surrogate.card import read_card

    from .imaging import sha256_of

    model = load_model(path)
    if len(model_features(model)) > 1:
        msg = f"{path} gives {', '.join(model_features(model))}; this command writes maps of one feature"
        raise ValueError(msg)
    return Model(dense_model(model), path, sha256_of(path), read_card(path))


def _settings(model: Model) -> Any:
    from surrogate import glcm_settings

    return glcm_settings(model.network)


def _backend() -> str:
    import keras

    return str(keras.backend.backend())


def _keras_version() -> str:
    import keras

    return str(keras.__version__)


if __name__ == "__main__":
    command()
