"""The five features of grey-tone differences from the table of a window's levels.

The functions are compiled for the CPU and for CUDA devices alike. The levels of a table ascend. Up to the last
products and quotients all numbers are whole; those of usual windows are below 2**53, where float64 numbers
are exact. No product of others is followed by a sum, which devices would round together.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from glcm_cuda.families.counting import Memory

LOW_BITS = 26
"""Bits of the lower part of a sum of differences, which may have more than the 53 of a float64."""

_HIGH = float(1 << LOW_BITS)

_MOST_COARSENESS = 1e6

_FEW = 512
"""Up to so many levels, comparing all pairs of products is faster than sorting them."""


class Values(NamedTuple):
    """Features of a window, and the number of voxels that count: scalars, or arrays over windows.

    All are float64. Features that take longer than others are 0 where they are not wanted.
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
    """The levels of a window, each field a (most levels,) float64 array."""

    levels: Any  # i, from 1 on
    numbers: Any  # n_i, voxels of the level
    high: Any  # s_i, the sum of their differences, as high * 2**26 + low
    low: Any


class Work(NamedTuple):
    """Scratch memory of the features that compare levels with each other."""

    products: Any  # (most levels,) int32: i n_i
    names: Any  # (most voxels + 1,) int32: place of a number n_i in `numbers`; -1 between windows
    numbers: Any  # (most numbers,) float64: the different n_i
    distances: Any  # from a level, summed over the levels with that number
    slopes: Any  # change of that sum from a level to the next whole number


class Totals(NamedTuple):
    """Sums over a table. Levels are counted from the lowest here, on which no feature depends."""

    voxels: Any
    differences: Any  # of s_i
    weighted: Any  # of n_i s_i
    level: Any  # of i
    level2: Any  # of i**2
    first: Any  # of n_i i
    second: Any  # of n_i i**2


def most_numbers(voxels: int) -> int:
    """Return how many levels of a window with so many voxels can have different numbers of voxels."""
    return (math.isqrt(8 * voxels + 1) - 1) // 2


def values_memory(kinds: int, numbers: int, voxels: int) -> Memory:
    """Return the memory of a `Table` and a `Work`."""
    return Memory(kinds + voxels + 1, len(Table._fields) * kinds + 3 * numbers)


@njit
def table_of(reals, kinds):  # type: ignore[no-untyped-def]
    """Return the `Table` at the beginning of scratch memory."""
    return Table(
        reals[:kinds], reals[kinds : 2 * kinds], reals[2 * kinds : 3 * kinds], reals[3 * kinds : 4 * kinds]
    )


@njit
def work_of(integers, reals, start, kinds, numbers, voxels):  # type: ignore[no-untyped-def]
    """Return the `Work` behind a `Table` and from the integer at `start` on, and its end among them."""
    names, end = start + kinds, start + kinds + voxels + 1
    first = 4 * kinds
    return (
        Work(
            integers[start:names],
            integers[names:end],
            reals[first : first + numbers],
            reals[first + numbers : first + 2 * numbers],
            reals[first + 2 * numbers : first + 3 * numbers],
        ),
        end,
    )


@njit
def write_values(table, kinds, plan, work, out):  # type: ignore[no-untyped-def]
    """Write the `Values` of a table with so many levels into `out` (fields,).

    `plan` says which features are wanted, and the unit of differences.
    """
    t = totals_of(table, kinds)
    out[0], out[1], out[2], out[3], out[4], out[5] = t.voxels, 0.0, _MOST_COARSENESS, 0.0, 0.0, 0.0
    if t.differences == 0.0:
        return
    # There are two levels or more, since one would have no differences.
    if plan.busyness:
        apart = distance_of_products(table, kinds, work.products)
        if apart > 0.0:
            out[1] = t.weighted / (apart * plan.unit)
    out[2] = min(t.voxels * plan.unit / t.weighted, _MOST_COARSENESS)
    if plan.complexity:
        out[3] = 2.0 * weighted_distances(table, kinds, work) / (t.voxels * plan.unit)
    voxels, levels = int(t.voxels), int(kinds)
    first, second = int(t.first), int(t.second)
    # Of the sums over pairs of levels, one factor 2 is for the two orders.
    spread = float(voxels * second - first * first)  # half the sum of n_i n_j (i - j)**2
    pairs = float(levels * (levels - 1))
    out[4] = 2.0 * spread * t.differences / (t.voxels * t.voxels * t.voxels * pairs * plan.unit)
    strength = float(levels * second - 2 * first * int(t.level) + voxels * int(t.level2))
    out[5] = 2.0 * strength * plan.unit / (t.voxels * t.differences)


