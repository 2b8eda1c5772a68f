"""``radsynth train``: the surrogate's cross validation on a patch store."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipelines.reports.history import draw_history
from pipelines.reports.tables import counted
from pipelines.shell.options import Command, feature_option, features_from, force_option
from pipelines.shell.outputs import refuse_foreign_folder
from pipelines.shell.progress import progress_bar
from surrogate.settings import NetworkSettings, TrainingSettings

if TYPE_CHECKING:
    from surrogate.training import FoldResult

_TRAINING = TrainingSettings()
_NETWORK = NetworkSettings()
_OWN_FILES = (
    "run.json",
    "run.unfinished.json",
    "folds.csv",
    "fold*.keras",
    "fold*.card.*",
    "fold*.weights.h5",
    "history*",
)


@click.command(cls=Command)
@click.argument("store", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", "run", required=True, type=click.Path(path_type=Path), help="Folder for the run."
)
@click.option(
    "--folds",
    type=int,
    default=_TRAINING.folds,
    show_default=True,
    help="Folds; 1: one model of everybody, nobody held out.",
)
@click.option(
    "--folds-by",
    metavar="patient|group",
    default=_TRAINING.folds_by,
    show_default=True,
    help="Hold out patients, or whole groups: scanners, data sets.",
)
@click.option("--epochs", type=int, default=_TRAINING.epochs, show_default=True, help="Passes at most.")
@click.option(
    "--patience",
    type=int,
    default=_TRAINING.patience,
    show_default=True,
    help="Epochs without improvement, in the second half, before stopping; 0: nobody is set aside.",
)
@click.option(
    "--learning-rate",
    type=float,
    default=_TRAINING.learning_rate,
    show_default=True,
    help="Highest learning rate.",
)
@click.option("--batch", type=int, default=_TRAINING.batch, show_default=True, help="Patches in a minibatch.")
@click.option(
    "--seed",
    type=int,
    default=_TRAINING.seed,
    show_default=True,
    help="Of folds, weights, order and dropout.",
)
@click.option(
    "--augment",
    type=float,
    default=_TRAINING.augment,
    show_default=True,
    help="Share of each minibatch changed in contrast, brightness and noise, with its new exact entropy.",
)
@click.option(
    "--precision",
    metavar="float32|bfloat16",
    default=_TRAINING.precision,
    show_default=True,
    help="What layers compute in while they learn; weights and model are float32.",
)
@click.option(
    "--architecture",
    metavar="radsynth|equality",
    default=_NETWORK.architecture,
    show_default=True,
    help="The paper's network, or the one that compares levels.",
)
@feature_option("joint_entropy")
@click.option(
    "--padding",
    metavar="same|valid",
    default=_NETWORK.padding,
    show_default=True,
    help="Padding of the convolutions (radsynth).",
)
@click.option(
    "--pool-stride",
    type=int,
    metavar="1|2",
    default=_NETWORK.pool_stride,
    show_default=True,
    help="Stride of the max pooling (radsynth).",
)
@force_option
def command(
    store: Path,
    run: Path,
    architecture: Any,
    features: Sequence[str],
    padding: Any,
    pool_stride: Any,
    force: bool,
    **training: Any,
) -> None:
    """Train a network on a patch store, one model per fold of patients.

    STORE is a patch store of `radsynth groundtruth`. The folder gets fold0.keras, fold1.keras, folds.csv
    (who was held out by which), the history of each fold as CSV and as history.png, and run.json. A run
    that was interrupted continues after the last epoch that it had finished. With several --feature one
    network gives all of them; any store serves, since it holds whole windows.

    \b
    Example:
      radsynth train runs/demo/store.h5 -o runs/demo/training
      runs/demo/training
      fold 0: 24 epochs, validation RMSE 0.31 bits
      fold 1: 24 epochs, validation RMSE 0.32 bits
    """
    settings = TrainingSettings(**training)
    network = NetworkSettings(architecture=architecture, padding=padding, pool_stride=pool_stride)
    names = [feature.name for feature in features_from(features, "joint_entropy")]
    refuse_foreign_folder(run, _OWN_FILES, force=force)
    from surrogate import train

    with progress_bar("Training", settings.folds * settings.epochs) as progress:
        results = train(store, run, settings, network, features=names, force=force, progress=progress)
    description = json.loads((run / "run.json").read_text(encoding="utf-8"))
    unit = _unit(description)
    draw_history(run, len(results), unit, phantom=description["phantom"])
    click.echo(run)
    for fold, result in enumerate(results):
        click.echo(f"fold {fold}: {_summary(result, unit)}")


def _unit(description: dict[str, Any]) -> str:
    """Return what the RMSE of a training is in."""
    from glcm_cuda import GLCMSettings
    from surrogate.exact import ENTROPY

    if tuple(description["features"]) != ENTROPY:
        return "standard deviations"
    return GLCMSettings.from_dict(description["glcm"]).unit


def _summary(result: FoldResult, unit: str) -> str:
    epochs = counted(result.epochs, "epoch")
    if result.validation_rmse is None:
        return f"{epochs}, no patient to validate on"
    return f"{epochs}, validation RMSE {result.validation_rmse:.3f} {unit}"


if __name__ == "__main__":
    command()
