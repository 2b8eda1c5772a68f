"""The model card: what a model was trained on, how well it agrees with patients it never saw, its limits."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from glcm_cuda.files import replacing
from glcm_cuda.store import PatchStore

from .agreement import summarize

STATISTICS = ("mean_level", "difference_of_neighbours", "range_of_levels")
"""What is known of the windows trained on: brightness, noise and contrast, all in levels."""

MOST_SAMPLES = 20_000
"""Samples of each patient that are looked at: rows of a case are in random order."""

_BINS = 16
_COVERED = 0.95
_TILE = 128


@dataclass(frozen=True)
class Agreement:
    """Predictions against exact values, pooled over patients, in the unit of the map."""

    samples: int
    pearson: float | None
    bias: float
    rmse: float
    percent: float | None
    percent_sd: float | None
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
class Card:
    """What is known of a model; docs/honesty.md says how each figure is measured.

    Parameters
    ----------
    basis : str
        On whom the agreement was measured.
    patients, learned : tuple of str
        Those, and those that the model learned from.
    feature, unit : str
        What the model gives.
    agreement : Agreement
        Over all samples.
    tissues : dict
        The same by tissue label, as a string.
    error_band : ErrorBand
        For error maps.
    training_range : dict
        Of each of `STATISTICS`, the 0.5 and 99.5 % quantiles over the windows learned from.
    voxels_per_second : float
        Dense, on one tile, with the backend and device of the training.
    run : dict
        Settings of map, network and training, the store's checksum, versions, seconds of training.
    """

    basis: str
    patients: tuple[str, ...]
    learned: tuple[str, ...]
    feature: str
    unit: str
    agreement: Agreement
    tissues: dict[str, Agreement]
    error_band: ErrorBand
    training_range: dict[str, tuple[float, float]]
    voxels_per_second: float
    run: dict[str, Any]

    def limits(self) -> list[str]:
        """Return in words what the numbers do not promise."""
        found = [
            "Windows in the plane; near the border of a slice they are filled up by reflection.",
            f"Learned from {len(self.learned)} patient{'s' if len(self.learned) > 1 else ''}; images unlike "
            "theirs may be mapped worse. synthesize checks every map against the exact engine.",
        ]
        if self.basis != HELD_OUT:
            found.append(f"Agreement is of {self.basis}: nobody was held out, other images may agree less.")
        return found


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
                "agreement": Agreement(**fields["agreement"]),
                "tissues": {name: Agreement(**part) for name, part in fields["tissues"].items()},
                "error_band": ErrorBand(**fields["error_band"]),
            }
        )
    except (ValueError, LookupError, TypeError) as error:
        msg = f"{path} is not a model card of radsynth train; remove it, or train again"
        raise ValueError(msg) from error


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
        Of patches, with one feature.
    store : path
        The patch store.
    held_out, validated, learned : sequence of str
        Patients of the model's fold, those that chose the epoch, those learned from.
    run : mapping
        Goes into the card as it is.
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
    exact, predicted, labels = (np.concatenate(parts) for parts in zip(*found, strict=True))
    low, high = np.quantile(windows, [0.005, 0.995], axis=0)
    return Card(
        basis=basis,
        patients=tuple(patients),
        learned=tuple(learned),
        feature="joint_entropy",
        unit=settings.unit,
        agreement=_agreement(exact, predicted),
        tissues={
            str(label): _agreement(exact[labels == label], predicted[labels == label])
            for label in np.unique(labels)
        },
        error_band=_error_band([(exact, predicted) for exact, predicted, _ in found]),
        training_range={
            name: (float(low[place]), float(high[place])) for place, name in enumerate(STATISTICS)
        },
        voxels_per_second=_speed(model),
        run=dict(run),
    )


def window_statistics(patches: npt.NDArray[np.unsignedinteger]) -> npt.NDArray[np.float32]:
    """Return `STATISTICS` of (N, w, w) windows as (N, 3)."""
    levels = patches.astype(np.float32)
    across, down = np.abs(np.diff(levels, axis=2)), np.abs(np.diff(levels, axis=1))
    neighbours = (across.mean(axis=(1, 2)) + down.mean(axis=(1, 2))) / 2
    return np.stack([levels.mean(axis=(1, 2)), neighbours, np.ptp(levels, axis=(1, 2))], axis=-1)


def _samples(
    store: PatchStore, patient: str
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Patches, values and labels of a patient's first rows."""
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


