"""Fixed-point numbers in sums over pairs: their precision, their tables, and how many levels they allow."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from glcm_cuda.families.feature import Feature
from glcm_cuda.families.fixed_point import log_table
from glcm_cuda.families.glcm.definition import Scale
from glcm_cuda.families.offsets import directions
from glcm_cuda.families.stage import Task
from glcm_cuda.settings import GLCMSettings

_FINEST = 44
"""Most bits after the point in logarithms and inverses; large windows have fewer, so that their sums fit."""

_WHOLE = 62
"""Bits that a sum, an int64, may use."""


def most_pairs(settings: GLCMSettings, radii: npt.ArrayLike | None = None) -> int:
    """Return how many pairs a window inside the image has in one matrix, at most.

    `radii` are those of the window if it is smaller than the settings say.
    """
    lengths = np.abs(directions(settings))
    edges = 2 * np.asarray(settings.radii if radii is None else radii) + 1
    pairs = np.prod(np.maximum(edges - lengths, 0), axis=1)
    return int(pairs.sum() if settings.aggregate == "merge" else pairs.max())


def scale_of(settings: GLCMSettings, pairs: int) -> Scale:
    """Return the scale of sums over at most this many pairs."""
    # The largest sum is that of n log2 n over both ends of all pairs, if they are equal.
    ends = 2 * pairs
    bits = min(_FINEST, _WHOLE - math.ceil(math.log2(ends * max(1.0, math.log2(ends)))))
    return Scale(
        orders=2 if settings.symmetric else 1,
        first_level=settings.first_level,
        log_one=1 << bits,
        log_unit=settings.log_unit,
        inverse_one=1 << bits,
    )


def logs_of_ends(pairs: int, scale: Scale) -> npt.NDArray[np.int64]:
    """Return the fixed-point logarithms of 0 to ``2 * pairs``, the number of ends of the pairs."""
    return log_table(2 * pairs, scale.log_one)


def inverses(difference: npt.NDArray[np.integer], number_of_levels: int) -> npt.NDArray[np.float64]:
    """Return the terms of pairs in the inverse sums, given the differences of their levels.

    Parameters
    ----------
    difference : (N,) array of non-negative integers
        Absolute differences of the two levels.
    number_of_levels : int
        G in the normalised features.

    Returns
    -------
    (5, N) float64 array
        One row per sum, in the order of `definition.Sums`: inverse difference, its moment, the two
        normalised, inverse variance.
    """
    k = difference.astype(np.float64)
    square = k * k
    return np.stack(
        (
            1 / (1 + k),
            1 / (1 + square),
            1 / (1 + k / number_of_levels),
            1 / (1 + square / number_of_levels**2),
            np.divide(1, square, out=np.zeros_like(k), where=k > 0),
        )
    )


def inverse_table(number_of_levels: int, scale: Scale) -> npt.NDArray[np.int64]:
    """Return the `inverses` of the differences 0 to ``number_of_levels - 1`` in fixed point, (5, G) int64."""
    values = inverses(np.arange(number_of_levels), number_of_levels)
    table: npt.NDArray[np.int64] = np.rint(values * scale.inverse_one).astype(np.int64)
    return table


def check_levels(features: Iterable[Feature], task: Task) -> None:
    """Check that the sums of a window cannot overflow.

    Raises
    ------
    ValueError
        If a feature allows fewer levels than the task has: cluster shade and prominence, and others in very
        large windows.
    """
    pairs, number_of_levels = most_pairs(task.settings), task.bins.levels
    for feature in features:
        most = _most_levels(feature, pairs)
        if number_of_levels > most:
            msg = (
                f"{feature.name} in windows of {pairs} pairs allows at most {most} levels, got "
                f"{number_of_levels}; use fewer levels or wider bins"
            )
            raise ValueError(msg)


def _most_levels(feature: Feature, pairs: int) -> int:
    """Return the largest G for which sums of ``(2 G)**p`` and products of two sums stay below 2**63."""
    room = 1 << _WHOLE
    most = math.isqrt(room // (4 * pairs * pairs)) // 2
    if feature.name == "cluster_shade":
        most = min(most, int((room / (8 * pairs)) ** (1 / 3)) // 2)
    if feature.name == "cluster_prominence":
        most = min(most, int((room / (16 * pairs)) ** (1 / 4)) // 2)
    return most
