"""Which maps say the same: as each other, or as simple properties of the window."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage, optimize, stats
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from pipelines.reliability.perturbations import Case
from pipelines.reliability.repeatability import FEWEST_VOXELS, is_constant

Values = npt.NDArray[np.floating[Any]]

MOST_VOXELS = 20_000
"""Voxels that are ranked; of larger masks a seeded sample."""

SIMPLE = ("local mean", "local standard deviation", "local gradient", "distance to the edge")
"""What every map is compared with."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Redundancy:
    """Rank correlations between maps, and of maps with simple properties.

    Parameters
    ----------
    voxels : int
        Voxels that were compared.
    features : tuple of str
        Maps that have a spread in the mask, in the order of the matrix.
    correlation : (F, F) array
        Spearman's correlation between maps.
    simple : dict of str to (F,) array
        Spearman's correlation with each of `SIMPLE`.
    monotone : tuple of MonotoneFit
        Of each map on the local standard deviation.
    left_out : dict of str to str
        Maps that were not compared, and why.
    """

    voxels: int
    features: tuple[str, ...]
    correlation: Values
    simple: dict[str, Values]
    monotone: tuple[MonotoneFit, ...]
    left_out: dict[str, str]


@dataclass(frozen=True)
class MonotoneFit:
    """How much of a map is a monotone function of another quantity.

    Parameters
    ----------
    r : float
        Pearson's correlation of the map with the fit.
    residual : float
        Standard deviation of what is left, as a part of the map's.
    """

    r: float
    residual: float


def redundancy(maps: dict[str, Values], case: Case, *, seed: int) -> Redundancy:
    """Return which maps say the same.

    Parameters
    ----------
    maps : dict of str to (N,) array
        Maps at the voxels of the case's mask.
    case : Case
        The case.
    seed : int
        Of the sample of large masks.

    Notes
    -----
    Maps are compared in the voxels in which all of them have a value. A map without value in half of the
    voxels is left out, so that it does not take the others' voxels.
    """
    left_out = {name: reason for name, values in maps.items() if (reason := _unfit(values))}
    names = tuple(name for name in maps if name not in left_out)
    simple = simple_properties(case)
    everything = np.array([*(maps[name] for name in names), *(simple[name] for name in SIMPLE)], np.float64)
    places = _sampled(np.flatnonzero(np.isfinite(everything).all(axis=0)), seed)
    if not names or len(places) < FEWEST_VOXELS:
        lost = dict.fromkeys(names, f"{len(places)} voxels have a value in all maps")
        return Redundancy(
            voxels=len(places),
            features=(),
            correlation=np.empty((0, 0)),
            simple={},
            monotone=(),
            left_out=left_out | lost,
        )
    everything = everything[:, places]
    correlation = _rank_correlation(everything)
    count = len(names)
    deviation = everything[count + SIMPLE.index("local standard deviation")]
    return Redundancy(
        voxels=len(places),
        features=names,
        correlation=correlation[:count, :count],
        simple={name: correlation[:count, count + i] for i, name in enumerate(SIMPLE)},
        monotone=tuple(monotone_fit(deviation, values) for values in everything[:count]),
        left_out=left_out,
    )


def _unfit(values: Values) -> str:
    finite = values[np.isfinite(values)]
    if finite.size < max(FEWEST_VOXELS, values.size / 2):
        return f"{finite.size} of {values.size} voxels have a value"
    return "constant: one value in the mask" if is_constant(finite) else ""


def _sampled(places: npt.NDArray[np.intp], seed: int) -> npt.NDArray[np.intp]:
    if len(places) <= MOST_VOXELS:
        return places
    return np.sort(np.random.default_rng(seed).choice(places, MOST_VOXELS, replace=False))


def _rank_correlation(rows: Values) -> Values:
    """Return Spearman's correlation of rows; 0 with a row that is constant."""
    ranks = stats.rankdata(rows, axis=1)
    ranks -= ranks.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(ranks, axis=1, keepdims=True)
    ranks /= np.where(norms > 0, norms, 1.0)
    correlation: Values = np.clip(ranks @ ranks.T, -1.0, 1.0)
    return correlation


