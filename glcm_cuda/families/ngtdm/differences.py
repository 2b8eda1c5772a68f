"""Grey-tone differences: how far the level of a voxel is from the mean level of its neighbours.

The functions are compiled for the CPU and for CUDA devices alike, which add up the neighbours in ways of
their own. Differences are whole numbers of a small unit, so that their sums do not depend on the order.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from glcm_cuda.families.counting import Counted, Counting, Memory
from glcm_cuda.families.inlining import inlined
from glcm_cuda.families.ngtdm.values import (
    FORMULAS,
    LOW_BITS,
    Table,
    Values,
    Work,
    most_numbers,
    sort,
    table_of,
    values_memory,
    work_of,
    write_values,
)
from glcm_cuda.families.stage import Chosen, Task
from glcm_cuda.families.windows import (
    Frame,
    Window,
    frame_of,
    gather,
    leave_out,
    most_levels,
    release,
    window_integers,
    window_of,
)
from glcm_cuda.settings import GLCMSettings

_MOST = 1 << 31
"""Most voxels of a window times levels: sums of levels are then int32, and their products int64."""

_EXACT_NEIGHBOURS = 30
"""Most neighbours with an exact unit. With more of them, the least common multiple of their possible numbers
times a difference of levels is too large for an int64."""

_FINEST = 1 << 46
"""The unit of more neighbours: together with the 16 bits of a level it fits into an int64."""

_CLOSE = 8
"""Levels that lie at most this far apart on average are read off in order; others are sorted."""

Neighbourhood = Callable[[GLCMSettings, Frame], Any]
"""Returns what the `add_neighbours` of a backend takes; see `counting_with`."""


class Plan(NamedTuple):
    """What is counted, over which windows."""

    frame: Frame
    neighbours: Any  # see `Neighbourhood`
    shares: Any  # (most neighbours + 1,) int64: see `shares_of`
    unit: Any  # float64: a difference of 1 as a whole number
    number_of_levels: Any
    kinds: Any  # most levels of a window
    numbers: Any  # most different numbers of voxels that the levels of a window can have
    isolated: Any  # whether voxels without neighbours count
    busyness: Any  # whether this feature is wanted
    complexity: Any


class Around(NamedTuple):
    """Sums over each voxel of a window and its neighbours, and scratch memory to find them."""

    levels: Any  # (most voxels,) int32: sum of the levels
    counts: Any  # (most voxels,) int32: number of the voxels
    work: Any  # int32


class Scratch(NamedTuple):
    """Scratch memory of a thread."""

    window: Window
    around: Around
    table: Table
    work: Work


def counted_by(neighbourhood: Neighbourhood, frames: int) -> Counted:
    """Return what the stages of a backend are made of.

    Parameters
    ----------
    neighbourhood : callable (settings, frame)
        See `Neighbourhood`.
    frames : int
        Size of `Around.work` in arrays of `Frame.size`.
    """
    return Counted(Values, FORMULAS, functools.partial(_counting, neighbourhood, frames))


def _counting(neighbourhood: Neighbourhood, frames: int, task: Task, chosen: Chosen) -> Counting:
    """Return how the differences of a task are counted."""
    settings, number_of_levels = task.settings, task.bins.levels
    voxels, neighbours = math.prod(settings.edges), most_neighbours(settings)
    _check_levels(voxels, task, chosen)
    frame, kinds = frame_of(settings, max(settings.distances)), most_levels(settings, number_of_levels)
    numbers = min(kinds, most_numbers(voxels))
    wanted = {feature.formula for _, feature in chosen}

    def make_plan() -> Plan:
        unit, shares = shares_of(min(neighbours, voxels - 1))
        return Plan(
            frame=frame,
            neighbours=neighbourhood(settings, frame),
            shares=shares,
            unit=float(unit),
            number_of_levels=number_of_levels,
            kinds=kinds,
            numbers=numbers,
            isolated=settings.ngtdm_isolated,
            busyness="busyness" in wanted,
            complexity="complexity" in wanted,
        )

    values = values_memory(kinds, numbers, voxels)
    integers = window_integers(settings, number_of_levels, frame) + 2 * voxels + frames * frame.size
    memory = Memory(integers + values.integers, values.reals)
    return Counting(make_plan, memory, matrices=1, steps=voxels * neighbours)


def most_neighbours(settings: GLCMSettings) -> int:
    """Return how many neighbours a voxel can have."""
    boxes = (
        (2 * d + 1) ** settings.dimensions - (2 * d - 1) ** settings.dimensions for d in settings.distances
    )
    return sum(boxes)


def _check_levels(voxels: int, task: Task, chosen: Chosen) -> None:
    """Raise ValueError if the sums of a window could overflow."""
    if voxels * task.bins.levels > _MOST:
        msg = (
            f"{chosen[0][1].name} in windows of {voxels} voxels allows at most {_MOST // voxels} levels, got "
            f"{task.bins.levels}; use fewer levels or wider bins"
        )
        raise ValueError(msg)


def shares_of(neighbours: int) -> tuple[int, npt.NDArray[np.int64]]:
    """Return the unit of differences, and ``unit / m`` for each number m of neighbours up to this one.

    With up to 30 neighbours the unit is the least common multiple of their numbers; with more it is 2**46 and
    the shares are rounded. The share of no neighbours is 0.
    """
    numbers = range(1, neighbours + 1)
    unit = math.lcm(*numbers) if neighbours <= _EXACT_NEIGHBOURS else _FINEST
    return unit, np.array([0, *((2 * unit + m) // (2 * m) for m in numbers)], np.int64)


def counting_with(add_neighbours: Any) -> Any:
    """Return the compiled function that counts one window.

    Parameters
    ----------
    add_neighbours : compiled function (window, voxels, neighbours, frame, around)
        Writes the sums of the first `voxels` of `window.places` into `around`.
    """

    # Part of its only caller before types are known, it is compiled once instead of twice.
    @inlined(inline="always")
    def count_differences(levels, centre, plan, scratch, sums):  # type: ignore[no-untyped-def]
        """Write the `Values` of the window around a voxel into `sums` (1, fields)."""
        if levels[centre] < 0:
            leave_out(sums)
            return
        window, around, table = scratch.window, scratch.around, scratch.table
        counts = gather(levels, centre, plan.frame, window)
        put_in_order(window, counts.levels)
        add_neighbours(window, counts.voxels, plan.neighbours, plan.frame, around)
        fill(table, window, counts, around, plan)
        kinds = pack(table, window, counts.levels)
        release(window, counts)
        write_values(table, kinds, plan, scratch.work, sums[0])

    return count_differences


@inlined()
def scratch_of(integers, reals, plan):  # type: ignore[no-untyped-def]
    """Return the `Scratch` in a thread's memory."""
    window, start = window_of(integers, plan.frame, plan.kinds, plan.number_of_levels)
    voxels = len(window.places)
    table, first = table_of(reals, plan.kinds)
    work, start = work_of(integers, reals, start, first, plan.kinds, plan.numbers, voxels)
    around = Around(
        integers[start : start + voxels],
        integers[start + voxels : start + 2 * voxels],
        integers[start + 2 * voxels :],
    )
    return Scratch(window, around, table, work)


