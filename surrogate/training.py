"""Cross validation: from a patch store to one model per fold."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from glcm_cuda.base.files import replacing
from surrogate.dataset import PatchDataset, Scale
from surrogate.epochs import Checkpoint, Progress, Watch, first_candidate, history_path, read_history
from surrogate.exact import ENTROPY
from surrogate.honesty.card import counted, write_card
from surrogate.honesty.card_measurement import make_card
from surrogate.model import build_model, root_mean_squared_error
from surrogate.settings import NetworkSettings, Precision, TrainingSettings
from surrogate.training_run import TrainingRun, describe, enter_folder, finish_folder, model_path, prepare

_WARMUP_SHARE = 0.1
"""Share of the steps in which the learning rate rises."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FoldResult:
    """Result of the training of a fold.

    Parameters
    ----------
    model : Path
        The ``.keras`` file.
    epochs : int
        Number of epochs trained.
    validation_rmse : float or None
        Lowest validation RMSE, that of the epoch whose weights were kept; None without validation patients.
        It is in the unit of the maps if joint entropy is the only feature. Otherwise it is over all features,
        each divided by its standard deviation.
    validation_deviation : float or None
        Standard deviation of the exact values of the validation patients, on the same scale: the RMSE of the
        best constant prediction.
    """

    model: Path
    epochs: int
    validation_rmse: float | None
    validation_deviation: float | None


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
    """Train one model per fold, each without the patients that it will be tested on.

    The work of an earlier, interrupted call with the same store and settings is kept: finished folds, and the
    completed epochs of the interrupted fold. Sets the seeds of Python, NumPy and the Keras backend.

    Parameters
    ----------
    store : path
        Patch store with two-dimensional windows.
    run_dir : path
        Folder for ``foldK.keras``, ``history_foldK.csv``, ``folds.csv`` and ``run.json``
        (described in docs/surrogate.md).
    training, network : settings, optional
        Settings of the training and of the network, by default those of the paper, where it states them.
    features : str or iterable of str
        Features to predict (see `glcm_cuda.feature_maps`), joint entropy by default. Every store serves for
        every feature of grey levels: values that it does not hold are computed from its windows.
    force : bool
        Whether to replace a run of another store or other settings in the folder.
    progress : callable (done, total), optional
        Called with the number of epochs done, over all folds.

    Returns
    -------
    list of FoldResult
        One per fold.

    Raises
    ------
    FileNotFoundError, ValueError
        If the store cannot be read, has three-dimensional windows or fewer patients than folds; if a feature
        is unknown or one of intensities; if a patch is too small for the network; or if the training
        diverges.
    FileExistsError
        If the folder holds another run and `force` is False.
    """
    training, network = training or TrainingSettings(), network or NetworkSettings()
    run = prepare(Path(store), Path(run_dir), training, network, features)
    description = describe(run)
    enter_folder(run, description, force=force)
    results = [_kept_or_trained(run, fold, description, progress) for fold in range(run.training.folds)]
    description["validation_rmse"] = [result.validation_rmse for result in results]
    description["validation_deviation"] = [result.validation_deviation for result in results]
    finish_folder(run, description)
    return results


def _kept_or_trained(
    run: TrainingRun, fold: int, description: Mapping[str, Any], progress: Progress | None
) -> FoldResult:
    if model_path(run.folder, fold).exists() and history_path(run.folder, fold).exists():
        _log.info("fold %d: kept, already trained with these settings", fold)
    else:
        _train_fold(run, fold, description, progress)
    if progress is not None:
        progress((fold + 1) * run.training.epochs, run.training.folds * run.training.epochs)
    history = read_history(history_path(run.folder, fold))
    candidates = [epoch["validation_rmse"] for epoch in history[first_candidate(run.training) :]]
    lowest = None if math.isnan(candidates[0]) else min(candidates)
    validation = run.datasets(fold)[1]
    deviation = None if validation is None else _deviation(validation)
    _warn_of_constant(fold, lowest, deviation)
    return FoldResult(model_path(run.folder, fold), len(history), lowest, deviation)


