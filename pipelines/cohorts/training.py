"""The surrogate trained on a patch store: the run's folder, its figure and a summary."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from glcm_cuda import GLCMSettings
from pipelines.reports.history import draw_history
from pipelines.reports.tables import counted
from pipelines.shell.progress import progress_bar
from surrogate import train
from surrogate.exact import ENTROPY
from surrogate.settings import NetworkSettings, TrainingSettings
from surrogate.training import FoldResult


def train_run(
    store: Path,
    run: Path,
    training: TrainingSettings,
    network: NetworkSettings,
    features: Sequence[str],
    *,
    force: bool,
) -> list[str]:
    """Train one model per fold and draw the history of the training.

    Parameters
    ----------
    store : path
        Patch store.
    run : path
        Folder for models, folds, histories and run.json.
    training, network
        Settings of the training and of the network.
    features : sequence of str
        Names of the features that the network gives.
    force : bool
        Replace a run that is there.

    Returns
    -------
    list of str
        One line per fold: epochs and validation RMSE.

    Raises
    ------
    TypeError, ValueError, OSError
        Those of `surrogate.train`.
    """
    with progress_bar("Training", training.folds * training.epochs) as progress:
        results = train(store, run, training, network, features=features, force=force, progress=progress)
    description = json.loads((run / "run.json").read_text(encoding="utf-8"))
    unit = _unit(description)
    draw_history(run, len(results), unit, phantom=description["phantom"])
    return [f"fold {fold}: {fold_summary(result, unit)}" for fold, result in enumerate(results)]


def _unit(description: dict[str, Any]) -> str:
    """Return the unit of a training's RMSE."""
    if tuple(description["features"]) != ENTROPY:
        return "standard deviations"
    return GLCMSettings.from_dict(description["glcm"]).unit


def fold_summary(result: FoldResult, unit: str) -> str:
    """Return the epochs and the validation RMSE of a fold in words."""
    epochs = counted(result.epochs, "epoch")
    if result.validation_rmse is None:
        return f"{epochs}, no validation patients"
    return f"{epochs}, validation RMSE {result.validation_rmse:.3f} {unit}"
