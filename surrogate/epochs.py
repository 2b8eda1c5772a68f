"""The epochs of a fold: kept on disk, continued from there, stopped when they no longer help."""

from __future__ import annotations

import csv
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from glcm_cuda.base.files import replacing
from surrogate.settings import TrainingSettings

Progress = Callable[[int, int], None]

HISTORY_COLUMNS = ("epoch", "rmse", "validation_rmse", "learning_rate", "seconds")


def history_path(run_dir: str | os.PathLike[str], fold: int) -> Path:
    """Return where the training history of a fold is kept."""
    return Path(run_dir) / f"history_fold{fold}.csv"


def read_history(path: str | os.PathLike[str]) -> list[dict[str, float]]:
    """Return the epochs of a ``history_foldK.csv``; NaN where there was nobody to validate on."""
    with Path(path).open(encoding="utf-8", newline="") as file:
        return [{name: float(row[name] or "nan") for name in HISTORY_COLUMNS} for row in csv.DictReader(file)]


def first_candidate(training: TrainingSettings) -> int:
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
        write_rows(self.history, HISTORY_COLUMNS, blank)
        with replacing(self.last, force=True) as temporary:
            model.save(temporary)

    def remove(self) -> None:
        """Leave the history alone, which the finished model needs."""
        self.last.unlink(missing_ok=True)
        self.best.unlink(missing_ok=True)


class Watch(keras.callbacks.Callback):  # type: ignore[misc]
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
        """Start the clock, and the random numbers of the dropout."""
        self._start = time.perf_counter()
        # A model file does not keep where its random numbers were: every epoch begins its own, for the
        # backends with random numbers of the layer and for PyTorch, which has one source of all.
        keras.utils.set_random_seed((self._training.seed + self._checkpoint.fold + epoch) % (1 << 31))
        for layer in self.model.layers:
            if isinstance(layer, keras.layers.Dropout) and layer.seed_generator is not None:
                layer.seed_generator.state.assign([self._training.seed + self._checkpoint.fold, epoch])

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Stop a training that diverges."""
        self._refuse_divergence(dict(logs or {}), f"minibatch {batch + 1} of epoch {len(self.rows) + 1}")

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Keep the epoch, report it, and stop after the last that is of use."""
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
        found = [float(row[2]) for row in self.rows[first_candidate(self._training) :]]
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


def write_rows(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a CSV file with a header, complete or not at all."""
    with (
        replacing(path, force=True) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
