"""Cross validation: from a patch store to one model per fold."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from glcm_cuda.base.files import replacing
from glcm_cuda.base.version import __version__
from glcm_cuda.families.registry import features_named
from glcm_cuda.settings import GLCMSettings
from glcm_cuda.store.reading import PatchStore
from surrogate.card import make_card, write_card
from surrogate.dataset import PatchDataset, Scale
from surrogate.epochs import (
    Checkpoint,
    Progress,
    Watch,
    first_candidate,
    history_path,
    read_history,
    write_rows,
)
from surrogate.exact import ENTROPY
from surrogate.folds import assign_folds, validation_patients
from surrogate.model import build_model, check_two_dimensional, keras_versions, root_mean_squared_error
from surrogate.settings import NetworkSettings, Precision, TrainingSettings

RUN_FILE = "run.json"
UNFINISHED_FILE = "run.unfinished.json"
FOLDS_FILE = "folds.csv"

_WARMUP_SHARE = 0.1
# These decide the models; what else run.json says is for the reader.
_DECISIVE = ("glcm", "features", "network", "training", "store_sha256")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FoldResult:
    """What a fold left.

    Parameters
    ----------
    model : Path
        The ``.keras`` file.
    epochs : int
        Epochs trained.
    validation_rmse : float or None
        The lowest, of the epoch whose weights were kept; None where there was nobody to validate on. In the
        unit of the maps where joint entropy is all that was learned, otherwise over all features, each in
        its standard deviations.
    validation_deviation : float or None
        Standard deviation of the validation patients' exact values, alike: what the best constant would err.
    """

    model: Path
    epochs: int
    validation_rmse: float | None
    validation_deviation: float | None


@dataclass(frozen=True)
class _Run:
    store: Path
    folder: Path
    glcm: GLCMSettings
    network: NetworkSettings
    training: TrainingSettings
    groups: Mapping[str, str]
    folds: Mapping[str, int | None]
    features: tuple[str, ...]
    phantom: bool

    def trained_on(self, fold: int) -> dict[str, str]:
        """Return the patients that the fold's model may see, with their groups."""
        return {patient: self.groups[patient] for patient, held in self.folds.items() if held != fold}

    def validated_on(self, fold: int) -> list[str]:
        """Return those of them that are held back to choose the epoch."""
        if not self.training.patience:
            return []
        return validation_patients(self.trained_on(fold), self.training.seed + fold)

    def learned(self, fold: int) -> list[str]:
        """Return the patients whose patches the fold's model learns."""
        validated = self.validated_on(fold)
        return [patient for patient in self.trained_on(fold) if patient not in validated]

    def data(self, fold: int) -> tuple[PatchDataset, PatchDataset | None]:
        """Return what the fold learns and what it is validated on, on the scale that it learns in."""
        training, validated = self.training, self.validated_on(fold)
        learned = PatchDataset(
            self.store,
            self.learned(fold),
            training.batch,
            training.seed + fold,
            training.augment,
            self.features,
        )
        learned.scale = Scale.of(learned[0][1], self.features)
        learned.close()
        if not validated:
            return learned, None
        validation = PatchDataset(self.store, validated, training.batch, features=self.features)
        validation.scale = learned.scale
        return learned, validation


def train(
    store: str | os.PathLike[str],
    run_dir: str | os.PathLike[str],
    training: TrainingSettings | None = None,
    network: NetworkSettings | None = None,
    *,
    features: str | Iterable[str] = ENTROPY,
    force: bool = False,
    progress: Progress | None = None,
) -> list[FoldResult]:
    """Train one model per fold, each without the patients it is to be tested on.

    What an earlier, interrupted call with the same store and settings did is kept: finished folds, and the
    epochs of the one that it was at.
    Sets the seeds of Python, NumPy and the Keras backend.

    Parameters
    ----------
    store : path
        Patch store of two-dimensional windows.
    run_dir : path
        Folder for ``foldK.keras``, ``history_foldK.csv``, ``folds.csv`` and ``run.json``
        (docs/surrogate.md describes them).
    training, network : settings, optional
        The paper's by default, where it says.
    features : str or iterable of str
        What the models give (see `glcm_cuda.feature_maps`), joint entropy by default. Every store serves for
        every feature: it holds whole windows, and values that it does not keep are computed from them.
    force : bool
        Replace what a run of another store or other settings left in the folder.
    progress : callable (done, total), optional
        Called with the number of epochs done, of all folds.

    Returns
    -------
    list of FoldResult
        One per fold.

    Raises
    ------
    FileNotFoundError, ValueError
        If the store cannot be read, is of three-dimensional windows or has fewer patients than
        folds, if a feature is unknown, a patch shrinks to nothing in the network, or the training
        diverges.
    FileExistsError
        If the folder holds another run and `force` is False.
    """
    training, network = training or TrainingSettings(), network or NetworkSettings()
    run = _prepared(Path(store), Path(run_dir), training, network, features)
    description = _describe(run)
    _enter_folder(run, description, force=force)
    results = [_kept_or_trained(run, fold, description, progress) for fold in range(run.training.folds)]
    description["validation_rmse"] = [result.validation_rmse for result in results]
    description["validation_deviation"] = [result.validation_deviation for result in results]
    _write_json(run.folder / RUN_FILE, description)
    (run.folder / UNFINISHED_FILE).unlink(missing_ok=True)
    return results


