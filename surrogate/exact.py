"""Exact values of patches, from the engine."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from glcm_cuda.maps import feature_maps
from glcm_cuda.settings import GLCMSettings

ENTROPY = ("joint_entropy",)
"""What the paper's network gives, and stores keep."""


def exact_values(
    patches: npt.NDArray[np.unsignedinteger], glcm: GLCMSettings, features: Iterable[str]
) -> npt.NDArray[np.float32]:
    """Return the exact features of whole windows.

    Parameters
    ----------
    patches : (N, w, w) uint8 or uint16 array
        Grey levels of windows in the plane.
    glcm : GLCMSettings
        Of the maps.
    features : iterable of str
        Canonical names, see `glcm_cuda.feature_maps`.

    Returns
    -------
    (N, F) float32 array
        In the order of `features`; NaN where a feature is undefined.
    """
    names = tuple(features)
    if not len(patches):
        return np.empty((0, len(names)), np.float32)
    maps = feature_maps(_mosaic(patches), names, _as_they_are(glcm), backend="cpu")
    edge, radius = glcm.edge, glcm.radius
    centres = [maps[name][radius::edge, radius::edge].reshape(-1) for name in names]
    return np.stack(centres, axis=-1)[: len(patches)]


def known_values(
    patches: npt.NDArray[np.unsignedinteger],
    entropy: npt.NDArray[np.float32],
    glcm: GLCMSettings,
    features: Sequence[str],
) -> npt.NDArray[np.float32]:
    """Return the exact features of windows as `exact_values` does, whose entropies are known already.

    Parameters
    ----------
    patches, glcm, features
        As for `exact_values`.
    entropy : (N,) float32 array
        Joint entropies of the windows.
    """
    return entropy[:, None] if tuple(features) == ENTROPY else exact_values(patches, glcm, features)


def _mosaic(patches: npt.NDArray[np.unsignedinteger]) -> npt.NDArray[np.unsignedinteger]:
    """Lay patches side by side in a nearly square image, the last one repeated to fill it up.

    The engine is fastest inside an image; of every patch only the voxel in the middle is read.
    """
    number, edge, _ = patches.shape
    columns = math.isqrt(number)
    rows = -(-number // columns)
    chosen = patches[np.minimum(np.arange(rows * columns), number - 1)]
    tiles = chosen.reshape(rows, columns, edge, edge).swapaxes(1, 2)
    return np.ascontiguousarray(tiles.reshape(rows * edge, columns * edge))


def _as_they_are(glcm: GLCMSettings) -> GLCMSettings:
    """Return the settings with bins of width one, which leave levels as they are."""
    return dataclasses.replace(
        glcm,
        slice_axis=0,
        bin_width=None,
        bin_edges="ibsi",
        range_over="image",
        percentiles=None,
        deviations=None,
        intensity_range=(0.0, float(glcm.levels)),
    )
