"""The model card: what a model was trained on, how well it agrees with exact maps, and its limits."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from glcm_cuda.base.files import replacing
from glcm_cuda.settings import GLCMSettings

STATISTICS = ("mean_level", "difference_of_neighbours", "range_of_levels")
"""Statistics of the training windows that a card records: brightness, noise and contrast, in levels."""

HELD_OUT = "held-out patients"
VALIDATION = "patients that chose the epoch"
TRAINING = "the training patients themselves"
"""Values of `Card.basis`, in the order in which they are preferred."""

UNKNOWN = "unknown"
"""Modality of images that do not state theirs, such as NIfTI."""

COVERED = 0.95
"""Share of the errors that an error map should cover."""

UNKNOWN_COVERAGE = "that takes a card of this version and two patients or more that the fold held out"
"""Why a card may not know the coverage of its error band."""

ROUNDING = 1e-5
"""Error that is never a fault, relative to the largest value: dense and patch networks differ by as much."""

_NAMED = 8
"""Patients that the Markdown text names; the JSON file names all."""

_SETTINGS = (("map", "glcm"), ("network", "network"), ("training", "training"), ("versions", "versions"))
"""Settings in the Markdown text: their name there, and their key in `Card.run`."""


@dataclass(frozen=True)
class Agreement:
    """Predictions against exact values, pooled over patients, in the unit of the map.

    Parameters
    ----------
    samples, patients : int
        Number of samples and of patients.
    pearson : float or None
        Correlation; None if the predictions or the exact values are constant.
    bias, rmse : float
        Mean and root mean square of prediction minus exact value.
    percent, percent_sd : float or None
        Mean and standard deviation of the absolute difference in percent of the exact value, over the samples
        where that is not 0; None if there are none.
    percentile_99, largest : float
        99th percentile and largest value of the absolute difference.
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
    """Size of the errors, by predicted value.

    Parameters
    ----------
    edges : tuple of float
        Edges between bins of predicted values with equal numbers of samples.
    half_width : tuple of float
        95th percentile of the absolute error in each bin.
    factor : float or None
        What the half widths are multiplied by so that they cover 95 % of the errors of held-out patients;
        None where that is not known.
    coverage : tuple of float or None
        Shares of a held-out patient's errors that are within the widened band of the other patients: the mean
        over the patients and the least. None where the factor is not known.
    """

    edges: tuple[float, ...]
    half_width: tuple[float, ...]
    factor: float | None = None
    coverage: tuple[float, float] | None = None

    def at(self, predicted: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the half width at every predicted value, widened by the factor if there is one."""
        widths = np.asarray(self.half_width, np.float32) * np.float32(self.factor or 1)
        return widths[np.searchsorted(self.edges, predicted)]


@dataclass(frozen=True)
class Measured:
    """Measurements of one feature of a model.

    Parameters
    ----------
    unit : str or None
        Unit of the feature; only entropies have one.
    agreement : Agreement
        Agreement over all samples.
    tissues : dict of Agreement
        Agreement by tissue label, with the label as a string.
    error_band : ErrorBand
        Error band for error maps.
    textured : Agreement or None
        Agreement over the samples that do not lie in flat background; None in older cards.
    """

    unit: str | None
    agreement: Agreement
    tissues: dict[str, Agreement]
    error_band: ErrorBand
    textured: Agreement | None = None

    def promised_rmse(self, label: int | None = None) -> float:
        """Return the largest RMSE that the card has for such voxels.

        Those of a tissue are like all samples, or like those with its label; others like all samples, or
        like those in texture, since samples without labels are background for the most part.
        """
        likened = self.textured if label is None else self.tissues.get(str(label))
        return self.agreement.rmse if likened is None else max(self.agreement.rmse, likened.rmse)


@dataclass(frozen=True)
class Card:
    """Everything known about a model. docs/honesty.md explains how each figure is measured.

    Parameters
    ----------
    basis : str
        Which patients the agreement was measured on: `HELD_OUT`, `VALIDATION` or `TRAINING`.
    patients : tuple of str
        These patients.
    learned : tuple of str
        Training patients.
    groups : dict of int
        Number of training patients by group.
    modalities : dict of int
        Number of training patients by modality of their images, or `UNKNOWN`.
    features : dict of Measured
        Measurements by feature, in the order of the model's outputs.
    training_range : dict of (float, float)
        0.5 % and 99.5 % quantiles of each of `STATISTICS` over the training windows.
    voxels_per_second : float
        Speed of the dense network, measured on one tile.
    device : str
        Device that the speed was measured on.
    run : dict
        Settings of map, network and training, checksum of the store, versions, and training time in seconds.
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
        """Whether the card may belong to a model with these features and settings."""
        return list(self.features) == list(features) and GLCMSettings.from_dict(self.run["glcm"]) == glcm

    def limits(self) -> list[str]:
        """Return the limits of the model, one sentence or two each."""
        glcm = GLCMSettings.from_dict(self.run["glcm"])
        limits = [
            f"The model sees windows of {glcm.edge}x{glcm.edge} voxels within a slice, and nothing of the "
            f"slices above and below. Within {counted(glcm.radius, 'voxel')} of the border of a slice, "
            "windows are completed by reflection.",
            f"Predicts {', '.join(self.features)} for {glcm.levels} levels; other settings need another "
            "model.",
            f"Trained on {counted(len(self.learned), 'patient')} ({_numbers(self.groups)}); maps of images "
            "unlike theirs may be worse. synthesize checks every map against the exact engine.",
        ]
        if self.run.get("phantom"):
            limits.append("Trained on phantoms: the figures say nothing about patients.")
        limits += [line for name, measured in self.features.items() for line in _limits_of(name, measured)]
        if self.basis != HELD_OUT:
            limits.append(
                f"No patients were held out. Agreement was measured on {self.basis} and may be worse for "
                "other images."
            )
        return limits


def _limits_of(feature: str, measured: Measured) -> list[str]:
    limits = []
    if len(measured.tissues) > 1:
        label, worst = max(measured.tissues.items(), key=lambda item: item[1].rmse)
        limits.append(
            f"{feature}: agreement is worst in label {label}, RMSE {_with_unit(worst.rmse, measured.unit)}."
        )
    if measured.error_band.coverage is None:
        limits.append(f"{feature}: the coverage of error maps is not known: {UNKNOWN_COVERAGE}.")
    return limits


def counted(number: int, noun: str) -> str:
    """Return number and noun, like ``1 patient`` or ``2 patients``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _numbers(groups: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in groups.items())


def _with_unit(value: float, unit: str | None) -> str:
    return f"{value:.3g} {unit or ''}".rstrip()


def card_path(model: Path) -> Path:
    """Return the path of the JSON card of a model file."""
    return model.with_suffix(".card.json")


def read_card(model: Path) -> Card | None:
    """Return the card beside a model file; None if there is none.

    Raises
    ------
    ValueError
        If the file is not a card of this version.
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
        textured=Agreement(**fields["textured"]) if fields.get("textured") else None,
        error_band=ErrorBand(
            edges=tuple(fields["error_band"]["edges"]),
            half_width=tuple(fields["error_band"]["half_width"]),
            **_widening(fields["error_band"]),
        ),
    )


