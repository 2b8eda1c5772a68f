"""Sums of powers and inverses of levels over the pairs of a window, by boxes.

What a pair adds is added up over the planes of a line; down the lines a running sum moves; along the rows
the sum of a window is a difference of two sums from the start of the row. Each is a plain loop over columns.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numba import njit

from glcm_cuda.base.cache import can_cache, versioned

COUNTS, DIFFERENCES, TOTALS, POWERS, SIGNED = range(5)
"""Pairs of sums that are computed together, in the order of the fields of `definition.Sums`: numbers of pairs
and of pairs of two levels, powers of ``|a - b|``, powers of a + b, higher powers of it, and a - b."""


@functools.cache
def pair_of_sums(group: int) -> Any:
    """Return the loop that computes a pair of sums; compiled, or read from Numba's cache.

    It writes fields `field` and ``field + 1`` of `sums` (rows, fields, X) int64, or adds to them with `add`,
    for the windows whose pairs have the given ends (`pairs.Ends`) in boxes of `high` rows and `wide` columns.
    """

    @njit(nogil=True, cache=can_cache())
    @versioned(__name__)
    def sum_pair(sums, field, first, second, high, wide, symmetric, add):  # type: ignore[no-untyped-def]
        planes, lines, columns = first.shape
        ones, others = np.zeros((lines, columns), np.int64), np.zeros((lines, columns), np.int64)
        for plane in range(planes):
            for line in range(lines):
                a, b, one, other = first[plane, line], second[plane, line], ones[line], others[line]
                for x in range(np.uint64(columns)):
                    value, next_value = _terms(group, np.int64(a[x]), np.int64(b[x]), symmetric)
                    one[x] += value
                    other[x] += next_value
        _sum_boxes(sums, field, ones, high, wide, add)
        _sum_boxes(sums, field + 1, others, high, wide, add)

    return sum_pair


@functools.cache
def sums_by_difference() -> Any:
    """Return the loop for the sums of what tables give for ``|a - b|``; see `pair_of_sums`.

    `fields` names the field of each table (differences + 1) int64, which ends with 0, for a non-pair.
    """

    @njit(nogil=True, cache=can_cache())
    @versioned(__name__)
    def sum_tables(sums, fields, first, second, high, wide, tables, add):  # type: ignore[no-untyped-def]
        planes, lines, columns = first.shape
        differences = np.empty_like(first)
        for plane in range(planes):
            for line in range(lines):
                _subtract_levels(differences[plane, line], first[plane, line], second[plane, line], tables)
        values = np.empty((lines, columns), np.int64)
        for j in range(len(fields)):
            values.fill(0)
            for plane in range(planes):
                for line in range(lines):
                    _look_up(values[line], differences[plane, line], tables[j])
            _sum_boxes(sums, fields[j], values, high, wide, add)

    return sum_tables


@njit
def _subtract_levels(differences, a, b, tables):  # type: ignore[no-untyped-def]
    """Write the index in the tables of every pair of a line."""
    absent = tables.shape[1] - 1
    for x in range(np.uint64(len(differences))):
        difference = abs(np.int32(a[x]) - np.int32(b[x]))
        differences[x] = difference if a[x] >= 0 else absent


@njit
def _look_up(values, differences, table):  # type: ignore[no-untyped-def]
    """Add what a table gives for the pairs of a line."""
    for x in range(np.uint64(len(values))):
        values[x] += table[np.uint64(differences[x])]


@njit(inline="always")
def _terms(group, a, b, symmetric):  # type: ignore[no-untyped-def]
    """Return what a pair adds to the two sums of a group. Both levels of a non-pair are -1: it adds 0."""
    total = a + b if a >= 0 else 0
    difference = abs(a - b)
    if group == COUNTS:
        distinct = 1 if symmetric and a != b else 0
        return (1 if a >= 0 else 0), distinct
    if group == DIFFERENCES:
        return difference, difference * difference
    if group == TOTALS:
        return total, total * total
    if group == POWERS:
        return total * total * total, total * total * total * total
    return a - b, (a - b) * total


@njit
def _sum_boxes(sums, field, lines, high, wide, add):  # type: ignore[no-untyped-def]
    """Write, or add, the sums of boxes of `high` lines and `wide` columns."""
    rows, _, width = sums.shape
    columns = np.zeros(lines.shape[1], np.int64)
    for line in range(high):
        _move(columns, lines[line], lines[line], 0)
    from_start = np.zeros(lines.shape[1] + 1, np.int64)
    for row in range(rows):
        # Only this loop, one addition a column, does not become vector instructions.
        running = np.int64(0)
        for x in range(np.uint64(width + wide - 1)):
            running += columns[x]
            from_start[x + np.uint64(1)] = running
        _subtract(sums[row, field], from_start[wide:], from_start, add)
        if row + 1 < rows:
            _move(columns, lines[row + high], lines[row], 1)


@njit
def _move(columns, entering, leaving, leaves):  # type: ignore[no-untyped-def]
    """Add a line to the sums of the columns, and take one off if `leaves` is 1, not 0."""
    for x in range(np.uint64(len(columns))):
        columns[x] += entering[x] - leaves * leaving[x]


@njit
def _subtract(out, ends, starts, add):  # type: ignore[no-untyped-def]
    """Write, or add, differences."""
    for x in range(np.uint64(len(out))):
        kept = out[x] if add else 0
        out[x] = kept + ends[x] - starts[x]
