"""Run lengths: the runs of a window along each direction, counted into matrices; see `emphases`.

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
    MARGIN,
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
    jumps: Any  # (K,) uint64: steps along the directions in a window's array
    longest: Any  # longest run
    kinds: Any  # most levels of a window
    cells: Any  # whether cells of a matrix are counted
    merge: Any
    tables: Tables


def counting(task: Task, chosen: Chosen) -> Counting:
    """Return how the runs of a task are counted."""
    settings, number_of_levels = task.settings, task.bins.levels
    offsets = directions(replace(settings, distance=1, directions="scaled"))
    frame, kinds = frame_of(settings), most_levels(settings, number_of_levels)
    longest, voxels = max(settings.edges), math.prod(settings.edges)
    cells = any("cells" in feature.needs for _, feature in chosen)
    most_entries = voxels * (len(offsets) if task.merge else 1)

    def make_plan() -> Plan:
        tables = tables_for(number_of_levels, most_entries, settings.log_unit)
        return Plan(frame, jumps(offsets, frame), longest, kinds, cells, task.merge, tables)

    tally = tally_memory(kinds, longest, cells=cells)
    lengths = window_integers(settings, number_of_levels, frame)
    return Counting(
        make_plan=make_plan,
        memory=Memory(lengths + frame.size + tally.integers, tally.reals),
        matrices=1 if task.merge else len(offsets),
        steps=voxels * len(offsets),
    )


@inlined()
def count_runs(levels, centre, plan, integers, reals, sums):  # type: ignore[no-untyped-def]
    """Write the `Sums` of every matrix of the window around a voxel into `sums` (matrices, fields)."""
    if levels[centre] < 0:
        leave_out(sums)
        return
    window, start = window_of(integers, plan.frame, plan.kinds, len(plan.tables.inverses))
    lengths = integers[start : start + plan.frame.size]
    tally, _ = tally_of(integers, reals, start + plan.frame.size, plan.kinds, plan.longest, plan.cells)
    counts = gather(levels, centre, plan.frame, window)
    logs, longest = 0, 1
    for k in range(len(plan.jumps)):
        if k == 0 or not plan.merge:
            clear(tally, counts.levels, plan.longest)
            logs, longest = 0, 1
        # A direction without such a line has no matrix: its sums stay 0.
        if has_line(window, counts.voxels, plan.jumps[k]):
            more, most = enter_runs(window, counts.voxels, plan.jumps[k], lengths, tally, plan)
            logs += more
            longest = max(longest, most)
        if k == len(plan.jumps) - 1 or not plan.merge:
            total(tally, counts.levels, longest, logs, plan.tables, sums[0 if plan.merge else k])
    release(window, counts)


@inlined()
def has_line(window, voxels, jump):  # type: ignore[no-untyped-def]
    """Return whether a line along a direction holds two voxels that count, adjacent or not."""
    for at in range(voxels):
        place = np.uint64(window.places[at]) + jump
        while window.values[place] != MARGIN:
            if window.values[place] >= 0:
                return True
            place += jump
    return False


@inlined()
def enter_runs(window, voxels, jump, lengths, tally, plan):  # type: ignore[no-untyped-def]
    """Enter the runs along a direction; return the change of the sum of P log2 P, and the longest run."""
    values, logs, longest = window.values, 0, 1
    for at in range(np.uint64(voxels)):
        place = np.uint64(window.places[at])
        level = values[place]
        # The voxel before has been met: places ascend, and a step along a direction leads to a later one.
        length = lengths[place - jump] * int(values[place - jump] == level) + 1
        lengths[place] = length
        if values[place + jump] != level:
            logs += enter(tally, window.names[np.uint64(level)], level, length, plan.longest, plan.tables)
            longest = max(longest, length)
    return logs, longest


RUNS = Counted(Sums, FORMULAS, counting)
"""What the stages of the family are made of."""