def _deviation(data: PatchDataset) -> float:
    """Return the root mean square deviation of the values from their means, over all features."""
    moments = np.zeros((2, len(data.features)))  # sums of the values and of their squares
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


def _train_fold(
    run: TrainingRun, fold: int, description: Mapping[str, Any], progress: Progress | None
) -> None:
    """Train the model of a fold, from its checkpoint if there is one, and write it with its card."""
    _announce(fold, run.learned(fold), run.validation(fold))
    keras.utils.set_random_seed(run.training.seed + fold)
    dataset, validation = run.datasets(fold)
    checkpoint = Checkpoint(run.folder, fold)
    model = checkpoint.load()
    if model is None:
        model = _new_model(run, steps_per_epoch=len(dataset))
    # The optimizer counts its steps, and so says how many epochs are done.
    dataset.epoch = int(model.optimizer.iterations) // len(dataset)
    if dataset.epoch:
        _log.info("fold %d: continuing after epoch %d", fold, dataset.epoch)
    watch = Watch(checkpoint, run.training, dataset.epoch, progress)
    _fit(model, dataset, validation, watch, run.training)
    if checkpoint.best.exists():
        model.load_weights(checkpoint.best)
    model = _finished(run, model, dataset.scale)
    path = model_path(run.folder, fold)
    card = make_card(
        model,
        run.store,
        held_out=run.held_out(fold),
        validated=run.validation(fold),
        learned=run.learned(fold),
        run={**description, "seconds": sum(row[-1] for row in watch.rows)},
    )
    # The model is written last: a fold that has one is finished.
    write_card(card, path)
    with replacing(path) as temporary:
        model.save(temporary)
    checkpoint.remove()


def _announce(fold: int, learned: Sequence[str], validated: Sequence[str]) -> None:
    trained = counted(len(learned), "patient")
    if validated:
        _log.info(
            "fold %d: training on %s, validation on %d (%s)",
            fold,
            trained,
            len(validated),
            ", ".join(validated),
        )
    else:
        _log.info("fold %d: training on %s, no validation; all epochs are trained", fold, trained)


def _new_model(run: TrainingRun, *, steps_per_epoch: int) -> keras.Model:
    with computing_in(run.training.precision):
        model = build_model(run.glcm, run.network, run.features)
    _compile(model, run.training, steps_per_epoch)
    return model


def _fit(
    model: keras.Model,
    dataset: PatchDataset,
    validation: PatchDataset | None,
    watch: Watch,
    training: TrainingSettings,
) -> None:
    """Train the epochs that are left, and close the data in any case."""
    try:
        if not watch.is_over:
            model.fit(
                dataset,
                epochs=training.epochs,
                initial_epoch=dataset.epoch,
                validation_data=validation,
                callbacks=[watch],
                shuffle=False,  # the data set has its own random order, which reads sequentially
                verbose=0,
            )
    finally:
        for data in (dataset, validation):
            if data is not None:
                data.close()


def _compile(model: keras.Model, training: TrainingSettings, steps_per_epoch: int) -> None:
    """Compile with Adam, whose learning rate rises during the warm-up and then falls to 0 along a cosine."""
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
    """Make layers that are created in the block compute in this precision, with weights in float32."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32" if precision == "float32" else f"mixed_{precision}")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _finished(run: TrainingRun, trained: keras.Model, scale: Scale | None) -> keras.Model:
    """Return the model for prediction: in float32, in the units of the features, without the optimizer."""
    model = build_model(run.glcm, run.network, run.features)
    model.set_weights(trained.get_weights())
    if scale is not None:
        # The output layer is linear, so it can undo (value - offset) / unit.
        output = model.get_layer("output")
        kernel, bias = output.get_weights()
        output.set_weights([kernel * scale.unit, bias * scale.unit + scale.offset])
    return model
