"""``radsynth synthesize``: synthetic maps of one image, or of a cohort with a run's models."""

from __future__ import annotations

import csv
import json
import logging
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from glcm_cuda.checks import check_choice
from surrogate.settings import Runtime

from .cohort import CHOICE_COLUMNS, COLUMNS, Attempts, Case, case_files, read_cohort
from .dicom import Choice
from .options import Command, force_option, progress_bar, reading_options
from .outputs import refuse_foreign_folder, refuse_inputs
from .report import counted

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from glcm_cuda import GLCMSettings
    from surrogate.card import Card, ErrorBand
    from surrogate.checks import SpotCheck

    from .imaging import Volume

_log = logging.getLogger(__name__)

_OWN_FILES = ("index.csv", "*_synthetic.nii.gz", "*_synthetic.nii.gz.json")


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

    @property
    def features(self) -> tuple[str, ...]:
        """Names of what it gives."""
        from surrogate import model_features

        return model_features(self.network)

    @property
    def settings(self) -> GLCMSettings:
        """Of its maps."""
        from surrogate import glcm_settings

        return glcm_settings(self.network)


@dataclass(frozen=True)
class Made:
    """A map that was written.

    Parameters
    ----------
    values : float32 array of the image's shape
        Synthetic or, where `replaced`, exact.
    check : SpotCheck
        Of the synthetic map.
    replaced : bool
        Whether the exact map stands in its place.
    """

    values: npt.NDArray[np.float32]
    check: SpotCheck
    replaced: bool


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
    outputs : dict
        The map of every feature.
    """

    case: Case
    model: Path
    fold: str
    outputs: dict[str, Path]


@click.command(cls=Command)
@click.argument("source", metavar="INPUT", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="Map, from DICOM also .dcm; of a cohort a folder.",
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
@reading_options
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
    choice: Choice,
    force: bool,
) -> None:
    """Synthetic map of an image, or of every patient of a cohort.

    INPUT is an image (NIfTI, NRRD, MHA, DICOM file or folder, a zip archive of one of these) with --model
    FILE.keras, or a cohort's CSV with --model RUN: then every patient is mapped with the model of the fold
    that held them out, and OUTPUT/index.csv lists the maps. Maps that are there already, of the same image
    and the same model, are kept. A model of several features gives a map of each, with the feature's name
    before the suffix of OUTPUT.

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
        if choice.to_dict():
            msg = "--series, --phase and --allow-gaps go with a single image; a cohort has columns for them"
            raise ValueError(msg)
        click.echo(_synthesize_cohort(source, output, model_path, how, force=force))
    else:
        written, summary = _synthesize_image(source, output, model_path, how, preview, choice, force=force)
        for path in written:
            click.echo(path)
        click.echo(summary)


def _synthesize_image(
    source: Path,
    output: Path,
    model_path: Path,
    how: Synthesis,
    preview: Path | None,
    choice: Choice,
    *,
    force: bool,
) -> tuple[list[Path], str]:
    """Write the maps of one image; return their paths and what is to be said of them."""
    from .archives import opened
    from .imaging import read_image
    from .parametric_map import SUFFIX, check_sources, map_paths
    from .preview import check_preview_path, write_preview

    if model_path.is_dir():
        msg = f"one image needs one model, a .keras file; {model_path} is a folder, give a file of it"
        raise ValueError(msg)
    model = _load(model_path)
    if how.error_map is not None and model.card is None:
        msg = f"--error-map needs the model card beside {model_path}; train writes it"
        raise ValueError(msg)
    outputs = map_paths(output, model.features)
    errors = {} if how.error_map is None else map_paths(how.error_map, model.features)
    _check_outputs(outputs, errors, source, force=force)
    if preview is not None:
        check_preview_path(preview, force=force)
    start = time.perf_counter()
    with opened(source) as place, progress_bar("Synthetic map") as progress:
        volume = read_image(place, choice)
        if output.suffix == SUFFIX:
            check_sources(output, volume, choice)
        maps = _write_maps(
            source, volume, outputs, model, how, choice, errors=errors, force=force, progress=progress
        )
    seconds = time.perf_counter() - start
    _announce_without_card(model)
    if preview is not None:
        first = model.features[0]
        title = _title(first, replaced=maps[first].replaced)
        write_preview(
            volume, maps[first].values, preview, model.settings, title=title, feature=first, force=force
        )
    engine = _backend() if how.runtime == "keras" else how.runtime
    return list(dict.fromkeys(outputs.values())), _summary(
        volume, maps, model, f"{seconds:.1f} s on {engine}"
    )


