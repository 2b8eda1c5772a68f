"""Cross validation: from a patch store to one model per fold."""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import math
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import numpy.typing as npt

from glcm_cuda import __version__
from glcm_cuda.files import replacing
from glcm_cuda.settings import GLCMSettings
from glcm_cuda.store import CaseRecord, PatchStore

from .card import make_card, write_card
from .dataset import PatchDataset
from .folds import assign_folds, validation_patients
from .model import build_model, check_two_dimensional, keras_versions, root_mean_squared_error
from .settings import NetworkSettings, TrainingSettings

Progress = Callable[[int, int], None]

RUN_FILE = "run.json"
UNFINISHED_FILE = "run.unfinished.json"
FOLDS_FILE = "folds.csv"
HISTORY_COLUMNS = ("epoch", "rmse", "validation_rmse", "learning_rate", "seconds")

_WARMUP_SHARE = 0.1
_BLOCK = 1 << 20
# These decide the models; what else run.json says is for the reader.
_DECISIVE = ("glcm", "network", "training", "store_sha256")

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
        The lowest, of the epoch whose weights were kept; None where there was nobody to validate on.
    validation_deviation : float or None
        Standard deviation of the validation patients' exact values: what the best constant would err.
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
    sums: Mapping[str, npt.NDArray[np.float64]]
    """Of every patient: number, sum and sum of squares of the entropies."""

    def trained_on(self, fold: int) -> dict[str, str]:
        """Return the patients that the fold's model may see, with their groups."""
        return {patient: self.groups[patient] for patient, held in self.folds.items() if held != fold}

    def validated_on(self, fold: int) -> list[str]:
        """Return those of them that are held back to choose the epoch."""
        if not self.training.patience:
            return []
        return validation_patients(self.trained_on(fold), self.training.seed + fold)

    def deviation(self, patients: Sequence[str]) -> float:
        """Return the standard deviation of the entropies of some patients together."""
        count, total, squares = np.sum([self.sums[patient] for patient in patients], axis=0)
        return math.sqrt(max(0.0, squares / count - (total / count) ** 2))


