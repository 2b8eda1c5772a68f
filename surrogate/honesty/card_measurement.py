"""Measuring a model for its card: agreement, error band, training range and speed."""

from __future__ import annotations

import math
import os
import platform
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from glcm_cuda.families.registry import feature_named
from glcm_cuda.settings import GLCMSettings
from glcm_cuda.store.reading import PatchStore
from surrogate.agreement import pool, summarize
from surrogate.dense import dense_model
from surrogate.exact import known_values
from surrogate.honesty.card import (
    COVERED,
    HELD_OUT,
    ROUNDING,
    STATISTICS,
    TRAINING,
    UNKNOWN,
    VALIDATION,
    Agreement,
    Card,
    ErrorBand,
    Measured,
    counted,
    window_statistics,
)
from surrogate.honesty.sampling import is_textured, local_entropy
from surrogate.model import model_features

MOST_SAMPLES = 20_000
"""Largest number of samples of a case that are used. The rows of a case are in random order."""

_BINS = 16
"""Bins of predicted values in an error band."""

_TILE = 128
"""Edge in voxels of the image that the speed is measured on."""

_Values = npt.NDArray[np.float32]
_Pair = tuple[_Values, _Values]
"""Exact and predicted values of a feature, (N,) each."""


def make_card(
    model: keras.Model,
    store: Path,
    *,
    held_out: Sequence[str],
    validated: Sequence[str],
    learned: Sequence[str],
    run: Mapping[str, Any],
) -> Card:
    """Return the card of a model, measured on the patients of a store that it has seen least of.

    Parameters
    ----------
    model : keras.Model
        A network for patches.
    store : path
        The patch store.
    held_out, validated, learned : sequence of str
        Patients that the model's fold holds out, validation patients, and training patients. The agreement is
        measured on the first of these that is not empty.
    run : mapping
        Description of the run, which is copied into the card. Of the path of the store only the file name is
        kept, since names of folders may identify people.

    Returns
    -------
    Card
        Card of the model.
    """
    basis, patients = next(
        (basis, names)
        for basis, names in ((HELD_OUT, held_out), (VALIDATION, validated), (TRAINING, learned))
        if names
    )
    with PatchStore(store) as opened:
        settings = opened.settings
        predictions = [_predictions(model, opened, patient) for patient in patients]
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
            name: _measured(
                [patient.feature(column) for patient in predictions],
                _unit(name, settings),
                held_out=basis == HELD_OUT,
            )
            for column, name in enumerate(model_features(model))
        },
        training_range={
            name: (float(low[column]), float(high[column])) for column, name in enumerate(STATISTICS)
        },
        voxels_per_second=_speed(model),
        device=_device(model),
        run=dict(run) | ({"store": Path(run["store"]).name} if "store" in run else {}),
    )


def _unit(feature: str, settings: GLCMSettings) -> str | None:
    return settings.unit if feature_named(feature).is_entropy else None