def clusters(redundancy: Redundancy, threshold: float) -> dict[str, int]:
    """Return the number of each map's cluster, from 1: all maps of a cluster correlate by the threshold.

    The absolute rank correlation counts; linkage is complete.
    """
    if len(redundancy.features) < 2:
        return dict.fromkeys(redundancy.features, 1)
    labels = hierarchy.fcluster(linkage(redundancy), 1 - threshold, criterion="distance")
    order = {label: number for number, label in enumerate(dict.fromkeys(labels), 1)}
    return {name: order[label] for name, label in zip(redundancy.features, labels, strict=True)}


def linkage(redundancy: Redundancy) -> Values:
    """Return the hierarchical clustering of two or more maps, as SciPy's dendrogram takes it."""
    distance = 1 - np.abs(redundancy.correlation)
    np.fill_diagonal(distance, 0.0)
    tree: Values = hierarchy.linkage(squareform(distance, checks=False), method="complete")
    return tree


def monotone_fit(quantity: Values, values: Values) -> MonotoneFit:
    """Return how well the best monotone function of a quantity gives a map.

    Isotonic regression, rising or falling, whichever leaves less. It follows the sample, so that
    independent values give r slightly above 0.

    Parameters
    ----------
    quantity, values : (N,) arrays
        Finite.
    """
    points, place, weights = np.unique(quantity, return_inverse=True, return_counts=True)
    if len(points) < 2 or is_constant(values):
        return MonotoneFit(math.nan, math.nan)
    means = np.bincount(place, values) / weights
    fits = [
        optimize.isotonic_regression(means, weights=weights, increasing=rising).x[place]
        for rising in (True, False)
    ]
    left = [float(np.sqrt(np.mean((values - fit) ** 2))) / float(values.std()) for fit in fits]
    best = fits[int(np.argmin(left))]
    # The fit is the mean of the values in each of its steps, hence r² = 1 - residual².
    return MonotoneFit(0.0 if is_constant(best) else float(np.corrcoef(best, values)[0, 1]), min(left))


def simple_properties(case: Case) -> dict[str, Values]:
    """Return the simple properties at the voxels of the mask, under the names of `SIMPLE`.

    Mean and standard deviation are those of the window, of its voxels in the mask if only these count.
    The gradient is the magnitude of central differences in units per mm; the distance, in mm, is that to the
    nearest voxel outside the mask, which all voxels beyond the image are.
    """
    case = case.boxed()
    counts = case.mask.astype(np.float64) if case.settings.masked_window else np.ones(case.mask.shape)
    centre = float(case.image[case.mask].mean(dtype=np.float64))
    centred = case.image.astype(np.float64) - centre  # so that squares keep their digits
    number = _window_mean(counts, case)
    mean = _window_mean(centred * counts, case) / np.maximum(number, 1e-12)
    square = _window_mean(centred**2 * counts, case) / np.maximum(number, 1e-12)
    spacing = case.spacing_mm[-case.image.ndim :]
    padded = np.pad(case.mask, 1)
    edge = ndimage.distance_transform_edt(padded, sampling=spacing)
    distance = edge[(slice(1, -1),) * case.mask.ndim]
    found = (mean + centre, np.sqrt(np.maximum(square - mean**2, 0.0)), _gradient(case, spacing), distance)
    return {name: values[case.mask] for name, values in zip(SIMPLE, found, strict=True)}


def _window_mean(values: Values, case: Case) -> Values:
    """Return the mean over the window of every voxel; voxels beyond the image are 0."""
    edges = list(case.settings.edges)
    if case.settings.slice_axis:  # the edges are those of slices across z
        edges.insert(case.settings.slice_axis, edges.pop(0))
    mean: Values = ndimage.uniform_filter(values, edges[-values.ndim :], mode="constant")
    return mean


def _gradient(case: Case, spacing: Sequence[float]) -> Values:
    """Return the magnitude of the gradient along the axes of the windows."""
    axes = [axis for axis in case.moved_axes if case.image.shape[axis] > 1]
    image = case.image.astype(np.float64)
    parts = [np.gradient(image, spacing[axis], axis=axis) for axis in axes]
    return np.sqrt(np.sum(np.square(parts), axis=0)) if parts else np.zeros(image.shape)
