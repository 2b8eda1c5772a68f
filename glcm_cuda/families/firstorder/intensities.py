"""The features of the intensities of a window, from their sorted list; see `sorting`.

All sums are in ascending order of the values, so that a feature has the same bits however a window is
reached, and in a mirrored image. Means and moments are those of the differences from the lowest value of the
window: whole numbers stay exact, and others lose no digits to a common offset.

The functions are compiled for the CPU and for CUDA devices alike. Formulas: docs/definition.md, section 10.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from glcm_cuda.families.firstorder.rows import stretch_of, to_centre, voxel_of
from glcm_cuda.families.firstorder.sorting import empty_lists, slide
from glcm_cuda.families.stage import Chosen, Task

FORMULAS = (
    *("minimum", "maximum", "range", "percentile_10", "percentile_90", "median", "interquartile_range"),
    *("energy", "total_energy", "root_mean_square", "mean"),
    *("mean_deviation", "variance", "skewness", "kurtosis", "robust_deviation"),
)
"""What is computed of a window, in this order."""

MINIMUM, MAXIMUM, RANGE, PERCENTILE_10, PERCENTILE_90, MEDIAN, INTERQUARTILE_RANGE = range(7)
ENERGY, TOTAL_ENERGY, ROOT_MEAN_SQUARE, MEAN = range(7, 11)
MEAN_DEVIATION, VARIANCE, SKEWNESS, KURTOSIS, ROBUST_DEVIATION = range(11, 16)

_LARGE, _SMALL = 2.0**200, 2.0**-200
"""Fourth powers of numbers between these are far from the ends of float64."""


class Sums(NamedTuple):
    """Which sums are needed, by the words that `features` gives them."""

    squares: bool
    mean: bool
    deviations: bool
    robust: bool


class Plan(NamedTuple):
    """What is computed."""

    sums: Sums
    planes: (
        Any  # (16,) int64: for each of FORMULAS the index of its plane in the maps, -1 if it is not wanted
    )
    shift: Any  # added to intensities before they are squared
    volume: Any  # of a voxel, in cubic mm


def plan_of(task: Task, chosen: Chosen) -> Plan:
    """Return what is computed."""
    planes = {feature.formula: plane for plane, feature in chosen}
    needs = {word for _, feature in chosen for word in feature.needs}
    return Plan(
        Sums(*(field in needs for field in Sums._fields)),
        np.array([planes.get(formula, -1) for formula in FORMULAS]),
        task.settings.intensity_shift,
        math.prod(task.spacing),
    )


def mapping() -> Callable[..., None]:
    """Return the loop over stretches as a Python function.

    Its arguments: the flat array with a margin, float64, NaN where a voxel does not count, and its `Rows`;
    the first stretch, the number of stretches, and how far ahead the next one is; the `Plan`; scratch memory
    of `list_size` float64, and of one for each of `FORMULAS`; maps (F, N, M, X) float32, which receive NaN
    where a voxel does not count.
    """

    def map_stretches(source, rows, first, stretches, ahead, plan, memory, found, out):  # type: ignore[no-untyped-def]
        columns = rows.window.columns
        for number in range(first, stretches, ahead):
            stretch = stretch_of(rows, number)
            lists = empty_lists(memory, rows.window)
            for turn in range(stretch.voxels + columns - 1):
                place = stretch.place + turn * rows.step
                lists = slide(source, place, rows, turn, memory, lists)
                at = turn - columns + 1
                if at >= 0:
                    find_features(source[place + to_centre(rows)], memory, lists, plan, found)
                    y, x = voxel_of(rows, stretch, at)
                    for formula in range(len(found)):
                        if plan.planes[formula] >= 0:
                            out[plan.planes[formula], stretch.z, y, x] = found[formula]

    return map_stretches


@njit(inline="always")
def find_features(centre, memory, lists, plan, found):  # type: ignore[no-untyped-def]
    """Write the features of a window into `found`; NaN if its centre is, since it does not count then."""
    start, count = lists.values, lists.count
    if math.isnan(centre):
        found[:] = np.nan
        return
    find_order(memory, start, count, found)
    if plan.sums.squares:
        energy = squares(memory, start, count, plan.shift)
        found[ENERGY] = energy
        found[TOTAL_ENERGY] = energy * plan.volume
        found[ROOT_MEAN_SQUARE] = math.sqrt(energy / count)
    if plan.sums.mean:
        low = memory[start]
        mean = mean_above(memory, start, count, low)
        found[MEAN] = low + mean
        if plan.sums.deviations:
            find_deviations(memory, start, count, mean, found)
    if plan.sums.robust:
        low, high = found[PERCENTILE_10], found[PERCENTILE_90]
        found[ROBUST_DEVIATION] = robust_deviation(memory, start, count, low, high)


@njit
def find_order(values, start, count, found):  # type: ignore[no-untyped-def]
    """Write extremes and percentiles into `found`."""
    low, high = values[start], values[start + count - 1]
    found[MINIMUM] = low
    found[MAXIMUM] = high
    found[RANGE] = high - low
    found[PERCENTILE_10] = percentile(values, start, count, 10.0)
    found[PERCENTILE_90] = percentile(values, start, count, 90.0)
    found[MEDIAN] = percentile(values, start, count, 50.0)
    quarter, three_quarters = percentile(values, start, count, 25.0), percentile(values, start, count, 75.0)
    found[INTERQUARTILE_RANGE] = three_quarters - quarter


@njit
def percentile(values, start, count, percent):  # type: ignore[no-untyped-def]
    """Return the value at `percent` of the way from the first to the last of sorted values.

    The way is exact, in hundredths of the distance of two values, between which it is interpolated.
    """
    hundredths = percent * (count - 1)
    steps = math.floor(hundredths / 100.0)
    rest = hundredths - 100.0 * steps
    place = start + int(steps)
    if rest == 0.0:
        return values[place]
    return values[place] + rest / 100.0 * (values[place + 1] - values[place])


@njit(inline="always")
def squares(values, start, count, shift):  # type: ignore[no-untyped-def]
    """Return the sum of the squares of the shifted values."""
    total = 0.0
    for at in range(start, start + count):
        value = values[at] + shift
        total += value * value
    return total


@njit
def mean_above(values, start, count, low):  # type: ignore[no-untyped-def]
    """Return the mean of the differences from `low`."""
    total = 0.0
    for at in range(start, start + count):
        total += values[at] - low
    return total / count


@njit
def find_deviations(values, start, count, mean, found):  # type: ignore[no-untyped-def]
    """Write what deviations from the mean give into `found`; `mean` is that above the lowest value."""
    low = values[start]
    unit = unit_of(values[start + count - 1] - low)
    total, second, third, fourth = 0.0, 0.0, 0.0, 0.0
    for at in range(start, start + count):
        deviation = (values[at] - low - mean) * unit
        square = deviation * deviation
        total += abs(deviation)
        second += square
        third += square * deviation
        fourth += square * square
    variance = second / count
    found[MEAN_DEVIATION] = total / count / unit
    found[VARIANCE] = variance / unit / unit
    # All are 0 in a window of one value: the mean above it is exactly 0.
    found[SKEWNESS] = third / count / (variance * math.sqrt(variance)) if variance > 0.0 else 0.0
    found[KURTOSIS] = fourth / count / (variance * variance) if variance > 0.0 else 0.0


@njit(inline="always")
def unit_of(span):  # type: ignore[no-untyped-def]
    """Return a power of two, 1 as a rule, that brings a span to where its fourth power is a float64.

    Without it skewness and kurtosis of very small or very large values would be 0 / 0.
    """
    unit = 1.0
    for _ in range(5):
        if span * unit > _LARGE:
            unit *= _SMALL
        elif span * unit < _SMALL:
            unit *= _LARGE
    return unit


@njit
def robust_deviation(values, start, count, low, high):  # type: ignore[no-untyped-def]
    """Return the mean absolute deviation of the values from `low` to `high`; NaN if there are none."""
    first, stop = start, start + count
    while values[first] < low:
        first += 1
    while values[stop - 1] > high:
        stop -= 1
    if first >= stop:
        return np.nan
    lowest, total = values[first], 0.0
    mean = mean_above(values, first, stop - first, lowest)
    for at in range(first, stop):
        total += abs(values[at] - lowest - mean)
    return total / (stop - first)
