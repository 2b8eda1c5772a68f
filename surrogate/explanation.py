"""What a network responds to: its first filters, patches of extreme output, and what raises the output.

docs/explain.md defines every quantity and explains how to read it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from glcm_cuda.settings import GLCMSettings
from surrogate.exact import exact_values
from surrogate.model import glcm_settings, model_features, network_settings
from surrogate.pairs import comparisons, voxel_pairs
from surrogate.synthesis import BATCH

Levels = npt.NDArray[np.uint8]
Values = npt.NDArray[np.float32]

Evaluate = Callable[[Levels], Values]
"""Function from patches (N, w, w) to their values (N,), predicted or exact."""

PARTS = ("smooth", "edges", "blobs", "noise")
"""Parts of the texture of a patch, see `texture_parts`."""

_GAUSSIAN = np.array([1, 4, 6, 4, 1]) / 16
"""Binomial approximation of a Gaussian with a standard deviation of 1 voxel."""

_LEAST_STEP = 1e-6
"""Smallest improvement that a search accepts: predictions of one patch differ by as much between batches."""

_BATCH_STEP = 64
"""Batches are filled to a multiple of this many patches."""


def predicted_by(model: keras.Model, feature: str) -> Evaluate:
    """Return the function that predicts one feature of patches.

    Parameters
    ----------
    model : keras.Model
        Model from `load_model` or `build_model`.
    feature : str
        One of `model_features`.

    Returns
    -------
    callable
        From (N, w, w) grey levels to (N,) float32 values; N may be 0.

    Raises
    ------
    ValueError
        If the model does not predict this feature.
    """
    names = model_features(model)
    if feature not in names:
        msg = f"the model predicts {', '.join(names)}, got {feature}"
        raise ValueError(msg)
    column = names.index(feature)

    def predict(patches: Levels) -> Values:
        values = np.empty(len(patches), np.float32)
        for start in range(0, len(patches), BATCH):
            part = patches[start : start + BATCH]
            prediction: Any = model.predict_on_batch(_filled(part)[..., np.newaxis].astype(np.float32))
            values[start : start + BATCH] = np.asarray(prediction, np.float32)[: len(part), column]
        return values

    return predict


def exact_by(settings: GLCMSettings, feature: str) -> Evaluate:
    """Return the function that computes one feature of patches exactly.

    Parameters
    ----------
    settings : GLCMSettings
        Settings of the exact maps; windows must be two-dimensional.
    feature : str
        Name of the feature, see `glcm_cuda.feature_maps`.

    Returns
    -------
    callable
        From (N, w, w) grey levels to the (N,) float32 values at the centres; N may be 0.
    """
    return lambda patches: exact_values(patches, settings, [feature])[:, 0]


def _filled(patches: Levels) -> Levels:
    """Repeat the last patch up to a multiple of `_BATCH_STEP`: few shapes mean few compilations."""
    size = math.ceil(len(patches) / _BATCH_STEP) * _BATCH_STEP
    return patches[np.minimum(np.arange(size), len(patches) - 1)]


@dataclass(frozen=True, eq=False)
class Filters:
    """The kernels of the first layer with weights, in descending order of power (sum of squares).

    Parameters
    ----------
    layer : str
        Name of the layer.
    meaning : str
        What a weight means, as a label of a colour bar.
    weights : (K, h, w) float32 array
        One map for each of the K outputs of the layer.
    random_share : float or None
        Approximate `mean_share` of random weights; None if the weights are not learned.
    """

    layer: str
    meaning: str
    weights: npt.NDArray[np.float32]
    random_share: float | None

    @property
    def mean_share(self) -> float:
        """Share of the power of the filters that is due to the mean of their weights, 0 to 1.

        It is 0 if the filters respond only to differences between voxels, and 1 if they respond only to the
        average over the window.
        """
        size = self.weights[0].size
        power = np.square(self.weights.astype(np.float64)).sum()
        mean = np.square(self.weights.astype(np.float64).mean(axis=(1, 2))).sum() * size
        return float(mean / power) if power else 0.0


def first_layer_filters(model: keras.Model) -> Filters:
    """Return the kernels of the first layer with weights, as maps.

    Parameters
    ----------
    model : keras.Model
        Model from `load_model` or `build_model`.

    Returns
    -------
    Filters
        By architecture:

        - radsynth: the kernels of the first convolution, (filters, 3, 3), each times the gain of the
          normalisation after it.
        - equality: a map for each unit of the first dense layer, (units, w, w). A voxel has the sum of the
          weights of the comparisons of two pairs that it takes part in.
        - analytic: the comparisons of its first convolution, (C, 2w-1, 2w-1), which follow from the
          definition and are not learned.
    """
    return _FILTERS[network_settings(model).architecture](model)


def _convolution_filters(model: keras.Model) -> Filters:
    kernel = _weights(model, "convolution1")[0]
    normalization = model.get_layer("normalization1")
    gamma, _, _, variance = _weights(model, "normalization1")
    # (3, 3, 1, filters) to (filters, 3, 3).
    weights = np.moveaxis(kernel[:, :, 0] * (gamma / np.sqrt(variance + normalization.epsilon)), -1, 0)
    meaning = "weight × gain of the normalisation, per full range of levels"
    return Filters("convolution1", meaning, _by_power(weights), 1 / weights[0].size)


def _equality_filters(model: keras.Model) -> Filters:
    glcm = glcm_settings(model)
    voxels = np.array(voxel_pairs(glcm.edge))  # (E, 2): the two voxels of each equality
    compared = comparisons(glcm)
    # The C comparisons are the first inputs of the layer (`architectures.equality`): (C, units).
    weights = _weights(model, "dense1")[0][0, 0, : len(compared.straight[0])]
    uses = np.zeros((glcm.edge**2, len(weights)), np.float32)  # how often each comparison uses each voxel
    for equalities in map(np.array, compared.straight):
        # Indices beyond the voxel pairs are a voxel compared with itself, which does not look at it.
        different = np.flatnonzero(equalities < len(voxels))
        for end in (0, 1):
            np.add.at(uses, (voxels[equalities[different], end], different), 1)
    maps = (uses @ weights).T.reshape(-1, glcm.edge, glcm.edge)
    meaning = "sum of the weights of the comparisons that a voxel is in"
    random_share = float(np.square(uses.sum(axis=0)).sum() / len(uses) / np.square(uses).sum())
    return Filters("dense1", meaning, _by_power(maps), random_share)


def _comparison_filters(model: keras.Model) -> Filters:
    kernel = np.moveaxis(_weights(model, "straight_first")[0][:, :, 0], -1, 0)
    # A pair compared with itself has a kernel of zeros. Only the signs matter: the scale is set by the
    # temperature.
    kernel = kernel[np.any(kernel, axis=(1, 2))]
    meaning = "level of the red voxel minus that of the blue one"
    return Filters("straight_first", meaning, np.sign(kernel), None)


_FILTERS: dict[str, Callable[[keras.Model], Filters]] = {
    "radsynth": _convolution_filters,
    "equality": _equality_filters,
    "analytic": _comparison_filters,
}


def _weights(model: keras.Model, layer: str) -> list[npt.NDArray[np.float32]]:
    return [np.asarray(weights, np.float32) for weights in model.get_layer(layer).get_weights()]


def _by_power(weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return weights[np.argsort(-np.square(weights).sum(axis=(1, 2)), kind="stable")]


def extremes(patches: Levels, values: Values, count: int) -> tuple[Levels, Levels]:
    """Return the patches with the highest and the lowest values, without duplicates.

    Parameters
    ----------
    patches : (N, w, w) uint8 array
        Grey levels.
    values : (N,) array
        Values of the patches.
    count : int
        Number of patches of either sort; fewer are returned if there are fewer different ones.

    Returns
    -------
    highest, lowest : (n, w, w) uint8 arrays
        In descending and in ascending order of their values.
    """
    different, rows = np.unique(patches, axis=0, return_index=True)
    order = np.argsort(values[rows], kind="stable")
    return different[order[::-1][:count]], different[order[:count]]


def search(
    evaluate: Evaluate,
    starts: Levels,
    levels: int,
    *,
    rng: np.random.Generator,
    highest: bool = True,
    sweeps: int = 10,
) -> Levels:
    """Return patches of high or low value, found by changing one voxel at a time.

    In each sweep, every voxel in turn, in random order, is set to the level from 0 to ``levels - 1`` that
    gives the best value while all other voxels stay the same. Sweeps are repeated until no voxel changes. The
    search needs no gradient, and the patches keep whole levels, as in the training.

    Parameters
    ----------
    evaluate : callable
        Function that returns the values of patches, see `predicted_by` and `exact_by`.
    starts : (S, w, w) uint8 array
        Patches from which independent searches start.
    levels : int
        Number of grey levels, 2 to 256.
    rng : numpy Generator
        Source of the order of the voxels.
    highest : bool
        Whether to search for high values or for low ones.
    sweeps : int
        Largest number of sweeps.

    Returns
    -------
    (S, w, w) uint8 array
        The patches at which the searches end. No value is worse than at the start. Unless the sweeps ran out,
        no change of a single voxel improves a value, but other patches may have better ones.
    """
    signed = evaluate if highest else lambda candidates: -evaluate(candidates)
    patches = starts.copy()
    active = np.arange(len(starts))  # searches that still change
    for _ in range(sweeps):
        before = patches[active]
        patches[active] = _swept(signed, before, levels, rng.permutation(starts[0].size))
        active = active[(patches[active] != before).any(axis=(1, 2))]
        if not len(active):
            break
    return patches


def _swept(evaluate: Evaluate, starts: Levels, levels: int, order: npt.NDArray[np.int64]) -> Levels:
    """Return the patches after one sweep over the voxels in this order."""
    patches, searches = starts.copy(), np.arange(len(starts))
    for y, x in zip(*np.divmod(order, starts.shape[2]), strict=True):
        # (S, levels, w, w): every patch once for each level of this voxel.
        candidates = np.repeat(patches[:, np.newaxis], levels, axis=1)
        candidates[:, :, y, x] = np.arange(levels)
        values = evaluate(candidates.reshape(-1, *starts.shape[1:])).reshape(-1, levels)
        best = values.argmax(axis=1)
        better = values[searches, best] > values[searches, patches[:, y, x]] + _LEAST_STEP
        patches[better, y, x] = best[better]
    return patches


@dataclass(frozen=True, eq=False)
class Drops:
    """The value of a patch, and by how much it drops when something is removed.

    Parameters
    ----------
    value : float
        Value of the whole patch.
    parts : dict of str to float
        Drop without each of the `PARTS`; negative if the value rises.
    voxels : (w, w) float32 array
        Drop when a voxel is set to the median of the patch.
    """

    value: float
    parts: dict[str, float]
    voxels: npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Explanation:
    """A patch, the patch without each of the `PARTS`, and the drops of its predicted and exact values."""

    patch: Levels
    without: dict[str, Levels]
    predicted: Drops
    exact: Drops


def explain(patch: Levels, predicted: Evaluate, exact: Evaluate, levels: int) -> Explanation:
    """Return which parts and which voxels of a patch raise its value.

    Parameters
    ----------
    patch : (w, w) uint8 array
        Grey levels.
    predicted, exact : callable
        Functions that return the predicted and the exact values of patches.
    levels : int
        Number of grey levels.

    Returns
    -------
    Explanation
        All drops are 0 if the patch has a single level.
    """
    without = {part: without_part(patch, part, levels) for part in PARTS}
    variants = np.concatenate([patch[np.newaxis], np.stack(list(without.values())), occluded(patch)])
    drops = [_drops(evaluate(variants), patch.shape) for evaluate in (predicted, exact)]
    return Explanation(patch, without, *drops)


def _drops(values: Values, shape: tuple[int, ...]) -> Drops:
    """Return the drops, given the values of the patch, without each part, and with each voxel changed."""
    drops = values[0] - values[1:]
    parts = {part: float(drop) for part, drop in zip(PARTS, drops[: len(PARTS)], strict=True)}
    return Drops(float(values[0]), parts, drops[len(PARTS) :].reshape(shape))


def occluded(patch: Levels) -> Levels:
    """Return (w², w, w) copies of the patch, each with another voxel set to the median of the patch."""
    variants = np.repeat(patch[np.newaxis], patch.size, axis=0)
    voxels = np.arange(patch.size)
    # The median of an odd number of voxels is one of their levels.
    variants.reshape(patch.size, -1)[voxels, voxels] = np.median(patch)
    return variants


def without_part(patch: Levels, part: str, levels: int) -> Levels:
    """Return the patch minus one of its `PARTS`, rounded and clipped to whole levels below `levels`."""
    rest = np.rint(patch - texture_parts(patch)[part])
    return np.clip(rest, 0, levels - 1).astype(patch.dtype)


def texture_parts(patch: npt.NDArray[Any]) -> dict[str, npt.NDArray[np.float64]]:
    """Return the parts of the texture of a patch.

    Parameters
    ----------
    patch : (w, w) array
        Grey levels; w is 3 or more.

    Returns
    -------
    dict of str to (w, w) float64 array
        In levels. M is the median over 3x3 voxels, G is M blurred over 5x5 voxels (Gaussian with a standard
        deviation of 1 voxel), and m is the mean of G rounded to a whole level.

        - noise: patch - M, what a voxel does not share with its neighbours;
        - blobs: M - G, small spots, ridges and corners, as a Laplacian shows them;
        - edges: G - m, steps and slopes, where G has a gradient;
        - smooth: M - m, edges and blobs together.

        The patch is the sum of m, edges, blobs and noise.

    Notes
    -----
    Beyond the border, the patch is continued by reflection through the voxel at the border (odd reflection),
    so that a constant slope has neither blobs nor noise.

    References
    ----------
    Tukey 1977, Exploratory Data Analysis: smooth and rough by running medians. Burt and Adelson 1983,
    IEEE Trans. Commun. 31:532: a smoothed image and its residual as bands, with this kernel.

    Examples
    --------
    >>> slope = np.add.outer(2 * np.arange(5), np.arange(5))
    >>> {part: int(np.abs(values).max()) for part, values in texture_parts(slope).items()}
    {'smooth': 6, 'edges': 6, 'blobs': 0, 'noise': 0}
    """
    levels = patch.astype(np.float64)
    median = np.median(_neighbourhoods(levels, 3), axis=(2, 3))
    blurred = np.einsum("yxij,i,j->yx", _neighbourhoods(median, 5), _GAUSSIAN, _GAUSSIAN)
    mean = np.rint(blurred.mean())  # whole, so that rounding a patch without a part is the same everywhere
    return {
        "smooth": median - mean,
        "edges": blurred - mean,
        "blobs": median - blurred,
        "noise": levels - median,
    }


def _neighbourhoods(patch: npt.NDArray[np.float64], edge: int) -> npt.NDArray[np.float64]:
    """Return the (w, w, edge, edge) neighbourhoods of all voxels, with odd reflection at the border."""
    padded = np.pad(patch, edge // 2, mode="reflect", reflect_type="odd")
    return np.lib.stride_tricks.sliding_window_view(padded, (edge, edge))