def model_path(run_dir: str | os.PathLike[str], fold: int) -> Path:
    """Return where the model of a fold is kept."""
    return Path(run_dir) / f"fold{fold}.keras"


def _prepared(
    store: Path,
    folder: Path,
    training: TrainingSettings,
    network: NetworkSettings,
    features: str | Iterable[str],
) -> _Run:
    """Check everything that can be checked before anything is written."""
    names = tuple(feature.name for feature in features_named(features))
    with PatchStore(store) as opened:
        glcm = opened.settings
        groups = {case.patient: case.group for case in opened.cases}
        phantom = opened.is_phantom
        for case in opened.cases:
            opened.read_entropy(case.start, case.start + case.count)  # refuses what is not finite
    check_two_dimensional(glcm)
    network.check_window(glcm.edge)
    if network.architecture == "analytic":
        msg = "the analytic network has nothing to learn; build_model and save it, or train another"
        raise ValueError(msg)
    folds = assign_folds(groups, training.folds, training.seed, training.folds_by)
    return _Run(store, folder, glcm, network, training, groups, folds, names, phantom)


def _describe(run: _Run) -> dict[str, Any]:
    return {
        "glcm": run.glcm.to_dict(),
        "features": list(run.features),
        "network": run.network.to_dict(),
        "training": run.training.to_dict(),
        "store": str(run.store.resolve()),
        "store_sha256": _sha256(run.store),
        "phantom": run.phantom,
        "seed": run.training.seed,
        "keras_backend": keras.backend.backend(),
        "versions": {
            "radsynth": __version__,
            "python": platform.python_version(),
            **keras_versions(),
            "numpy": np.__version__,
            "h5py": h5py.__version__,
        },
    }


def _enter_folder(run: _Run, description: dict[str, Any], *, force: bool) -> None:
    """Make the folder ready: this run's files are kept, another's need `force`."""
    if not _continues(run.folder, description):
        old = _files_of_run(run.folder)
        if any(path.suffix == ".keras" for path in old) and not force:
            msg = (
                f"{run.folder} holds a run of another store or other settings; give --force "
                "(force=True) to replace it, or another folder"
            )
            raise FileExistsError(msg)
        for path in old:
            path.unlink()
    run.folder.mkdir(parents=True, exist_ok=True)
    if not (run.folder / RUN_FILE).exists():
        _write_json(run.folder / UNFINISHED_FILE, description)
    _write_folds(run)


def _continues(folder: Path, description: dict[str, Any]) -> bool:
    """Whether the folder holds this very run, finished or not."""
    path = folder / (RUN_FILE if (folder / RUN_FILE).exists() else UNFINISHED_FILE)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return all(found[key] == description[key] for key in _DECISIVE)
    except (FileNotFoundError, NotADirectoryError, ValueError, LookupError, TypeError):
        return False


def _files_of_run(folder: Path) -> list[Path]:
    """Return what `train` writes; run.json first, so that a removal cut short leaves no run that counts."""
    models = ("fold*.keras", "fold*.weights.h5", "fold*.card.json", "fold*.card.md")
    patterns = (RUN_FILE, UNFINISHED_FILE, FOLDS_FILE, *models, "history_fold*.csv")
    return [path for pattern in patterns for path in sorted(folder.glob(pattern))]


def _kept_or_trained(
    run: _Run, fold: int, description: Mapping[str, Any], progress: Progress | None
) -> FoldResult:
    if model_path(run.folder, fold).exists() and history_path(run.folder, fold).exists():
        _log.info("fold %d: kept, it was trained with these settings", fold)
    else:
        _train_fold(run, fold, description, progress)
    if progress is not None:
        progress((fold + 1) * run.training.epochs, run.training.folds * run.training.epochs)
    history = read_history(history_path(run.folder, fold))
    candidates = [epoch["validation_rmse"] for epoch in history[first_candidate(run.training) :]]
    lowest = None if math.isnan(candidates[0]) else min(candidates)
    validation = run.data(fold)[1]
    deviation = None if validation is None else _deviation(validation)
    _warn_of_constant(fold, lowest, deviation)
    return FoldResult(model_path(run.folder, fold), len(history), lowest, deviation)


