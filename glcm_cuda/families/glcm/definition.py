"""Definition of what is counted and of the features: scalar functions that every backend calls.

Logarithms are integers, ``round(2**32 * log2(n))``, so that their sums do not depend on the order in which a
backend meets the pairs: all backends give the same bits. See docs/definition.md.

A non-pair is a place in a window where a pair would be, if not one of its two voxels were outside the image
or, with ``masked_window``, outside the mask. Backends count non-pairs where that saves a branch in a loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from glcm_cuda.families.fixed_point import LOG_ONE

NO_PAIR = -1
"""Code of a non-pair. It is negative, as `bins.OUTSIDE` is, and no code of a pair is."""

RESOLUTION = 8
"""Bound of the rounding error of a mutual information, in units of the fixed-point logarithms. A smaller
value is set to 0, the exact value if the two ends of a pair are independent."""


class Sums(NamedTuple):
    """Sums over the pairs (a, b) of a window; docs/definition.md, section 5. In maps all are integers.

    `log_pairs` is ``n log2 n`` of the number n of pairs. The other logarithmic sums add ``n log2 n`` over
    all codes, with n the number of pairs that have the code. The code is the pair, a + b, ``|a - b|``, or
    one end. In a symmetric matrix `log_first` counts both ends of all pairs, and `log_second` is the same.
    """

    pairs: Any
    distinct: Any  # number of pairs with a != b; 0 if the matrix is not symmetric
    difference: Any  # sum of |a - b|
    difference2: Any  # sum of (a - b)**2
    total: Any  # sum of a + b
    total2: Any  # sum of (a + b)**2
    total3: Any  # sum of (a + b)**3
    total4: Any  # sum of (a + b)**4
    signed: Any  # sum of a - b; like the next, 0 in a symmetric matrix
    signed_total: Any  # sum of (a - b) (a + b)
    inverse: Any  # sum of 1 / (1 + |a - b|), in fixed point like the next four
    inverse2: Any  # sum of 1 / (1 + (a - b)**2)
    inverse_n: Any  # sum of 1 / (1 + |a - b| / G)
    inverse2_n: Any  # sum of 1 / (1 + ((a - b) / G)**2)
    inverse_variance: Any  # sum of 1 / (a - b)**2 where a and b differ
    log_pairs: Any
    log_joint: Any
    log_total: Any
    log_difference: Any
    log_first: Any
    log_second: Any
    energy: Any  # sum of n**2 over the codes of pairs; in a symmetric matrix 2 n**2 if a = b
    largest: Any  # the largest n; in a symmetric matrix the largest of n and, if a = b, 2 n


class Scale(NamedTuple):
    """Numbers that turn `Sums` into features."""

    orders: Any  # orders in which a pair is counted: 2 in a symmetric matrix, else 1
    first_level: Any  # number of the lowest level
    log_one: Any  # one bit in the fixed-point logarithms
    log_unit: Any  # one bit in the unit of the entropies
    inverse_one: Any  # 1 in the fixed-point inverses


@njit(inline="always")
def pair_code(first, second, levels, symmetric):  # type: ignore[no-untyped-def]
    """Return the code of a pair of levels, in ``[0, levels**2)``, or NO_PAIR if a level is negative.

    In a symmetric matrix (a, b) and (b, a) have the same code. It is below `levels` if and only if a = b,
    which `is_distinct` uses.
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
    """Return 1 if a symmetric matrix counts the pair of this code in two cells, else 0."""
    return 1 if symmetric and code >= levels else 0


@njit(inline="always")
def entropy_of(pairs, log_pairs, log_sum, distinct, log_one):  # type: ignore[no-untyped-def]
    """Return the entropy in bits times `log_one`; the arguments are those of `Sums` and `Scale`."""
    return (log_pairs - log_sum + distinct * log_one) / pairs


@njit(inline="always")
def scaled_entropy(pairs, log_sum, distinct, log_table):  # type: ignore[no-untyped-def]
    """Return the entropy in bits times ``2**32``, as a float64; `pairs` must be positive.

    `log_sum` is the sum of ``n * fixed_log2(n)`` over the codes, with n the number of pairs that have the
    code; `distinct` is the number of pairs of two different levels in a symmetric matrix, else 0. See
    docs/definition.md, equation 5. The numerator is an exact integer, so the division is the only rounding.
    """
    return entropy_of(pairs, pairs * log_table[pairs], log_sum, distinct, LOG_ONE)


@njit(inline="always")
def mean_entropy(total, terms, scale):  # type: ignore[no-untyped-def]
    """Return the mean of `terms` values with sum `total`, times `scale`; NaN if there are none."""
    return total / terms * scale if terms > 0 else np.nan


