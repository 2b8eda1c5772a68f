"""What a trained network sees, patch by patch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from glcm_cuda import GLCMSettings
from glcm_cuda.families.offsets import largest_entropy
from glcm_cuda.store.reading import PatchStore
from pipelines.cohorts.tissues import ALL, tissue_name, tissues_of
from pipelines.reports.explain_figures import (
    ExtremeRow,
    Labels,
    draw_explanation,
    draw_extremes,
    draw_filters,
)
from pipelines.reports.names import feature_title, unit_of, with_unit
from pipelines.reports.tables import counted, replacing_folder, write_csv
from pipelines.shell.options import features_from
from pipelines.shell.progress import progress_bar
from surrogate.explanation import (
    Evaluate,
    Explanation,
    exact_by,
    explain,
    extremes,
    first_layer_filters,
    predicted_by,
    search,
)
from surrogate.model import glcm_settings, load_model, model_features, network_settings

EXAMINED = 50_000
"""Patches of a store that are examined, in equal shares by case."""

EXTREMES = 5
"""Patches in a row of ``extremes.png``."""

CHANGES = 250
"""Approximate number of voxel changes in each search: 10 sweeps over 5x5 voxels, 2 over 11x11."""


@dataclass(frozen=True, kw_only=True)
class _Subject:
    """One output of a network: its model, feature, prediction, exact counterpart and labels of figures."""

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
    """Patches (n, w, w) of a store, their rows in it (n,), their tissue labels (n,) and the labels' names."""

    patches: npt.NDArray[np.uint8]
    rows: npt.NDArray[np.int64]
    labels: npt.NDArray[np.uint8]
    names: dict[int, str]

    def tissue(self, label: int) -> str:
        """Return the name of a tissue, as `evaluate` has it; without labels there is only `ALL`."""
        nameless = "background" if self.labels.any() else ALL
        return tissue_name(label, self.names) if label else nameless


@dataclass(frozen=True)
class _Patch:
    """A patch to explain: its row in the store, its tissue, its (w, w) levels."""

    row: int
    tissue: str
    levels: npt.NDArray[np.uint8]


def explain_model(
    model_path: Path,
    store_path: Path,
    output: Path,
    *,
    patches: int,
    feature: str | None,
    seed: int,
    force: bool,
) -> str:
    """Write what a network sees in the patches of a store: figures and a table.

    Parameters
    ----------
    model_path, store_path : path
        The network (.keras), and a patch store with its settings.
    output : path
        Folder for figures and table; written as a whole or not at all.
    patches : int
        Patches of each tissue to explain.
    feature : str, optional
        Output of the network, by any of the feature's names; the first by default.
    seed : int
        Chooses patches, starts of the searches and their order.
    force : bool
        Replace an earlier explanation.

    Returns
    -------
    str
        One line: how many patches of which tissues.

    Raises
    ------
    FileExistsError, FileNotFoundError, ValueError
        If the output exists, an input is missing or unreadable, or model and store do not fit together.
    """
    with PatchStore(store_path) as store:
        subject = _subject(load_model(model_path), model_path, store, feature)
        sample = _read_sample(store)
    rng = np.random.default_rng(seed)
    chosen = _choose_patches(sample, patches, rng)
    with replacing_folder(output, marker="explanation.csv", force=force) as folder:
        _draw_network(subject, sample, folder, rng)
        with progress_bar("Explaining", len(chosen)) as progress:
            rows: list[dict[str, Any]] = []
            for number, patch in enumerate(chosen, start=1):
                rows += _explain_patch(subject, patch, folder)
                progress(number, len(chosen))
        write_csv(folder / "explanation.csv", rows)
    tissues = list(dict.fromkeys(patch.tissue for patch in chosen))
    named = f"{counted(len(tissues), 'tissue')}: {', '.join(tissues)}"
    return f"{len(chosen)} patch{'es' * (len(chosen) != 1)} of {named}"


def _subject(model: Any, path: Path, store: PatchStore, feature: str | None) -> _Subject:
    settings = glcm_settings(model)
    _check_settings(settings, path, store)
    name = _feature(model, path, feature)
    quantity = with_unit(feature_title(name), unit_of(name, settings))
    largest = largest_entropy(settings) if name == "joint_entropy" else None
    origin = f"{path.name}, phantom" if store.is_phantom else path.name
    network = f"{network_settings(model).architecture} ({origin})"
    return _Subject(
        model=model,
        feature=name,
        predicted=predicted_by(model, name),
        exact=exact_by(settings, name),
        labels=Labels(network=network, quantity=quantity, levels=settings.levels, largest=largest),
    )


