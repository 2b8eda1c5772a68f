"""What a network sees: its first filters, the patches it answers most to, what raises its output in a patch.

docs/explain.md defines every quantity and says how to read it.
"""

from __future__ import annotations

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
"""From patches (N, w, w) to their values (N,): of a network or exact."""

PARTS = ("smooth", "edges", "blobs", "noise")
"""Parts of a patch's texture, see `texture_parts`."""

_GAUSSIAN = np.array([1, 4, 6, 4, 1]) / 16
"""Binomial kernel of standard deviation 1 voxel."""

_LEAST_STEP = 1e-6
"""A search takes no smaller step: sums of float32 differ by as much from one batch to another."""

_BATCH_STEP = 64


def predicted_by(model: keras.Model, feature: str) -> Evaluate:
    """Return the function that predicts one feature of patches.

    Parameters
    ----------
    model : keras.Model
        Of `load_model` or `build_model`.
    feature : str
        One of `model_features`.

    Returns
    -------
    callable
        From (N, w, w) grey levels to (N,) float32 values, for any N from 0.

    Raises
    ------
    ValueError
        If the model does not give this feature.
    """
    names = model_features(model)
    if feature not in names:
        msg = f"the model gives {', '.join(names)}, got {feature}"
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
        Of the maps that a model stands in for; windows in the plane.
    feature : str
        Name of the feature, see `glcm_cuda.feature_maps`.

    Returns
    -------
    callable
        From (N, w, w) grey levels to the (N,) float32 values at their centres, for any N from 0.
    """
    return lambda patches: exact_values(patches, settings, [feature])[:, 0]


def _filled(patches: Levels) -> Levels:
    """Repeat the last patch until their number is a multiple of 64: few shapes, so few compilations."""
    size = -(-len(patches) // _BATCH_STEP) * _BATCH_STEP
    return patches[np.minimum(np.arange(size), len(patches) - 1)]


@dataclass(frozen=True, eq=False)
class Filters:
    """The kernels of a network's first layer with weights, those of most power (sum of squares) first.

    Parameters
    ----------
    layer : str
        Name of the layer.
    meaning : str
        What a weight is, in a sentence.
    weights : (K, h, w) float32 array
        One map for each of K outputs.
    random_share : float or None
        What `mean_share` would be about if the weights were random; None where they are not learned.
    """

    layer: str
    meaning: str
    weights: npt.NDArray[np.float32]
    random_share: float | None

    @property
    def mean_share(self) -> float:
        """Share of the filters' power that lies in the mean of their weights, 0 to 1.

        0 where only differences between voxels are seen, 1 where only their average is, whatever the place.
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
        Of `load_model` or `build_model`.

    Returns
    -------
    Filters
        radsynth: the kernels of the first convolution, (filters, 3, 3), each times the gain of the
        normalisation behind it. equality: a (w, w) map for each unit of the first dense layer; at each
        voxel the sum of the weights of the comparisons of two pairs that it is in. analytic: the
        comparisons that its first convolution makes, (C, 2w-1, 2w-1), which follow from the definition and
        are not learned.
    """
    return _FILTERS[network_settings(model).architecture](model)


def _convolution_filters(model: keras.Model) -> Filters:
    kernel = _weights(model, "convolution1")[0]
    normalization = model.get_layer("normalization1")
    gamma, _, _, variance = _weights(model, "normalization1")
    weights = np.moveaxis(kernel[:, :, 0] * (gamma / np.sqrt(variance + normalization.epsilon)), -1, 0)
    meaning = "weight × gain of the normalisation, per full range of levels"
    return Filters("convolution1", meaning, _by_power(weights), 1 / weights[0].size)


def _equality_filters(model: keras.Model) -> Filters:
    glcm = glcm_settings(model)
    voxels = np.array(voxel_pairs(glcm.edge))  # of each equality
    found = comparisons(glcm)
    # Behind the comparisons are the equalities of each pair's own voxels, and for other features distances.
    weights = _weights(model, "dense1")[0][0, 0, : len(found.straight[0])]
    taken = np.zeros((glcm.edge**2, len(weights)), np.float32)  # how often each voxel is in a comparison
    for places in found.straight:
        apart = np.flatnonzero(np.array(places) < len(voxels))  # a voxel equals itself: that compares nothing
        for end in (0, 1):
            np.add.at(taken, (voxels[np.array(places)[apart], end], apart), 1)
    maps = (taken @ weights).T.reshape(-1, glcm.edge, glcm.edge)
    meaning = "sum of the weights of the comparisons that a voxel is in"
    random_share = float(np.square(taken.sum(axis=0)).sum() / len(taken) / np.square(taken).sum())
    return Filters("dense1", meaning, _by_power(maps), random_share)


def _comparison_filters(model: keras.Model) -> Filters:
    kernel = np.moveaxis(_weights(model, "straight_first")[0][:, :, 0], -1, 0)
    # A pair compared with itself has no difference; the scale is the temperature's.
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
    """Return the different patches of the highest and of the lowest values.

    Parameters
    ----------
    patches : (N, w, w) uint8 array
    values : (N,) array
        What the patches are ordered by.
    count : int
        How many of either; fewer where fewer are different.

    Returns
    -------
    two (n, w, w) uint8 arrays
        The first from the highest value down, the second from the lowest up.
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
    """Patches of high or low value, found by changing one voxel at a time.

    Every voxel in turn, in random order, takes the level of those from 0 to ``levels - 1`` at which the value
    is best while all other voxels stay. That goes on until no voxel changes. No gradient is needed, and
    patches stay what a network was trained on: whole levels.

    Parameters
    ----------
    evaluate : callable
        Gives the values of patches, see `predicted_by` and `exact_by`.
    starts : (S, w, w) uint8 array
        Where the searches begin; each is on its own.
    levels : int
        Number of grey levels, 2 to 256.
    rng : numpy Generator
        Gives the order of the voxels.
    highest : bool
        Search for high values, or else for low ones.
    sweeps : int
        Times at most that every voxel has its turn.

    Returns
    -------
    (S, w, w) uint8 array
        Where they end: no start's value got worse, and, unless the sweeps ran out, no change of one
        voxel makes it better. A patch with a better value may exist.
    """
    signed = evaluate if highest else lambda candidates: -evaluate(candidates)
    patches = starts.copy()
    going = np.arange(len(starts))
    for _ in range(sweeps):
        before = patches[going]
        patches[going] = _swept(signed, before, levels, rng.permutation(starts[0].size))
        going = going[(patches[going] != before).any(axis=(1, 2))]
        if not len(going):
            break
    return patches


