"""The model card: what a model was trained on, how well it agrees with patients it never saw, its limits."""

from __future__ import annotations

import json
import math
import os
import platform
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from glcm_cuda.base.files import replacing
from glcm_cuda.settings import GLCMSettings
from glcm_cuda.store.reading import PatchStore
from surrogate.agreement import pool, summarize
from surrogate.exact import known_values

STATISTICS = ("mean_level", "difference_of_neighbours", "range_of_levels")
"""What is known of the windows trained on: brightness, noise and contrast, all in levels."""

MOST_SAMPLES = 20_000
"""Samples of each patient that are looked at: rows of a case are in random order."""

UNKNOWN = "unknown"
"""Modality of images that do not tell theirs."""

COVERED = 0.95
"""Share of the errors that an error map is to cover."""

_BINS = 16
_TILE = 128
_NAMED = 8


@dataclass(frozen=True)
class Agreement:
    """Predictions against exact values, pooled over patients, in the unit of the map.

    Parameters
    ----------
    samples, patients : int
        How many there were.
    pearson : float or None
        Correlation; None where one of both is constant.
    bias, rmse : float
        Mean, and root of the mean square, of prediction minus exact value.
    percent, percent_sd : float or None
        Mean and standard deviation of the absolute difference in percent of the exact value, where that
        is not 0; None where it always is.
    percentile_99, largest : float
        What 99 % of the absolute differences, and all of them, do not exceed.
    """

    samples: int
    patients: int
    pearson: float | None
    bias: float
    rmse: float
    percent: float | None
    percent_sd: float | None
    percentile_99: float
    largest: float


