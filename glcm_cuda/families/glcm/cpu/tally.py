"""Windows of any kind on the CPU: a tally of the pairs in the window that slides along each row.

From one voxel to the next, one plane of pairs enters the window and one leaves it. Each changes the
count n of its code by one, and with it the sum of ``n * log2(n)`` by a difference that is read from
a table. The cost grows linearly with the window's edge in 2D and does not depend on the number of
levels. What is no pair, at the border or outside a mask, is tallied like a code of its own and taken
off at the end, so that the inner loop has no branch.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from glcm_cuda.base.cache import fingerprint
from glcm_cuda.base.threads import run_in_parts
from glcm_cuda.families.fixed_point import LOG_ONE, log_steps, log_table
from glcm_cuda.families.glcm.definition import NO_PAIR, is_distinct, mean_entropy, pair_code, scaled_entropy
from glcm_cuda.families.offsets import directions, radii_within
from glcm_cuda.families.stage import Task

BAND = 16
"""Rows that share one buffer of pair codes: small enough for the cache, large against the halo."""

_MOST_PLAIN_LEVELS = 256
"""Levels up to which every code of a pair has its cell in the tally. Beyond, codes are numbered as they
appear in a band, so that a tally is never larger than what is counted in it."""

JOINT, TOTAL, DIFFERENCE, FIRST, SECOND, ENDS = range(6)
"""What a code tells apart: pairs, sums of their levels, differences, first ends, second ends, both ends
(the first for the first half of the directions, which are given twice)."""


def map_levels(
    levels: npt.NDArray[np.integer],
    out: npt.NDArray[np.float32],
    task: Task,
    first: tuple[int, int],
) -> None:
    """Write the joint entropy around every voxel of a block, for any window; see `stage.CPUStage.map`."""
    settings, number_of_levels = task.settings, task.bins.levels
    offsets, radii = directions(settings), radii_within(settings, levels.shape)
    logs = log_table(len(offsets) * math.prod((2 * radii + 1).tolist()))
    steps = log_steps(logs)
    merge, scale = task.merge, settings.log_unit / LOG_ONE
    map_bands = _compiled()

    def map_some(start: int, stop: int) -> None:
        map_bands(
            levels, offsets, first, radii, number_of_levels, settings.symmetric, merge, logs, steps,
            scale, out, start, stop,
        )  # fmt: skip

    run_in_parts(map_some, len(out) * -(-out.shape[1] // BAND))


@functools.cache
def _compiled() -> Any:
    """Return the loop over bands, compiled or read from Numba's cache."""
    sources = fingerprint(__name__)

    @njit(nogil=True, cache=True)
    def map_bands(  # type: ignore[no-untyped-def]
        levels, offsets, first, radii, number_of_levels, symmetric, merge, log_table, steps, scale,
        out, start_band, stop_band
    ):  # fmt: skip
        _ = sources
        _, height, width = out.shape
        bands = (height + BAND - 1) // BAND
        group = len(offsets) if merge else 1
        for task in range(start_band, stop_band):
            z = task // bands
            top = task % bands * BAND
            rows = min(BAND, height - top)
            codes = code_buffer(width, group, rows, radii)
            tally = np.zeros(cells(JOINT, codes.size, number_of_levels) + 1, np.int32)
            entropy = np.zeros((rows, width), np.float64)
            terms = np.zeros((rows, width), np.int32)
            for k in range(0, len(offsets), group):
                chosen = offsets[k : k + group]
                fill_codes(
                    codes, levels, chosen, radii, first[0] + z, first[1] + top, JOINT, number_of_levels,
                    symmetric,
                )  # fmt: skip
                places = plane_places(codes, chosen, radii)
                most = pairs_in_window(chosen, radii)
                tally[-1] = most
                for row in range(rows):
                    _slide_row(
                        codes, row, places, most, radii[2], number_of_levels, symmetric, tally, steps,
                        log_table, entropy[row], terms[row],
                    )  # fmt: skip
            for row in range(rows):
                for x in range(width):
                    out[z, top + row, x] = mean_entropy(entropy[row, x], terms[row, x], scale)

    return map_bands


@njit
def code_buffer(width, group, rows, radii):  # type: ignore[no-untyped-def]
    """Room for the codes of a band, by x, direction, z and y; it reaches beyond the image on every side."""
    return np.empty((width + 4 * radii[2] + 2, group, 2 * radii[0] + 1, rows + 2 * radii[1]), np.uint32)


@njit
def cells(kind, pairs, number_of_levels):  # type: ignore[no-untyped-def]
    """Number of codes of a kind that so many pairs can have; what is no pair has the next."""
    if kind == JOINT:
        plain = number_of_levels <= _MOST_PLAIN_LEVELS
        return number_of_levels * number_of_levels if plain else number_of_levels + pairs
    return 2 * number_of_levels if kind == TOTAL else number_of_levels


