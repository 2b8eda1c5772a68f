"""What the codes of pairs distinguish, and which sums over the codes a map needs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from glcm_cuda.families.glcm.cpu.tally import DIFFERENCE, JOINT, SECOND, TOTAL
from glcm_cuda.families.glcm.definition import pair_code


class Counted(NamedTuple):
    """Codes of one kind, and what is wanted of their counts."""

    kind: int
    field: int | None  # index in `Sums` of the logarithmic sum; None if it is not wanted
    weights: bool = False  # whether energy and maximum are wanted


@njit(inline="always")
def code_of(a, b, kind, number_of_levels, symmetric):  # type: ignore[no-untyped-def]
    """Return the code of a pair of levels, of a literal kind other than `tally.ENDS`; int64."""
    first, second = np.int64(a), np.int64(b)
    if kind == JOINT:
        return pair_code(first, second, number_of_levels, symmetric)
    if kind == TOTAL:
        return first + second
    if kind == DIFFERENCE:
        return abs(first - second)
    return second if kind == SECOND else first


def codes_of(kind: int, number_of_levels: int) -> int:
    """Return how many codes there are."""
    if kind == JOINT:
        return number_of_levels**2
    return 2 * number_of_levels - 1 if kind == TOTAL else number_of_levels
