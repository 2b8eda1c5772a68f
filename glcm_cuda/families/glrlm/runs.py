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
from glcm_cuda.families.tallies import Tables, clear, tables_for, tally_memory, tally_of, total
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
    integers = window_integers(settings, number_of_levels, frame) + 2 * kinds
    return Counting(
        make_plan=make_plan,
        memory=Memory(integers + tally.integers, tally.reals),
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
    voxels_of = integers[start : start + plan.kinds]
    singles = integers[start + plan.kinds : start + 2 * plan.kinds]
    tally, _ = tally_of(integers, reals, start + 2 * plan.kinds, plan.kinds, plan.longest, plan.cells)
    counts = gather(levels, centre, plan.frame, window)
    count_levels(window, counts, voxels_of)
    clear(tally, counts.levels, plan.longest)
    if plan.merge:
        lines = 0
        for k in range(len(plan.jumps)):
            lines += int(has_line(window, counts.voxels, plan.jumps[k]))
        logs, longest = enter_singles(tally, singles, voxels_of, window, counts, lines, 1, plan), 1
        for k in range(len(plan.jumps)):
            more, most = enter_runs(window, counts, plan.jumps[k], tally, singles, plan)
            logs += more
            longest = max(longest, most)
        total_of_runs(tally, singles, window, counts, longest, logs, plan, sums[0])
    else:
        longest = 1
        for k in range(len(plan.jumps)):
            # A direction without a line of two voxels has no matrix.
            if has_line(window, counts.voxels, plan.jumps[k]):
                logs = enter_singles(tally, singles, voxels_of, window, counts, 1, longest, plan)
                more, longest = enter_runs(window, counts, plan.jumps[k], tally, singles, plan)
                total_of_runs(tally, singles, window, counts, longest, logs + more, plan, sums[k])
            else:
                leave_out(sums[k : k + 1])
    release(window, counts)


@inlined()
def count_levels(window, counts, voxels_of):  # type: ignore[no-untyped-def]
    """Count the voxels of each level, and put its place among those of the window at each voxel."""
    for kind in range(np.uint64(counts.levels)):
        voxels_of[kind] = 0
    for at in range(np.uint64(counts.voxels)):
        place = np.uint64(window.places[at])
        name = np.uint64(window.names[np.uint64(window.values[place])])
        window.values[place] = name
        voxels_of[name] += 1


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
def enter_singles(tally, singles, voxels_of, window, counts, times, longest, plan):  # type: ignore[no-untyped-def]
    """Enter every voxel as a run of its own, so many times; return the sum of P log2 P.

    Runs up to `longest` that the matrix before had are removed. `singles` receives the runs of one voxel of
    each level.
    """
    logs, size = 0, np.uint64(counts.levels)
    first, second = 0.0, 0.0
    for kind in range(size):
        number, i = times * voxels_of[kind], window.levels[kind] + 1.0
        singles[kind] = number
        tally.levels[kind] = number
        first += number * i
        second += number * i * i
        if plan.cells:
            logs += plan.tables.logs[np.uint64(number)]
    tally.entries[1], tally.first[1], tally.second[1] = times * counts.voxels, first, second
    for j in range(np.uint64(2), np.uint64(longest + 1)):
        tally.entries[j], tally.first[j], tally.second[j], tally.inverse[j] = 0.0, 0.0, 0.0, 0.0
        if plan.cells:
            for cell in range(j * size, (j + np.uint64(1)) * size):
                tally.cells[cell] = 0
    return logs


@inlined()
def enter_runs(window, counts, jump, tally, singles, plan):  # type: ignore[no-untyped-def]
    """Enter the runs of two and more voxels along a direction, in the place of as many of one.

    Most voxels of noisy images are runs of their own, which cost nothing here. Return the change of the sum
    of P log2 P, and the longest run.
    """
    values, longest, logs, size = window.values, 1, 0, np.uint64(counts.levels)
    for at in range(np.uint64(counts.voxels)):
        place = np.uint64(window.places[at])
        kind = values[place]
        if values[place + jump] == kind and values[place - jump] != kind:
            length, end = 2, place + jump + jump
            while values[end] == kind:
                length += 1
                end += jump
            longest = max(longest, length)
            logs += enter_run(tally, singles, np.uint64(kind), window.levels, length, size, plan)
    return logs, longest


@inlined()
def enter_run(tally, singles, kind, levels, length, size, plan):  # type: ignore[no-untyped-def]
    """Enter one run in the place of as many of one voxel; return the change of the sum of P log2 P."""
    level, j, one = np.uint64(levels[kind]), np.uint64(length), np.uint64(1)
    i = level + 1.0
    before = singles[kind]
    singles[kind] = before - length
    tally.levels[kind] -= length - 1
    tally.entries[1] -= length
    tally.first[1] -= length * i
    tally.second[1] -= length * i * i
    tally.entries[j] += 1.0
    tally.first[j] += i
    tally.second[j] += i * i
    tally.inverse[j] += plan.tables.inverses[level]
    if not plan.cells:
        return 0
    logs, cell = plan.tables.logs, j * size + kind
    equal = np.uint64(tally.cells[cell])
    tally.cells[cell] = equal + one
    fewer = logs[np.uint64(before - length)] - logs[np.uint64(before)]
    return fewer + logs[equal + one] - logs[equal]


@inlined()
def total_of_runs(tally, singles, window, counts, longest, logs, plan, sums):  # type: ignore[no-untyped-def]
    """Write the `Sums` of a matrix; `logs` is its sum of P log2 P."""
    inverse = 0.0
    for kind in range(np.uint64(counts.levels)):
        inverse += singles[kind] * plan.tables.inverses[np.uint64(window.levels[kind])]
    tally.inverse[1] = inverse
    total(tally, counts.levels, longest, logs, plan.tables, sums)


RUNS = Counted(Sums, FORMULAS, counting)
"""What the stages of the family are made of."""
