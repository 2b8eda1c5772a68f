"""Logarithms as fixed-point integers, whose sums do not depend on the order of the terms."""

from __future__ import annotations

import functools
from decimal import Decimal, localcontext

import numpy as np
import numpy.typing as npt

LOG_ONE = 1 << 32
"""One bit (the logarithm of 2) in fixed point."""


def fixed_log2(counts: npt.NDArray[np.integer], one: int = LOG_ONE) -> npt.NDArray[np.int64]:
    """``round(one * log2(n))`` for every count n, and 0 for n = 0.

    Parameters
    ----------
    counts : array of non-negative integers
        Counts n.
    one : int
        One bit in fixed point.

    Returns
    -------
    int64 array of the same shape

    Notes
    -----
    Libraries differ in the last bit of ``log2``. This can change the result only near a tie of the rounding,
    where the logarithm is computed with 40 digits instead. Every machine therefore has the same integers.
    """
    scaled = np.log2(np.maximum(counts, 1)) * one
    doubtful = max(2.0**-8, one * 2.0**-48)
    rounded: npt.NDArray[np.int64] = np.rint(scaled).astype(np.int64)
    with localcontext() as context:
        context.prec = 40
        for place in np.flatnonzero(np.abs(np.abs(scaled - rounded) - 0.5) < doubtful):
            exact = Decimal(int(counts.flat[place])).ln() / Decimal(2).ln() * one
            rounded.flat[place] = int(exact.to_integral_value())
    return rounded


@functools.lru_cache(maxsize=2)
def log_table(most: int, one: int = LOG_ONE) -> npt.NDArray[np.int64]:
    """Return `fixed_log2` of the numbers from 0 to `most`; not to be changed, since blocks share it."""
    return fixed_log2(np.arange(most + 1), one)


def log_steps(logs: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Changes of ``n log2 n`` when a count n grows by one.

    Parameters
    ----------
    logs : (N + 1,) int64 array
        Logarithms of 0 to N, as `fixed_log2` returns them.

    Returns
    -------
    (N,) int64 array
        ``(n + 1) log2(n + 1) - n log2(n)`` at index n.
    """
    steps: npt.NDArray[np.int64] = np.diff(np.arange(len(logs)) * logs)
    return steps