@inlined()
def put_in_order(window, kinds):  # type: ignore[no-untyped-def]
    """Put the levels of a window into ascending order, and their names with them."""
    lowest = highest = window.levels[0]
    for kind in range(np.uint64(kinds)):
        level = window.levels[kind]
        lowest = level if level < lowest else lowest
        highest = level if level > highest else highest
    if highest - lowest > _CLOSE * kinds:
        sort(window.levels, kinds)
        for kind in range(np.uint64(kinds)):
            window.names[np.uint64(window.levels[kind])] = kind
        return
    # Without branches, which would be mispredicted: a level that does not occur is overwritten by the next.
    name = np.uint64(0)
    for level in range(np.uint64(lowest), np.uint64(highest + 1)):
        occurs = window.names[level] >= 0
        window.levels[name] = level
        window.names[level] = name if occurs else -1
        name += np.uint64(occurs)


@inlined()
def fill(table, window, counts, around, plan):  # type: ignore[no-untyped-def]
    """Count the voxels of each level of a window and add up their differences."""
    for kind in range(np.uint64(counts.levels)):
        table.numbers[kind] = 0.0
        table.high[kind] = 0.0
        table.low[kind] = 0.0
    for at in range(np.uint64(counts.voxels)):
        level, number = window.values[np.uint64(window.places[at])], around.counts[at]
        # A level i is abs(i m - S) / m from the mean of m neighbours with the sum S. That the voxel itself is
        # in both sums adds nothing to i m - S.
        difference = abs(level * number - around.levels[at]) * plan.shares[np.uint64(number - 1)]
        name = np.uint64(window.names[np.uint64(level)])
        if number > 1 or plan.isolated:
            table.numbers[name] += 1.0
        table.high[name] += difference >> LOW_BITS
        table.low[name] += difference & ((1 << LOW_BITS) - 1)


@inlined()
def pack(table, window, kinds):  # type: ignore[no-untyped-def]
    """Write the levels, from 1 on, into a table; leave out those without a voxel that counts.

    Return how many are left.
    """
    left = 0
    for kind in range(np.uint64(kinds)):
        if table.numbers[kind] > 0.0:
            table.levels[left] = window.levels[kind] + 1.0
            table.numbers[left] = table.numbers[kind]
            table.high[left] = table.high[kind]
            table.low[left] = table.low[kind]
            left += 1
    return left