@dataclass(frozen=True)
class ErrorBand:
    """How far predictions were off, by predicted value.

    Parameters
    ----------
    edges : tuple of float
        Between bins of predicted values that hold equally many samples.
    half_width : tuple of float
        Of each bin, what 95 % of the absolute errors do not exceed.
    coverage : float or None
        Share of the samples of one patient whose error the band of the other patients covers, averaged;
        None for one patient.
    """

    edges: tuple[float, ...]
    half_width: tuple[float, ...]
    coverage: float | None

    def at(self, predicted: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the half width for every predicted value."""
        return np.asarray(self.half_width, np.float32)[np.searchsorted(self.edges, predicted)]


@dataclass(frozen=True)
class Measured:
    """How well one feature of a model agrees.

    Parameters
    ----------
    unit : str or None
        Of the feature; only entropies have one.
    agreement : Agreement
        Over all samples.
    tissues : dict
        The same by tissue label, as a string.
    error_band : ErrorBand
        For error maps.
    """

    unit: str | None
    agreement: Agreement
    tissues: dict[str, Agreement]
    error_band: ErrorBand


@dataclass(frozen=True)
class Card:
    """What is known of a model; docs/honesty.md says how each figure is measured.

    Parameters
    ----------
    basis : str
        On whom the agreement was measured.
    patients, learned : tuple of str
        Those, and those that the model learned from.
    groups : dict
        Number of patients learned from by their group.
    modalities : dict
        And by the modality of their images, where the store knows it.
    features : dict of Measured
        By name, in the order of the model's outputs.
    training_range : dict
        Of each of `STATISTICS`, the 0.5 and 99.5 % quantiles over the windows learned from.
    voxels_per_second : float
        Dense, on one tile.
    device : str
        What it was measured on.
    run : dict
        Settings of map, network and training, the store's checksum, versions, seconds of training.
    """

    basis: str
    patients: tuple[str, ...]
    learned: tuple[str, ...]
    groups: dict[str, int]
    modalities: dict[str, int]
    features: dict[str, Measured]
    training_range: dict[str, tuple[float, float]]
    voxels_per_second: float
    device: str
    run: dict[str, Any]

    @property
    def agreement(self) -> Agreement:
        """Agreement of the first feature over all samples."""
        return self._first.agreement

    @property
    def tissues(self) -> dict[str, Agreement]:
        """Agreement of the first feature by tissue label."""
        return self._first.tissues

    @property
    def error_band(self) -> ErrorBand:
        """Error band of the first feature."""
        return self._first.error_band

    @property
    def _first(self) -> Measured:
        return next(iter(self.features.values()))

    def is_of(self, features: Sequence[str], glcm: GLCMSettings) -> bool:
        """Whether a model of these features and settings may be the one that was measured."""
        return list(self.features) == list(features) and GLCMSettings.from_dict(self.run["glcm"]) == glcm

    def limits(self) -> list[str]:
        """Return in words what the numbers do not promise."""
        glcm = GLCMSettings.from_dict(self.run["glcm"])
        found = [
            f"Whole windows of {glcm.edge}x{glcm.edge} voxels in the plane: nothing of the slices above and "
            f"below, and within {counted(glcm.radius, 'voxel')} of the border of a slice windows are filled "
            "up by reflection.",
            f"Gives {', '.join(self.features)} for {glcm.levels} levels; other settings need another model.",
            f"Learned from {counted(len(self.learned), 'patient')} ({_numbers(self.groups)}); images unlike "
            "theirs may be mapped worse. synthesize checks every map against the exact engine.",
        ]
        if self.run.get("phantom"):
            found.append("Learned from phantoms: the figures say nothing of patients.")
        found += [line for name, part in self.features.items() for line in _limits_of(name, part)]
        if self.basis != HELD_OUT:
            found.append(f"Agreement is of {self.basis}: nobody was held out, other images may agree less.")
        return found


def _limits_of(feature: str, part: Measured) -> list[str]:
    found = []
    if len(part.tissues) > 1:
        label, worst = max(part.tissues.items(), key=lambda item: item[1].rmse)
        found.append(f"{feature}: agrees least in label {label}, RMSE {_with_unit(worst.rmse, part.unit)}.")
    if part.error_band.coverage is None:
        found.append(f"{feature}: what an error map covers is not known, since there is one patient only.")
    return found


def counted(number: int, noun: str) -> str:
    """Return number and noun, as ``1 patient`` and ``2 patients``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _numbers(groups: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in groups.items())


def _with_unit(value: float, unit: str | None) -> str:
    return f"{value:.3g} {unit or ''}".rstrip()


HELD_OUT = "held-out patients"
_VALIDATION = "patients that chose the epoch"
_TRAINING = "the training patients themselves"


def card_path(model: Path) -> Path:
    """Return where the card of a model is kept."""
    return model.with_suffix(".card.json")


def read_card(model: Path) -> Card | None:
    """Return the card beside a model's file; None if there is none.

    Raises
    ------
    ValueError
        If it is not a card.
    """
    path = card_path(model)
    if not path.is_file():
        return None
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        return Card(
            **{
                **fields,
                "patients": tuple(fields["patients"]),
                "learned": tuple(fields["learned"]),
                "features": {name: _measured(part) for name, part in fields["features"].items()},
                "training_range": {
                    name: (low, high) for name, (low, high) in fields["training_range"].items()
                },
            }
        )
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        msg = f"{path} is not a model card of this version of radsynth train; remove it, or train again"
        raise ValueError(msg) from error


def _measured(fields: Mapping[str, Any]) -> Measured:
    return Measured(
        unit=fields["unit"],
        agreement=Agreement(**fields["agreement"]),
        tissues={name: Agreement(**part) for name, part in fields["tissues"].items()},
        error_band=ErrorBand(
            edges=tuple(fields["error_band"]["edges"]),
            half_width=tuple(fields["error_band"]["half_width"]),
            coverage=fields["error_band"]["coverage"],
        ),
    )


def write_card(card: Card, model: Path) -> None:
    """Write the card beside the model, as JSON and as Markdown."""
    text = json.dumps(asdict(card), indent=2) + "\n"
    for path, content in ((card_path(model), text), (model.with_suffix(".card.md"), _markdown(card, model))):
        with replacing(path, force=True) as temporary:
            temporary.write_text(content, encoding="utf-8")


def make_card(
    model: Any,
    store: Path,
    *,
    held_out: Sequence[str],
    validated: Sequence[str],
    learned: Sequence[str],
    run: Mapping[str, Any],
) -> Card:
    """Measure a model on those patients of a store that it has seen least of.

    Parameters
    ----------
    model : keras.Model
        Of patches.
    store : path
        The patch store.
    held_out, validated, learned : sequence of str
        Patients of the model's fold, those that chose the epoch, those learned from. The agreement is of
        the first of these that is not empty.
    run : mapping
        Goes into the card as it is, save the store's folder, whose name may carry names of people.
    """
    basis, patients = next(
        (basis, names)
        for basis, names in ((HELD_OUT, held_out), (_VALIDATION, validated), (_TRAINING, learned))
        if names
    )
    with PatchStore(store) as opened:
        settings = opened.settings
        found = [_predictions(model, opened, patient) for patient in patients]
        windows = np.concatenate([window_statistics(_samples(opened, patient)[0]) for patient in learned])
        groups = {case.patient: case.group for case in opened.cases}
        modalities = {case.patient: case.modality or UNKNOWN for case in opened.cases}
    low, high = np.quantile(windows, [0.005, 0.995], axis=0)
    return Card(
        basis=basis,
        patients=tuple(patients),
        learned=tuple(learned),
        groups=dict(sorted(Counter(groups[patient] for patient in learned).items())),
        modalities=dict(sorted(Counter(modalities[patient] for patient in learned).items())),
        features={
            name: _measure([patient.of(place) for patient in found], _unit(name, settings))
            for place, name in enumerate(_features(model))
        },
        training_range={
            name: (float(low[place]), float(high[place])) for place, name in enumerate(STATISTICS)
        },
        voxels_per_second=_speed(model),
        device=_device(model),
        run=dict(run) | ({"store": Path(run["store"]).name} if "store" in run else {}),
    )


def _features(model: Any) -> tuple[str, ...]:
    from surrogate.model import model_features

    return model_features(model)


def _unit(feature: str, settings: GLCMSettings) -> str | None:
    return settings.unit if feature.endswith("_entropy") else None


def window_statistics(patches: npt.NDArray[np.unsignedinteger]) -> npt.NDArray[np.float32]:
    """Return `STATISTICS` of (N, w, w) windows as (N, 3)."""
    levels = patches.astype(np.float32)
    across, down = np.abs(np.diff(levels, axis=2)), np.abs(np.diff(levels, axis=1))
    neighbours = (across.mean(axis=(1, 2)) + down.mean(axis=(1, 2))) / 2
    return np.stack([levels.mean(axis=(1, 2)), neighbours, np.ptp(levels, axis=(1, 2))], axis=-1)


def _samples(
    store: PatchStore, patient: str
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Patches, entropies and labels of a patient's first rows."""
    parts = [
        store.read(case.start, case.start + min(case.count, MOST_SAMPLES))
        for case in store.cases
        if case.patient == patient
    ]
    return (
        np.concatenate([part.patches for part in parts]),
        np.concatenate([part.entropy for part in parts]),
        np.concatenate([part.label for part in parts]),
    )


_Values = npt.NDArray[np.float32]
_Pair = tuple[_Values, _Values]


@dataclass(frozen=True)
class _Predicted:
    """Exact and predicted values of a patient's samples, (N, F), or (N,) of one feature, and their labels."""

    exact: _Values
    predicted: _Values
    labels: npt.NDArray[np.uint8]

    def of(self, place: int) -> _Predicted:
        """Return one feature, where it is defined."""
        defined = np.isfinite(self.exact[:, place])
        return _Predicted(self.exact[defined, place], self.predicted[defined, place], self.labels[defined])

    def pair(self, label: int | None = None) -> _Pair:
        """Return exact and predicted values, of one label alone if it is given."""
        chosen = slice(None) if label is None else self.labels == label
        return self.exact[chosen], self.predicted[chosen]


def _predictions(model: Any, store: PatchStore, patient: str) -> _Predicted:
    patches, entropy, labels = _samples(store, patient)
    names = _features(model)
    exact = known_values(patches, entropy, store.settings, names)
    predicted = model.predict(patches[..., np.newaxis].astype(np.float32), batch_size=2000, verbose=0)
    return _Predicted(exact, np.asarray(predicted, np.float32), labels)


def _measure(patients: Sequence[_Predicted], unit: str | None) -> Measured:
    labels = np.unique(np.concatenate([patient.labels for patient in patients]))
    return Measured(
        unit=unit,
        agreement=_agreement([patient.pair() for patient in patients]),
        tissues={str(label): _agreement([patient.pair(label) for patient in patients]) for label in labels},
        error_band=_error_band([pair for pair in (patient.pair() for patient in patients) if pair[0].size]),
    )


def _agreement(patients: Sequence[_Pair]) -> Agreement:
    present = [pair for pair in patients if pair[0].size]
    moments = pool([summarize(exact, predicted) for exact, predicted in present])
    errors = np.concatenate([np.abs(predicted - exact) for exact, predicted in present])
    mean, deviation = moments.percent
    return Agreement(
        samples=moments.voxels,
        patients=len(present),
        pearson=_or_none(moments.pearson),
        bias=moments.mean_difference,
        rmse=moments.rmse,
        percent=_or_none(mean),
        percent_sd=_or_none(deviation),
        percentile_99=float(np.quantile(errors, 0.99)),
        largest=float(errors.max()),
    )


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _error_band(patients: Sequence[_Pair]) -> ErrorBand:
    edges, half_width = _calibrated(patients)
    covered = []
    for place, (exact, predicted) in enumerate(patients if len(patients) > 1 else ()):
        band = ErrorBand(*_calibrated([*patients[:place], *patients[place + 1 :]]), None)
        covered.append(float(np.mean(np.abs(predicted - exact) <= band.at(predicted))))
    return ErrorBand(edges, half_width, float(np.mean(covered)) if covered else None)


def _calibrated(patients: Sequence[_Pair]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    exact, predicted = (np.concatenate(parts) for parts in zip(*patients, strict=True))
    edges = np.unique(np.quantile(predicted, np.linspace(0, 1, _BINS + 1)[1:-1]))
    errors, places = np.abs(predicted - exact), np.searchsorted(edges, predicted)
    overall = np.quantile(errors, COVERED)
    widths = [
        float(np.quantile(errors[places == place], COVERED) if np.any(places == place) else overall)
        for place in range(len(edges) + 1)
    ]
    return tuple(edges.tolist()), tuple(widths)


def _speed(model: Any) -> float:
    """Voxels per second of the dense network on one tile, the median of three."""
    from surrogate.dense import dense_model

    dense = dense_model(model)
    levels = np.zeros((1, _TILE, _TILE, 1), np.float32)
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        dense.predict_on_batch(levels)
        seconds.append(time.perf_counter() - start)
    return _TILE * _TILE / float(np.median(seconds[1:]))  # the first one compiled


def _device(model: Any) -> str:
    """Return where the model's weights lie, and with them the work."""
    if any(
        "gpu" in place or "cuda" in place for place in (str(w.value.device).lower() for w in model.weights)
    ):
        return "GPU"
    return f"CPU, {platform.processor() or platform.machine()}, {counted(os.cpu_count() or 1, 'core')}"


def _markdown(card: Card, model: Path) -> str:
    run, glcm = card.run, GLCMSettings.from_dict(card.run["glcm"])
    lines = [
        f"# {model.name}",
        "",
        f"Stands in for exact maps of `{'`, `'.join(card.features)}`: {glcm.levels} levels, window "
        f"{glcm.window}. Architecture `{run['network']['architecture']}`.",
        "",
        "## Agreement with exact values",
        "",
        f"Measured on {card.basis}: {_names(card.patients)}.",
        *(line for name, part in card.features.items() for line in _agreement_lines(name, part)),
        "",
        "## Data",
        "",
        f"Learned from {_names(card.learned)} ({counted(len(card.learned), 'patient')}: "
        f"{_numbers(card.groups)}; modality {_numbers(card.modalities)}; store {run['store_sha256'][:12]}).",
        "",
        "| of the windows learned from, in levels | 0.5 % | 99.5 % |",
        "| --- | --- | --- |",
        *(
            f"| {name.replace('_', ' ')} | {low:.1f} | {high:.1f} |"
            for name, (low, high) in card.training_range.items()
        ),
        "",
        "## Settings",
        "",
        *(f"- {name}: {_settings(run[key])}" for name, key in _SETTINGS if run.get(key)),
        "",
        "## Speed",
        "",
        f"Dense synthesis {card.voxels_per_second:,.0f} voxels per second with {run['keras_backend']} "
        f"({card.device}). Training {run['seconds']:.0f} s.",
        "",
        "## Limits",
        "",
        *(f"- {limit}" for limit in card.limits()),
    ]
    return "\n".join(lines) + "\n"


_SETTINGS = (("map", "glcm"), ("network", "network"), ("training", "training"), ("versions", "versions"))


def _agreement_lines(feature: str, part: Measured) -> list[str]:
    unit = f", {part.unit}" if part.unit else ""
    rows = [("all", part.agreement), *((f"label {name}", agreed) for name, agreed in part.tissues.items())]
    coverage = part.error_band.coverage
    covered = (
        "not measured, one patient" if coverage is None else f"measured, each on the others, {coverage:.1%}"
    )
    return [
        "",
        f"| {feature} | samples | r | bias{unit} | RMSE{unit} | difference, % | 99 % within | largest | "
        "patients |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        *(_row(name, agreed) for name, agreed in rows),
        "",
        f"Error maps are to cover {100 * COVERED:.0f} % of the errors; {covered}.",
    ]


def _row(name: str, part: Agreement) -> str:
    r = "-" if part.pearson is None else f"{part.pearson:.5f}"
    percent = "-" if part.percent is None else f"{part.percent:.2f} ± {part.percent_sd or 0:.2f}"
    return (
        f"| {name} | {part.samples:,} | {r} | {part.bias:+.3g} | {part.rmse:.3g} | {percent} | "
        f"{part.percentile_99:.3g} | {part.largest:.3g} | {part.patients} |"
    )


def _names(patients: Sequence[str]) -> str:
    """Return the first names; the JSON has them all."""
    more = len(patients) - _NAMED
    return ", ".join(patients[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _settings(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items() if value is not None)