@njit
def values_at(sums, matrix, voxel):  # type: ignore[no-untyped-def]
    """Return the `Values` of a voxel in an array (1, fields, voxels)."""
    return Values(
        sums[matrix, 0, voxel], sums[matrix, 1, voxel], sums[matrix, 2, voxel], sums[matrix, 3, voxel],
        sums[matrix, 4, voxel], sums[matrix, 5, voxel],
    )  # fmt: skip


@njit
def totals_of(table, kinds):  # type: ignore[no-untyped-def]
    """Return the `Totals` of a table with so many levels."""
    voxels, high, low, weighted_high, weighted_low = 0.0, 0.0, 0.0, 0.0, 0.0
    level, level2, first, second = 0.0, 0.0, 0.0, 0.0
    for kind in range(np.uint64(kinds)):
        number, i = table.numbers[kind], table.levels[kind] - table.levels[0]
        voxels += number
        high += table.high[kind]
        low += table.low[kind]
        weighted_high += number * table.high[kind]
        weighted_low += number * table.low[kind]
        level += i
        level2 += i * i
        first += number * i
        second += number * i * i
    return Totals(
        voxels, high * _HIGH + low, weighted_high * _HIGH + weighted_low, level, level2, first, second
    )


@njit
def distance_of_products(table, kinds, products):  # type: ignore[no-untyped-def]
    """Return the sum of abs(i n_i - j n_j) over the ordered pairs of levels i and j."""
    for kind in range(np.uint64(kinds)):
        products[kind] = int(table.levels[kind] * table.numbers[kind])
    total = 0
    if kinds > _FEW:
        sort(products, kinds)
        for kind in range(np.uint64(kinds)):
            total += (2 * int(kind) + 1 - kinds) * int(products[kind])
        return 2.0 * total
    for kind in range(np.uint64(kinds)):
        product = int(products[kind])
        for other in range(kind):
            total += abs(product - products[other])
    return 2.0 * total


@njit(error_model="numpy")
def weighted_distances(table, kinds, work):  # type: ignore[no-untyped-def]
    """Return the sum of abs(i - j) n_i s_i / (n_i + n_j) over the ordered pairs of levels i and j.

    All levels j with the same n_j share one quotient, and the sum of their distances from i changes by a whole
    number from one i to the next. So this takes far fewer steps than there are pairs.
    """
    classes = name_numbers(table, kinds, work)
    total, before = 0.0, table.levels[0]
    for kind in range(np.uint64(kinds)):
        number, step = table.numbers[kind], table.levels[kind] - before
        weight = number * (table.high[kind] * _HIGH + table.low[kind])
        before = table.levels[kind]
        for one in range(np.uint64(classes)):
            work.distances[one] += step * work.slopes[one]
            total += weight * work.distances[one] / (number + work.numbers[one])
        work.slopes[np.uint64(work.names[np.uint64(number)])] += (
            2.0  # this level is above no longer, but below
        )
    for one in range(np.uint64(classes)):
        work.names[np.uint64(work.numbers[one])] = -1
    return total


@njit
def name_numbers(table, kinds, work):  # type: ignore[no-untyped-def]
    """Find the different n_i, and begin with the distances from the lowest level; return how many they are."""
    classes = 0
    for kind in range(np.uint64(kinds)):
        number = np.uint64(table.numbers[kind])
        one = np.uint64(work.names[number])
        if work.names[number] < 0:
            one = np.uint64(classes)
            classes += 1
            work.names[number] = one
            work.numbers[one] = number
            work.distances[one] = 0.0
            work.slopes[one] = 0.0
        work.distances[one] += table.levels[kind] - table.levels[0]
        work.slopes[one] -= 1.0
    return classes


@njit
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
