"""Size zones: the connected parts of one level in a window, counted into a matrix; see `emphases`.

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
    voxels: Any  # most voxels of a window, and of a zone
    kinds: Any  # most levels of a window
    cells: Any  # whether zones of the same level and size are counted
    tables: Tables


class Zones(NamedTuple):
    """Scratch memory for the zones of a window. A zone is known by its root, the place of its first voxel."""

    parents: Any  # (size,) int32: at each voxel an earlier voxel of its zone; at the root itself
    sizes: Any  # (size,) int32: voxels of the zone, at its root
    others: Any  # (size,) int32: at each root the one before of the same level, or -1
    last: Any  # (most levels,) int32: last root of each level, or -1
    equal: Any  # (most voxels + 1,) int32: one less than the zones of each size; -1 between levels


def counting(task: Task, chosen: Chosen) -> Counting:
    """Return how the zones of a task are counted."""
    settings, number_of_levels = task.settings, task.bins.levels
    offsets = directions(replace(settings, distance=1, directions="scaled"))
    frame, kinds = frame_of(settings), most_levels(settings, number_of_levels)
    voxels = math.prod(settings.edges)
    cells = any("cells" in feature.needs for _, feature in chosen)

    def make_plan() -> Plan:
        tables = tables_for(number_of_levels, voxels, settings.log_unit)
        return Plan(frame, jumps(offsets, frame), voxels, kinds, cells, tables)

    tally = tally_memory(kinds, voxels, cells=False)
    integers = window_integers(settings, number_of_levels, frame) + tally.integers
    return Counting(
        make_plan=make_plan,
        memory=Memory(integers + 3 * frame.size + kinds + voxels + 1, tally.reals),
        matrices=1,
        steps=voxels * len(offsets),
    )


@inlined()
def count_zones(levels, centre, plan, integers, reals, sums):  # type: ignore[no-untyped-def]
    """Write the `Sums` of the matrix of the window around a voxel into `sums` (1, fields)."""
    if levels[centre] < 0:
        leave_out(sums)
        return
    window, start = window_of(integers, plan.frame, plan.kinds, len(plan.tables.inverses))
    tally, start = tally_of(integers, reals, start, plan.kinds, plan.voxels, False)
    zones = zones_of(integers, start, plan)
    counts = gather(levels, centre, plan.frame, window)
    clear(tally, counts.levels, plan.voxels)
    for kind in range(counts.levels):
        zones.last[kind] = -1
    connect(window, counts.voxels, plan.jumps, zones)
    largest = 1
    for at in range(np.uint64(counts.voxels)):
        place = np.uint64(window.places[at])
        if np.uint64(zones.parents[place]) == place:
            level, size = window.values[place], zones.sizes[place]
            kind = window.names[np.uint64(level)]
            enter(tally, kind, level, size, plan.voxels, plan.tables)
            largest = max(largest, size)
            zones.others[place] = zones.last[kind]
            zones.last[kind] = place
    logs = log_sum(zones, counts.levels, plan.tables.logs) if plan.cells else 0
    total(tally, counts.levels, largest, logs, plan.tables, sums[0])
    release(window, counts)


@inlined()
def zones_of(integers, start, plan):  # type: ignore[no-untyped-def]
    """Return `Zones` in scratch memory from the integer at `start` on."""
    size = plan.frame.size
    last = start + 3 * size
    equal = last + plan.kinds
    return Zones(
        integers[start : start + size],
        integers[start + size : start + 2 * size],
        integers[start + 2 * size : last],
        integers[last:equal],
        integers[equal : equal + plan.voxels + 1],
    )


@inlined()
def connect(window, voxels, jumps, zones):  # type: ignore[no-untyped-def]
    """Find the root of every voxel, and the sizes of the zones at their roots (union and find)."""
    values, parents = window.values, zones.parents
    for at in range(np.uint64(voxels)):
        place = np.uint64(window.places[at])
        level, root = values[place], place
        for k in range(np.uint64(len(jumps))):
            # Places ascend, so that the neighbours behind have been met.
            behind = place - jumps[k]
            if values[behind] == level:
                other = root_of(parents, behind)
                if other < root:
                    parents[root] = other
                    root = other
                elif other > root:
                    parents[other] = root
        parents[place] = root
        zones.sizes[place] = 0
    for at in range(np.uint64(voxels)):
        place = np.uint64(window.places[at])
        # The parent is an earlier voxel, whose own parent is already its root.
        root = np.uint64(parents[np.uint64(parents[place])])
        parents[place] = root
        zones.sizes[root] += 1


@inlined()
def root_of(parents, place):  # type: ignore[no-untyped-def]
    """Return the root of a voxel's zone as far as it is known, and shorten the way to it."""
    parent = np.uint64(parents[place])
    while parent != place:
        above = np.uint64(parents[parent])
        parents[place] = above
        place = parent
        parent = above
    return place


@inlined()
def log_sum(zones, kinds, logs):  # type: ignore[no-untyped-def]
    """Return the sum of P log2 P over the cells, P being the number of zones of one level and size."""
    result = 0
    for kind in range(kinds):
        root = zones.last[kind]
        while root >= 0:
            before = zones.equal[zones.sizes[root]] + 1
            zones.equal[zones.sizes[root]] = before
            result += logs[before + 1] - logs[before]
            root = zones.others[root]
        root = zones.last[kind]
        while root >= 0:
            zones.equal[zones.sizes[root]] = -1
            root = zones.others[root]
    return result


ZONES = Counted(Sums, FORMULAS, counting)
"""What the stages of the family are made of."""
