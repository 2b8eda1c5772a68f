"""The five features of grey-tone differences, from a table of the levels of a window.

The functions are compiled for the CPU and for CUDA devices alike. The levels of a table ascend. Sums are of
whole numbers, which in usual windows are below 2**53, where float64 numbers are exact. Where a product need
not be whole, no sum follows it, since devices would round the two together.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from glcm_cuda.families.counting import Memory
from glcm_cuda.families.inlining import inlined

LOW_BITS = 26
"""Bits of the lower part of a sum of differences, which can have more than the 53 of a float64."""

_HIGH = float(1 << LOW_BITS)

_MOST_COARSENESS = 1e6

_FEW = 512
"""Up to so many levels, comparing all pairs of products is faster than sorting them."""


class Values(NamedTuple):
    """Features of a window, and the number of voxels that count: scalars, or arrays over windows.

    Those that take longer than others are 0 where they are not wanted.
    """

    voxels: Any
    busyness: Any
    coarseness: Any
    complexity: Any
    contrast: Any
    strength: Any


FORMULAS = {
    "busyness": lambda v: v.busyness,
    "coarseness": lambda v: v.coarseness,
    "complexity": lambda v: v.complexity,
    "contrast": lambda v: v.contrast,
    "strength": lambda v: v.strength,
}
"""Features from `Values`, by `Feature.formula`."""


class Table(NamedTuple):
    """The levels of a window; each field is a (most levels,) float64 array."""

    levels: Any  # i, from 1 on
    numbers: Any  # n_i, voxels of the level
    high: Any  # s_i, the sum of their differences, is high * 2**26 + low
    low: Any


class Work(NamedTuple):
    """Scratch memory of the features that compare levels with each other."""

    products: Any  # (most levels,) int32: i n_i
    names: Any  # (most voxels + 1,) int32: place of a number n_i in `numbers`; -1 between windows
    numbers: Any  # (most numbers,) float64: the different n_i
    distances: Any  # distance from a level to all levels with that number
    slopes: Any  # change of that distance towards the next level


class Totals(NamedTuple):
    """Sums over a table. The lowest level is 0 here, since no feature depends on where levels begin."""

    voxels: Any
    differences: Any  # of s_i
    weighted: Any  # of n_i s_i
    levels: Any  # of i
    squares: Any  # of i**2
    first: Any  # of n_i i
    second: Any  # of n_i i**2


def most_numbers(voxels: int) -> int:
    """Return how many different numbers of voxels the levels of a window can have: 1 + 2 + 3 + ... voxels."""
    return (math.isqrt(8 * voxels + 1) - 1) // 2


def values_memory(kinds: int, numbers: int, voxels: int) -> Memory:
    """Return the memory of a `Table` and a `Work`."""
    return Memory(kinds + voxels + 1, len(Table._fields) * kinds + 3 * numbers)


@inlined()
def table_of(reals, kinds):  # type: ignore[no-untyped-def]
    """Return the `Table` at the beginning of scratch memory, and its end."""
    table = Table(
        reals[:kinds], reals[kinds : 2 * kinds], reals[2 * kinds : 3 * kinds], reals[3 * kinds : 4 * kinds]
    )
    return table, 4 * kinds


@inlined()
def work_of(integers, reals, start, first, kinds, numbers, voxels):  # type: ignore[no-untyped-def]
    """Return the `Work` in scratch memory, from these numbers on, and its end among the integers."""
    names, end = start + kinds, start + kinds + voxels + 1
    work = Work(
        integers[start:names],
        integers[names:end],
        reals[first : first + numbers],
        reals[first + numbers : first + 2 * numbers],
        reals[first + 2 * numbers : first + 3 * numbers],
    )
    return work, end


@inlined()
def write_values(table, kinds, plan, work, out):  # type: ignore[no-untyped-def]
    """Write the `Values` of a table of `kinds` levels into `out` (fields,).

    `plan` says which features are wanted, and the unit of differences.
    """
    t = totals_of(table, kinds)
    busyness, coarseness, complexity, contrast, strength = 0.0, _MOST_COARSENESS, 0.0, 0.0, 0.0
    if t.differences > 0.0:  # and so there are two levels or more
        coarseness = t.voxels * plan.unit / t.weighted
        if coarseness > _MOST_COARSENESS:
            coarseness = _MOST_COARSENESS
        if plan.busyness:
            apart = distance_of_products(table, kinds, work.products)
            busyness = t.weighted / (apart * plan.unit) if apart > 0.0 else 0.0
        if plan.complexity:
            complexity = 2.0 * weighted_distances(table, kinds, work) / (t.voxels * plan.unit)
        spread, pairs = spread_of_voxels(t), kinds * (kinds - 1.0)
        contrast = spread * t.differences / (t.voxels * t.voxels * t.voxels * pairs * plan.unit)
        strength = 2.0 * spread_of_levels(t, kinds) * plan.unit / (t.voxels * t.differences)
    out[0], out[1], out[2] = t.voxels, busyness, coarseness
    out[3], out[4], out[5] = complexity, contrast, strength


@inlined()
def values_at(sums, matrix, voxel):  # type: ignore[no-untyped-def]
    """Return the `Values` of a voxel in an array (1, fields, voxels)."""
    return Values(
        sums[matrix, 0, voxel], sums[matrix, 1, voxel], sums[matrix, 2, voxel], sums[matrix, 3, voxel],
        sums[matrix, 4, voxel], sums[matrix, 5, voxel],
    )  # fmt: skip


@inlined()
def totals_of(table, kinds):  # type: ignore[no-untyped-def]
    """Return the `Totals` of a table of `kinds` levels."""
    voxels, high, low, weighted_high, weighted_low = 0.0, 0.0, 0.0, 0.0, 0.0
    levels, squares, first, second = 0.0, 0.0, 0.0, 0.0
    for kind in range(np.uint64(kinds)):
        number, i = table.numbers[kind], table.levels[kind] - table.levels[0]
        voxels += number
        high += table.high[kind]
        low += table.low[kind]
        weighted_high += number * table.high[kind]
        weighted_low += number * table.low[kind]
        levels += i
        squares += i * i
        first += number * i
        second += number * i * i
    differences, weighted = high * _HIGH + low, weighted_high * _HIGH + weighted_low
    return Totals(voxels, differences, weighted, levels, squares, first, second)


@inlined()
def spread_of_voxels(t):  # type: ignore[no-untyped-def]
    """Return the sum of n_i n_j (i - j)**2 over the ordered pairs of levels i and j."""
    first = np.int64(t.first)
    return 2.0 * (np.int64(t.voxels) * np.int64(t.second) - first * first)


@inlined()
def spread_of_levels(t, kinds):  # type: ignore[no-untyped-def]
    """Return the sum of n_i (i - j)**2 over the ordered pairs of levels i and j."""
    squares = kinds * np.int64(t.second) + np.int64(t.voxels) * np.int64(t.squares)
    return float(squares - 2 * np.int64(t.first) * np.int64(t.levels))


@inlined()
def distance_of_products(table, kinds, products):  # type: ignore[no-untyped-def]
    """Return the sum of abs(i n_i - j n_j) over the ordered pairs of levels i and j."""
    total = 0
    for kind in range(np.uint64(kinds)):
        products[kind] = np.int64(table.levels[kind] * table.numbers[kind])
    if kinds <= _FEW:
        for kind in range(np.uint64(kinds)):
            product = np.int64(products[kind])
            for other in range(kind):
                total += abs(product - products[other])
    else:
        sort(products, kinds)
        factor = np.int64(1 - kinds)  # of the lowest, which is subtracted from all others
        for kind in range(np.uint64(kinds)):
            total += factor * products[kind]
            factor += 2
    return 2.0 * total


@inlined()
def weighted_distances(table, kinds, work):  # type: ignore[no-untyped-def]
    """Return the sum of abs(i - j) n_i s_i / (n_i + n_j) over the ordered pairs of levels i and j.

    All levels j with the same n_j have one denominator, and their distance from i follows from that to the
    level before. This takes far fewer steps than there are pairs.
    """
    found = name_numbers(table, kinds, work)
    total, before = 0.0, table.levels[0]
    for kind in range(np.uint64(kinds)):
        number, step = table.numbers[kind], table.levels[kind] - before
        before = table.levels[kind]
        weight = number * (table.high[kind] * _HIGH + table.low[kind])
        for one in range(np.uint64(found)):
            work.distances[one] += step * work.slopes[one]
            total += weight * work.distances[one] / (number + work.numbers[one])
        # From here on, this level is one of those below.
        work.slopes[np.uint64(work.names[np.uint64(number)])] += 2.0
    for one in range(np.uint64(found)):
        work.names[np.uint64(work.numbers[one])] = -1
    return total


@inlined()
def name_numbers(table, kinds, work):  # type: ignore[no-untyped-def]
    """Find the different n_i, and their distances from the lowest level; return how many they are."""
    found = 0
    for kind in range(np.uint64(kinds)):
        number = np.uint64(table.numbers[kind])
        if work.names[number] < 0:
            work.names[number] = found
            work.numbers[found] = table.numbers[kind]
            work.distances[found] = 0.0
            work.slopes[found] = 0.0
            found += 1
        one = np.uint64(work.names[number])
        work.distances[one] += table.levels[kind] - table.levels[0]
        work.slopes[one] -= 1.0
    return found


@inlined()
def sort(values, count):  # type: ignore[no-untyped-def]
    """Sort the first `count` values in place, by Shell's method with Knuth's gaps 1, 4, 13, 40, ..."""
    gap = 1
    while 3 * gap + 1 < count:
        gap = 3 * gap + 1
    while gap > 0:
        for start in range(gap, count):
            value, place = values[start], start
            while place >= gap and values[place - gap] > value:
                values[place] = values[place - gap]
                place -= gap
            values[place] = value
        gap //= 3
