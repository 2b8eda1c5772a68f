"""Names for the ways in which the pairs of a small window can be equal.

The entropy of a window depends only on how many pairs there are of each code: the sizes of the groups
of equal pairs, a partition of the number of pairs. Twenty pairs, the most that a 5x5 window has in one
direction, have 627 partitions, so that sixteen bits are enough to name one. The name is a product,
modulo 2**16. Every pair contributes ``UNIT + 2 * rank``, its rank being how many pairs before it in
the window have its code: a group of n contributes the same n factors wherever its pairs lie. `UNIT`
was chosen so that no two partitions of equal size and different entropy have one name, which
`sums_by_name` verifies; it is odd, so that no product loses bits.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from glcm_cuda.families.fixed_point import fixed_log2
from glcm_cuda.families.glcm.vectors import UNIT

MOST_PAIRS = 20
"""Pairs of a window whose partitions have names."""

NAMES = 1 << 16


def sums_by_name(pairs: int) -> npt.NDArray[np.float64]:
    """Sum of the fixed-point logarithms of a window's counts, by the name of its partition.

    Parameters
    ----------
    pairs : int
        Pairs in the window, at most `MOST_PAIRS`.

    Returns
    -------
    (65536,) float64 array
        Sum over the groups of ``n * fixed_log2(n)``, whole numbers; 0 where there is no such name.
    """
    log_table = fixed_log2(np.arange(pairs + 1))
    factors = np.cumprod([1, *(UNIT + 2 * rank for rank in range(pairs))], dtype=np.uint64) % NAMES
    sums = np.zeros(NAMES)
    products: dict[int, int] = {}
    for groups in partitions(pairs):
        name = int(np.prod(factors[list(groups)], dtype=np.uint64)) % NAMES
        product = int(np.prod([size**size for size in groups], dtype=object))
        if products.setdefault(name, product) != product:
            msg = f"two partitions of {pairs} pairs have the name {name}; choose another UNIT"
            raise AssertionError(msg)
        sums[name] = sum(size * int(log_table[size]) for size in groups)
    return sums


def partitions(number: int, largest: int | None = None) -> Iterator[tuple[int, ...]]:
    """Yield every way to write a number as a sum, the largest part first.

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
