"""Dependences: the voxels of a window by how many neighbours have nearly their level; see `emphases`.

The function for one window is compiled for the CPU and for CUDA devices alike.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from glcm_cuda.families.counting import Counted, Counting, Memory
from glcm_cuda.families.emphases import FORMULAS, Sums
from glcm_cuda.families.inlining import inlined
from glcm_cuda.families.offsets import directions
from glcm_cuda.families.stage import Chosen, Task
from glcm_cuda.families.tallies import Tables, clear, enter, tables_for, tally_memory, tally_of, total
from glcm_cuda.families.windows import (
    Frame,
    frame_of,
    gather,
    jumps,
    leave_out,
    most_levels,
    release,
    window_integers,
    window_of,
)


class Plan(NamedTuple):
    """What is counted, over which windows."""

    frame: Frame
    jumps: Any  # (K,) uint64: steps to half of a voxel's neighbours in a window's array, forwards
    apart: Any  # largest difference of levels that depend on each other
    most: Any  # largest j
    kinds: Any  # most levels of a window
    cells: Any  # whether cells of the matrix are counted
    tables: Tables


def counting(task: Task, chosen: Chosen) -> Counting:
    """Return how the dependences of a task are counted."""
    settings, number_of_levels = task.settings, task.bins.levels
    offsets = directions(replace(settings, directions="all"))
    frame, kinds = frame_of(settings, max(settings.distances)), most_levels(settings, number_of_levels)
    voxels = math.prod(settings.edges)
    most = min(2 * len(offsets) + 1, voxels)
    cells = any("cells" in feature.needs for _, feature in chosen)

    def make_plan() -> Plan:
        tables = tables_for(number_of_levels, voxels, settings.log_unit)
        return Plan(frame, jumps(offsets, frame), settings.gldm_a, most, kinds, cells, tables)

    tally = tally_memory(kinds, most, cells=cells)
    integers = window_integers(settings, number_of_levels, frame) + frame.size + tally.integers
    return Counting(
        make_plan=make_plan,
        memory=Memory(integers, tally.reals),
        matrices=1,
        steps=voxels * len(offsets),
    )


@inlined()
def count_dependences(levels, centre, plan, integers, reals, sums):  # type: ignore[no-untyped-def]
    """Write the `Sums` of the matrix of the window around a voxel into `sums` (1, fields)."""
    if levels[centre] < 0:
        leave_out(sums)
        return
    window, start = window_of(integers, plan.frame, plan.kinds, len(plan.tables.inverses))
    numbers = integers[start : start + plan.frame.size]
    tally, _ = tally_of(integers, reals, start + plan.frame.size, plan.kinds, plan.most, plan.cells)
    counts = gather(levels, centre, plan.frame, window)
    clear(tally, counts.levels, plan.most)
    add_dependences(window, counts.voxels, plan.jumps, plan.apart, numbers)
    logs, largest = 0, 1
    for at in range(np.uint64(counts.voxels)):
        place = np.uint64(window.places[at])
        level, number = window.values[place], numbers[place]
        kind = window.names[np.uint64(level)]
        logs += enter(tally, kind, level, number, plan.most, plan.tables)
        largest = max(largest, number)
    total(tally, counts.levels, largest, logs, plan.tables, sums[0])
    release(window, counts)


@inlined()
def add_dependences(window, voxels, jumps, apart, numbers):  # type: ignore[no-untyped-def]
    """Write the number of every voxel: 1, and its neighbours whose levels differ by at most `apart`."""
    values = window.values
    for at in range(np.uint64(voxels)):
        numbers[np.uint64(window.places[at])] = 1
    for at in range(np.uint64(voxels)):
        place = np.uint64(window.places[at])
        level, more = values[place], 0
        for k in range(np.uint64(len(jumps))):
            other = place + jumps[k]
            near = int(values[other] >= 0 and abs(values[other] - level) <= apart)
            more += near
            numbers[other] += near
        numbers[place] += more


DEPENDENCES = Counted(Sums, FORMULAS, counting)
"""What the stages of the family are made of."""
