"""All features except joint entropy and MCC on the CPU: sums over the pairs of every window.

Powers and inverses of levels are added up by sliding boxes, first down the rows and then along them.
Entropies, energy and maximum need the numbers of equal pairs. These come from tallies that slide along the
rows (`tally`), one for each kind of code: pair, sum of the levels, difference, ends. All sums are integers,
so the order of summation does not change the result.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit, types
from numba.extending import overload

from glcm_cuda.base.cache import can_cache, versioned
from glcm_cuda.base.threads import run_in_parts
from glcm_cuda.families.feature import Feature
from glcm_cuda.families.fixed_point import log_steps
from glcm_cuda.families.glcm.cpu.tally import (
    BAND,
    DIFFERENCE,
    ENDS,
    FIRST,
    JOINT,
    SECOND,
    TOTAL,
    cells,
    code_buffer,
    fill_codes,
    pairs_in_window,
    plane_places,
)
from glcm_cuda.families.glcm.definition import FORMULAS, Sums
from glcm_cuda.families.glcm.scales import inverse_table, logs_of_ends, most_pairs, scale_of
from glcm_cuda.families.offsets import directions, radii_within
from glcm_cuda.families.stage import Chosen, Task
from glcm_cuda.settings import GLCMSettings

_FIELD = {name: place for place, name in enumerate(Sums._fields)}
"""Index of every field of `Sums`."""

_FIELDS = len(Sums._fields)

_BOXES = _FIELD["log_pairs"]
"""Number of the first fields of `Sums`, which are summed by boxes."""

_INVERSES, _LOG_PAIRS = _FIELD["inverse"], _FIELD["log_pairs"]
_ENERGY, _LARGEST = _FIELD["energy"], _FIELD["largest"]


class _Plan(NamedTuple):
    """What is counted, over which windows, and the tables for it."""

    offsets: Any
    radii: Any
    number_of_levels: Any
    symmetric: Any
    merge: Any
    boxes: Any  # (_BOXES,) bool: which of these fields of `Sums` are needed
    powers: Any  # whether third and fourth powers are needed
    inverses: Any  # whether the inverse sums are needed
    joint: Any  # whether the logarithmic sum over the codes of pairs is needed
    weights: Any  # whether energy or maximum are needed
    codes: Any  # (tallies, 2) int64: kind of code of every tally, and the field of `Sums` that it fills
    log_table: Any  # fixed-point logarithms
    steps: Any  # see `log_steps`
    inverse_table: Any
    scale: Any


def map_levels(
    levels: npt.NDArray[np.integer],
    out: npt.NDArray[np.float32],
    chosen: Chosen,
    task: Task,
    origin: tuple[int, int],
) -> None:
    """Write the chosen features around every voxel of a block.

    `out` is (F, N, M, X); see `stage.CPUStage.map`.
    """
    plan = _plan([feature for _, feature in chosen], task.settings, task.bins.levels, levels.shape)
    sum_band, adders = _compiled(), [_adder(feature.name) for _, feature in chosen]
    bands = -(-out.shape[2] // BAND)

    def map_some(start: int, stop: int) -> None:
        buffer = np.empty((BAND, _FIELDS, out.shape[3]), np.int64)
        for band in range(start, stop):
            z, top = band // bands, band % bands * BAND
            maps = out[:, z, top : top + BAND]
            totals, terms = np.zeros((len(chosen), *maps.shape[1:])), np.zeros(maps.shape[1:], np.int32)
            # The offsets of each matrix: of all directions together, or of one after another.
            for offsets in plan.offsets[np.newaxis] if plan.merge else plan.offsets[:, np.newaxis]:
                sums = buffer[: maps.shape[1]]
                sums.fill(0)
                sum_band(levels, offsets, origin[0] + z, origin[1] + top, plan, sums, terms)
                for total, add_values in zip(totals, adders, strict=True):
                    add_values(total, sums, plan.scale)
            with np.errstate(invalid="ignore"):  # a window without pairs has 0 / 0, which is NaN
                for (plane, _), total in zip(chosen, totals, strict=True):
                    np.divide(total, terms, out=maps[plane], casting="same_kind")

    run_in_parts(map_some, out.shape[1] * bands)


def _plan(
    features: Sequence[Feature], settings: GLCMSettings, number_of_levels: int, shape: tuple[int, ...]
) -> _Plan:
    """Return what the features need to be counted in a block of this shape, halo included."""
    needs = {need for feature in features for need in feature.needs}
    # The scale is that of the whole window, so that a part of an image gives the same bits.
    scale, radii = scale_of(settings, most_pairs(settings)), radii_within(settings, shape)
    logs = logs_of_ends(most_pairs(settings, radii), scale)
    joint = bool(needs & {"joint", "energy", "largest"})
    ends = ((ENDS, "log_first"),) if settings.symmetric else ((FIRST, "log_first"), (SECOND, "log_second"))
    codes = [
        (kind, _FIELD[field])
        for wanted, kind, field in (
            (joint, JOINT, "log_joint"),
            ("total" in needs, TOTAL, "log_total"),
            ("difference" in needs, DIFFERENCE, "log_difference"),
            *(("ends" in needs, kind, field) for kind, field in ends),
        )
        if wanted
    ]
    return _Plan(
        offsets=directions(settings),
        radii=radii,
        number_of_levels=number_of_levels,
        symmetric=settings.symmetric,
        merge=settings.aggregate == "merge",
        boxes=np.array([_is_wanted(field, needs, settings.symmetric) for field in Sums._fields[:_BOXES]]),
        powers="powers" in needs,
        inverses="inverse" in needs,
        joint="joint" in needs,
        weights=bool(needs & {"energy", "largest"}),
        codes=np.array(codes, np.int64).reshape(-1, 2),
        log_table=logs,
        steps=log_steps(logs),
        inverse_table=inverse_table(number_of_levels, scale),
        scale=scale,
    )


def _is_wanted(field: str, needs: Collection[str], symmetric: bool) -> bool:
    """Return whether features with these needs read a field that boxes sum."""
    if field.startswith("inverse"):
        return "inverse" in needs
    if field in ("total3", "total4"):
        return "powers" in needs
    return field not in ("signed", "signed_total") or not symmetric


@functools.cache
def _compiled() -> Any:
    """Return the function that sums over the pairs of a matrix in every window of a band of rows.

    It fills `sums` (rows, `_FIELDS`, X) int64, which must be 0, and adds 1 to `terms` (rows, X) where a
    window holds pairs. It is compiled, or read from Numba's cache.
    """

    @njit(nogil=True, cache=can_cache())
    @versioned(__name__)
    def sum_band(levels, chosen, z, top, plan, sums, terms):  # type: ignore[no-untyped-def]
        for j in range(len(chosen)):
            _add_boxes(sums, levels, chosen[j], z, top, plan)
        for j in range(len(plan.codes)):
            _tally_band(sums, levels, chosen, plan.codes[j, 0], plan.codes[j, 1], z, top, plan)
        for row in range(len(sums)):
            for x in range(sums.shape[2]):
                n = sums[row, 0, x]  # pairs in the window
                sums[row, _LOG_PAIRS, x] = n * plan.log_table[n]
                terms[row, x] += n > 0

    return sum_band


@njit(forceinline=True)
def _sums_at(sums, x):  # type: ignore[no-untyped-def]
    """Return the sums of one window as `Sums`; the compiler removes fields that are not read."""
    return Sums(
        sums[0, x], sums[1, x], sums[2, x], sums[3, x], sums[4, x], sums[5, x], sums[6, x], sums[7, x],
        sums[8, x], sums[9, x], sums[10, x], sums[11, x], sums[12, x], sums[13, x], sums[14, x], sums[15, x],
        sums[16, x], sums[17, x], sums[18, x], sums[19, x], sums[20, x], sums[21, x], sums[22, x],
    )  # fmt: skip


def _value(place: int, sums: Any, scale: Any) -> Any:
    """Return the value of a feature by the index of its formula."""
    return tuple(FORMULAS.values())[place](sums, scale)


@overload(_value, prefer_literal=True, jit_options={"error_model": "numpy"})
def _compiled_value(place, sums, scale):  # type: ignore[no-untyped-def]
    # Only a literal index says at compile time which formula it is, which can then be inlined.
    if not isinstance(place, types.IntegerLiteral):
        return None
    formula = tuple(FORMULAS.values())[place.literal_value]
    return lambda place, sums, scale: formula(sums, scale)


@functools.cache
def _adder(name: str) -> Any:
    """Return a function that adds the values of a feature in every window of a band to totals (rows, X).

    Each feature has a loop of its own, which reads only the sums that it needs and is compiled when the
    feature is first used. The loop closes over the index of the formula: Numba does not cache functions
    that close over functions.
    """
    place = tuple(FORMULAS).index(name)

    @njit(nogil=True, cache=can_cache(), error_model="numpy")
    @versioned(__name__)
    def add_values(totals, sums, scale):  # type: ignore[no-untyped-def]
        for row in range(len(totals)):
            for x in range(totals.shape[1]):
                if sums[row, 0, x] > 0:
                    totals[row, x] += _value(place, _sums_at(sums[row], x), scale)

    return add_values


@njit
def _add_boxes(sums, levels, offset, z, top, plan):  # type: ignore[no-untyped-def]
    """Add the sums by boxes over the pairs of one direction, for the windows of a band.

    `columns` holds, for every column x of the image, the sums over the pairs in that column of the windows
    of a row: those whose first voxels have the coordinate x and rows and slices that the windows reach.
    From row to row of the band one row of pairs is added and one is subtracted; along x a running sum moves
    over the columns.
    """
    dz, dy, dx = offset
    rz, ry, rx = plan.radii
    rows, _, width = sums.shape
    # A margin of zeros on both sides saves the tests for the border.
    columns = np.zeros((_BOXES, width + 2 * rx + 1), np.int64)
    inner = columns[:, rx + 1 : rx + 1 + width]
    for row in range(rows):
        y = top + row
        # Rows in which the pairs of the windows of this row start, not yet clipped.
        first, last = y - ry - min(dy, 0), y + ry - max(dy, 0)
        for start_z in range(z - rz - min(dz, 0), z + rz - max(dz, 0) + 1):
            # From the second row on the sums are those of the row above: take its first row of pairs off.
            if row > 0:
                _add_line(inner, levels, start_z, first - 1, offset, -1, plan)
            for start_y in range(last if row > 0 else first, last + 1):
                _add_line(inner, levels, start_z, start_y, offset, 1, plan)
        for field in range(_BOXES):
            if plan.boxes[field]:
                _slide(sums[row, field], columns[field], 1 - min(dx, 0), 2 * rx + 1 - max(dx, 0))


@njit
def _slide(sums, columns, first, last):  # type: ignore[no-untyped-def]
    """Add to every place x the sum of the columns from ``x + first`` to ``x + last``."""
    # Start without the last column: before each step, `running` is the sum of all but the last one.
    running = np.int64(0)
    for x in range(np.uint64(first), np.uint64(last)):
        running += columns[x]
    for x in range(np.uint64(len(sums))):
        running += columns[x + np.uint64(last)]
        sums[x] += running
        running -= columns[x + np.uint64(first)]


@njit
def _add_line(columns, levels, z, y, offset, sign, plan):  # type: ignore[no-untyped-def]
    """Add the pairs that start in a row of levels to the sums of their columns, or subtract them.

    `sign` is 1 or -1.
    """
    depth, height, width = levels.shape
    dz, dy, dx = offset
    if z < 0 or z >= depth or y < 0 or y >= height:
        return
    if z + dz < 0 or z + dz >= depth or y + dy < 0 or y + dy >= height:
        return
    # Columns of the first voxels whose second voxels are in the image too.
    begin, end = max(0, -dx), min(width, width - dx)
    if begin >= end:
        return
    a, b, columns = (
        levels[z, y, begin:end],
        levels[z + dz, y + dy, begin + dx : end + dx],
        columns[:, begin:end],
    )
    # Several loops over few arrays: each becomes vector instructions, which one loop over all would not.
    _add_pairs(columns[0], columns[1], a, b, sign, plan.symmetric)
    _add_differences(columns[2], columns[3], a, b, sign)
    _add_totals(columns[4], columns[5], a, b, sign)
    if plan.powers:
        _add_powers(columns[6], columns[7], a, b, sign)
    if not plan.symmetric:
        _add_signed(columns[8], columns[9], a, b, sign)
    if plan.inverses:
        for j in range(len(plan.inverse_table)):
            _add_inverses(columns[_INVERSES + j], a, b, sign, plan.inverse_table[j])


@njit(inline="always")
def _weight(a, b, sign):  # type: ignore[no-untyped-def]
    """Return the weight of a pair of levels in a sum: `sign`, or 0 for a non-pair."""
    return sign if min(a, b) >= 0 else 0


@njit
def _add_pairs(pairs, distinct, a, b, sign, symmetric):  # type: ignore[no-untyped-def]
    """Add the numbers of pairs, and of pairs of two different levels in a symmetric matrix."""
    for x in range(np.uint64(len(a))):
        weight = _weight(a[x], b[x], sign)
        pairs[x] += weight
        distinct[x] += weight if symmetric and a[x] != b[x] else 0


@njit
def _add_differences(first, second, a, b, sign):  # type: ignore[no-untyped-def]
    """Add the first and second powers of ``|a - b|``."""
    for x in range(np.uint64(len(a))):
        weight = _weight(a[x], b[x], sign)
        difference = np.int64(abs(np.int32(a[x]) - np.int32(b[x])))
        first[x] += weight * difference
        second[x] += weight * difference * difference


@njit
def _add_totals(first, second, a, b, sign):  # type: ignore[no-untyped-def]
    """Add the first and second powers of a + b."""
    for x in range(np.uint64(len(a))):
        weight = _weight(a[x], b[x], sign)
        total = np.int64(a[x]) + np.int64(b[x])
        first[x] += weight * total
        second[x] += weight * total * total


@njit
def _add_powers(third, fourth, a, b, sign):  # type: ignore[no-untyped-def]
    """Add the third and fourth powers of a + b."""
    for x in range(np.uint64(len(a))):
        weight = _weight(a[x], b[x], sign)
        total = np.int64(a[x]) + np.int64(b[x])
        cube = weight * total * total * total
        third[x] += cube
        fourth[x] += cube * total


@njit
def _add_signed(first, second, a, b, sign):  # type: ignore[no-untyped-def]
    """Add a - b, and (a - b) (a + b)."""
    for x in range(np.uint64(len(a))):
        weight = _weight(a[x], b[x], sign)
        signed = weight * (np.int64(a[x]) - np.int64(b[x]))
        first[x] += signed
        second[x] += signed * (np.int64(a[x]) + np.int64(b[x]))


@njit
def _add_inverses(sums, a, b, sign, table):  # type: ignore[no-untyped-def]
    """Add what a table gives for ``|a - b|``."""
    for x in range(np.uint64(len(a))):
        if min(a[x], b[x]) >= 0:
            sums[x] += sign * table[np.uint64(abs(np.int64(a[x]) - np.int64(b[x])))]


@njit
def _tally_band(sums, levels, chosen, kind, field, z, top, plan):  # type: ignore[no-untyped-def]
    """Write the sums that a tally of one kind of code gives, for the windows of a band."""
    rows, _, width = sums.shape
    # Both ends of the pairs of a symmetric matrix count: the directions twice, each with one end.
    offsets = np.concatenate((chosen, chosen)) if kind == ENDS else chosen
    codes = code_buffer(width, len(offsets), rows, plan.radii)
    fill_codes(codes, levels, offsets, plan.radii, z, top, kind, plan.number_of_levels, plan.symmetric)
    counts = np.zeros(cells(kind, codes.size, plan.number_of_levels) + 1, np.int32)
    places = plane_places(codes, offsets, plan.radii)
    most = pairs_in_window(offsets, plan.radii)
    # Beside the image all places of a window are non-pairs, before and after every row.
    counts[-1] = most
    for row in range(rows):
        if kind != JOINT or plan.joint:
            _tally_row(
                codes, row, places, most, plan.radii[2], counts, plan.steps, plan.log_table, sums[row, field]
            )
        # `log_second` is `log_first` in a symmetric matrix.
        if kind == ENDS:
            sums[row, field + 1] = sums[row, field]
        if kind == JOINT and plan.weights:
            _weigh_row(codes, row, places, most, counts, sums[row], plan)


@njit
def _tally_row(codes, row, places, most, radius, counts, steps, log_table, log_sums):  # type: ignore[no-untyped-def]
    """Write the sum of ``n * log2(n)`` over the codes of every window of a row; see `tally._slide_row`."""
    flat = codes.reshape(-1)
    stride = np.uint64(codes.size // codes.shape[0])
    absent = len(counts) - 1
    # Invariant: `log_sum` is the sum of n log2 n over all counts, that of the non-pairs included.
    log_sum = most * log_table[most]
    width = len(log_sums)
    for x in range(-radius, width + radius + 1):
        start = np.uint64(x + radius) * stride + np.uint64(row)
        for j in range(np.uint64(len(places))):
            left = flat[start + places[j, 0]]
            n = counts[left] - 1
            counts[left] = n
            log_sum -= steps[np.uint64(n)]
            entered = flat[start + places[j, 1]]
            n = counts[entered]
            counts[entered] = n + 1
            log_sum += steps[np.uint64(n)]
        if 0 <= x < width:
            none = counts[absent]
            log_sums[x] = log_sum - none * log_table[none]


@njit
def _weigh_row(codes, row, places, most, counts, sums, plan):  # type: ignore[no-untyped-def]
    """Write energy and maximum of every window of a row.

    The height of a code is the number of its pairs, doubled for two equal levels in a symmetric matrix,
    which counts both orders in one cell. `heights[h]` is the number of codes with height h; with it the
    maximum is found again after a code has lost a pair.
    """
    flat = codes.reshape(-1)
    stride = np.uint64(codes.size // codes.shape[0])
    radius = plan.radii[2]
    absent = len(counts) - 1
    heights = np.zeros(2 * most + 3, np.int32)
    single = np.int64(plan.number_of_levels if plan.symmetric else 0)  # codes below are those of equal levels
    # Invariants: `energy` is the sum of weight * n**2 over the codes; `largest` is at least the largest
    # height, and equal to it after the `while` loop. Non-pairs are left out.
    energy, largest = np.int64(0), 0
    width = sums.shape[1]
    for x in range(-radius, width + radius + 1):
        start = np.uint64(x + radius) * stride + np.uint64(row)
        for j in range(np.uint64(len(places))):
            left = flat[start + places[j, 0]]
            n = counts[left] - 1
            counts[left] = n
            if left != absent:
                weight = 2 if left < single else 1
                energy -= weight * (2 * n + 1)  # (n + 1)**2 - n**2
                heights[weight * (n + 1)] -= 1
                heights[weight * n] += 1
            entered = flat[start + places[j, 1]]
            n = counts[entered]
            counts[entered] = n + 1
            if entered != absent:
                weight = 2 if entered < single else 1
                energy += weight * (2 * n + 1)
                heights[weight * n] -= 1
                heights[weight * (n + 1)] += 1
                largest = max(largest, weight * (n + 1))
        while largest > 0 and heights[largest] == 0:
            largest -= 1
        if 0 <= x < width:
            sums[_ENERGY, x], sums[_LARGEST, x] = energy, largest
