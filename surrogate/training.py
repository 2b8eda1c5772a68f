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

    A fold that an earlier, interrupted call with the same store and settings finished is kept.
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
    results = [_kept_or_trained(run, fold, progress) for fold in range(run.training.folds)]
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
    folds = assign_folds(groups, training.folds, training.seed)
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
    patterns = (RUN_FILE, UNFINISHED_FILE, FOLDS_FILE, "fold*.keras", "history_fold*.csv")
    return [path for pattern in patterns for path in sorted(folder.glob(pattern))]


def _kept_or_trained(run: _Run, fold: int, progress: Progress | None) -> FoldResult:
    if model_path(run.folder, fold).exists() and history_path(run.folder, fold).exists():
        _log.info("fold %d: kept, it was trained with these settings", fold)
    else:
        _train_fold(run, fold, progress)
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


def _train_fold(run: _Run, fold: int, progress: Progress | None) -> None:
    seed = run.training.seed + fold
    validated = run.validated_on(fold)
    learned = [patient for patient in run.trained_on(fold) if patient not in validated]
    _announce(fold, learned, validated)
    keras.utils.set_random_seed(seed)
    dataset = PatchDataset(run.store, learned, run.training.batch, seed)
    validation = PatchDataset(run.store, validated, run.training.batch) if validated else None
    model = build_model(run.glcm, run.network)
    # From 0 the output would spend the first few hundred steps on climbing to the mean.
    model.get_layer("output").bias.assign([float(np.mean(dataset[0][1]))])
    _compile(model, run.training, steps_per_epoch=len(dataset))
    history = _History(fold, run.training.epochs, run.training.folds, progress)
    try:
        model.fit(
            dataset,
            epochs=run.training.epochs,
            validation_data=validation,
            callbacks=[history, *_stopping(run.training, validation)],
            shuffle=False,  # the data set shuffles, in an order that reads sequentially
            verbose=0,
        )
    finally:
        for data in (dataset, validation):
            if data is not None:
                data.close()
    _write_csv(history_path(run.folder, fold), HISTORY_COLUMNS, history.rows)
    _save(model, run, model_path(run.folder, fold))


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
        _log.info("fold %d: learns from one patient, nobody is left to stop on; trains all epochs", fold)


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


def _stopping(training: TrainingSettings, validation: PatchDataset | None) -> list[keras.callbacks.Callback]:
    if validation is None:
        return []
    return [
        keras.callbacks.EarlyStopping(
            monitor="val_rmse",
            mode="min",
            patience=training.patience,
            restore_best_weights=True,
            start_from_epoch=_first_candidate(training),
        )
    ]


def _first_candidate(training: TrainingSettings) -> int:
    """Return the first epoch (from 0) that may be kept.

    In the first half the learning rate is high and the validation RMSE jumps by factors: a lucky early
    epoch would stop a training whose best ones come when the rate has fallen.
    """
    return training.epochs // 2


class _History(keras.callbacks.Callback):  # type: ignore[misc]
    """Rows of the history; reports progress and stops a training that diverges."""

    def __init__(self, fold: int, epochs: int, folds: int, progress: Progress | None) -> None:
        super().__init__()
        self.rows: list[tuple[float | str, ...]] = []
        self._fold = fold
        self._epochs = epochs
        self._folds = folds
        self._progress = progress
        self._start = 0.0

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        logs = logs or {}
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        if not np.isfinite([logs["loss"], logs.get("val_rmse", 0.0)]).all():
            msg = (
                f"the training of fold {self._fold} diverged in epoch {epoch + 1}: RMSE is not a finite "
                "number; give a lower --learning-rate"
            )
            raise ValueError(msg)
        seconds = time.perf_counter() - self._start
        self.rows.append((epoch + 1, logs["rmse"], logs.get("val_rmse", ""), rate, round(seconds, 2)))
        if self._progress is not None:
            self._progress(self._fold * self._epochs + epoch + 1, self._folds * self._epochs)


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
