"""Is a synthetic map to be trusted: a sample of it against the engine, and the image against the training.

The rules are in docs/honesty.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from glcm_cuda.levels.quantize import quantize
from glcm_cuda.settings import GLCMSettings
from surrogate.agreement import summarize
from surrogate.card import STATISTICS, UNKNOWN, Agreement, Card, window_statistics
from surrogate.exact import exact_values

VOXELS = 2000
"""Voxels that are checked: their share with an error above any bound is known to 2 percent."""

WORSE = 1.5
"""How many times the RMSE and the largest error of the model card a map may have."""

ROUNDING = 1e-5
"""Of the largest value: what a dense network may differ by from one of patches, and no fault of the map."""

OUTSIDE = 0.1
"""Share of the voxels that may lie outside the range of the training, where 0.01 of the training's do."""

_NUMBERS = ("pearson", "bias", "rmse", "percent", "largest")


@dataclass(frozen=True)
class SpotCheck:
    """Agreement of some voxels of a synthetic map with their exact values, in the unit of the map.

    Parameters
    ----------
    voxels : int
        Number of voxels compared: all with whole windows and both values finite.
    pearson : float
        Correlation; NaN where one of both is constant.
    bias : float
        Mean of synthetic minus exact.
    rmse : float
        Root mean square of the difference.
    percent : float
        Mean of the absolute difference in percent of the exact value, where that is not 0.
    largest : float
        Largest absolute difference. These five are NaN if no voxel could be compared.
    outside : dict
        Of each statistic of `card.STATISTICS`, the share of the voxels outside the range of the training;
        empty without a card.
    failures : tuple of str
        In what the map is worse than the card says.
    flags : tuple of str
        In what the image is unlike those of the training, which does not make the map wrong.
    """

    voxels: int
    pearson: float
    bias: float
    rmse: float
    percent: float
    largest: float
    outside: dict[str, float]
    failures: tuple[str, ...]
    flags: tuple[str, ...]

    @property
    def failed(self) -> bool:
        """Whether the map is worse than the card says, or no map at all."""
        return bool(self.failures)

    @property
    def warnings(self) -> tuple[str, ...]:
        """All that is to be warned of, failures first."""
        return self.failures + self.flags

    def to_dict(self) -> dict[str, Any]:
        """Return agreement and warnings as plain numbers and strings; NaN becomes None."""
        numbers = {name: getattr(self, name) for name in _NUMBERS}
        plain = {name: None if math.isnan(value) else float(value) for name, value in numbers.items()}
        return {"voxels": self.voxels, **plain, "failed": self.failed, "warnings": list(self.warnings)}


def spot_check(
    image: npt.ArrayLike,
    synthetic: npt.NDArray[np.float32],
    settings: GLCMSettings,
    feature: str,
    card: Card | None,
    *,
    modality: str = "",
    seed: int = 0,
) -> SpotCheck:
    """Compare random voxels of a synthetic map with the exact engine.

    Parameters
    ----------
    image : (Y, X) or (Z, Y, X) array
        What was mapped; a whole window must fit in its slices.
    synthetic : float32 array of the image's shape
        Its map.
    settings : GLCMSettings
        That the model carries.
    feature : str
        Which feature the map is of.
    card : Card or None
        What was measured of the model; without one a map fails only where its values are not finite.
    modality : str
        Of the image, as MR; empty where it is not known.
    seed : int
        Of the choice.

    Raises
    ------
    ValueError
        If the card has no such feature.
    """
    if card is not None and feature not in card.features:
        msg = f"the model card knows {', '.join(card.features)}, got a map of {feature}"
        raise ValueError(msg)
    levels = quantize(image, settings).reshape((-1, *np.shape(image)[-2:]))
    z, y, x = _chosen(levels.shape, settings.radius, np.random.default_rng(seed))
    windows = np.lib.stride_tricks.sliding_window_view(levels, (settings.edge,) * 2, axis=(1, 2))
    patches = windows[z, y - settings.radius, x - settings.radius]
    exact = exact_values(patches, settings, (feature,))[:, 0]
    found = synthetic.reshape(levels.shape)[z, y, x]
    defined, finite = np.isfinite(exact), np.isfinite(found)
    compared = _compared(exact[defined & finite], found[defined & finite])
    outside = {} if card is None else _outside(patches, card)
    failures = _not_finite(int(np.count_nonzero(defined & ~finite)), len(exact))
    if card is not None:
        rounding = ROUNDING * float(np.abs(exact[defined]).max(initial=0))
        failures += _worse(compared, card.features[feature].agreement, rounding)
    flags = _flags(outside) + _other_modality(modality, card)
    return SpotCheck(**compared, outside=outside, failures=failures, flags=flags)


