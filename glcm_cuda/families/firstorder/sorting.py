"""The intensities of a window in ascending order, kept while the window slides along its row.

The columns of a window are sorted once each. When the window moves on, one merge takes the values of the
column that leaves out of the list and puts those of the column that enters in. What is computed from the
list cannot depend on how the window got there: the same values are the same list.

All lists of a thread are in one float64 array, and each ends with an infinity.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit

END = np.inf


class Lists(NamedTuple):
    """Places of the lists of a window."""

    values: Any
    count: Any  # how many values there are
    other: Any  # room for the next values
    columns: Any  # sorted columns: those of the window, and one more
    column: Any  # room of a column


def list_size(edges: tuple[int, int, int]) -> int:
    """Return how many float64 the lists of a thread take, for windows with the edges of a `rows.Window`."""
    slices, rows, columns = edges
    return 2 * (slices * rows * columns + 1) + (columns + 1) * (slices * rows + 1)


@njit(inline="always")
def empty_lists(memory, window):  # type: ignore[no-untyped-def]
    """Return the lists of a window without a voxel."""
    column = window.slices * window.rows + 1
    size = window.slices * window.rows * window.columns + 1
    memory[0] = END
    for place in range(window.columns + 1):
        memory[2 * size + place * column] = END
    return Lists(0, 0, size, 2 * size, column)


@njit(inline="always")
def slide(source, place, rows, turn, memory, lists):  # type: ignore[no-untyped-def]
    """Move a window on by one voxel; return its lists.

    Parameters
    ----------
    source : flat float64 array
        Intensities; NaN where a voxel does not count.
    place : int
        Place of the first voxel of the column that enters.
    rows : rows.Rows
        The steps from there.
    turn : int
        How many columns entered before it.
    memory, lists
        The lists; see `empty_lists`.
    """
    # Of one place more than a window has columns, the one after the entering column's is the leaving one's.
    places = rows.window.columns + 1
    entering = lists.columns + turn % places * lists.column
    leaving = lists.columns + (turn + 1) % places * lists.column
    gather(source, place, rows, memory, entering)
    if memory[entering] == END and memory[leaving] == END:
        return lists
    count = replace(memory, lists.values, leaving, entering, lists.other)
    return Lists(lists.other, count, lists.values, lists.columns, lists.column)


@njit
def gather(source, place, rows, memory, start):  # type: ignore[no-untyped-def]
    """Write the sorted list of the values of a column that count."""
    count = 0
    for z in range(rows.window.slices):
        for row in range(rows.window.rows):
            value = source[place + z * rows.slice_step + row * rows.row_step]
            if not math.isnan(value):
                memory[start + count] = value
                count += 1
    sort(memory, start, count)
    memory[start + count] = END


@njit
def sort(memory, start, count):  # type: ignore[no-untyped-def]
    """Sort some values: Shell's method, with Knuth's gaps 1, 4, 13, 40, ..."""
    gap = 1
    while 3 * gap < count:
        gap = 3 * gap + 1
    while gap > 0:
        for at in range(start + gap, start + count):
            value, place = memory[at], at
            while place >= start + gap and memory[place - gap] > value:
                memory[place] = memory[place - gap]
                place -= gap
            memory[place] = value
        gap //= 3


@njit
def replace(memory, old, leaving, entering, new):  # type: ignore[no-untyped-def]
    """Write a sorted list without the values of a second, which it holds, and with those of a third.

    Returns the number of its values.
    """
    first = new
    value, gone, added = memory[old], memory[leaving], memory[entering]
    while True:
        if added < value:
            memory[new] = added
            new, entering = new + 1, entering + 1
            added = memory[entering]
        elif value != gone:
            memory[new] = value
            new, old = new + 1, old + 1
            value = memory[old]
        elif value == END:
            break
        else:
            old, leaving = old + 1, leaving + 1
            value, gone = memory[old], memory[leaving]
    memory[new] = END
    return new - first
