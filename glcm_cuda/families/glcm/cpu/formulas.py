"""The formulas over rows of windows: a loop for each feature that is asked for, and no other is compiled."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import overload

from glcm_cuda.base.cache import can_cache, versioned
from glcm_cuda.families.glcm.definition import FORMULAS, Scale, Sums

_LOG_PAIRS = Sums._fields.index("log_pairs")


@functools.cache
def adder(name: str) -> Any:
    """Return a function that adds the values of a feature in every window of a band to totals (rows, X).

    Its arguments are the totals, float64; the sums (rows, fields of `Sums`, X) int64; and the fields of the
    `Scale`. The loop reads only the sums that the formula needs, without a branch, so that it becomes vector
    instructions. It closes over the index of the formula: Numba does not cache functions that close over
    functions.
    """
    place = tuple(FORMULAS).index(name)

    @njit(nogil=True, cache=can_cache(), error_model="numpy")
    @versioned(__name__)
    def add_values(totals, sums, orders, first_level, log_one, log_unit, inverse_one):  # type: ignore[no-untyped-def]
        scale = Scale(orders, first_level, log_one, log_unit, inverse_one)
        for row in range(len(totals)):
            total, of_row = totals[row], sums[row]
            for x in range(np.uint64(len(total))):
                value = _value(place, _sums_at(of_row, x), scale)
                # Without pairs the value is 0 / 0 or worse.
                total[x] += value if of_row[0, x] > 0 else 0.0

    return add_values


@njit(forceinline=True)
def _sums_at(sums, x):  # type: ignore[no-untyped-def]
    """Return the sums of one window as `Sums`; the compiler removes fields that are not read."""
    return Sums(
        sums[0, x], sums[1, x], sums[2, x], sums[3, x], sums[4, x], sums[5, x], sums[6, x], sums[7, x],
        sums[8, x], sums[9, x], sums[10, x], sums[11, x], sums[12, x], sums[13, x], sums[14, x], sums[15, x],
        sums[16, x], sums[17, x], sums[18, x], sums[19, x], sums[20, x], sums[21, x], sums[22, x],
    )  # fmt: skip


def _value(place: int, sums: Any, scale: Any) -> Any:
    """Return the value of a feature by the index of its formula; uncompiled code cannot divide by 0."""
    return tuple(FORMULAS.values())[place](sums, scale) if sums.pairs > 0 else 0.0


@overload(_value, prefer_literal=True, jit_options={"error_model": "numpy"})
def _compiled_value(place, sums, scale):  # type: ignore[no-untyped-def]
    # Only a literal index says at compile time which formula it is, which can then be inlined.
    if not isinstance(place, types.IntegerLiteral):
        return None
    formula = tuple(FORMULAS.values())[place.literal_value]
    return lambda place, sums, scale: formula(sums, scale)


@functools.cache
def finisher() -> Any:
    """Return a function that completes the sums of a band of windows when their pairs are counted.

    It writes ``n log2 n`` of the numbers of pairs, if `logarithms`, and adds 1 to `terms` (rows, X) where a
    window holds pairs.
    """

    @njit(nogil=True, cache=can_cache())
    @versioned(__name__)
    def finish(sums, terms, table, logarithms):  # type: ignore[no-untyped-def]
        for row in range(len(sums)):
            pairs, logs, term = sums[row, 0], sums[row, _LOG_PAIRS], terms[row]
            for x in range(np.uint64(len(pairs))):
                term[x] += 1 if pairs[x] > 0 else 0
            if logarithms:
                for x in range(np.uint64(len(pairs))):
                    logs[x] = table[pairs[x]]

    return finish


@functools.cache
def writer() -> Any:
    """Return a function that writes means of a feature to a map, NaN where there are no terms."""

    @njit(nogil=True, cache=can_cache(), error_model="numpy")
    @versioned(__name__)
    def write_means(out, totals, terms):  # type: ignore[no-untyped-def]
        for row in range(len(out)):
            mean, total, term = out[row], totals[row], terms[row]
            for x in range(np.uint64(len(mean))):
                mean[x] = total[x] / term[x] if term[x] > 0 else np.nan

    return write_means