def refuse_other_settings(found: GLCMSettings, expected: GLCMSettings, name: str) -> None:
    """Raise ValueError, naming what differs, unless a model was made with the settings that are expected.

    Parameters
    ----------
    found, expected : GLCMSettings
        Those that the model carries, and those that are asked for.
    name : str
        What the message calls the model.
    """
    asked = expected.to_dict()
    differing = [
        f"{key} {value} (asked for {asked[key]})"
        for key, value in found.to_dict().items()
        if value != asked[key]
    ]
    if differing:
        msg = f"{name} was made with other GLCM settings: {', '.join(differing)}; train a model with these"
        raise ValueError(msg)


def _chosen(
    shape: tuple[int, ...], radius: int, chance: np.random.Generator
) -> tuple[npt.NDArray[np.int64], ...]:
    """Indices of voxels whose windows are whole, each once."""
    inner = (shape[0], shape[1] - 2 * radius, shape[2] - 2 * radius)
    number = int(np.prod(inner))
    z, y, x = np.unravel_index(chance.choice(number, min(VOXELS, number), replace=False), inner)
    return z, y + radius, x + radius


def _not_finite(number: int, voxels: int) -> tuple[str, ...]:
    return (f"{number} of {voxels} voxels checked are NaN or infinite",) if number else ()


def _compared(exact: npt.NDArray[np.float32], found: npt.NDArray[np.float32]) -> dict[str, Any]:
    """Return the numbers of a `SpotCheck`."""
    if not exact.size:
        return {"voxels": 0, **dict.fromkeys(_NUMBERS, math.nan)}
    moments = summarize(exact, found)
    return {
        "voxels": exact.size,
        "pearson": moments.pearson,
        "bias": moments.mean_difference,
        "rmse": moments.rmse,
        "percent": moments.percent[0],
        "largest": float(np.abs(found - exact).max()),
    }


def _worse(compared: dict[str, Any], card: Agreement, rounding: float) -> tuple[str, ...]:
    """Return in what a sample is worse than the card.

    The RMSE bounds the bias, and the correlation from below: ``r**2 >= 1 - rmse**2 / variance``, since no
    line fits better than the best. Neither needs a rule of its own.
    """
    failures = []
    if compared["rmse"] > WORSE * card.rmse + rounding:
        r = math.nan if card.pearson is None else card.pearson
        failures.append(
            f"RMSE {compared['rmse']:.4g} in a sample of the map, the model card says {card.rmse:.4g} "
            f"(r {compared['pearson']:.4f} and {r:.4f}, bias {compared['bias']:+.4g} and {card.bias:+.4g})"
        )
    if compared["largest"] > WORSE * card.largest + rounding:
        failures.append(
            f"largest error {compared['largest']:.4g} in a sample of the map, the model card says "
            f"{card.largest:.4g}"
        )
    return tuple(failures)


def _outside(patches: npt.NDArray[np.unsignedinteger], card: Card) -> dict[str, float]:
    shares = {}
    for name, values in zip(STATISTICS, window_statistics(patches).T, strict=True):
        low, high = card.training_range[name]
        shares[name] = float(np.mean((values < low) | (values > high)))
    return shares


def _other_modality(modality: str, card: Card | None) -> tuple[str, ...]:
    """Flag an image of a modality that the model did not learn from, where both are known."""
    known = set() if card is None else set(card.modalities) - {UNKNOWN}
    if not modality or not known or modality in known:
        return ()
    return (f"the image is {modality}, and the model learned from {', '.join(sorted(known))}",)


def _flags(outside: dict[str, float]) -> tuple[str, ...]:
    return tuple(
        f"{share:.0%} of the image are outside the training range of the {name.replace('_', ' ')}"
        for name, share in outside.items()
        if share > OUTSIDE
    )