def _check_outputs(
    outputs: Mapping[str, Path], errors: Mapping[str, Path], source: Path, *, force: bool
) -> None:
    from .parametric_map import SUFFIX, check_map_output

    both = set(outputs.values()) & set(errors.values())
    if both:
        msg = f"--error-map and -o must be two files, got {both.pop()} for both"
        raise ValueError(msg)
    for output in (*outputs.values(), *errors.values()):
        check_map_output(output, source, force=force)
    if any(error.suffix == SUFFIX for error in errors.values()):
        msg = "--error-map must be no Parametric Map; write .nii.gz, .nrrd or .mha"
        raise ValueError(msg)


def _title(feature: str, *, replaced: bool) -> str:
    from .imaging import feature_title

    name = feature_title(feature)
    return f"{name}, exact in place of synthetic" if replaced else f"synthetic {name}"


def _summary(volume: Volume, maps: Mapping[str, Made], model: Model, took: str) -> str:
    shape = "x".join(str(edge) for edge in volume.array.shape)
    several = f"{len(maps)} features, " if len(maps) > 1 else ""
    lines = [f"{shape} voxels, {model.settings.levels} levels, {several}{took}"]
    return "\n".join(lines + [_verdict(name, made, model) for name, made in maps.items()])


def _verdict(feature: str, made: Made, model: Model) -> str:
    from .imaging import unit_of

    check = made.check
    unit = unit_of(feature, model.settings)
    return (
        f"{f'{feature}: ' if len(model.features) > 1 else ''}"
        f"{'exact map written instead, check' if made.replaced else 'check'} of "
        f"{counted(check.voxels, 'voxel')}: r {check.pearson:.4f}, bias {check.bias:+.4f}, "
        f"largest error {check.largest:.3f}{f' {unit}' if unit else ''}"
    )


def _synthesize_cohort(cohort: Path, folder: Path, run: Path, how: Synthesis, *, force: bool) -> Path:
    """Write the maps of a cohort and their index; return the index's path."""
    from .imaging import read_image

    refuse_foreign_folder(folder, _OWN_FILES, force=force)
    cases = read_cohort(cohort)
    features = _features(run)
    jobs = _jobs(cases, folder, _read_folds(run), run, features)
    outputs = [path for job in jobs for path in job.outputs.values()]
    refuse_inputs([folder / "index.csv", *outputs], [cohort, *case_files(cases)])
    wanted = [job for job in jobs if not _is_done(job, how)]
    if not force:
        for job in wanted:
            _refuse_other(job, how)
    if len(wanted) < len(jobs):
        kept = len(jobs) - len(wanted)
        _log.info("%d of %s mapped already and kept", kept, counted(len(jobs), "patient"))
    models = _models(run, {job.model for job in wanted}, features)
    attempts = Attempts(len(wanted))
    with progress_bar("Synthetic maps", len(wanted)) as progress:
        for done, job in enumerate(wanted, start=1):
            with attempts.of(job.case.patient):
                _write_maps(
                    job.case.image,
                    read_image(job.case.image, job.case.choice),
                    job.outputs,
                    models[job.model],
                    how,
                    job.case.choice,
                    force=True,
                    fold=job.fold,
                )
            progress(done, len(wanted))
    attempts.finish()
    return _write_index(jobs, folder, features)


def _features(run: Path) -> tuple[str, ...]:
    """Return what the models of a run give."""
    from surrogate.exact import ENTROPY

    from .comparison import read_run

    return read_run(run).features if (run / "run.json").is_file() else ENTROPY


def _models(run: Path, paths: Collection[Path], features: tuple[str, ...]) -> dict[Path, Model]:
    """Load the models of a run, refusing what cannot be mapped or evaluated together."""
    from surrogate.checks import refuse_other_settings

    from .comparison import read_run

    models = {path: _load(path) for path in sorted(paths)}
    for path, model in models.items():
        if model.features != features:
            msg = f"{path} gives {', '.join(model.features)}, the run {', '.join(features)}; train again"
            raise ValueError(msg)
    if models:
        first = next(iter(models.values())).settings
        expected = read_run(run).settings if (run / "run.json").is_file() else first
        for path, model in models.items():
            refuse_other_settings(model.settings, expected, str(path))
            _announce_without_card(model)
    return models