def _deviation(data: PatchDataset) -> float:
    """Return the root mean square of the values about their means: what the best constant would err."""
    moments = np.zeros((2, len(data.features)))
    for number in range(len(data)):
        values = data[number][1].astype(np.float64)
        moments += [values.sum(axis=0), np.square(values).sum(axis=0)]
    data.close()
    mean, squares = moments / data.rows
    return math.sqrt(max(0.0, float(np.mean(squares - mean**2))))


def _warn_of_constant(fold: int, rmse: float | None, deviation: float | None) -> None:
    if rmse is not None and deviation is not None and rmse >= deviation:
        _log.warning(
            "fold %d predicts no better than a constant (validation RMSE %.3f, standard deviation of the "
            "exact values %.3f): train longer or on more samples",
            fold,
            rmse,
            deviation,
        )


def _train_fold(run: _Run, fold: int, description: Mapping[str, Any], progress: Progress | None) -> None:
    training = run.training
    validated = run.validated_on(fold)
    _announce(fold, run.learned(fold), validated)
    keras.utils.set_random_seed(training.seed + fold)
    dataset, validation = run.data(fold)
    checkpoint = Checkpoint(run.folder, fold)
    model = checkpoint.load()
    if model is None:
        with computing_in(training.precision):
            model = build_model(run.glcm, run.network, run.features)
        _compile(model, training, steps_per_epoch=len(dataset))
    dataset.epoch = int(model.optimizer.iterations) // len(dataset)
    watch = Watch(checkpoint, training, dataset.epoch, progress)
    if dataset.epoch:
        _log.info("fold %d: continues after epoch %d", fold, dataset.epoch)
    try:
        if not watch.is_over:
            model.fit(
                dataset,
                epochs=training.epochs,
                initial_epoch=dataset.epoch,
                validation_data=validation,
                callbacks=[watch],
                shuffle=False,  # the data set shuffles, in an order that reads sequentially
                verbose=0,
            )
    finally:
        for data in (dataset, validation):
            if data is not None:
                data.close()
    if checkpoint.best.exists():
        model.load_weights(checkpoint.best)
    model = _finished(run, model, dataset.scale)
    path = model_path(run.folder, fold)
    held_out = [patient for patient, held in run.folds.items() if held == fold]
    card = make_card(
        model,
        run.store,
        held_out=held_out,
        validated=validated,
        learned=run.learned(fold),
        run={**description, "seconds": sum(row[-1] for row in watch.rows)},
    )
    write_card(card, path)
    with replacing(path) as temporary:
        model.save(temporary)
    checkpoint.remove()


def _announce(fold: int, learned: Sequence[str], validated: Sequence[str]) -> None:
    if validated:
        _log.info(
            "fold %d: learns from %d %s, stops on %d (%s)",
            fold,
            len(learned),
            "patient" if len(learned) == 1 else "patients",
            len(validated),
            ", ".join(validated),
        )
    else:
        _log.info("fold %d: learns from %d, nobody to stop on; trains all epochs", fold, len(learned))


def _compile(model: keras.Model, training: TrainingSettings, steps_per_epoch: int) -> None:
    """Adam, the learning rate rising for a tenth of the steps and falling to 0 along a cosine."""
    steps = training.epochs * steps_per_epoch
    warmup = max(1, round(_WARMUP_SHARE * steps))
    schedule = keras.optimizers.schedules.CosineDecay(
        training.learning_rate / 10,
        max(1, steps - warmup),
        warmup_target=training.learning_rate,
        warmup_steps=warmup,
    )
    model.compile(
        optimizer=keras.optimizers.Adam(schedule),
        loss=root_mean_squared_error,
        metrics=[keras.metrics.RootMeanSquaredError(name="rmse")],
    )


@contextmanager
def computing_in(precision: Precision) -> Iterator[None]:
    """Have the layers that are made in the block compute in this precision, with weights in float32."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32" if precision == "float32" else f"mixed_{precision}")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _finished(run: _Run, trained: keras.Model, scale: Scale | None) -> keras.Model:
    """Return what predicts: in float32, in the features' own units, and without the optimizer."""
    model = build_model(run.glcm, run.network, run.features)
    model.set_weights(trained.get_weights())
    if scale is not None:
        output = model.get_layer("output")
        kernel, bias = output.get_weights()
        output.set_weights([kernel * scale.unit, bias * scale.unit + scale.offset])
    return model


def _write_folds(run: _Run) -> None:
    rows = [
        (patient, run.groups[patient], "" if fold is None else fold) for patient, fold in run.folds.items()
    ]
    write_rows(run.folder / FOLDS_FILE, ("patient", "group", "fold"), rows)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with replacing(path, force=True) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