def _widening(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return factor and coverage of an error band; the coverage in older cards is that of another band."""
    if fields.get("factor") is None:
        return {}
    mean, least = fields["coverage"]
    return {"factor": fields["factor"], "coverage": (mean, least)}


def write_card(card: Card, model: Path) -> None:
    """Write the card beside the model file, as JSON and as Markdown."""
    text = json.dumps(asdict(card), indent=2) + "\n"
    for path, content in ((card_path(model), text), (model.with_suffix(".card.md"), _markdown(card, model))):
        with replacing(path, force=True) as temporary:
            temporary.write_text(content, encoding="utf-8")


def window_statistics(patches: npt.NDArray[np.unsignedinteger]) -> npt.NDArray[np.float32]:
    """Return the `STATISTICS` of (N, w, w) windows, as (N, 3)."""
    levels = patches.astype(np.float32)
    along_x, along_y = np.abs(np.diff(levels, axis=2)), np.abs(np.diff(levels, axis=1))
    neighbours = (along_x.mean(axis=(1, 2)) + along_y.mean(axis=(1, 2))) / 2
    return np.stack([levels.mean(axis=(1, 2)), neighbours, np.ptp(levels, axis=(1, 2))], axis=-1)


def _markdown(card: Card, model: Path) -> str:
    run, glcm = card.run, GLCMSettings.from_dict(card.run["glcm"])
    lines = [
        f"# {model.name}",
        "",
        f"Replaces exact maps of `{'`, `'.join(card.features)}`: {glcm.levels} levels, window "
        f"{glcm.window}. Architecture `{run['network']['architecture']}`.",
        "",
        "## Agreement with exact values",
        "",
        f"Measured on {card.basis}: {_names(card.patients)}.",
        *(line for name, measured in card.features.items() for line in _agreement_lines(name, measured)),
        "",
        "## Data",
        "",
        f"Trained on {_names(card.learned)} ({counted(len(card.learned), 'patient')}: "
        f"{_numbers(card.groups)}; modality {_numbers(card.modalities)}; store {run['store_sha256'][:12]}).",
        "",
        "| training windows, in levels | 0.5 % | 99.5 % |",
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


def _agreement_lines(feature: str, measured: Measured) -> list[str]:
    unit = f", {measured.unit}" if measured.unit else ""
    rows = [
        ("all", measured.agreement),
        *((f"label {name}", part) for name, part in measured.tissues.items()),
        *([("in texture", measured.textured)] if measured.textured else []),
    ]
    band = measured.error_band
    covered = (
        f"is not known: {UNKNOWN_COVERAGE}"
        if band.coverage is None
        else f"of each held-out patient by the band of the others is {band.coverage[0]:.1%} on average and "
        f"{band.coverage[1]:.1%} at least (widened {band.factor:.3g} times)"
    )
    return [
        "",
        f"| {feature} | samples | r | bias{unit} | RMSE{unit} | difference, % | 99 % within | largest | "
        "patients |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        *(_row(name, agreement) for name, agreement in rows),
        "",
        f"Error maps should cover {100 * COVERED:.0f} % of the errors. Coverage {covered}.",
    ]


def _row(name: str, agreement: Agreement) -> str:
    r = "-" if agreement.pearson is None else f"{agreement.pearson:.5f}"
    percent = (
        "-" if agreement.percent is None else f"{agreement.percent:.2f} ± {agreement.percent_sd or 0:.2f}"
    )
    return (
        f"| {name} | {agreement.samples:,} | {r} | {agreement.bias:+.3g} | {agreement.rmse:.3g} | "
        f"{percent} | {agreement.percentile_99:.3g} | {agreement.largest:.3g} | {agreement.patients} |"
    )


def _names(patients: Sequence[str]) -> str:
    """Return the first patients and the number of the others."""
    more = len(patients) - _NAMED
    return ", ".join(patients[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _settings(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items() if value is not None)
