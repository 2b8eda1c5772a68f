"""Counting of a matrix P(i, j) of levels and numbers, entry by entry, into `emphases.Sums`.

The functions are compiled for the CPU and for CUDA devices alike. Whole numbers are added up as float64
numbers, exact below 2**53, so that the order of the entries does not matter; inverses of levels are added
in the order of the entries, which is that of the window's voxels.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from glcm_cuda.families.counting import Memory
from glcm_cuda.families.emphases import Sums
from glcm_cuda.families.fixed_point import log_table
from glcm_cuda.families.inlining import inlined


class Tally(NamedTuple):
    """Scratch memory of a matrix."""

    levels: Any  # (most levels,) int32: entries of each level of the window
    entries: Any  # (most numbers + 1,) float64: entries of each j
    first: Any  # sums of i for each j
    second: Any  # sums of i**2
    inverse: Any  # sums of 1 / i**2
    cells: Any  # (most levels * (most numbers + 1),) int32: entries of each cell


class Tables(NamedTuple):
    """What is looked up for every entry."""

    inverses: Any  # (G,) float64: 1 / i**2 of each level, i counted from 1
    logs: Any  # (entries + 1,) int64: n log2 n in fixed point
    log_unit: Any  # the map's unit for a sum of logarithms, float64


def tables_for(number_of_levels: int, most_entries: int, log_unit: float) -> Tables:
    """Return the tables for matrices of at most this many entries; `log_unit` is `GLCMSettings.log_unit`."""
    bits = min(44, 62 - math.ceil(math.log2(most_entries * max(1.0, math.log2(most_entries)))))
    numbers = np.arange(1.0, number_of_levels + 1)
    counts: npt.NDArray[np.int64] = np.arange(most_entries + 1)
    return Tables(1 / numbers**2, counts * log_table(most_entries, 1 << bits), log_unit / (1 << bits))


def tally_memory(kinds: int, numbers: int, *, cells: bool) -> Memory:
    """Return the memory of a `Tally` for at most this many levels and numbers, with or without cells."""
    return Memory(kinds + (kinds * (numbers + 1) if cells else 1), 4 * (numbers + 1))


@inlined()
def tally_of(integers, reals, start, kinds, numbers, cells):  # type: ignore[no-untyped-def]
    """Return the `Tally` in scratch memory from the integer at `start` on, and its end among them."""
    end = start + kinds + (kinds * (numbers + 1) if cells else 1)
    each = numbers + 1
    return (
        Tally(
            integers[start : start + kinds],
            reals[:each],
            reals[each : 2 * each],
            reals[2 * each : 3 * each],
            reals[3 * each : 4 * each],
            integers[start + kinds : end],
        ),
        end,
    )


@inlined()
def clear(tally, levels, numbers):  # type: ignore[no-untyped-def]
    """Empty the matrix of a window of some levels, with j up to `numbers`."""
    for kind in range(np.uint64(levels)):
        tally.levels[kind] = 0
    for j in range(np.uint64(numbers + 1)):
        tally.entries[j] = 0.0
        tally.first[j] = 0.0
        tally.second[j] = 0.0
        tally.inverse[j] = 0.0
    if len(tally.cells) > 1:
        for cell in range(np.uint64(levels * (numbers + 1))):
            tally.cells[cell] = 0


@inlined()
def enter(tally, kind, level, j, numbers, tables):  # type: ignore[no-untyped-def]
    """Add one entry (i, j); return the change of the sum of P log2 P over the cells, in fixed point.

    `kind` is the level's place among the levels of the window, `level` the level from 0.
    """
    # Unsigned indices need no test for negative ones.
    i = level + 1.0
    name, at = np.uint64(kind), np.uint64(j)
    tally.levels[name] += 1
    tally.entries[at] += 1.0
    tally.first[at] += i
    tally.second[at] += i * i
    tally.inverse[at] += tables.inverses[np.uint64(level)]
    if len(tally.cells) == 1:
        return 0
    cell = name * np.uint64(numbers + 1) + at
    before = np.uint64(tally.cells[cell])
    tally.cells[cell] = before + np.uint64(1)
    return tables.logs[before + np.uint64(1)] - tables.logs[before]


@inlined()
def total(tally, levels, numbers, logs, tables, sums):  # type: ignore[no-untyped-def]
    """Write the `Sums` of a matrix with j up to `numbers` into `sums` (fields,).

    `logs` is the sum of what `enter` returned.
    """
    entries, number = 0.0, 0.0
    first, second, inverse = 0.0, 0.0, 0.0
    number2, inverse_number2, product, by_inverse, inverse_by, inverses, per_number = (0.0,) * 7
    for j in range(np.uint64(1), np.uint64(numbers + 1)):
        count = tally.entries[j]
        if count > 0.0:
            square = float(j) * float(j)
            part = 1.0 / square
            entries += count
            number += count * j
            number2 += count * square
            inverse_number2 += count * part
            first += tally.first[j]
            second += tally.second[j]
            inverse += tally.inverse[j]
            product += tally.second[j] * square
            by_inverse += tally.second[j] * part
            inverse_by += tally.inverse[j] * square
            inverses += tally.inverse[j] * part
            per_number += count * count
    per_level = 0
    for kind in range(np.uint64(levels)):
        per_level += tally.levels[kind] * tally.levels[kind]
    sums[0], sums[1], sums[2], sums[3] = entries, first, second, inverse
    sums[4], sums[5], sums[6] = number, number2, inverse_number2
    sums[7], sums[8], sums[9], sums[10] = product, by_inverse, inverse_by, inverses
    sums[11], sums[12] = per_level, per_number
    sums[13] = (tables.logs[np.uint64(entries)] - logs) * tables.log_unit


@inlined()
def sums_at(sums, matrix, voxel):  # type: ignore[no-untyped-def]
    """Return the `Sums` of a matrix and voxel in an array (matrices, fields, voxels)."""
    return Sums(
        sums[matrix, 0, voxel], sums[matrix, 1, voxel], sums[matrix, 2, voxel], sums[matrix, 3, voxel],
        sums[matrix, 4, voxel], sums[matrix, 5, voxel], sums[matrix, 6, voxel], sums[matrix, 7, voxel],
        sums[matrix, 8, voxel], sums[matrix, 9, voxel], sums[matrix, 10, voxel], sums[matrix, 11, voxel],
        sums[matrix, 12, voxel], sums[matrix, 13, voxel],
    )  # fmt: skip