def _write_maps(
    source: Path,
    volume: Volume,
    outputs: Mapping[str, Path],
    model: Model,
    how: Synthesis,
    choice: Choice,
    *,
    errors: Mapping[str, Path] | None = None,
    force: bool,
    progress: Callable[[int, int], None] | None = None,
    **details: Any,
) -> dict[str, Made]:
    """Map one image, check the maps and write them, every file or none; return the maps."""
    from glcm_cuda import intensity_range
    from surrogate import synthesize_features
    from surrogate.model import keras_versions

    from .imaging import provenance, staged_map
    from .parametric_map import SUFFIX, write_parametric_map

    synthetic = synthesize_features(
        volume.array, model.network, tile=how.tile, runtime=how.runtime, progress=progress
    )
    maps = {name: _checked(volume, name, synthetic[name], model, how) for name in outputs}
    _report(maps, outputs)
    common = {
        "source": source,
        "settings": model.settings,
        "intensity_range": intensity_range(volume.array, model.settings),
        **choice.to_dict(),
        **details,
    }
    records = {}
    with ExitStack() as stack:
        for name, made in maps.items():
            record = provenance(feature=name, **common, **_made_record(name, made, model, how))
            record["software"] |= keras_versions()
            records[name] = dict(record)
            if outputs[name].suffix != SUFFIX:
                staged = staged_map(made.values, volume, outputs[name], provenance=record, force=force)
                stack.enter_context(staged)
            if errors and model.card is not None:
                error, about = _error_map(synthetic[name], made, model.card.features[name].error_band)
                record |= about | {"measured_on": model.card.basis}
                stack.enter_context(staged_map(error, volume, errors[name], provenance=record, force=force))
        together = {name: made.values for name, made in maps.items() if outputs[name].suffix == SUFFIX}
        if together:
            path = next(iter(outputs.values()))
            write_parametric_map(together, volume, path, _joined(records), force=force)
    return maps


