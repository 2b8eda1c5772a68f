"""Patches as another scanner, range or noise would have quantised them, with their exact values."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Levels = npt.NDArray[np.uint8]

_CONTRAST = (1 / 8, 4.0)
"""Least and largest factor on the differences in a patch: a range far too wide, or too narrow."""

_NOISE = (0.2, 8.0)
"""Least and largest standard deviation of noise that is added to half of the patches, in levels."""


def augmented(patches: Levels, levels: int, chance: np.random.Generator) -> Levels:
    """Return patches of other contrast, brightness, noise and orientation, on whole levels.

    A third of them are mixed with another patch first. Their exact values change with them and must be
    computed anew (`exact.exact_values`).

    Parameters
    ----------
    patches : (N, w, w) uint8 array
        Grey levels.
    levels : int
        Number of grey levels; the result is clipped to them.
    chance : numpy.random.Generator
        Draws all.

    Returns
    -------
    (N, w, w) uint8 array
        One patch for each.
    """
    number = len(patches)

    def drawn(low: float, high: float) -> npt.NDArray[np.float32]:
        return chance.uniform(low, high, (number, 1, 1)).astype(np.float32)

    def often(share: float) -> npt.NDArray[np.bool_]:
        return chance.random((number, 1, 1)) < share

    values = patches.astype(np.float32)
    mixing = np.where(often(1 / 3), drawn(0, 1), np.float32(0))
    values += mixing * (values[chance.permutation(number)] - values)
    mean = values.mean(axis=(1, 2), keepdims=True)
    values = (values - mean) * np.exp(drawn(*np.log(_CONTRAST))) + drawn(0, levels)
    noise = np.where(often(1 / 2), np.exp(drawn(*np.log(_NOISE))), np.float32(0))
    values += noise * chance.standard_normal(values.shape, np.float32)
    turned = np.rot90(values, int(chance.integers(4)), axes=(1, 2))
    turned = turned if chance.random() < 1 / 2 else turned[:, :, ::-1]
    changed: Levels = np.clip(np.floor(turned), 0, levels - 1).astype(patches.dtype)
    return changed
