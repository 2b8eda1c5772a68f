"""Fixed-point numbers for sums over pairs: how fine they can be, their tables, how many levels they allow."""

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
"""Bits after the point of logarithms and inverses, unless large windows need room for their sums."""

_WHOLE = 62
"""Bits of a sum."""


def most_pairs(settings: GLCMSettings, radii: npt.ArrayLike | None = None) -> int:
    """Return how many pairs a whole window has in one matrix; `radii` are those of a smaller window."""
    lengths = np.abs(directions(settings))
    edges = 2 * np.asarray(settings.radii if radii is None else radii) + 1
    pairs = np.prod(np.maximum(edges - lengths, 0), axis=1)
    return int(pairs.sum() if settings.aggregate == "merge" else pairs.max())


def scale_of(settings: GLCMSettings, pairs: int) -> Scale:
    """Return the scale of the sums over so many pairs."""
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
    """Return the logarithms of the numbers up to both ends of so many pairs."""
    return log_table(2 * pairs, scale.log_one)


def inverses(difference: npt.NDArray[np.integer], number_of_levels: int) -> npt.NDArray[np.float64]:
    """Return what pairs add to the inverse sums, by the differences of their levels.

    Returns
    -------
    (5, N) float64 array
        In the order of `definition.Sums`: of the inverse difference, its moment, both normalised, and the
        inverse variance.
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
    """Return the `inverses` of all differences in fixed point."""
    values = inverses(np.arange(number_of_levels), number_of_levels)
    table: npt.NDArray[np.int64] = np.rint(values * scale.inverse_one).astype(np.int64)
    return table


def check_levels(features: Iterable[Feature], task: Task) -> None:
    """Refuse more levels than the sums of a window have room for.

    Raises
    ------
    ValueError
        For cluster shade and prominence, and for other features of very large windows.
    """
    pairs, number_of_levels = most_pairs(task.settings), task.bins.levels
    for feature in features:
        most = _most_levels(feature, pairs)
        if number_of_levels > most:
            msg = (
                f"{feature.name} in windows of {pairs} pairs allows at most {most} levels, got "
                f"{number_of_levels}; give fewer levels or a wider bin"
            )
            raise ValueError(msg)


def _most_levels(feature: Feature, pairs: int) -> int:
    """Return the levels G whose sums stay below 2**63: of ``(2 G)**p``, and of products of two sums."""
    room = 1 << _WHOLE
    most = math.isqrt(room // (4 * pairs * pairs)) // 2
    if feature.name == "cluster_shade":
        most = min(most, int((room / (8 * pairs)) ** (1 / 3)) // 2)
    if feature.name == "cluster_prominence":
        most = min(most, int((room / (16 * pairs)) ** (1 / 4)) // 2)
    return most