def _joined(records: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the record of several maps: the first one's, and of the others what differs from it."""
    names = list(records)
    first = records[names[0]]
    others = {
        name: {key: value for key, value in records[name].items() if value != first[key]}
        for name in names[1:]
    }
    return {**first, "features": names, **({"others": others} if others else {})}


def _checked(
    volume: Volume, feature: str, synthetic: npt.NDArray[np.float32], model: Model, how: Synthesis
) -> Made:
    """Check a map; where that fails and it is asked for, put the exact one in its place."""
    from glcm_cuda import feature_maps
    from surrogate.checks import spot_check

    check = spot_check(volume.array, synthetic, model.settings, feature, model.card)
    if not (check.failed and how.fallback):
        return Made(synthetic, check, replaced=False)
    exact = feature_maps(volume.array, [feature], model.settings, backend="cpu")[feature]
    return Made(exact, check, replaced=True)


def _announce_without_card(model: Model) -> None:
    if model.card is None:
        _log.info("%s has no model card: the check has nothing to be compared with", model.path.name)


def _report(maps: Mapping[str, Made], outputs: Mapping[str, Path]) -> None:
    """Warn, one line each; what the image is flagged for is the same for every feature."""
    for name, made in maps.items():
        for line in made.check.failures:
            _log.warning("%s: %s", outputs[name], line)
        if made.replaced:
            _log.warning("%s: the exact map is written instead", outputs[name])
    first = next(iter(maps))
    for line in maps[first].check.flags:
        _log.warning("%s: %s", outputs[first], line)


def _made_record(feature: str, made: Made, model: Model, how: Synthesis) -> dict[str, Any]:
    """Return what the sidecar says of a map beyond what it says of exact ones."""
    from surrogate.card import card_path

    from .imaging import feature_title, source_record

    name = feature_title(feature)
    kind = f"synthetic GLCM {name} map (network prediction)"
    backend = f"Keras {_keras_version()} on {_backend()}" if how.runtime == "keras" else how.runtime
    if made.replaced:
        kind, backend = f"GLCM {name} map, exact in place of a synthetic one", "cpu"
    card = None if model.card is None else card_path(model.path)
    return {
        "backend": backend,
        "kind": kind,
        "model": model.path.name,
        "model_sha256": model.sha256,
        **({"model_card": None} if card is None else source_record(card, "model_card")),
        "runtime": how.runtime,
        "spot_check": made.check.to_dict(),
        "outside_training_range": made.check.outside,
        "fallback": "exact" if made.replaced else None,
    }


def _error_map(
    synthetic: npt.NDArray[np.float32], made: Made, band: ErrorBand
) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
    """Return the error map and what its sidecar says; an exact map has no error."""
    about = {
        "kind": "half width of the band that holds 95 % of the errors of a synthetic map",
        "coverage": band.coverage,
    }
    error = band.at(synthetic)
    return (0 * error if made.replaced else error), about


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


def _jobs(
    cases: Sequence[Case], folder: Path, folds: dict[str, str], run: Path, features: Sequence[str]
) -> list[Job]:
    """Choose the model of every patient, saying where it is not one that held them out."""
    _announce(cases, folds)
    jobs = []
    for case in cases:
        # Where nobody was held out there is one model, fold 0; a stranger may have any.
        fold = folds.get(case.patient) or "0"
        shown = fold if case.patient in folds else ""
        model = run / f"fold{fold}.keras"
        outputs = {feature: folder / _map_name(case.patient, feature) for feature in features}
        jobs.append(Job(case, model, shown, outputs))
    for model in sorted({job.model for job in jobs}):
        if not model.is_file():
            msg = f"{run} lacks {model.name}: its training did not finish; run radsynth train again"
            raise ValueError(msg)
    return jobs


def _map_name(patient: str, feature: str) -> str:
    return f"{patient}_{'entropy' if feature == 'joint_entropy' else feature}_synthetic.nii.gz"


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
    """Whether the maps are there, checked, of this image and model, exact or not as is asked for now."""
    return all(_is_current(output, job, how) for output in job.outputs.values())


def _is_current(output: Path, job: Job, how: Synthesis) -> bool:
    from .imaging import sha256_of, sidecar_path

    try:
        record = json.loads(sidecar_path(output).read_text(encoding="utf-8"))
        return bool(
            output.exists()
            and record["source_sha256"] == sha256_of(job.case.image)
            and Choice(series=record.get("series"), phase=record.get("phase")) == job.case.choice
            and record["model_sha256"] == sha256_of(job.model)
            and (record["fallback"] == "exact") == (record["spot_check"]["failed"] and how.fallback)
        )
    except (FileNotFoundError, NotADirectoryError, ValueError, LookupError, TypeError):
        return False


def _refuse_other(job: Job, how: Synthesis) -> None:
    for output in job.outputs.values():
        if output.exists() and not _is_current(output, job, how):
            msg = f"{output} exists, of another image, model or --fallback; give --force to replace it"
            raise FileExistsError(msg)


def _write_index(jobs: Sequence[Job], folder: Path, features: Sequence[str]) -> Path:
    from glcm_cuda.files import replacing

    from .comparison import synthetic_column

    index = folder / "index.csv"
    with (
        replacing(index, force=True) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file)
        synthetic = [synthetic_column(feature, features) for feature in features]
        writer.writerow((*COLUMNS, *CHOICE_COLUMNS, *synthetic, "model", "fold"))
        writer.writerows(_index_row(job, folder) for job in jobs)
    return index


def _index_row(job: Job, folder: Path) -> tuple[str, ...]:
    labels = "" if job.case.labels is None else str(job.case.labels.resolve())
    model = Path(os.path.relpath(job.model, folder)).as_posix()
    image = str(job.case.image.resolve())
    maps = [output.name for output in job.outputs.values()]
    chosen = job.case.choice.to_dict()
    choice = [str(chosen.get(name, "")) for name in CHOICE_COLUMNS]
    return job.case.patient, job.case.group, image, labels, *choice, *maps, model, job.fold


def _load(path: Path) -> Model:
    from surrogate import dense_model, load_model
    from surrogate.card import card_path, read_card

    from .imaging import sha256_of

    model = Model(dense_model(load_model(path)), path, sha256_of(path), read_card(path))
    if model.card is not None and not model.card.is_of(model.features, model.settings):
        msg = f"{card_path(path)} is the card of another model than {path.name}; remove it, or train again"
        raise ValueError(msg)
    return model


def _backend() -> str:
    import keras

    return str(keras.backend.backend())


def _keras_version() -> str:
    import keras

    return str(keras.__version__)


if __name__ == "__main__":
    command()
