"""Exact feature values of patches, computed by the engine."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from glcm_cuda.families.registry import features_named
from glcm_cuda.maps import feature_maps
from glcm_cuda.settings import GLCMSettings

ENTROPY = ("joint_entropy",)
"""The feature that the paper's network predicts and that patch stores hold."""


def learnable(features: str | Iterable[str]) -> tuple[str, ...]:
    """Return the own names of features that a network can learn: those of grey levels.

    Parameters
    ----------
    features : str or iterable of str
        Any names, see `glcm_cuda.feature_maps`.

    Raises
    ------
    ValueError
        If there is no such feature, or it is one of intensities. Patch stores hold windows of grey levels,
        which networks take, and the bins of each image, which they do not see.
    """
    chosen = features_named(features)
    unfit = [feature.name for feature in chosen if feature.is_of_intensities]
    if unfit:
        others = f" and {len(unfit) - 1} more features" if len(unfit) > 1 else ""
        msg = (
            f"a network must learn features of grey levels, which are all it sees, got {unfit[0]}{others} of "
            "intensities; of firstorder name only Entropy and Uniformity, and map the others exactly"
        )
        raise ValueError(msg)
    return tuple(feature.name for feature in chosen)


def exact_values(
    patches: npt.NDArray[np.unsignedinteger], glcm: GLCMSettings, features: Iterable[str]
) -> npt.NDArray[np.float32]:
    """Return the exact feature values of whole windows.

    Parameters
    ----------
    patches : (N, w, w) uint8 or uint16 array
        Grey levels of two-dimensional windows.
    glcm : GLCMSettings
        Settings of the maps; `w` is their window.
    features : iterable of str
        Canonical names, see `glcm_cuda.feature_maps`.

    Returns
    -------
    (N, F) float32 array
        Values in the order of `features`; NaN where a feature is undefined.
    """
    names = tuple(features)
    if not len(patches):
        return np.empty((0, len(names)), np.float32)
    maps = feature_maps(_mosaic(patches), names, _without_binning(glcm), backend="cpu")
    edge, radius = glcm.edge, glcm.radius
    # The window around the centre of a tile is the tile: its value is that of the patch.
    centres = [maps[name][radius::edge, radius::edge].reshape(-1) for name in names]
    return np.stack(centres, axis=-1)[: len(patches)]


def known_values(
    patches: npt.NDArray[np.unsignedinteger],
    entropy: npt.NDArray[np.float32],
    glcm: GLCMSettings,
    features: Sequence[str],
) -> npt.NDArray[np.float32]:
    """Return what `exact_values` returns, without computing it if only the known entropies are asked for.

    Parameters
    ----------
    patches, glcm, features
        See `exact_values`.
    entropy : (N,) float32 array
        Joint entropies of the windows.

    Returns
    -------
    (N, F) float32 array
        See `exact_values`.
    """
    return entropy[:, None] if tuple(features) == ENTROPY else exact_values(patches, glcm, features)


def _mosaic(patches: npt.NDArray[np.unsignedinteger]) -> npt.NDArray[np.unsignedinteger]:
    """Lay the patches side by side in one nearly square image, repeating the last one to fill it.

    One large image is faster than many small ones, since the engine is fastest away from borders.
    """
    number, edge, _ = patches.shape
    columns = math.isqrt(number)
    rows = math.ceil(number / columns)
    filled = patches[np.minimum(np.arange(rows * columns), number - 1)]
    # To (rows, edge, columns, edge): a row of voxels of the mosaic runs through all patches of a row of it.
    tiles = filled.reshape(rows, columns, edge, edge).swapaxes(1, 2)
    return np.ascontiguousarray(tiles.reshape(rows * edge, columns * edge))


def _without_binning(glcm: GLCMSettings) -> GLCMSettings:
    """Return the settings with bins of width 1 from 0, which leave grey levels unchanged."""
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
