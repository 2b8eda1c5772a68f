"""What a trained network sees, patch by patch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.shell.options import features_from

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from glcm_cuda import GLCMSettings
    from glcm_cuda.store.reading import PatchStore
    from pipelines.reports.explain_figures import ExtremeRow, Labels
    from surrogate.explanation import Evaluate, Explanation

EXAMINED = 50_000
"""Patches of a store that are looked at, in equal shares by case."""

EXTREMES = 5
"""Patches in a row of ``extremes.png``."""

CHANGES = 250
"""Changes of a voxel at most in each search, give or take a sweep: 10 sweeps of 5x5 voxels, 2 of 11x11."""


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
        from pipelines.cohorts.runs import ALL, TISSUES

        nameless = "background" if self.labels.any() else ALL
        return TISSUES.get(label, f"label {label}") if label else nameless


@dataclass(frozen=True)
class _Patch:
    row: int
    tissue: str
    levels: npt.NDArray[np.uint8]


def subject_of(model: Any, path: Path, store: PatchStore, feature: str | None) -> _Subject:
    from glcm_cuda.families.offsets import largest_entropy
    from pipelines.cohorts.cohort import is_phantom
    from pipelines.reports.explain_figures import Labels
    from pipelines.reports.names import unit_of
    from surrogate.explanation import exact_by, predicted_by
    from surrogate.model import glcm_settings, network_settings

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


def read_sample(store: PatchStore) -> _Sample:
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


def choose_patches(sample: _Sample, count: int, rng: np.random.Generator) -> list[_Patch]:
    """Draw patches of every tissue, fewer where it has fewer; tissues in the order of their labels."""
    import numpy as np

    found = []
    for label in np.unique(sample.labels):
        members = np.flatnonzero(sample.labels == label)
        for member in np.sort(rng.choice(members, min(count, len(members)), replace=False)):
            patch = _Patch(int(sample.rows[member]), sample.tissue(int(label)), sample.patches[member])
            found.append(patch)
    return found


def draw_network(subject: _Subject, sample: _Sample, folder: Path, rng: np.random.Generator) -> None:
    from pipelines.reports.explain_figures import draw_extremes, draw_filters
    from surrogate.explanation import first_layer_filters

    draw_filters(first_layer_filters(subject.model), folder / "filters.png", subject.labels)
    draw_extremes(list(_extreme_rows(subject, sample, rng)), folder / "extremes.png", subject.labels)


def _extreme_rows(subject: _Subject, sample: _Sample, rng: np.random.Generator) -> Iterator[ExtremeRow]:
    """Highest and lowest of the store, and what searches find that start from patches drawn there."""
    from pipelines.reports.explain_figures import ExtremeRow
    from surrogate.explanation import extremes, search

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


def explain_patch(subject: _Subject, one: _Patch, folder: Path) -> Sequence[dict[str, Any]]:
    """Draw one patch and return its rows of the table."""
    from pipelines.reports.explain_figures import draw_explanation
    from surrogate.explanation import explain

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