def _swept(evaluate: Evaluate, starts: Levels, levels: int, order: npt.NDArray[np.int64]) -> Levels:
    """Return the patches after every voxel had its turn, in this order."""
    patches, searches = starts.copy(), np.arange(len(starts))
    for y, x in zip(*np.divmod(order, starts.shape[2]), strict=True):
        candidates = np.repeat(patches[:, np.newaxis], levels, axis=1)
        candidates[:, :, y, x] = np.arange(levels)
        values = evaluate(candidates.reshape(-1, *starts.shape[1:])).reshape(-1, levels)
        best = values.argmax(axis=1)
        better = values[searches, best] > values[searches, patches[:, y, x]] + _LEAST_STEP
        patches[better, y, x] = best[better]
    return patches


@dataclass(frozen=True, eq=False)
class Drops:
    """The value of a patch, and by how much it falls where something is taken out.

    Parameters
    ----------
    value : float
        Of the whole patch.
    parts : dict of str to float
        Fall without each of the `PARTS`; negative where the value rises.
    voxels : (w, w) float32 array
        Fall where one voxel takes the patch's median.
    """

    value: float
    parts: dict[str, float]
    voxels: npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Explanation:
    """A patch, the patch without each of its parts, and the drops, predicted and exact."""

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
        Values of patches, by the network and by the definition.
    levels : int
        Number of grey levels.

    Returns
    -------
    Explanation
        Without drops where the patch has one level only.
    """
    without = {part: without_part(patch, part, levels) for part in PARTS}
    variants = np.concatenate([patch[np.newaxis], np.stack(list(without.values())), occluded(patch)])
    drops = [_drops(evaluate(variants), patch.shape) for evaluate in (predicted, exact)]
    return Explanation(patch, without, *drops)


def _drops(values: Values, shape: tuple[int, ...]) -> Drops:
    falls = values[0] - values[1:]
    parts = {part: float(fall) for part, fall in zip(PARTS, falls[: len(PARTS)], strict=True)}
    return Drops(float(values[0]), parts, falls[len(PARTS) :].reshape(shape))


def occluded(patch: Levels) -> Levels:
    """Return the patch once for each of its voxels (w², w, w), that voxel at the patch's median."""
    variants = np.repeat(patch[np.newaxis], patch.size, axis=0)
    voxels = np.arange(patch.size)
    # Of an odd number of voxels the median is one of their levels.
    variants.reshape(patch.size, -1)[voxels, voxels] = np.median(patch)
    return variants


def without_part(patch: Levels, part: str, levels: int) -> Levels:
    """Return the patch less one of its `PARTS`, rounded to whole levels, clipped to 0 to ``levels - 1``."""
    rest = np.rint(patch - texture_parts(patch)[part])
    return np.clip(rest, 0, levels - 1).astype(patch.dtype)


def texture_parts(patch: npt.NDArray[Any]) -> dict[str, npt.NDArray[np.float64]]:
    """Return the parts of a patch's texture.

    Parameters
    ----------
    patch : (w, w) array
        Grey levels; w of 3 or more.

    Returns
    -------
    dict of str to (w, w) float64 array
        In levels. With the median M over 3x3 voxels and the blurred median G (Gaussian of standard
        deviation 1 voxel, in 5x5 voxels): ``noise`` is patch - M, what no neighbours share; ``blobs``
        is M - G, the Laplacian's small spots, ridges and corners; ``edges`` is G less its mean (rounded to
        a whole level), the steps and slopes, where G has a gradient; ``smooth`` is M less the same mean:
        edges and blobs together. The patch is the sum of that mean, edges, blobs and noise.

    Notes
    -----
    Beyond its border a patch goes on as its own mirror image through the border's voxel, so that an even
    slope has neither blobs nor noise.

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
    mean = np.rint(blurred.mean())  # whole, so that all parts are exact and round alike everywhere
    return {
        "smooth": median - mean,
        "edges": blurred - mean,
        "blobs": median - blurred,
        "noise": levels - median,
    }


def _neighbourhoods(patch: npt.NDArray[np.float64], edge: int) -> npt.NDArray[np.float64]:
    """(w, w, edge, edge) neighbourhoods of every voxel, odd about the border."""
    padded = np.pad(patch, edge // 2, mode="reflect", reflect_type="odd")
    return np.lib.stride_tricks.sliding_window_view(padded, (edge, edge))