def _predictions(
    model: Any, store: PatchStore, patient: str
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    patches, exact, labels = _samples(store, patient)
    predicted = model.predict(patches[..., np.newaxis].astype(np.float32), batch_size=2000, verbose=0)
    return exact, np.asarray(predicted, np.float32)[:, 0], labels


def _agreement(exact: npt.NDArray[np.float32], predicted: npt.NDArray[np.float32]) -> Agreement:
    moments = summarize(exact, predicted)
    mean, deviation = moments.percent
    return Agreement(
        samples=moments.voxels,
        pearson=_or_none(moments.pearson),
        bias=moments.mean_difference,
        rmse=moments.rmse,
        percent=_or_none(mean),
        percent_sd=_or_none(deviation),
        largest=float(np.abs(predicted - exact).max()),
    )


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


_Pair = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]


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
    overall = np.quantile(errors, _COVERED)
    widths = [
        float(np.quantile(errors[places == place], _COVERED) if np.any(places == place) else overall)
        for place in range(len(edges) + 1)
    ]
    return tuple(edges.tolist()), tuple(widths)


def _speed(model: Any) -> float:
    """Voxels per second of the dense network on one tile, the median of three."""
    from .dense import dense_model

    dense = dense_model(model)
    levels = np.zeros((1, _TILE, _TILE, 1), np.float32)
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        dense.predict_on_batch(levels)
        seconds.append(time.perf_counter() - start)
    return _TILE * _TILE / float(np.median(seconds[1:]))  # the first one compiled


def _markdown(card: Card, model: Path) -> str:
    run = card.run
    glcm, network = run["glcm"], run["network"]
    rows = [("all", card.agreement), *((f"label {name}", part) for name, part in card.tissues.items())]
    coverage = card.error_band.coverage
    covered = "not measured, one patient" if coverage is None else f"measured on the others {coverage:.1%}"
    lines = [
        f"# {model.name}",
        "",
        f"Stands in for `{card.feature}` maps: {glcm['levels']} levels, window {glcm['window']}, in "
        f"{card.unit}. Architecture `{network['architecture']}`.",
        "",
        f"Agreement with exact values, measured on {card.basis} ({', '.join(card.patients)}):",
        "",
        f"| samples | number | r | bias, {card.unit} | RMSE, {card.unit} | difference, % | largest |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *(_row(name, part) for name, part in rows),
        "",
        f"Error maps are to cover 95 % of the errors; {covered}.",
        "",
        f"Learned from {', '.join(card.learned)} (store {run['store_sha256'][:12]}), training settings "
        f"{json.dumps(run['training'])}, {run['seconds']:.0f} s on {run['keras_backend']}. "
        f"Dense synthesis there: {card.voxels_per_second:,.0f} voxels per second.",
        "",
        "Windows learned from, 0.5 to 99.5 %: "
        + "; ".join(
            f"{name.replace('_', ' ')} {low:.1f} to {high:.1f}"
            for name, (low, high) in card.training_range.items()
        )
        + " levels.",
        "",
        "Limits:",
        "",
        *(f"- {limit}" for limit in card.limits()),
    ]
    return "\n".join(lines) + "\n"


def _row(name: str, part: Agreement) -> str:
    r = "-" if part.pearson is None else f"{part.pearson:.5f}"
    percent = "-" if part.percent is None else f"{part.percent:.2f} ± {part.percent_sd or 0:.2f}"
    return (
        f"| {name} | {part.samples:,} | {r} | {part.bias:+.4f} | {part.rmse:.4f} | {percent} | "
        f"{part.largest:.3f} |"
    )
