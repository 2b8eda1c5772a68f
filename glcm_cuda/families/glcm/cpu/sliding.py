"""Sums over the codes of pairs in any window: tallies that slide along the rows (`tally`).

There is a tally for each kind of code. Used where the windows hold too many pairs, of too many codes, for the
other ways, and for merged directions.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from glcm_cuda.base.cache import can_cache, versioned
from glcm_cuda.families.fixed_point import log_steps
from glcm_cuda.families.glcm.cpu.kinds import Counted
from glcm_cuda.families.glcm.cpu.pairs import Band
from glcm_cuda.families.glcm.cpu.tally import (
    ENDS,
    JOINT,
    cells,
    code_buffer,
    fill_codes,
    pairs_in_window,
    plane_places,
)
from glcm_cuda.families.glcm.definition import Scale, Sums

_ENERGY, _LARGEST = Sums._fields.index("energy"), Sums._fields.index("largest")


def counter(
    counted: Counted,
    radii: tuple[int, int, int],
    number_of_levels: int,
    scale: Scale,
    logs: npt.NDArray[np.int64],
) -> Callable[..., None]:
    """Return a function that counts codes of one kind in all windows of a band; see `named.counter`.

    It takes the pairs from the levels, those of all offsets (K, 3) in one matrix. `logs` has the fixed-point
    logarithm of every count.
    """
    kind, field, symmetric = counted.kind, -1 if counted.field is None else counted.field, scale.orders == 2
    tally_rows, steps = _compiled(), log_steps(logs)

    def count(sums: npt.NDArray[np.int64], _: object, offsets: npt.NDArray[np.int32], band: Band) -> None:
        tally_rows(
            sums, band.levels, offsets, radii, kind, field, counted.weights, band.z, band.top,
            number_of_levels, symmetric, steps, logs,
        )  # fmt: skip

    return count


@functools.cache
def _compiled() -> Any:
    """Return the loop over the rows of a band; compiled, or read from Numba's cache."""

    @njit(nogil=True, cache=can_cache())
    @versioned(__name__)
    def tally_rows(  # type: ignore[no-untyped-def]
        sums, levels, chosen, radii, kind, field, weights, z, top, number_of_levels, symmetric, steps,
        log_table,
    ):  # fmt: skip
        rows, _, width = sums.shape
        # Both ends of the pairs of a symmetric matrix count: the directions twice, each with one end.
        offsets = np.concatenate((chosen, chosen)) if kind == ENDS else chosen
        codes = code_buffer(width, len(offsets), rows, radii)
        fill_codes(codes, levels, offsets, radii, z, top, kind, number_of_levels, symmetric)
        counts = np.zeros(cells(kind, codes.size, number_of_levels) + 1, np.int32)
        places = plane_places(codes, offsets, radii)
        most = pairs_in_window(offsets, radii)
        # Codes below are those of equal levels.
        single = np.int64(number_of_levels if symmetric else 0)
        # Beside the image all places of a window are non-pairs, before and after every row.
        counts[-1] = most
        for row in range(rows):
            if kind == JOINT and weights:
                _weigh_row(
                    codes, row, places, most, radii[2], counts, steps, log_table, sums[row], field, single
                )
            else:
                _slide_row(codes, row, places, most, radii[2], counts, steps, log_table, sums[row, field])

    return tally_rows


@njit
def _slide_row(codes, row, places, most, radius, counts, steps, log_table, log_sums):  # type: ignore[no-untyped-def]
    """Write the sum of ``n * log2(n)`` over the codes of every window of a row; see `tally._slide_row`."""
    flat = codes.reshape(-1)
    stride = np.uint64(codes.size // codes.shape[0])
    absent = len(counts) - 1
    # Invariant: `log_sum` is the sum of n log2 n over all counts, that of the non-pairs included.
    log_sum = most * log_table[most]
    width = len(log_sums)
    for x in range(-radius, width + radius + 1):
        start = np.uint64(x + radius) * stride + np.uint64(row)
        for j in range(np.uint64(len(places))):
            left = flat[start + places[j, 0]]
            n = counts[left] - 1
            counts[left] = n
            log_sum -= steps[np.uint64(n)]
            entered = flat[start + places[j, 1]]
            n = counts[entered]
            counts[entered] = n + 1
            log_sum += steps[np.uint64(n)]
        if 0 <= x < width:
            none = counts[absent]
            log_sums[x] = log_sum - none * log_table[none]


@njit
def _weigh_row(  # type: ignore[no-untyped-def]
    codes, row, places, most, radius, counts, steps, log_table, sums, field, single
):
    """Write energy and maximum of every window of a row; the logarithmic sum too unless `field` is -1.

    The height of a code is the number of its pairs, doubled for two equal levels in a symmetric matrix,
    which counts both orders in one cell. `heights[h]` is the number of codes with height h; with it the
    maximum is found again after a code has lost a pair.
    """
    flat = codes.reshape(-1)
    stride = np.uint64(codes.size // codes.shape[0])
    absent = len(counts) - 1
    heights = np.zeros(2 * most + 3, np.int32)
    # Invariants: `energy` is the sum of weight * n**2 over the codes; `largest` is at least the largest
    # height, and equal to it after the `while` loop. Non-pairs are left out.
    energy, largest = np.int64(0), 0
    log_sum = most * log_table[most]  # that of the non-pairs included
    width = sums.shape[1]
    for x in range(-radius, width + radius + 1):
        start = np.uint64(x + radius) * stride + np.uint64(row)
        for j in range(np.uint64(len(places))):
            left = flat[start + places[j, 0]]
            n = counts[left] - 1
            counts[left] = n
            log_sum -= steps[np.uint64(n)]
            if left != absent:
                weight = 2 if left < single else 1
                energy -= weight * (2 * n + 1)  # (n + 1)**2 - n**2
                heights[weight * (n + 1)] -= 1
                heights[weight * n] += 1
            entered = flat[start + places[j, 1]]
            n = counts[entered]
            counts[entered] = n + 1
            log_sum += steps[np.uint64(n)]
            if entered != absent:
                weight = 2 if entered < single else 1
                energy += weight * (2 * n + 1)
                heights[weight * n] -= 1
                heights[weight * (n + 1)] += 1
                largest = max(largest, weight * (n + 1))
        while largest > 0 and heights[largest] == 0:
            largest -= 1
        if 0 <= x < width:
            sums[_ENERGY, x], sums[_LARGEST, x] = energy, largest
            if field >= 0:
                none = counts[absent]
                sums[field, x] = log_sum - none * log_table[none]
