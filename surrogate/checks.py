"""Is a synthetic map to be trusted: a sample of it against the engine, and the image against the training.

The rules are in docs/honesty.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from glcm_cuda.quantize import quantize
from glcm_cuda.settings import GLCMSettings

from .agreement import summarize
from .card import STATISTICS, Card, window_statistics
from .exact import exact_values

VOXELS = 2000
"""Voxels that are checked: their share with an error above any bound is known to 2 percent."""

WORSE = 1.5
"""How many times the RMSE of the model card a map may have."""

OUTSIDE = 0.1
"""Share of the voxels that may lie outside the range of the training, where 0.01 of the training's do."""


@dataclass(frozen=True)
class SpotCheck:
    """Agreement of some voxels of a synthetic map with their exact values, in the unit of the map.

    Parameters
    ----------
    voxels : int
        Number of voxels checked, all with whole windows.
    pearson : float
        Correlation; NaN where one of both is constant.
    bias : float
        Mean of synthetic minus exact.
    rmse : float
        Root mean square of the difference.
    percent : float
        Mean of the absolute difference in percent of the exact value, where that is not 0.
    largest : float
        Largest absolute difference.
    outside : dict
        Of each statistic of `card.STATISTICS`, the share of the voxels outside the range of the training;
        empty without a card.
    warnings : tuple of str
        What is worse than the card says; empty if nothing is, or there is no card.
    """

    voxels: int
    pearson: float
    bias: float
    rmse: float
    percent: float
    largest: float
    outside: dict[str, float]
    warnings: tuple[str, ...]

    @property
    def failed(self) -> bool:
        """Whether the map is worse than the card says."""
        return bool(self.warnings)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain numbers; NaN becomes None."""
        numbers = {name: getattr(self, name) for name in ("pearson", "bias", "rmse", "percent", "largest")}
        plain = {name: None if np.isnan(value) else float(value) for name, value in numbers.items()}
        return {
            "voxels": self.voxels,
            **plain,
            "outside_training_range": self.outside,
            "warnings": list(self.warnings),
        }


def spot_check(
    image: npt.ArrayLike,
    synthetic: npt.NDArray[np.float32],
    settings: GLCMSettings,
    feature: str,
    card: Card | None,
    *,
    seed: int = 0,
) -> SpotCheck:
    """Compare random voxels of a synthetic map with the exact engine.

    Parameters
    ----------
    image : (Y, X) or (Z, Y, X) array
        What was mapped.
    synthetic : float32 array of the image's shape
        Its map.
    settings : GLCMSettings
        That the model carries.
    feature : str
        Which feature the map is of.
    card : Card or None
        What was measured of the model; without one nothing can be worse.
    seed : int
        Of the choice.
    """
    levels = quantize(image, settings).reshape((-1, *np.shape(image)[-2:]))
    chosen = _chosen(levels.shape, settings.radius, np.random.default_rng(seed))
    windows = np.lib.stride_tricks.sliding_window_view(levels, (settings.edge,) * 2, axis=(1, 2))
    z, y, x = chosen
    patches = windows[z, y - settings.radius, x - settings.radius]
    exact = exact_values(patches, settings, (feature,))[:, 0]
    found = synthetic.reshape(levels.shape)[z, y, x]
    moments = summarize(exact, found)
    rmse = moments.rmse
    outside = {} if card is None else _outside(patches, card)
    return SpotCheck(
        voxels=len(exact),
        pearson=moments.pearson,
        bias=moments.mean_difference,
        rmse=rmse,
        percent=moments.percent[0],
        largest=float(np.abs(found - exact).max()),
        outside=outside,
        warnings=() if card is None else tuple(_complaints(rmse, outside, card)),
    )


def _chosen(
    shape: tuple[int, ...], radius: int, chance: np.random.Generator
) -> tuple[npt.NDArray[np.int64], ...]:
    """Indices of voxels whose windows are whole, each once."""
    inner = (shape[0], shape[1] - 2 * radius, shape[2] - 2 * radius)
    number = int(np.prod(inner))
    z, y, x = np.unravel_index(chance.choice(number, min(VOXELS, number), replace=False), inner)
    return z, y + radius, x + radius


def _outside(patches: npt.NDArray[np.unsignedinteger], card: Card) -> dict[str, float]:
    shares = {}
    for name, values in zip(STATISTICS, window_statistics(patches).T, strict=True):
        low, high = card.training_range[name]
        shares[name] = float(np.mean((values < low) | (values > high)))
    return shares


def _complaints(rmse: float, outside: dict[str, float], card: Card) -> list[str]:
    found = []
    if rmse > WORSE * card.agreement.rmse:
        found.append(f"RMSE {rmse:.4g} in a sample of the map, the model card says {card.agreement.rmse:.4g}")
    found += [
        f"{share:.0%} of the image are outside the training range of the {name.replace('_', ' ')}"
        for name, share in outside.items()
        if share > OUTSIDE
    ]
    return found
