"""What is counted and what entropy it gives: scalar functions that every backend calls.

Logarithms are integers, ``round(2**32 * log2(n))``, so that sums of them do not depend on the
order in which a backend meets the pairs: all backends give the same bits. See docs/definition.md.
"""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
import numpy.typing as npt
from numba import njit

LOG_ONE = 1 << 32
"""One bit in the fixed-point logarithms."""

NO_PAIR = -1
"""Code of a pair with an end outside the image or the mask; also the level of such a voxel."""


def fixed_log2(counts: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """``round(2**32 * log2(n))`` for every count n, and 0 for n = 0.

    Libraries differ in the last bit of ``log2``, which matters only next to a tie of the rounding;
    there the logarithm is taken with 40 digits, so that every machine has the same integers.
    """
    scaled = np.log2(np.maximum(counts, 1)) * LOG_ONE
    rounded: npt.NDArray[np.int64] = np.rint(scaled).astype(np.int64)
    with localcontext() as context:
        context.prec = 40
        for place in np.flatnonzero(np.abs(np.abs(scaled - rounded) - 0.5) < 2.0**-8):
            exact = Decimal(int(counts.flat[place])).ln() / Decimal(2).ln() * LOG_ONE
            rounded.flat[place] = int(exact.to_integral_value())
    return rounded


@njit(inline="always")
def bin_level(value, levels, low, high):  # type: ignore[no-untyped-def]
    """``levels * (x - low) / (high - low)``, whose whole part is the level; at most ``levels - 1``.

    Intensities outside [low, high] count as its nearer end, NaN as `low`; `high` must be above `low`.
    """
    value = value if value > low else low
    value = value if value < high else high
    return min(levels * (value - low) / (high - low), np.float64(levels - 1))


@njit(inline="always")
def pair_code(first, second, levels, symmetric):  # type: ignore[no-untyped-def]
    """Number of a pair of levels, in ``[0, levels**2)``; NO_PAIR if either level is.

    In a symmetric matrix (a, b) and (b, a) are one pair. Two equal levels then have a code below
    `levels` and two different ones do not, which `is_distinct` uses.
    """
    if first < 0 or second < 0:
        return NO_PAIR
    if not symmetric:
        return first * levels + second
    if first == second:
        return first
    return max(first, second) * levels + min(first, second)


@njit(inline="always")
def is_distinct(code, levels, symmetric):  # type: ignore[no-untyped-def]
    """1 if a symmetric matrix counts this pair in two cells, else 0."""
    return 1 if symmetric and code >= levels else 0


@njit(inline="always")
def scaled_entropy(pairs, log_sum, distinct, log_table):  # type: ignore[no-untyped-def]
    """Entropy in bits times ``2**32``, as a float64; `pairs` must be positive.

    `log_sum` is the sum, over the pairs, of the fixed-point logarithm of how many pairs have the
    same code; `distinct` counts the pairs of two different levels in a symmetric matrix.
    docs/definition.md, equation 4. The numerator is an exact integer and the division is the only
    rounding.
    """
    return (pairs * log_table[pairs] - log_sum + distinct * LOG_ONE) / pairs


@njit(inline="always")
def mean_entropy(total, terms, scale):  # type: ignore[no-untyped-def]
    """Mean of `terms` scaled entropies in the map's unit; NaN if there is none."""
    return total / terms * scale if terms > 0 else np.nan


@njit(inline="always")
def first_start(centre, radius, step):  # type: ignore[no-untyped-def]
    """Lowest coordinate at which a pair inside the clipped window starts; `step` leads to its end."""
    return max(centre - radius - min(step, 0), 0)


@njit(inline="always")
def last_start(centre, radius, step, size):  # type: ignore[no-untyped-def]
    """Highest coordinate at which a pair inside the clipped window starts."""
    return min(centre + radius - max(step, 0), size - 1)