def _check_settings(settings: GLCMSettings, path: Path, store: PatchStore) -> None:
    """Refuse a store whose settings are not those of the model."""
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
    names = model_features(model)
    if wanted is None:
        return names[0]
    named = [feature.name for feature in features_from([wanted], names)]
    if len(named) != 1 or named[0] not in names:
        msg = f"--feature must be one that model {path} predicts ({', '.join(names)}), got {wanted}"
        raise ValueError(msg)
    return named[0]


def _read_sample(store: PatchStore) -> _Sample:
    """Read an equal share of patches of every case; a case's samples are in random order."""
    share = max(1, EXAMINED // len(store.cases))
    ranges = [(case.start, case.start + min(case.count, share)) for case in store.cases]
    parts = [store.read(start, stop) for start, stop in ranges]
    return _Sample(
        patches=np.concatenate([part.patches for part in parts]),
        rows=np.concatenate([np.arange(start, stop) for start, stop in ranges]),
        labels=np.concatenate([part.label for part in parts]),
        names=_names(store),
    )


def _names(store: PatchStore) -> dict[int, str]:
    """Return the names of the labels that mean the same in all cases that name them."""
    given = [tissues_of(case.tissues).items() for case in store.cases]
    names: dict[int, set[str]] = {}
    for label, name in (pair for pairs in given for pair in pairs):
        names.setdefault(label, set()).add(name)
    return {label: next(iter(found)) for label, found in names.items() if len(found) == 1}


def _choose_patches(sample: _Sample, count: int, rng: np.random.Generator) -> list[_Patch]:
    """Draw patches of every tissue, as many as it has at most; tissues in the order of their labels."""
    patches = []
    for label in np.unique(sample.labels):
        members = np.flatnonzero(sample.labels == label)
        for member in np.sort(rng.choice(members, min(count, len(members)), replace=False)):
            patch = _Patch(int(sample.rows[member]), sample.tissue(int(label)), sample.patches[member])
            patches.append(patch)
    return patches


def _draw_network(subject: _Subject, sample: _Sample, folder: Path, rng: np.random.Generator) -> None:
    """Draw the filters of the first layer, and the patches of extreme output."""
    draw_filters(first_layer_filters(subject.model), folder / "filters.png", subject.labels)
    draw_extremes(list(_extreme_rows(subject, sample, rng)), folder / "extremes.png", subject.labels)


def _extreme_rows(subject: _Subject, sample: _Sample, rng: np.random.Generator) -> Iterator[ExtremeRow]:
    """Yield the patches of highest and lowest output: in the store, and by search from patches of it."""
    predictions = subject.predicted(sample.patches)
    drawn = rng.choice(len(sample.patches), min(EXTREMES, len(sample.patches)), replace=False)
    starts = sample.patches[drawn]
    sweeps = max(2, CHANGES // starts[0].size)
    ends = extremes(sample.patches, predictions, EXTREMES)
    for name, in_store, highest in (("highest", ends[0], True), ("lowest", ends[1], False)):
        searched = search(subject.predicted, starts, subject.levels, rng=rng, highest=highest, sweeps=sweeps)
        for where, patches in (("in the store", in_store), ("by search", searched)):
            yield ExtremeRow(
                name=f"{name}\n{where}",
                patches=patches,
                predicted=subject.predicted(patches),
                exact=subject.exact(patches),
            )


def _explain_patch(subject: _Subject, patch: _Patch, folder: Path) -> Sequence[dict[str, Any]]:
    """Draw one patch and return its rows of the table."""
    explanation = explain(patch.levels, subject.predicted, subject.exact, subject.levels)
    name = f"patch_{patch.tissue.replace(' ', '-')}_{patch.row}.png"
    title = f"{patch.tissue}, patch {patch.row} of the store"
    draw_explanation(explanation, folder / name, subject.labels, title=title)
    return _rows(subject, patch, explanation)


def _rows(subject: _Subject, patch: _Patch, explanation: Explanation) -> list[dict[str, Any]]:
    predicted, exact = explanation.predicted, explanation.exact
    return [
        {
            "patch": patch.row,
            "tissue": patch.tissue,
            "feature": subject.feature,
            "part": part,
            "predicted": predicted.value,
            "exact": exact.value,
            "predicted_drop": predicted.parts[part],
            "exact_drop": exact.parts[part],
        }
        for part in predicted.parts
    ]
