"""The epochs of a fold: history, checkpoints to continue from, and early stopping."""

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
    """Return the path of the training history of a fold."""
    return Path(run_dir) / f"history_fold{fold}.csv"


def read_history(path: str | os.PathLike[str]) -> list[dict[str, float]]:
    """Return the rows of a ``history_foldK.csv``; the validation RMSE is NaN without validation patients."""
    with Path(path).open(encoding="utf-8", newline="") as file:
        return [{name: float(row[name] or "nan") for name in HISTORY_COLUMNS} for row in csv.DictReader(file)]


def first_candidate(training: TrainingSettings) -> int:
    """Return the first epoch, from 0, whose weights may be kept.

    In the first half of the training the learning rate is high and the validation RMSE jumps by factors. A
    lucky epoch there would stop the training before the best epochs, which come when the rate has fallen.
    """
    return training.epochs // 2


class Checkpoint:
    """The files of a fold in training, from which an interrupted training continues.

    Parameters
    ----------
    folder : path
        Folder of the run.
    fold : int
        Number of the fold.
    """

    def __init__(self, folder: Path, fold: int) -> None:
        self.fold = fold
        self.history = history_path(folder, fold)
        self.last = folder / f"fold{fold}.checkpoint.keras"
        self.best = folder / f"fold{fold}.best.weights.h5"

    def load(self) -> keras.Model | None:
        """Return the model after the last complete epoch, with its optimizer; None if there is none yet."""
        if not self.last.exists():
            return None
        return keras.saving.load_model(self.last, safe_mode=True)

    def rows(self, epochs: int) -> list[tuple[float, ...]]:
        """Return the rows of the first `epochs` epochs of the history, as tuples of `HISTORY_COLUMNS`."""
        if not epochs:
            return []
        history = read_history(self.history)[:epochs]
        # `read_history` returns floats, but epochs are written as integers.
        return [(number, *list(row.values())[1:]) for number, row in enumerate(history, start=1)]

    def write(self, model: keras.Model, rows: Sequence[Sequence[float]], *, is_best: bool) -> None:
        """Save an epoch.

        The model is written last, since its optimizer says how many epochs count. After an interruption
        before that, the epoch is trained again.
        """
        if is_best:
            with replacing(self.best, force=True) as temporary:
                model.save_weights(temporary)
        blank = [["" if math.isnan(value) else value for value in row] for row in rows]
        write_rows(self.history, HISTORY_COLUMNS, blank)
        with replacing(self.last, force=True) as temporary:
            model.save(temporary)

    def remove(self) -> None:
        """Remove the files of an unfinished fold, but not the history, which the finished model keeps."""
        self.last.unlink(missing_ok=True)
        self.best.unlink(missing_ok=True)


class Watch(keras.callbacks.Callback):  # type: ignore[misc]
    """Saves every epoch, reports progress, and stops a training that diverges or no longer improves.

    Parameters
    ----------
    checkpoint : Checkpoint
        Files of the fold.
    training : TrainingSettings
        Settings of the training.
    epochs : int
        Epochs that are already done.
    progress : callable (done, total), optional
        Called after every epoch with the numbers of epochs of all folds.
    """

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
        """Whether all epochs are done, or none of the last `patience` candidates was better."""
        if len(self.rows) >= self._training.epochs:
            return True
        candidates = self._candidates()
        if not candidates:
            return False
        return len(candidates) - 1 - int(np.argmin(candidates)) >= self._training.patience

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Start the clock, and set the seeds of the dropout."""
        self._start = time.perf_counter()
        # A model file does not store the state of the random numbers. Seeds that depend on the epoch let a
        # continued training draw the same ones. PyTorch uses the global seed, the other backends that of
        # the layer.
        keras.utils.set_random_seed((self._training.seed + self._checkpoint.fold + epoch) % (1 << 31))
        for layer in self.model.layers:
            if isinstance(layer, keras.layers.Dropout) and layer.seed_generator is not None:
                layer.seed_generator.state.assign([self._training.seed + self._checkpoint.fold, epoch])

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Stop a training that diverges."""
        self._refuse_divergence(dict(logs or {}), f"minibatch {batch + 1} of epoch {len(self.rows) + 1}")

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Save the epoch, report it, and stop if the training is over."""
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
        """Return the validation RMSE of the epochs that may be kept; none without validation patients."""
        values = [float(row[2]) for row in self.rows[first_candidate(self._training) :]]
        return [value for value in values if not math.isnan(value)]

    def _refuse_divergence(self, logs: Mapping[str, float], where: str) -> None:
        if np.isfinite([logs[name] for name in ("loss", "val_rmse") if name in logs]).all():
            return
        kept = f"; {self._checkpoint.last} has the model after epoch {len(self.rows)}" if self.rows else ""
        msg = (
            f"the training of fold {self._checkpoint.fold} diverged in {where}: the RMSE is not finite; "
            f"give a lower --learning-rate{kept}"
        )
        raise ValueError(msg)


def write_rows(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a CSV file with a header; an interruption leaves no partial file."""
    with (
        replacing(path, force=True) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
