"""Patches as they would look with another scanner, intensity range or noise level."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Levels = npt.NDArray[np.uint8]

_CONTRAST = (1 / 8, 4.0)
"""Smallest and largest contrast factor: an intensity range far too wide, or too narrow."""

_NOISE = (0.2, 8.0)
"""Smallest and largest standard deviation, in levels, of the noise added to half of the patches."""


def augmented(patches: Levels, levels: int, rng: np.random.Generator) -> Levels:
    """Return the patches with random contrast, brightness, noise and orientation, in whole levels.

    A third of them are first mixed with another patch. The exact values of the patches change, so the caller
    has to compute them again (`exact.exact_values`).

    Parameters
    ----------
    patches : (N, w, w) uint8 array
        Grey levels.
    levels : int
        Number of grey levels; the result is clipped to 0 to ``levels - 1``.
    rng : numpy.random.Generator
        Source of all random numbers.

    Returns
    -------
    (N, w, w) uint8 array
        The changed patches, in the order of `patches`.
    """
    number = len(patches)

    # One random value per patch, (N, 1, 1), to broadcast over its voxels.
    def uniform(low: float, high: float) -> npt.NDArray[np.float32]:
        return rng.uniform(low, high, (number, 1, 1)).astype(np.float32)

    def chosen(share: float) -> npt.NDArray[np.bool_]:
        return rng.random((number, 1, 1)) < share

    values = patches.astype(np.float32)
    # Mixing: a weighted mean with a randomly chosen patch.
    weight = np.where(chosen(1 / 3), uniform(0, 1), np.float32(0))
    values += weight * (values[rng.permutation(number)] - values)
    # Contrast and brightness: the deviations from the mean are scaled, and the mean is replaced.
    mean = values.mean(axis=(1, 2), keepdims=True)
    values = (values - mean) * np.exp(uniform(*np.log(_CONTRAST))) + uniform(0, levels)
    noise_sd = np.where(chosen(1 / 2), np.exp(uniform(*np.log(_NOISE))), np.float32(0))
    values += noise_sd * rng.standard_normal(values.shape, np.float32)
    # Orientation: one rotation and reflection for all patches of the call.
    turned = np.rot90(values, int(rng.integers(4)), axes=(1, 2))
    turned = turned if rng.random() < 1 / 2 else turned[:, :, ::-1]
    changed: Levels = np.clip(np.floor(turned), 0, levels - 1).astype(patches.dtype)
    return changed
