"""``radsynth explain``: what a network sees, as figures and a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import Command, FilePath, features_from, force_option, progress_bar
from .outputs import refuse_file
from .report import counted, replacing_folder, write_csv

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from glcm_cuda import GLCMSettings
    from glcm_cuda.store import PatchStore
    from surrogate.explanation import Evaluate, Explanation

    from .explain_figures import ExtremeRow, Labels

EXAMINED = 50_000
"""Patches of a store that are looked at, in equal shares by case."""

EXTREMES = 5
"""Patches in a row of ``extremes.png``."""

CHANGES = 250
"""Changes of a voxel at most in each search, give or take a sweep: 10 sweeps of 5x5 voxels, 2 of 11x11."""


@click.command(cls=Command)
@click.argument("model_path", metavar="MODEL", type=FilePath())
@click.argument("store_path", metavar="STORE", type=FilePath())
@click.option("-o", "--output", required=True, type=FilePath(), help="Folder for figures and table.")
@click.option(
    "--patches",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    metavar="N",
    help="Patches to explain of each tissue.",
)
@click.option("--feature", metavar="NAME", help="Output of the model.  [default: its first]")
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Chooses patches to explain, starts of the searches and their order.",
)
@force_option
def command(
    model_path: Path,
    store_path: Path,
    output: Path,
    patches: int,
    feature: str | None,
    seed: int,
    force: bool,
) -> None:
    """Show what the network of a .keras file sees in the patches of a store.

    Writes the filters of its first layer (filters.png), the patches of highest and lowest output, among
    those of the store and found by search (extremes.png), for some patches of every tissue which voxels
    and which parts of the texture (edges, blobs, noise) raise the output, predicted and exact
    (patch_TISSUE_ROW.png), and the same parts as a table (explanation.csv).

    \b
    Example:
      radsynth explain runs/demo/training/fold0.keras runs/demo/store.h5 -o runs/demo/explanation
      runs/demo/explanation
      6 patches of 3 tissues: fatty, glandular, lesion
    """
    import numpy as np

    from glcm_cuda.files import refuse_existing
    from glcm_cuda.store import PatchStore

    refuse_file(output)
    refuse_existing(output, force=force)
    _refuse_inputs_inside(output, model_path, store_path)
    with PatchStore(store_path) as store:
        from surrogate.model import load_model

        subject = _subject(load_model(model_path), model_path, store, feature)
        sample = _read_sample(store)
    rng = np.random.default_rng(seed)
    chosen = _chosen(sample, patches, rng)
    with replacing_folder(output, marker="explanation.csv", force=force) as folder:
        _draw_network(subject, sample, folder, rng)
        with progress_bar("Explaining", len(chosen)) as progress:
            rows: list[dict[str, Any]] = []
            for number, one in enumerate(chosen, start=1):
                rows += _explained(subject, one, folder)
                progress(number, len(chosen))
        write_csv(folder / "explanation.csv", rows)
    tissues = list(dict.fromkeys(one.tissue for one in chosen))
    click.echo(output)
    named = f"{counted(len(tissues), 'tissue')}: {', '.join(tissues)}"
    click.echo(f"{len(chosen)} patch{'es' * (len(chosen) != 1)} of {named}")


def _refuse_inputs_inside(folder: Path, *inputs: Path) -> None:
    """Refuse an output folder that would be replaced with an input in it."""
    for path in inputs:
        if folder.resolve() in path.resolve().parents:
            msg = f"{path} lies in the output folder {folder}, which is replaced as a whole; choose another"
            raise ValueError(msg)


# What is explained, and with what


@dataclass(frozen=True, kw_only=True)
class _Subject:
    """A network's output, and what goes with it."""

    model: Any
    feature: str
    predicted: Evaluate
    exact: Evaluate
    labels: Labels

    @property
    def levels(self) -> int:
        return self.labels.levels


@dataclass(frozen=True)
class _Sample:
    """Patches (n, w, w) of a store, their rows there (n,) and their tissues' labels (n,)."""

    patches: npt.NDArray[np.uint8]
    rows: npt.NDArray[np.int64]
    labels: npt.NDArray[np.uint8]

    def tissue(self, label: int) -> str:
        """Name a tissue as `evaluate` does; without any label everything is one."""
        from .comparison import ALL, TISSUES

        nameless = "background" if self.labels.any() else ALL
        return TISSUES.get(label, f"label {label}") if label else nameless


@dataclass(frozen=True)
class _Patch:
    row: int
    tissue: str
    levels: npt.NDArray[np.uint8]


def _subject(model: Any, path: Path, store: PatchStore, feature: str | None) -> _Subject:
    from glcm_cuda.offsets import largest_entropy
    from surrogate.explanation import exact_by, predicted_by
    from surrogate.model import glcm_settings, network_settings

    from .cohort import is_phantom
    from .explain_figures import Labels
    from .provenance import unit_of

    settings = glcm_settings(model)
    _check_settings(settings, path, store)
    name = _feature(model, path, feature)
    unit = unit_of(name, settings)
    quantity = name.replace("_", " ") + (f" ({unit})" if unit else "")
    largest = largest_entropy(settings) if name == "joint_entropy" else None
    of = f"{path.name}, phantom" if is_phantom(store.patients) else path.name
    network = f"{network_settings(model).architecture} ({of})"
    return _Subject(
        model=model,
        feature=name,
        predicted=predicted_by(model, name),
        exact=exact_by(settings, name),
        labels=Labels(network=network, quantity=quantity, levels=settings.levels, largest=largest),
    )