def _samples(
    store: PatchStore, patient: str
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Return patches (N, w, w), entropies (N,) and labels (N,) of the first rows of a patient's cases."""
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


@dataclass(frozen=True)
class _Predictions:
    """Samples of a patient: exact and predicted values, (N, F) or (N,), labels, whether in texture."""

    exact: _Values
    predicted: _Values
    labels: npt.NDArray[np.uint8]
    textured: npt.NDArray[np.bool_]

    def feature(self, column: int) -> _Predictions:
        """Return one feature, (N,), of the samples where it is defined."""
        defined = np.isfinite(self.exact[:, column])
        return _Predictions(
            self.exact[defined, column],
            self.predicted[defined, column],
            self.labels[defined],
            self.textured[defined],
        )

    def pair(self, label: int | None = None) -> _Pair:
        """Return exact and predicted values, optionally of one label only."""
        rows = slice(None) if label is None else self.labels == label
        return self.exact[rows], self.predicted[rows]

    def pair_in_texture(self) -> _Pair:
        """Return exact and predicted values of the samples that do not lie in flat background."""
        return self.exact[self.textured], self.predicted[self.textured]


def _predictions(model: keras.Model, store: PatchStore, patient: str) -> _Predictions:
    patches, entropy, labels = _samples(store, patient)
    exact = known_values(patches, entropy, store.settings, model_features(model))
    predicted = model.predict(patches[..., np.newaxis].astype(np.float32), batch_size=2000, verbose=0)
    textured = is_textured(local_entropy(patches))
    return _Predictions(exact, np.asarray(predicted, np.float32), labels, textured)


def _measured(patients: Sequence[_Predictions], unit: str | None, *, held_out: bool) -> Measured:
    labels = np.unique(np.concatenate([patient.labels for patient in patients]))
    pairs = [pair for pair in (patient.pair() for patient in patients) if pair[0].size]
    return Measured(
        unit=unit,
        agreement=_agreement([patient.pair() for patient in patients]),
        tissues={str(label): _agreement([patient.pair(label) for patient in patients]) for label in labels},
        error_band=_error_band(pairs, held_out=held_out),
        textured=_agreement([patient.pair_in_texture() for patient in patients]),
    )


def _agreement(patients: Sequence[_Pair]) -> Agreement:
    """Return the agreement over the samples of all patients that have any."""
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
    """Replace NaN, which JSON cannot store, by None."""
    return None if math.isnan(value) else value


def _error_band(patients: Sequence[_Pair], *, held_out: bool) -> ErrorBand:
    """Return the error band of all patients, widened so that it covers the errors of each that was held out.

    A patient's error in units of the band of the *other* patients is what a new patient's error is in units
    of the band of all. `_factor` of these widens the band; the coverage is that of each patient by band and
    factor of the others.

    References
    ----------
    Split conformal prediction with normalised residuals: Lei et al. 2018, Distribution-free predictive
    inference for regression, section 5.2. Patients, not voxels, are the exchangeable units.
    """
    band = ErrorBand(*_band(patients))
    if not held_out or len(patients) < 2:
        return band
    errors = []
    for index, (exact, predicted) in enumerate(patients):
        others = ErrorBand(*_band([*patients[:index], *patients[index + 1 :]]))
        errors.append(np.abs(predicted - exact).astype(np.float64) / others.at(predicted))
    needed = [_quantile(error, COVERED) for error in errors]
    shares = [
        float(np.mean(error <= _factor([*needed[:index], *needed[index + 1 :]])))
        for index, error in enumerate(errors)
    ]
    return replace(band, factor=_factor(needed), coverage=(float(np.mean(shares)), min(shares)))


def _factor(needed: Sequence[float]) -> float:
    """Return the factor that is enough for 95 % of new patients, given those that were needed.

    Of fewer than 19 patients it is the largest: enough for n of n + 1 new ones, and there is no better bound.
    No band is made narrower.
    """
    return max(1.0, _quantile(np.asarray(needed), COVERED))


def _quantile(values: npt.NDArray[np.float64], share: float) -> float:
    """Return the value that a new one is below with this probability, given n like it: number (n + 1) share.

    If n is too small for that, the largest.
    """
    number = min(math.ceil((values.size + 1) * share), values.size)
    return float(np.partition(values, number - 1)[number - 1])


def _band(patients: Sequence[_Pair]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the inner edges of the bins of predicted values, and the error bound of every bin."""
    exact, predicted = (np.concatenate(parts) for parts in zip(*patients, strict=True))
    # Equal quantiles, as from constant predictions, would make empty bins.
    edges = np.unique(np.quantile(predicted, np.linspace(0, 1, _BINS + 1)[1:-1]))
    errors, bins = np.abs(predicted - exact), np.searchsorted(edges, predicted)
    overall = np.quantile(errors, COVERED)
    widths = [
        float(np.quantile(errors[bins == number], COVERED) if np.any(bins == number) else overall)
        for number in range(len(edges) + 1)
    ]
    # Errors below rounding are chance, and a band of no width could not be widened.
    least = max(ROUNDING * float(np.abs(exact).max()), float(np.finfo(np.float32).tiny))
    return tuple(edges.tolist()), tuple(max(width, least) for width in widths)


def _speed(model: keras.Model) -> float:
    """Return the voxels per second of the dense network on one tile, the median of three runs."""
    dense = dense_model(model)
    levels = np.zeros((1, _TILE, _TILE, 1), np.float32)
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        dense.predict_on_batch(levels)
        seconds.append(time.perf_counter() - start)
    return _TILE * _TILE / float(np.median(seconds[1:]))  # the first run includes the compilation


def _device(model: keras.Model) -> str:
    """Return the device that holds the model's weights, and that therefore computes."""
    devices = [str(weight.value.device).lower() for weight in model.weights]
    if any("gpu" in device or "cuda" in device for device in devices):
        return "GPU"
    return f"CPU, {platform.processor() or platform.machine()}, {counted(os.cpu_count() or 1, 'core')}"