def train(
    store: str | os.PathLike[str],
    run_dir: str | os.PathLike[str],
    training: TrainingSettings | None = None,
    network: NetworkSettings | None = None,
    *,
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
        folds, if a patch shrinks to nothing in the network, or if the training diverges.
    FileExistsError
        If the folder holds another run and `force` is False.
    """
    run = _prepared(Path(store), Path(run_dir), training or TrainingSettings(), network or NetworkSettings())
    description = _describe(run)
    _enter_folder(run, description, force=force)
    results = [_kept_or_trained(run, fold, description, progress) for fold in range(run.training.folds)]
    description["validation_rmse"] = [result.validation_rmse for result in results]
    description["validation_deviation"] = [result.validation_deviation for result in results]
    _write_json(run.folder / RUN_FILE, description)
    (run.folder / UNFINISHED_FILE).unlink(missing_ok=True)
    return results


def read_history(path: str | os.PathLike[str]) -> list[dict[str, float]]:
    """Return the epochs of a ``history_foldK.csv``; NaN where there was nobody to validate on."""
    with Path(path).open(encoding="utf-8", newline="") as file:
        return [{name: float(row[name] or "nan") for name in HISTORY_COLUMNS} for row in csv.DictReader(file)]


def model_path(run_dir: str | os.PathLike[str], fold: int) -> Path:
    """Return where the model of a fold is kept."""
    return Path(run_dir) / f"fold{fold}.keras"


def history_path(run_dir: str | os.PathLike[str], fold: int) -> Path:
    """Return where the training history of a fold is kept."""
    return Path(run_dir) / f"history_fold{fold}.csv"


def _prepared(store: Path, folder: Path, training: TrainingSettings, network: NetworkSettings) -> _Run:
    """Check everything that can be checked before anything is written."""
    with PatchStore(store) as opened:
        glcm = opened.settings
        groups = {case.patient: case.group for case in opened.cases}
        sums = {case.patient: _sums(opened, case) for case in opened.cases}
    check_two_dimensional(glcm)
    network.check_window(glcm.edge)
    if network.architecture == "analytic":
        msg = "the analytic network has nothing to learn; build_model and save it, or train another"
        raise ValueError(msg)
    folds = assign_folds(groups, training.folds, training.seed, training.folds_by)
    return _Run(store, folder, glcm, network, training, groups, folds, sums)


def _sums(store: PatchStore, case: CaseRecord) -> npt.NDArray[np.float64]:
    entropy = store.read_entropy(case.start, case.start + case.count).astype(np.float64)
    return np.array([len(entropy), entropy.sum(), np.square(entropy).sum()])


def _describe(run: _Run) -> dict[str, Any]:
    return {
        "glcm": run.glcm.to_dict(),
        "network": run.network.to_dict(),
        "training": run.training.to_dict(),
        "store": str(run.store.resolve()),
        "store_sha256": _sha256(run.store),
        # The cohort's convention: a phantom says so in every patient's name.
        "phantom": all(patient.startswith("phantom") for patient in run.groups),
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
    candidates = [epoch["validation_rmse"] for epoch in history[_first_candidate(run.training) :]]
    lowest = None if math.isnan(candidates[0]) else min(candidates)
    validated = run.validated_on(fold)
    deviation = run.deviation(validated) if validated else None
    _warn_of_constant(fold, lowest, deviation)
    return FoldResult(model_path(run.folder, fold), len(history), lowest, deviation)


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
    learned = [patient for patient in run.trained_on(fold) if patient not in validated]
    _announce(fold, learned, validated)
    keras.utils.set_random_seed(training.seed + fold)
    dataset = PatchDataset(run.store, learned, training.batch, training.seed + fold, training.augment)
    validation = PatchDataset(run.store, validated, training.batch) if validated else None
    checkpoint = Checkpoint(run.folder, fold)
    model = checkpoint.load()
    if model is None:
        model = build_model(run.glcm, run.network)
        # From 0 the output would spend the first few hundred steps on climbing to the mean.
        model.get_layer("output").bias.assign([float(np.mean(dataset[0][1]))])
        _compile(model, training, steps_per_epoch=len(dataset))
    dataset.epoch = int(model.optimizer.iterations) // len(dataset)
    watch = _Watch(checkpoint, training, dataset.epoch, progress)
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
    path = model_path(run.folder, fold)
    held_out = [patient for patient, held in run.folds.items() if held == fold]
    card = make_card(
        model,
        run.store,
        held_out=held_out,
        validated=validated,
        learned=learned,
        run={**description, "seconds": sum(row[-1] for row in watch.rows)},
    )
    write_card(card, path)
    _save(model, run, path)
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


def _first_candidate(training: TrainingSettings) -> int:
    """Return the first epoch (from 0) that may be kept.

    In the first half the learning rate is high and the validation RMSE jumps by factors: a lucky early
    epoch would stop a training whose best ones come when the rate has fallen.
    """
    return training.epochs // 2


class Checkpoint:
    """What is on disk of a fold in training, from which an interrupted one continues.

    Parameters
    ----------
    folder : path
        Of the run.
    fold : int
        Number of the fold.
    """

    def __init__(self, folder: Path, fold: int) -> None:
        self.fold = fold
        self.history = history_path(folder, fold)
        self.last = folder / f"fold{fold}.checkpoint.keras"
        self.best = folder / f"fold{fold}.best.weights.h5"

    def load(self) -> keras.Model | None:
        """Return the model after its last whole epoch, with its optimizer; None at the beginning."""
        if not self.last.exists():
            return None
        return keras.saving.load_model(self.last, safe_mode=True)

    def rows(self, epochs: int) -> list[tuple[float, ...]]:
        """Return the first rows of the history."""
        if not epochs:
            return []
        found = read_history(self.history)[:epochs]
        return [(number, *list(row.values())[1:]) for number, row in enumerate(found, start=1)]

    def write(self, model: keras.Model, rows: Sequence[Sequence[float]], *, is_best: bool) -> None:
        """Keep an epoch; the model comes last, since it says how many epochs count."""
        if is_best:
            with replacing(self.best, force=True) as temporary:
                model.save_weights(temporary)
        blank = [["" if math.isnan(value) else value for value in row] for row in rows]
        _write_csv(self.history, HISTORY_COLUMNS, blank)
        with replacing(self.last, force=True) as temporary:
            model.save(temporary)

    def remove(self) -> None:
        """Leave the history alone, which the finished model needs."""
        self.last.unlink(missing_ok=True)
        self.best.unlink(missing_ok=True)


class _Watch(keras.callbacks.Callback):  # type: ignore[misc]
    """Keeps every epoch on disk, reports progress, and stops what diverges or no longer improves."""

    def __init__(
        self, checkpoint: Checkpoint, training: TrainingSettings, epochs: int, progress: Progress | None
    ) -> None:
        super().__init__()
        self.rows = checkpoint.rows(epochs)
        self._checkpoint = checkpoint
        self._training = training
        self._progress = progress
        self._start = 0.0

    @property
    def is_over(self) -> bool:
        """Whether all epochs are done, or the last so many of the candidates were none better."""
        candidates = self._candidates()
        if len(self.rows) >= self._training.epochs:
            return True
        return (
            bool(candidates) and len(candidates) - 1 - int(np.argmin(candidates)) >= self._training.patience
        )

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self._start = time.perf_counter()
        # A model file does not keep where its random numbers were: every epoch begins its own.
        for layer in self.model.layers:
            if isinstance(layer, keras.layers.Dropout) and layer.seed_generator is not None:
                layer.seed_generator.state.assign([self._training.seed + self._checkpoint.fold, epoch])

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        self._refuse_divergence(dict(logs or {}), f"minibatch {batch + 1} of epoch {len(self.rows) + 1}")

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        logs = dict(logs or {})
        self._refuse_divergence(logs, f"epoch {epoch + 1}")
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        seconds = round(time.perf_counter() - self._start, 2)
        self.rows.append((epoch + 1, logs["rmse"], logs.get("val_rmse", math.nan), rate, seconds))
        candidates = self._candidates()
        is_best = bool(candidates) and candidates[-1] < min(candidates[:-1], default=math.inf)
        self._checkpoint.write(self.model, self.rows, is_best=is_best)
        self.model.stop_training = self.is_over
        if self._progress is not None:
            epochs = self._training.epochs
            self._progress(self._checkpoint.fold * epochs + epoch + 1, self._training.folds * epochs)

    def _candidates(self) -> list[float]:
        """Validation RMSE of the epochs that may be kept; none where there is nobody to validate on."""
        found = [float(row[2]) for row in self.rows[_first_candidate(self._training) :]]
        return [value for value in found if not math.isnan(value)]

    def _refuse_divergence(self, logs: Mapping[str, float], where: str) -> None:
        if np.isfinite([logs[name] for name in ("loss", "val_rmse") if name in logs]).all():
            return
        kept = f"; {self._checkpoint.last} keeps epoch {len(self.rows)}" if self.rows else ""
        msg = (
            f"the training of fold {self._checkpoint.fold} diverged in {where}: RMSE is not a finite "
            f"number; give a lower --learning-rate{kept}"
        )
        raise ValueError(msg)


def _save(model: keras.Model, run: _Run, path: Path) -> None:
    """Write what predicts, without the optimizer: a third of the size."""
    bare = build_model(run.glcm, run.network)
    bare.set_weights(model.get_weights())
    with replacing(path) as temporary:
        bare.save(temporary)


def _write_folds(run: _Run) -> None:
    rows = [
        (patient, run.groups[patient], "" if fold is None else fold) for patient, fold in run.folds.items()
    ]
    _write_csv(run.folder / FOLDS_FILE, ("patient", "group", "fold"), rows)


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    with (
        replacing(path, force=True) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with replacing(path, force=True) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
