"""Whether to trust a synthetic map: a sample of it against the engine, the image against the training data.

docs/honesty.md has the rules.
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
"""Voxels that are checked: enough to know the share with an error above any bound to about 2 %."""

WORSE = 1.5
"""A map fails if its RMSE or its largest error is more than this many times that of the model card."""

ROUNDING = 1e-5
"""Error that is never a fault, relative to the largest value: dense and patch networks differ by as much."""

OUTSIDE = 0.1
"""Share of the voxels that may be outside the training range, which excludes 0.01 of the training windows."""

_NUMBERS = ("pearson", "bias", "rmse", "percent", "largest")


@dataclass(frozen=True)
class SpotCheck:
    """Agreement of a sample of voxels of a synthetic map with their exact values, in the unit of the map.

    Parameters
    ----------
    voxels : int
        Number of voxels compared; all have a whole window and finite values.
    pearson : float
        Correlation; NaN if the exact or the synthetic values are constant.
    bias : float
        Mean of synthetic minus exact.
    rmse : float
        Root mean square of the difference.
    percent : float
        Mean of the absolute difference in percent of the exact value, over the voxels where that is not 0.
    largest : float
        Largest absolute difference. This and the four above are NaN if no voxel could be compared.
    outside : dict
        Share of the voxels outside the training range, for each of `card.STATISTICS`; empty without a card.
    failures : tuple of str
        How the map is worse than the card promises; one line each.
    flags : tuple of str
        How the image differs from the training images, which does not make the map wrong; one line each.
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
        """Whether the map is worse than the card promises, or has values that are not finite."""
        return bool(self.failures)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Failures, then flags."""
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
        Intensities; the slices must be large enough for a whole window.
    synthetic : float32 array of the image's shape
        Synthetic map of the image.
    settings : GLCMSettings
        Settings of the model.
    feature : str
        Feature of the map.
    card : Card or None
        Card of the model. Without one a map fails only if it has values that are not finite.
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
    z, y, x = _random_voxels(levels.shape, settings.radius, np.random.default_rng(seed))
    # (Z, Y-w+1, X-w+1, w, w), of which the voxels' own windows are copied: (N, w, w).
    windows = np.lib.stride_tricks.sliding_window_view(levels, (settings.edge,) * 2, axis=(1, 2))
    patches = windows[z, y - settings.radius, x - settings.radius]
    exact = exact_values(patches, settings, (feature,))[:, 0]
    sample = synthetic.reshape(levels.shape)[z, y, x]
    defined, finite = np.isfinite(exact), np.isfinite(sample)
    compared = _compared(exact[defined & finite], sample[defined & finite])
    outside = {} if card is None else _outside(patches, card)
    failures = _not_finite(int(np.count_nonzero(defined & ~finite)), len(exact))
    if card is not None:
        rounding = ROUNDING * float(np.abs(exact[defined]).max(initial=0))
        failures += _worse(compared, card.features[feature].agreement, rounding)
    flags = _flags(outside) + _other_modality(modality, card)
    return SpotCheck(**compared, outside=outside, failures=failures, flags=flags)


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


def _random_voxels(
    shape: tuple[int, ...], radius: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], ...]:
    """Return the indices (z, y, x) of different random voxels whose windows are whole."""
    inner = (shape[0], shape[1] - 2 * radius, shape[2] - 2 * radius)
    number = int(np.prod(inner))
    z, y, x = np.unravel_index(rng.choice(number, min(VOXELS, number), replace=False), inner)
    return z, y + radius, x + radius


def _not_finite(number: int, voxels: int) -> tuple[str, ...]:
    return (f"{number} of {voxels} voxels checked are NaN or infinite",) if number else ()


def _compared(exact: npt.NDArray[np.float32], synthetic: npt.NDArray[np.float32]) -> dict[str, Any]:
    """Return the numeric fields of a `SpotCheck`."""
    if not exact.size:
        return {"voxels": 0, **dict.fromkeys(_NUMBERS, math.nan)}
    moments = summarize(exact, synthetic)
    return {
        "voxels": exact.size,
        "pearson": moments.pearson,
        "bias": moments.mean_difference,
        "rmse": moments.rmse,
        "percent": moments.percent[0],
        "largest": float(np.abs(synthetic - exact).max()),
    }


def _worse(compared: dict[str, Any], card: Agreement, rounding: float) -> tuple[str, ...]:
    """Return how a sample is worse than the card, one line each.

    Bias and correlation need no rules of their own, since the RMSE bounds both: ``|bias| <= rmse``, and
    ``r**2 >= 1 - rmse**2 / variance``, since the identity fits no better than the regression line.
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