@njit
def fill_codes(codes, levels, offsets, radii, z, top, kind, number_of_levels, symmetric):  # type: ignore[no-untyped-def]
    """Codes of the pairs that start in a band of rows or around it.

    What is no pair has the last code, of a cell of its own in the tally, so that every window has as
    many codes as any other.
    """
    depth, height, width = levels.shape
    margin = 2 * radii[2] + 1
    absent = cells(kind, codes.size, number_of_levels)
    numbered = kind == JOINT and number_of_levels > _MOST_PLAIN_LEVELS
    size = 1
    while numbered and size < 2 * codes.size:
        size *= 2
    names = np.full((size, 2), np.int64(NO_PAIR))
    found = number_of_levels
    for column in range(codes.shape[0]):
        x = column - margin
        for k in range(codes.shape[1]):
            dz, dy, dx = offsets[k]
            for plane in range(codes.shape[2]):
                z_start = z - radii[0] + plane
                for row in range(codes.shape[3]):
                    y_start = top - radii[1] + row
                    code = np.int64(NO_PAIR)
                    if (
                        0 <= x < width
                        and 0 <= x + dx < width
                        and 0 <= y_start < height
                        and 0 <= y_start + dy < height
                        and 0 <= z_start < depth
                        and 0 <= z_start + dz < depth
                    ):
                        a = np.int64(levels[z_start, y_start, x])
                        b = np.int64(levels[z_start + dz, y_start + dy, x + dx])
                        last_half = 2 * k >= codes.shape[1]
                        code = _code_of(a, b, kind, last_half, number_of_levels, symmetric)
                    # Two equal levels of a symmetric matrix keep their code, which `is_distinct` looks at.
                    if numbered and code >= (number_of_levels if symmetric else 0):
                        code, found = _number(code, names, found)
                    codes[column, k, plane, row] = code if code != NO_PAIR else absent


@njit(inline="always")
def _code_of(a, b, kind, last_half, number_of_levels, symmetric):  # type: ignore[no-untyped-def]
    """Code of a pair of levels; NO_PAIR if either level is."""
    if kind == JOINT:
        return pair_code(a, b, number_of_levels, symmetric)
    if a < 0 or b < 0:
        return np.int64(NO_PAIR)
    if kind == TOTAL:
        return a + b
    if kind == DIFFERENCE:
        return abs(a - b)
    return b if kind == SECOND or (kind == ENDS and last_half) else a


@njit
def _number(code, names, found):  # type: ignore[no-untyped-def]
    """Return the number of a code, a new one if the code is, and how many are taken then.

    `names` is a hash table of codes and numbers with open addresses.
    """
    mask = len(names) - 1
    mixed = (code ^ (code >> 15)) * 0x9E3779B1
    slot = (mixed ^ (mixed >> 15)) & mask
    while names[slot, 0] != code:
        if names[slot, 0] == NO_PAIR:
            names[slot, 0], names[slot, 1] = code, found
            return np.int64(found), found + 1
        slot = (slot + 1) & mask
    return names[slot, 1], found


@njit
def plane_places(codes, offsets, radii):  # type: ignore[no-untyped-def]
    """Where the pairs that leave and that enter lie in the buffer, for the window at ``x = -radius``."""
    _, directions, planes, rows = codes.shape
    first = radii[2] + 1
    places = np.empty((directions * planes * rows, 2), np.uint64)
    found = 0
    for k in range(directions):
        dz, dy, dx = offsets[k]
        leaving = first - radii[2] - min(dx, 0) - 1
        entering = first + radii[2] - max(dx, 0)
        for plane in range(max(0, -dz), planes - max(0, dz)):
            for row in range(max(0, -dy), 2 * radii[1] + 1 - max(0, dy)):
                place = (k * planes + plane) * rows + row
                places[found, 0] = leaving * directions * planes * rows + place
                places[found, 1] = entering * directions * planes * rows + place
                found += 1
    return places[:found]


@njit
def pairs_in_window(offsets, radii):  # type: ignore[no-untyped-def]
    """Pairs in a whole window, all directions together."""
    total = 0
    for k in range(len(offsets)):
        in_direction = 1
        for axis in range(3):
            in_direction *= 2 * radii[axis] + 1 - abs(offsets[k, axis])
        total += in_direction
    return total


@njit
def _slide_row(  # type: ignore[no-untyped-def]
    codes, row, places, most, radius, number_of_levels, symmetric, tally, steps, log_table, entropy, terms
):
    """Add the entropy of every window along a row.

    The window starts and ends beside the image, where all `most` pairs are none: the tally is the
    same before and after.
    """
    flat = codes.reshape(-1)
    stride = np.uint64(codes.size // codes.shape[0])
    absent = len(tally) - 1
    log_sum = most * log_table[most]
    distinct = most if symmetric else 0
    width = len(entropy)
    for x in range(-radius, width + radius + 1):
        start = np.uint64(x + radius) * stride + np.uint64(row)
        for j in range(np.uint64(len(places))):
            left = flat[start + places[j, 0]]
            n = tally[left] - 1
            tally[left] = n
            log_sum -= steps[np.uint64(n)]
            distinct -= is_distinct(left, number_of_levels, symmetric)
            entered = flat[start + places[j, 1]]
            n = tally[entered]
            tally[entered] = n + 1
            log_sum += steps[np.uint64(n)]
            distinct += is_distinct(entered, number_of_levels, symmetric)
        none = tally[absent]
        if 0 <= x < width and none < most:
            log_sum_of_pairs = log_sum - none * log_table[none]
            distinct_pairs = distinct - none if symmetric else 0
            entropy[x] += scaled_entropy(most - none, log_sum_of_pairs, distinct_pairs, log_table)
            terms[x] += 1
