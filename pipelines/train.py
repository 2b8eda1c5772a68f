"""``radsynth train``: the surrogate's cross validation on a patch store."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import click

from pipelines.shell.options import Command, Decorated, feature_option, features_from, force_option
from pipelines.shell.outputs import refuse_foreign_folder
from surrogate.settings import NetworkSettings, TrainingSettings

_OWN_FILES = (
    "run.json",
    "run.unfinished.json",
    "folds.csv",
    "fold*.keras",
    "fold*.card.*",
    "fold*.weights.h5",
    "history*",
)

_TRAINING_HELP = {
    "folds": "Number of folds; 1 trains one model on all patients and holds nobody out.",
    "folds_by": "Hold out single patients, or whole groups such as scanners or data sets.",
    "epochs": "Maximum number of epochs.",
    "patience": "Epochs without improvement, in the second half, before training stops; 0 sets no patients "
    "aside for validation.",
    "learning_rate": "Peak learning rate.",
    "batch": "Patches per minibatch.",
    "seed": "Random seed for folds, weights, order and dropout.",
    "augment": "Share of each minibatch that gets new contrast, brightness and noise, and the exact entropy "
    "of the result.",
    "precision": "Precision of the layers during training; the weights and the saved model are float32.",
}
_ARCHITECTURE_HELP = {"architecture": "The paper's network, or one that compares levels."}
_LAYERS_HELP = {
    "padding": "Padding of the convolutions (radsynth).",
    "pool_stride": "Stride of the max pooling (radsynth).",
}
_METAVARS = {"architecture": "radsynth|equality"}
"""Where not every value of the field can be trained: the analytic network has nothing to learn."""


def _options_of(
    settings: type[TrainingSettings | NetworkSettings], helps: Mapping[str, str]
) -> Callable[[Decorated], Decorated]:
    """Return a decorator that adds an option for each field named in `helps`, in that order.

    Type, choices and default come from the dataclass. Choices are only shown: the dataclass refuses other
    values, in its own words.
    """
    types = get_type_hints(settings)
    defaults = {field.name: field.default for field in dataclasses.fields(settings)}

    def decorate(function: Decorated) -> Decorated:
        # Click lists the option of the innermost decorator last.
        for name, text in reversed([*helps.items()]):
            values = get_args(types[name]) if get_origin(types[name]) is Literal else ()
            function = click.option(
                f"--{name.replace('_', '-')}",
                type=type(defaults[name]),
                metavar=_METAVARS.get(name) or "|".join(map(str, values)) or None,
                default=defaults[name],
                show_default=True,
                help=text,
            )(function)
        return function

    return decorate


@click.command(cls=Command, needs=("keras", "scipy", "matplotlib"))
@click.argument("store", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", "run", required=True, type=click.Path(path_type=Path), help="Folder for the run."
)
@_options_of(TrainingSettings, _TRAINING_HELP)
@_options_of(NetworkSettings, _ARCHITECTURE_HELP)
@feature_option("joint_entropy")
@_options_of(NetworkSettings, _LAYERS_HELP)
@force_option
def command(store: Path, run: Path, features: Sequence[str], force: bool, **settings: Any) -> None:
    """Train a network on a patch store, one model per fold of patients.

    STORE is a patch store from `radsynth groundtruth`. The folder gets fold0.keras, fold1.keras, folds.csv
    (the fold that held out each patient), the history of each fold as CSV and as history.png, and run.json.
    An interrupted run resumes after its last finished epoch. With several --feature options, one network
    predicts all of the features; any store works, because stores hold whole windows.

    \b
    Example:
      radsynth train runs/demo/store.h5 -o runs/demo/training
      runs/demo/training
      fold 0: 24 epochs, validation RMSE 0.31 bits
      fold 1: 24 epochs, validation RMSE 0.32 bits
    """
    training = TrainingSettings(**{name: settings[name] for name in _TRAINING_HELP})
    network = NetworkSettings(**{name: settings[name] for name in (*_ARCHITECTURE_HELP, *_LAYERS_HELP)})
    names = [feature.name for feature in features_from(features, "joint_entropy")]
    # Refused before the library, which loads Keras, is imported.
    refuse_foreign_folder(run, _OWN_FILES, force=force)
    from pipelines.cohorts.training import train_run

    summaries = train_run(store, run, training, network, names, force=force)
    click.echo(run)
    for summary in summaries:
        click.echo(summary)


if __name__ == "__main__":
    command()
