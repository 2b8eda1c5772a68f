"""Whether to trust a synthetic map: a sample of it against the engine, the image against the training data.

docs/honesty.md has the rules.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from glcm_cuda.base.steps import step
from glcm_cuda.levels.quantize import quantize
from glcm_cuda.settings import GLCMSettings
from surrogate.agreement import Moments, pool_within, summarize
from surrogate.exact import exact_values
from surrogate.honesty.card import ROUNDING, STATISTICS, UNKNOWN, Card, Measured, window_statistics
from surrogate.honesty.sampling import (
    VOXELS,
    Part,
    part_of_mask,
    parts_by_texture,
    parts_by_tissue,
    random_voxels,
    windows_at,
)

EXPLAINED = 0.5
"""Share of the variance of the exact values that a map must explain within the parts checked.

Below it, a map says more about the network than about the image. Moriasi et al. 2007, Model evaluation
guidelines, call a model satisfactory from this share on."""

WORSE = 1.5
"""A map fails if its RMSE or its largest error is more than this many times that of the model card."""

OUTSIDE = 0.1
"""Share of the voxels that may be outside the training range, which excludes 0.01 of the training windows."""

Where = Literal["image", "mask", "tissues", "texture"]

_NUMBERS = ("pearson", "explained", "bias", "rmse", "percent", "largest")


@dataclass(frozen=True)
class Figures:
    """Agreement of a sample of voxels of a synthetic map with their exact values, in the unit of the map.

    Parameters
    ----------
    voxels : int
        Number of voxels compared; all have a whole window and finite values.
    pearson : float
        Correlation; NaN if the exact or the synthetic values are constant.
    explained : float
        Share of the variance of the exact values that the map explains, see `Moments.explained`; NaN if they
        are constant.
    bias : float
        Mean of synthetic minus exact.
    rmse : float
        Root mean square of the difference.
    percent : float
        Mean of the absolute difference in percent of the exact value, over the voxels where that is not 0.
    largest : float
        Largest absolute difference. This and the five above are NaN if no voxel could be compared.
    """

    voxels: int
    pearson: float
    explained: float
    bias: float
    rmse: float
    percent: float
    largest: float

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain numbers; NaN becomes None."""
        numbers = {name: getattr(self, name) for name in _NUMBERS}
        plain = {name: None if math.isnan(value) else float(value) for name, value in numbers.items()}
        return {"voxels": self.voxels, **plain}


