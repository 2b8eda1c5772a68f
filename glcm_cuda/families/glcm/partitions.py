"""Names of partitions: 16-bit numbers that say which pairs of a small window are equal to each other.

The entropy of a window depends only on the sizes of the groups of pairs with equal codes. These sizes are a
partition of the number of pairs. Twenty pairs, the most in one direction of a 5x5 window, have 627
partitions, so 16 bits are enough to name one.

The name is a product modulo 2**16, with one factor ``UNIT + 2 * rank`` per pair. The rank of a pair is the
number of earlier pairs in the window with the same code. A group of n pairs therefore has the ranks 0 to n
- 1, and contributes the same n factors wherever its pairs are. `UNIT` is chosen such that two partitions of
one number of pairs with different entropies never have the same name; `sums_by_name` checks this. It is
odd, like all the factors, so that multiplication modulo 2**16 is one-to-one and loses no bits.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from glcm_cuda.families.fixed_point import LOG_ONE, fixed_log2
from glcm_cuda.families.glcm.vectors import UNIT

MOST_PAIRS = 20
"""Most pairs in a window whose partitions have names."""

NAMES = 1 << 16
"""Number of names."""


def sums_by_name(pairs: int, one: int = LOG_ONE) -> npt.NDArray[np.float64]:
    """Logarithmic sum of a window, by the name of its partition.

    Parameters
    ----------
    pairs : int
        Number of pairs in the window, at most `MOST_PAIRS`.
    one : int
        One bit in the fixed-point logarithms, at most ``2**44``.

    Returns
    -------
    (65536,) float64 array
        Sum of ``n * fixed_log2(n)`` over the groups of n equal pairs, a whole number; 0 for unused names.

    Raises
    ------
    AssertionError
        If two partitions with different entropies have the same name.
    """
    log_table = fixed_log2(np.arange(pairs + 1), one)
    # A group of n pairs contributes the product of its n factors, factors[n].
    factors = np.cumprod([1, *(UNIT + 2 * rank for rank in range(pairs))], dtype=np.uint64) % NAMES
    sums = np.zeros(NAMES)
    products: dict[int, int] = {}
    for groups in partitions(pairs):
        name = int(np.prod(factors[list(groups)], dtype=np.uint64)) % NAMES
        # The sum of n log2 n is the logarithm of the product of n**n, which is exact.
        product = int(np.prod([size**size for size in groups], dtype=object))
        if products.setdefault(name, product) != product:
            msg = f"two partitions of {pairs} pairs have the name {name}; choose another UNIT"
            raise AssertionError(msg)
        sums[name] = sum(size * int(log_table[size]) for size in groups)
    return sums


def partitions(number: int, largest: int | None = None) -> Iterator[tuple[int, ...]]:
    """Yield every way to write a number as a sum of positive integers, the largest first.

    Examples
    --------
    >>> [*partitions(4)]
    [(4,), (3, 1), (2, 2), (2, 1, 1), (1, 1, 1, 1)]
    """
    if number == 0:
        yield ()
    for part in range(min(number, largest or number), 0, -1):
        for rest in partitions(number - part, part):
            yield (part, *rest)