@njit(inline="always")
def first_start(centre, radius, step):  # type: ignore[no-untyped-def]
    """Return the lowest coordinate of the first end of a pair in the clipped window.

    `step` is the offset of the second end along this axis.
    """
    return max(centre - radius - min(step, 0), 0)


@njit(inline="always")
def last_start(centre, radius, step, size):  # type: ignore[no-untyped-def]
    """Return the highest coordinate of the first end of a pair in the clipped window; see `first_start`."""
    return min(centre + radius - max(step, 0), size - 1)


FORMULAS: dict[str, Any] = {}
"""Formulas of the features of one matrix, by name: functions ``(Sums, Scale) -> float64``. Each reads only
the sums that are always counted and those that the feature's `needs` name."""

# Formulas: docs/definition.md, section 6.
_scalar = njit(error_model="numpy")


def _formula(name: str) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator that compiles the formula of a feature and adds it to `FORMULAS`."""

    def enter(function: Callable[..., Any]) -> Any:
        FORMULAS[name] = _scalar(function)
        return FORMULAS[name]

    return enter


@_scalar
def centred(s):  # type: ignore[no-untyped-def]
    """Return the sums of ``(a + b - c)**p`` for p = 1 to 4, and c, the integer closest to the mean of a + b.

    They are small integers, so that moments computed from them lose no digits.
    """
    c = math.floor(s.total / s.pairs + 0.5)
    # Binomial expansions of the sums about 0, in Horner's form; exact in integers.
    first = s.total - c * s.pairs
    second = s.total2 - c * (2 * s.total - c * s.pairs)
    third = s.total3 - c * (3 * s.total2 - c * (3 * s.total - c * s.pairs))
    fourth = s.total4 - c * (4 * s.total3 - c * (6 * s.total2 - c * (4 * s.total - c * s.pairs)))
    return first, second, third, fourth, c


@_scalar
def spreads(s):  # type: ignore[no-untyped-def]
    """Return the variances of both ends and their covariance, times ``4 * pairs**2``: integers."""
    # With t = a + b and d = a - b: 4 var(a) = var(t) + var(d) + 2 cov(t, d),
    # 4 var(b) = var(t) + var(d) - 2 cov(t, d), and 4 cov(a, b) = var(t) - var(d).
    first, second, _, _, c = centred(s)
    of_total = s.pairs * second - first * first
    of_difference = s.pairs * s.difference2 - s.signed * s.signed
    shared = s.pairs * (s.signed_total - c * s.signed) - first * s.signed
    return (
        of_total + of_difference + 2 * shared,
        of_total + of_difference - 2 * shared,
        of_total - of_difference,
    )


@_scalar
def entropy_in_unit(s, log_sum, distinct, scale):  # type: ignore[no-untyped-def]
    """Return the entropy of a code with this logarithmic sum, in the unit of the map."""
    return entropy_of(s.pairs, s.log_pairs, log_sum, distinct, scale.log_one) / scale.log_one * scale.log_unit


@_formula("autocorrelation")
def autocorrelation(s, scale):  # type: ignore[no-untyped-def]
    """Mean of the product of the two levels: ``a b = ((a + b)**2 - (a - b)**2) / 4``."""
    lowest = scale.first_level
    return (s.total2 - s.difference2) / (4 * s.pairs) + lowest * (s.total / s.pairs) + lowest * lowest


@_formula("joint_average")
def joint_average(s, scale):  # type: ignore[no-untyped-def]
    """Mean of the first level; in a symmetric matrix, of both levels."""
    return (s.total + s.signed) / (2 * s.pairs) + scale.first_level


@_formula("cluster_prominence")
def cluster_prominence(s, scale):  # type: ignore[no-untyped-def]
    """Fourth central moment of a + b."""
    first, second, third, fourth, _ = centred(s)
    t = first / s.pairs
    return fourth / s.pairs - 4 * t * (third / s.pairs) + 6 * t * t * (second / s.pairs) - 3 * t * t * t * t


@_formula("cluster_shade")
def cluster_shade(s, scale):  # type: ignore[no-untyped-def]
    """Third central moment of a + b."""
    first, second, third, _, _ = centred(s)
    t = first / s.pairs
    return third / s.pairs - 3 * t * (second / s.pairs) + 2 * t * t * t


@_formula("cluster_tendency")
def cluster_tendency(s, scale):  # type: ignore[no-untyped-def]
    """Variance of a + b."""
    first, second, _, _, _ = centred(s)
    return (s.pairs * second - first * first) / (s.pairs * s.pairs)


@_formula("contrast")
def contrast(s, scale):  # type: ignore[no-untyped-def]
    """Mean square of the difference."""
    return s.difference2 / s.pairs


@_formula("correlation")
def correlation(s, scale):  # type: ignore[no-untyped-def]
    """Correlation of the two levels; 1 if one of them is constant."""
    first, second, shared = spreads(s)
    if first == 0 or second == 0:
        return 1.0
    return shared / math.sqrt(float(first) * float(second))


@_formula("difference_average")
def difference_average(s, scale):  # type: ignore[no-untyped-def]
    """Mean of the absolute difference."""
    return s.difference / s.pairs


@_formula("difference_entropy")
def difference_entropy(s, scale):  # type: ignore[no-untyped-def]
    """Entropy of the absolute difference."""
    return entropy_in_unit(s, s.log_difference, 0, scale)


@_formula("difference_variance")
def difference_variance(s, scale):  # type: ignore[no-untyped-def]
    """Variance of the absolute difference."""
    return (s.pairs * s.difference2 - s.difference * s.difference) / (s.pairs * s.pairs)


@_formula("joint_energy")
def joint_energy(s, scale):  # type: ignore[no-untyped-def]
    """Sum of the squared probabilities of the cells."""
    return s.energy / (scale.orders * s.pairs * s.pairs)


@_formula("joint_entropy")
def joint_entropy(s, scale):  # type: ignore[no-untyped-def]
    """Entropy of the probabilities of the cells."""
    return entropy_in_unit(s, s.log_joint, s.distinct, scale)


@_scalar
def information(s, scale):  # type: ignore[no-untyped-def]
    """Return mutual information and the larger entropy of the two ends, in bits times `log_one`."""
    # A symmetric matrix counts every pair twice: the ends of N pairs are 2 N numbers, and
    # 2 N log2(2 N) = 2 (N log2 N + N).
    ends = scale.orders * s.pairs
    log_ends = scale.orders * s.log_pairs + (scale.orders - 1) * ends * scale.log_one
    first = entropy_of(ends, log_ends, s.log_first, 0, scale.log_one)
    second = entropy_of(ends, log_ends, s.log_second, 0, scale.log_one)
    shared = first + second - entropy_of(s.pairs, s.log_pairs, s.log_joint, s.distinct, scale.log_one)
    return (shared if shared >= RESOLUTION else 0.0), max(first, second)


@_formula("imc1")
def imc1(s, scale):  # type: ignore[no-untyped-def]
    """First measure of information correlation; 0 if both ends are constant."""
    shared, largest = information(s, scale)
    return 0.0 - shared / largest if largest > 0 else 0.0


@_formula("imc2")
def imc2(s, scale):  # type: ignore[no-untyped-def]
    """Second measure of information correlation; it depends on the unit of the entropies."""
    shared, _ = information(s, scale)
    return math.sqrt(1.0 - math.exp(-2.0 * (shared / scale.log_one * scale.log_unit)))


@_formula("idm")
def inverse_difference_moment(s, scale):  # type: ignore[no-untyped-def]
    """Mean of ``1 / (1 + (a - b)**2)``."""
    return s.inverse2 / s.pairs / scale.inverse_one


@_formula("idmn")
def normalised_inverse_difference_moment(s, scale):  # type: ignore[no-untyped-def]
    """Mean of ``1 / (1 + ((a - b) / G)**2)``."""
    return s.inverse2_n / s.pairs / scale.inverse_one


@_formula("id")
def inverse_difference(s, scale):  # type: ignore[no-untyped-def]
    """Mean of ``1 / (1 + |a - b|)``."""
    return s.inverse / s.pairs / scale.inverse_one


@_formula("idn")
def normalised_inverse_difference(s, scale):  # type: ignore[no-untyped-def]
    """Mean of ``1 / (1 + |a - b| / G)``."""
    return s.inverse_n / s.pairs / scale.inverse_one


@_formula("inverse_variance")
def inverse_variance(s, scale):  # type: ignore[no-untyped-def]
    """Sum of ``p / (a - b)**2`` over the cells with two different levels."""
    return s.inverse_variance / s.pairs / scale.inverse_one


@_formula("maximum_probability")
def maximum_probability(s, scale):  # type: ignore[no-untyped-def]
    """Largest probability of a cell."""
    return s.largest / (scale.orders * s.pairs)


@_formula("sum_average")
def sum_average(s, scale):  # type: ignore[no-untyped-def]
    """Mean of the sum of the two levels."""
    return s.total / s.pairs + 2 * scale.first_level


@_formula("sum_entropy")
def sum_entropy(s, scale):  # type: ignore[no-untyped-def]
    """Entropy of the sum of the two levels."""
    return entropy_in_unit(s, s.log_total, 0, scale)


@_formula("sum_squares")
def sum_squares(s, scale):  # type: ignore[no-untyped-def]
    """Variance of the first level; in a symmetric matrix, of both levels."""
    return spreads(s)[0] / (4 * s.pairs * s.pairs)