@dataclass(frozen=True)
class SpotCheck(Figures):
    """What the check of a map found.

    The figures are of all parts but a background, correlation and explained variance within the parts
    (`agreement.pool_within`).

    Parameters
    ----------
    where : {"image", "mask", "tissues", "texture"}
        Which voxels were drawn.
    parts : dict of Figures
        Figures of each part by its name, a background among them.
    criteria : dict
        What a map that passes has: the least share of variance explained, and, if there is a card, the
        largest RMSE by part and the largest error.
    outside : dict
        Share of the voxels outside the training range, for each of `card.STATISTICS`; empty without a card.
    failures : tuple of str
        What is wrong with the map; one line each.
    flags : tuple of str
        How the image differs from the training images, which does not make the map wrong; one line each.
    """

    where: Where
    parts: dict[str, Figures]
    criteria: dict[str, Any]
    outside: dict[str, float]
    failures: tuple[str, ...]
    flags: tuple[str, ...]

    @property
    def failed(self) -> bool:
        """Whether the map should not be used."""
        return bool(self.failures)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Failures, then flags."""
        return self.failures + self.flags

    def to_dict(self) -> dict[str, Any]:
        """Return figures, criteria and warnings as plain numbers and strings; NaN becomes None."""
        return {
            "where": self.where,
            **super().to_dict(),
            "parts": {name: part.to_dict() for name, part in self.parts.items()},
            "criteria": self.criteria,
            "failed": self.failed,
            "warnings": list(self.warnings),
        }


@step("check")
def spot_check(
    image: npt.ArrayLike,
    synthetic: npt.NDArray[np.float32],
    settings: GLCMSettings,
    feature: str,
    card: Card | None,
    *,
    mask: npt.NDArray[np.bool_] | None = None,
    labels: npt.NDArray[np.integer] | None = None,
    tissues: Mapping[int, str] = {},
    modality: str = "",
    seed: int = 0,
) -> SpotCheck:
    """Compare random voxels of a synthetic map with the exact engine.

    The voxels lie inside the mask if there is one, else in equal numbers in each tissue if there are labels,
    else in what is not flat background (`sampling.parts_by_texture`); of the background as many are compared,
    and only their errors are judged.

    Parameters
    ----------
    image : (Y, X) or (Z, Y, X) array
        Intensities; the slices must be large enough for a whole window.
    synthetic : float32 array of the image's shape
        Synthetic map of the image.
    settings : GLCMSettings
        Settings of the model.
    feature : str
        Feature of the map.
    card : Card or None
        Card of the model. Without one, the size of the errors is not judged.
    mask, labels : arrays of the image's shape, optional
        Voxels of interest, and tissue labels with 0 for none.
    tissues : mapping of int to str
        Names of the labels; others are called "label N".
    modality : str
        DICOM modality of the image, such as MR; empty if unknown.
    seed : int
        Seed of the random choice of voxels.

    Returns
    -------
    SpotCheck
        Agreement, failures and flags.

    Raises
    ------
    ValueError
        If the card does not have this feature.
    """
    if card is not None and feature not in card.features:
        msg = f"the model card covers {', '.join(card.features)}, got a map of {feature}"
        raise ValueError(msg)
    levels = quantize(image, settings).reshape((-1, *np.shape(image)[-2:]))
    rng = np.random.default_rng(seed)
    everywhere = random_voxels(levels.shape, settings.radius, VOXELS, rng)
    if mask is not None:
        where: Where = "mask"
        parts = part_of_mask(mask.reshape(levels.shape), settings, rng)
    elif labels is not None:
        where = "tissues"
        parts = parts_by_tissue(labels.reshape(levels.shape), tissues, settings, rng)
    else:
        parts = parts_by_texture(levels, settings, rng)
        where = "image" if len(parts) == 1 else "texture"
    values = synthetic.reshape(levels.shape)
    compared = [_compare(part, levels, values, settings, feature) for part in parts]
    measured = None if card is None else card.features[feature]
    outside = {} if card is None else _outside(windows_at(levels, everywhere, settings.radius), card)
    total = _total(compared)
    return SpotCheck(
        **vars(total),
        where=where,
        parts={one.part.name: one.figures for one in compared},
        criteria=_criteria(compared, measured),
        outside=outside,
        failures=_failures(total, compared, measured),
        flags=_flags(outside) + _other_modality(modality, card),
    )


@dataclass(frozen=True)
class _Compared:
    """Voxels of a part, compared.

    `moments` are None if none of them could be; `bad` counts those of the map that are not finite where the
    exact value is; `scale` is the largest exact value.
    """

    part: Part
    moments: Moments | None
    largest: float
    drawn: int
    bad: int
    scale: float

    @property
    def figures(self) -> Figures:
        """Figures of the part."""
        return _figures(self.moments, self.largest)


def _compare(
    part: Part,
    levels: npt.NDArray[np.unsignedinteger],
    synthetic: npt.NDArray[np.float32],
    settings: GLCMSettings,
    feature: str,
) -> _Compared:
    exact = exact_values(windows_at(levels, part.voxels, settings.radius), settings, (feature,))[:, 0]
    sample = synthetic[part.voxels]
    defined, finite = np.isfinite(exact), np.isfinite(sample)
    both = defined & finite
    return _Compared(
        part=part,
        moments=summarize(exact[both], sample[both]) if both.any() else None,
        largest=float(np.abs(sample[both] - exact[both]).max(initial=0)),
        drawn=exact.size,
        bad=int(np.count_nonzero(defined & ~finite)),
        scale=float(np.abs(exact[defined]).max(initial=0)),
    )


def _total(compared: Sequence[_Compared]) -> Figures:
    """Return the figures of all parts but a background."""
    judged = [one for one in compared if not one.part.is_background]
    moments = [one.moments for one in judged if one.moments is not None]
    return _figures(
        pool_within(moments) if moments else None, max((one.largest for one in judged), default=0)
    )


def _figures(moments: Moments | None, largest: float) -> Figures:
    if moments is None:
        return Figures(voxels=0, **dict.fromkeys(_NUMBERS, math.nan))
    return Figures(
        voxels=moments.voxels,
        pearson=moments.pearson,
        explained=moments.explained,
        bias=moments.mean_difference,
        rmse=moments.rmse,
        percent=moments.percent[0],
        largest=largest,
    )


def _criteria(compared: Sequence[_Compared], measured: Measured | None) -> dict[str, Any]:
    """Return what a map that passes has, as sidecars record it."""
    if measured is None:
        return {"explained_at_least": EXPLAINED}
    return {
        "explained_at_least": EXPLAINED,
        "rmse_at_most": {one.part.name: WORSE * measured.promised_rmse(one.part.label) for one in compared},
        "largest_at_most": WORSE * measured.agreement.largest,
    }


def _failures(total: Figures, compared: Sequence[_Compared], measured: Measured | None) -> tuple[str, ...]:
    """Return what is wrong with a map, one line each."""
    lines = []
    bad = sum(one.bad for one in compared)
    if bad:
        lines.append(f"{bad} of {sum(one.drawn for one in compared)} voxels checked are NaN or infinite")
    elif not total.voxels:
        lines.append("no voxel could be compared with the exact engine")
    if measured is not None:
        lines += [line for one in compared if one.moments for line in _worse(one, measured)]
    if total.explained < EXPLAINED:
        lines.append(
            f"R2 {total.explained:.2f} (r {total.pearson:.4f}) in a sample of the map: it explains less than "
            f"{EXPLAINED:.0%} of the variance of the exact values"
        )
    return tuple(lines)


def _worse(one: _Compared, measured: Measured) -> list[str]:
    """Return how a part is worse than the card, one line each.

    The bias needs no rule of its own, since the RMSE bounds it: ``|bias| <= rmse``.
    """
    found, card = one.figures, measured.agreement
    name = "" if one.part.name == "image" else f" ({one.part.name})"
    rounding = ROUNDING * one.scale
    promised = measured.promised_rmse(one.part.label)
    lines = []
    if found.rmse > WORSE * promised + rounding:
        r = math.nan if card.pearson is None else card.pearson
        lines.append(
            f"RMSE {found.rmse:.4g} in a sample of the map{name}, the model card says {promised:.4g} "
            f"(r {found.pearson:.4f} and {r:.4f}, bias {found.bias:+.4g} and {card.bias:+.4g})"
        )
    if found.largest > WORSE * card.largest + rounding:
        lines.append(
            f"largest error {found.largest:.4g} in a sample of the map{name}, the model card says "
            f"{card.largest:.4g}"
        )
    return lines


def refuse_other_settings(settings: GLCMSettings, expected: GLCMSettings, name: str) -> None:
    """Raise an error that names the differences if a model does not have the expected settings.

    Parameters
    ----------
    settings : GLCMSettings
        Settings of the model.
    expected : GLCMSettings
        Settings that it must have.
    name : str
        Name of the model in the message.

    Raises
    ------
    ValueError
        If any setting differs.
    """
    asked = expected.to_dict()
    differing = [
        f"{key} {value} (asked for {asked[key]})"
        for key, value in settings.to_dict().items()
        if value != asked[key]
    ]
    if differing:
        msg = (
            f"{name} was made with other GLCM settings: {', '.join(differing)}; train a model with the "
            "settings asked for"
        )
        raise ValueError(msg)


def _outside(patches: npt.NDArray[np.unsignedinteger], card: Card) -> dict[str, float]:
    """Return the share of the windows outside the training range of each statistic."""
    shares = {}
    for name, values in zip(STATISTICS, window_statistics(patches).T, strict=True):
        low, high = card.training_range[name]
        shares[name] = float(np.mean((values < low) | (values > high)))
    return shares


def _other_modality(modality: str, card: Card | None) -> tuple[str, ...]:
    """Flag an image of a modality that the model was not trained on, if both are known."""
    known = set() if card is None else set(card.modalities) - {UNKNOWN}
    if not modality or not known or modality in known:
        return ()
    return (f"the image is {modality}, but the model was trained on {', '.join(sorted(known))}",)


def _flags(outside: dict[str, float]) -> tuple[str, ...]:
    return tuple(
        f"{share:.0%} of the image is outside the training range of the {name.replace('_', ' ')}"
        for name, share in outside.items()
        if share > OUTSIDE
    )
