"""CUDA kernels of all features except joint entropy and MCC: a thread sums over the pairs of a window.

The thread reads the levels of the window from the device's memory and keeps all sums in registers.
Entropies, energy and maximum need the numbers n of equal pairs, which come from ranks: a pair with r pairs
of its code before it in the window adds ``(r + 1) log2(r + 1) - r log2(r)`` to the sum of ``n log2 n``, and
``2 r + 1`` to the sum of ``n**2``. Ranking P pairs takes ``P (P - 1) / 2`` comparisons, so that large
windows are slow; features without ranks take P steps. The sums are integers, the same as on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numba import cuda, njit

from glcm_cuda.base.cache import versioned
from glcm_cuda.families.glcm.definition import FORMULAS, Scale, Sums, mean_entropy
from glcm_cuda.families.glcm.features import FEATURES
from glcm_cuda.families.stage import Chosen

_PLACES = {name: place for place, name in enumerate(FORMULAS)}
"""Index of every feature in `FORMULAS`."""

COUNT = len(_PLACES)
"""Number of features in `FORMULAS`."""


class Counted(NamedTuple):
    """What is counted besides sums of first and second powers. Code for the rest is not compiled."""

    symmetric: bool
    powers: bool  # third and fourth powers
    inverses: bool
    pairs: bool  # ranks among pairs with the same two levels
    totals: bool  # ranks among pairs with the same sum
    differences: bool  # ranks among pairs with the same difference
    ends: bool  # ranks among equal first ends, and among equal second ends

    @property
    def ranked(self) -> bool:
        """Whether any ranks are needed."""
        return self.pairs or self.totals or self.differences or self.ends


@dataclass(frozen=True)
class Walk:
    """What a feature kernel is compiled for.

    Parameters
    ----------
    planes : tuple of int
        For each of `definition.FORMULAS` the index of its plane in the maps, -1 if it is not wanted.
    symmetric, merge : bool
        See `GLCMSettings`.
    """

    planes: tuple[int, ...]
    symmetric: bool
    merge: bool

    @property
    def counted(self) -> Counted:
        """What the wanted features need to be counted."""
        wanted = {name for name, place in _PLACES.items() if self.planes[place] >= 0}
        needs = {need for feature in FEATURES if feature.name in wanted for need in feature.needs}
        return Counted(
            self.symmetric,
            "powers" in needs,
            "inverse" in needs,
            bool(needs & {"joint", "energy", "largest"}),
            "total" in needs,
            "difference" in needs,
            "ends" in needs,
        )


def walk_of(chosen: Chosen, symmetric: bool, merge: bool) -> Walk:
    """Return the specification for the chosen features."""
    planes = {feature.name: plane for plane, feature in chosen}
    return Walk(tuple(planes.get(name, -1) for name in FORMULAS), symmetric, merge)


class _Tables(NamedTuple):
    """Tables on the device; see `feature_kernel`."""

    steps: Any
    logs: Any
    inverses: Any


class _Grid(NamedTuple):
    """Shape (Z, Y, X) of the levels, which are in a flat array."""

    depth: Any
    height: Any
    width: Any


class _Span(NamedTuple):
    """Range of the first voxels of the pairs of a direction in a window, and the distance to the second ones.

    The last coordinates belong to the range. `jump` is the distance in the flat array of levels.
    """

    first_z: Any
    last_z: Any
    first_y: Any
    last_y: Any
    first_x: Any
    last_x: Any
    jump: Any


class _Pair(NamedTuple):
    """A pair of levels, their sum and their absolute difference, which ranks compare."""

    first: Any
    second: Any
    total: Any
    difference: Any


class _Ranks(NamedTuple):
    """Numbers of earlier pairs in the window with the same code, for every kind of code."""

    pair: Any
    total: Any
    difference: Any
    first: Any
    second: Any


def feature_kernel(walk: Walk) -> Callable[..., None]:
    """Return the kernel of some features as a Python function.

    Its arguments: levels, flat, and their shape; directions (K, 3); radii of the window; three tables, all
    int64: terms by rank (`log_steps`), logarithms and inverses (`scales`); the fields of `Scale` except the
    first; slice and row of the levels at which the maps start; maps (F, Z, Y, X) float32.
    """
    planes, counted, merge = walk.planes, walk.counted, walk.merge
    ranked = walk.counted.ranked
    orders = 2 if walk.symmetric else 1

    @versioned(__name__)
    def features(  # type: ignore[no-untyped-def]
        levels, shape, offsets, radii, steps, log_table, inverse_table,
        first_level, log_one, log_unit, inverse_one, origin_z, origin_y, out
    ):  # fmt: skip
        x, y, z = cuda.grid(3)
        _, depth, height, width = out.shape
        if x >= width or y >= height or z >= depth:
            return
        grid = _Grid(shape[0], shape[1], shape[2])
        tables = _Tables(steps, log_table, inverse_table)
        scale = Scale(orders, first_level, log_one, log_unit, inverse_one)
        centre = (z + origin_z, y + origin_y, x)
        values = cuda.local.array(COUNT, np.float64)
        for place in range(COUNT):
            values[place] = 0.0
        terms = 0  # matrices that have pairs
        # Outside the mask there is no value, and nothing to count.
        if levels[np.uint64((centre[0] * grid.height + centre[1]) * grid.width + x)] >= 0:
            group = len(offsets) if merge else 1  # directions that share a matrix
            for start in range(0, len(offsets), group):
                sums = _no_sums()
                for k in range(start, start + group):
                    span = _span_of(offsets, k, radii, centre, grid)
                    for z0 in range(span.first_z, span.last_z + 1):
                        for y0 in range(span.first_y, span.last_y + 1):
                            row = (z0 * grid.height + y0) * grid.width
                            for x0 in range(span.first_x, span.last_x + 1):
                                a = np.int32(levels[np.uint64(row + x0)])
                                b = np.int32(levels[np.uint64(row + x0 + span.jump)])
                                if a < 0 or b < 0:
                                    continue
                                # The earlier pairs of this matrix: those of the directions before, all of
                                # them, and those of this direction that start before (z0, y0, x0).
                                pair, ranks = _pair_of(a, b), _no_ranks()
                                if ranked:
                                    for j in range(start, k):
                                        before = _span_of(offsets, j, radii, centre, grid)
                                        until = before.last_z, before.last_y, before.last_x + 1
                                        ranks = _ranked(ranks, levels, grid, before, until, pair, counted)
                                    until = z0, y0, x0
                                    ranks = _ranked(ranks, levels, grid, span, until, pair, counted)
                                sums = _with_pair(sums, pair, ranks, tables, counted)
                if sums.pairs > 0:
                    _add_values(values, planes, _complete(sums, tables, counted), scale)
                    terms += 1
        _write_values(values, planes, terms, z, y, x, out)

    return features


@njit
def _span_of(offsets, k, radii, centre, grid):  # type: ignore[no-untyped-def]
    """Return the span of the pairs of direction k whose ends are both in the clipped window."""
    dz, dy, dx = int(offsets[k, 0]), int(offsets[k, 1]), int(offsets[k, 2])
    return _Span(
        max(centre[0] - radii[0], 0) - min(dz, 0),
        min(centre[0] + radii[0], grid.depth - 1) - max(dz, 0),
        max(centre[1] - radii[1], 0) - min(dy, 0),
        min(centre[1] + radii[1], grid.height - 1) - max(dy, 0),
        max(centre[2] - radii[2], 0) - min(dx, 0),
        min(centre[2] + radii[2], grid.width - 1) - max(dx, 0),
        (dz * grid.height + dy) * grid.width + dx,
    )


@njit
def _pair_of(a, b):  # type: ignore[no-untyped-def]
    """Return a pair with all that ranks compare."""
    return _Pair(a, b, np.int32(a + b), np.int32(abs(np.int32(a - b))))


@njit
def _no_ranks():  # type: ignore[no-untyped-def]
    """Return ranks of 0; 32 bits are enough and take half the registers of 64."""
    return _Ranks(np.int32(0), np.int32(0), np.int32(0), np.int32(0), np.int32(0))


@njit
def _ranked(ranks, levels, grid, span, until, pair, counted):  # type: ignore[no-untyped-def]
    """Return the ranks of a pair after the pairs of a span that start before the voxel `until` (z, y, x)."""
    for z in range(span.first_z, until[0] + 1):
        last_y = until[1] if z == until[0] else span.last_y
        for y in range(span.first_y, last_y + 1):
            stop = until[2] if z == until[0] and y == until[1] else span.last_x + 1
            # A row of the span. Numba's range and signed indices would double the instructions of this
            # loop, the innermost.
            start = (z * grid.height + y) * grid.width + span.first_x
            first, second = np.uint64(start), np.uint64(start + span.jump)
            end = np.uint64(start + max(stop - span.first_x, 0))
            while first < end:
                a, b = np.int32(levels[first]), np.int32(levels[second])
                if a >= 0 and b >= 0:
                    ranks = _compared(ranks, pair, _pair_of(a, b), counted)
                first += np.uint64(1)
                second += np.uint64(1)
    return ranks


@njit
def _compared(ranks, pair, other, counted):  # type: ignore[no-untyped-def]
    """Return the ranks of a pair after one earlier pair.

    In a symmetric matrix two pairs are the same if sum and difference are, and the first and second ends of
    all pairs are compared with each other.
    """
    total, difference = other.total == pair.total, other.difference == pair.difference
    first, second = other.first == pair.first, other.second == pair.second
    same = (total and difference) if counted.symmetric else (first and second)
    of_first, of_second = int(first), int(second)
    if counted.symmetric:
        of_first += int(other.second == pair.first)
        of_second += int(other.first == pair.second)
    return _Ranks(
        np.int32(ranks.pair + int(same)) if counted.pairs else ranks.pair,
        np.int32(ranks.total + int(total)) if counted.totals else ranks.total,
        np.int32(ranks.difference + int(difference)) if counted.differences else ranks.difference,
        np.int32(ranks.first + of_first) if counted.ends else ranks.first,
        np.int32(ranks.second + of_second) if counted.ends else ranks.second,
    )


@njit
def _no_sums():  # type: ignore[no-untyped-def]
    """Return sums over no pair."""
    return Sums(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)


@njit
def _with_pair(sums, pair, ranks, tables, counted):  # type: ignore[no-untyped-def]
    """Return the sums with one pair more; `_complete` adds those that follow from the others."""
    total, difference = int(pair.total), int(pair.difference)
    signed = 0 if counted.symmetric else int(pair.first) - int(pair.second)
    inverses = _inverses(tables, difference, counted)
    weight = 2 if counted.symmetric and difference == 0 else 1
    rank, steps = int(ranks.pair), tables.steps
    return Sums(
        sums.pairs + 1,
        sums.distinct + int(counted.pairs and counted.symmetric and difference != 0),
        sums.difference + difference,
        sums.difference2 + difference * difference,
        sums.total + total,
        sums.total2 + total * total,
        sums.total3 + (total * total * total if counted.powers else 0),
        sums.total4 + (total * total * total * total if counted.powers else 0),
        sums.signed + signed,
        sums.signed_total + signed * total,
        sums.inverse + inverses[0],
        sums.inverse2 + inverses[1],
        sums.inverse_n + inverses[2],
        sums.inverse2_n + inverses[3],
        sums.inverse_variance + inverses[4],
        sums.log_pairs,
        sums.log_joint + (int(steps[np.uint64(rank)]) if counted.pairs else 0),
        sums.log_total + (int(steps[np.uint64(ranks.total)]) if counted.totals else 0),
        sums.log_difference + (int(steps[np.uint64(ranks.difference)]) if counted.differences else 0),
        sums.log_first + (_step_of_first(pair, ranks, steps, counted) if counted.ends else 0),
        sums.log_second + (int(steps[np.uint64(ranks.second)]) if counted.ends else 0),
        sums.energy + (weight * (2 * rank + 1) if counted.pairs else 0),
        max(sums.largest, weight * (rank + 1)) if counted.pairs else 0,
    )


@njit
def _inverses(tables, difference, counted):  # type: ignore[no-untyped-def]
    """Return the terms of the five inverse sums, 0 if they are not needed."""
    if not counted.inverses:
        return 0, 0, 0, 0, 0
    at, table = np.uint64(difference), tables.inverses
    return int(table[0, at]), int(table[1, at]), int(table[2, at]), int(table[3, at]), int(table[4, at])


@njit
def _step_of_first(pair, ranks, steps, counted):  # type: ignore[no-untyped-def]
    """Return the term of a first end; in a symmetric matrix also that of the second end, which follows it."""
    step = int(steps[np.uint64(ranks.first)])
    if counted.symmetric:
        step += int(steps[np.uint64(int(ranks.second) + int(pair.difference == 0))])
    return step


@njit
def _complete(sums, tables, counted):  # type: ignore[no-untyped-def]
    """Return the sums with `log_pairs` and, if symmetric, `log_second`, which follow from the others."""
    log_pairs = sums.pairs * int(tables.logs[np.uint64(sums.pairs)])
    log_second = sums.log_first if counted.symmetric else sums.log_second
    return Sums(
        sums.pairs, sums.distinct, sums.difference, sums.difference2, sums.total, sums.total2, sums.total3,
        sums.total4, sums.signed, sums.signed_total, sums.inverse, sums.inverse2, sums.inverse_n,
        sums.inverse2_n, sums.inverse_variance, log_pairs, sums.log_joint, sums.log_total,
        sums.log_difference, sums.log_first, log_second, sums.energy, sums.largest,
    )  # fmt: skip


def _adding(place: int) -> Any:
    """Return a function that adds the values of the wanted features, from an index in `FORMULAS` on.

    The functions call each other with constant indices, instead of a loop, so that `values` stays in
    registers and only the wanted features are compiled.
    """
    if place == COUNT:
        return njit(lambda values, planes, sums, scale: None)
    value, add_others = tuple(FORMULAS.values())[place], _adding(place + 1)

    @njit
    def add(values, planes, sums, scale):  # type: ignore[no-untyped-def]
        if planes[place] >= 0:
            values[place] += value(sums, scale)
        add_others(values, planes, sums, scale)

    return add


def _writing(place: int) -> Any:
    """Return a function that writes the means of the wanted features, built like `_adding`."""
    if place == COUNT:
        return njit(lambda values, planes, terms, z, y, x, out: None)
    write_others = _writing(place + 1)

    @njit
    def write(values, planes, terms, z, y, x, out):  # type: ignore[no-untyped-def]
        if planes[place] >= 0:
            out[planes[place], z, y, x] = mean_entropy(values[place], terms, 1.0)
        write_others(values, planes, terms, z, y, x, out)

    return write


_add_values, _write_values = _adding(0), _writing(0)