def _check_settings(settings: GLCMSettings, path: Path, store: PatchStore) -> None:
    """Refuse a store whose patches or exact values mean something else to the model."""
    theirs = store.settings.to_dict()
    different = [
        f"{name} {value} and {theirs[name]}"
        for name, value in settings.to_dict().items()
        if value != theirs[name]
    ]
    if different:
        msg = (
            f"model {path} and store {store.path} must have the same GLCM settings, got "
            f"{', '.join(different)}; give the store that the model was trained on, or one like it"
        )
        raise ValueError(msg)


def _feature(model: Any, path: Path, wanted: str | None) -> str:
    from surrogate.model import model_features

    names = model_features(model)
    if wanted is None:
        return names[0]
    found = [feature.name for feature in features_from([wanted], names)]
    if len(found) != 1 or found[0] not in names:
        msg = f"--feature must be one that model {path} gives ({', '.join(names)}), got {wanted}"
        raise ValueError(msg)
    return found[0]


# Patches of the store


def _read_sample(store: PatchStore) -> _Sample:
    """Read as many patches of every case, whose samples are in random order."""
    import numpy as np

    share = max(1, EXAMINED // len(store.cases))
    ranges = [(case.start, case.start + min(case.count, share)) for case in store.cases]
    parts = [store.read(start, stop) for start, stop in ranges]
    return _Sample(
        patches=np.concatenate([part.patches for part in parts]),
        rows=np.concatenate([np.arange(start, stop) for start, stop in ranges]),
        labels=np.concatenate([part.label for part in parts]),
    )


def _chosen(sample: _Sample, count: int, rng: np.random.Generator) -> list[_Patch]:
    """Draw patches of every tissue, fewer where it has fewer; tissues in the order of their labels."""
    import numpy as np

    found = []
    for label in np.unique(sample.labels):
        members = np.flatnonzero(sample.labels == label)
        for member in np.sort(rng.choice(members, min(count, len(members)), replace=False)):
            patch = _Patch(int(sample.rows[member]), sample.tissue(int(label)), sample.patches[member])
            found.append(patch)
    return found


# Figures and rows


def _draw_network(subject: _Subject, sample: _Sample, folder: Path, rng: np.random.Generator) -> None:
    from surrogate.explanation import first_layer_filters

    from .explain_figures import draw_extremes, draw_filters

    draw_filters(first_layer_filters(subject.model), folder / "filters.png", subject.labels)
    draw_extremes(list(_extreme_rows(subject, sample, rng)), folder / "extremes.png", subject.labels)


def _extreme_rows(subject: _Subject, sample: _Sample, rng: np.random.Generator) -> Iterator[ExtremeRow]:
    """Highest and lowest of the store, and what searches find that start from patches drawn there."""
    from surrogate.explanation import extremes, search

    from .explain_figures import ExtremeRow

    predictions = subject.predicted(sample.patches)
    drawn = rng.choice(len(sample.patches), min(EXTREMES, len(sample.patches)), replace=False)
    starts = sample.patches[drawn]
    sweeps = max(2, CHANGES // starts[0].size)
    ends = extremes(sample.patches, predictions, EXTREMES)
    for name, found, highest in (("highest", ends[0], True), ("lowest", ends[1], False)):
        searched = search(subject.predicted, starts, subject.levels, rng=rng, highest=highest, sweeps=sweeps)
        for where, patches in (("in the store", found), ("by search", searched)):
            yield ExtremeRow(
                name=f"{name}\n{where}",
                patches=patches,
                predicted=subject.predicted(patches),
                exact=subject.exact(patches),
            )


def _explained(subject: _Subject, one: _Patch, folder: Path) -> Sequence[dict[str, Any]]:
    """Draw one patch and return its rows of the table."""
    from surrogate.explanation import explain

    from .explain_figures import draw_explanation

    explanation = explain(one.levels, subject.predicted, subject.exact, subject.levels)
    name = f"patch_{one.tissue.replace(' ', '-')}_{one.row}.png"
    title = f"{one.tissue}, patch {one.row} of the store"
    draw_explanation(explanation, folder / name, subject.labels, title=title)
    return _rows(subject, one, explanation)


def _rows(subject: _Subject, one: _Patch, explanation: Explanation) -> list[dict[str, Any]]:
    predicted, exact = explanation.predicted, explanation.exact
    return [
        {
            "patch": one.row,
            "tissue": one.tissue,
            "feature": subject.feature,
            "part": part,
            "predicted": predicted.value,
            "exact": exact.value,
            "predicted_drop": predicted.parts[part],
            "exact_drop": exact.parts[part],
        }
        for part in predicted.parts
    ]


if __name__ == "__main__":
    command()
