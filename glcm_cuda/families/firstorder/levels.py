"""Entropy and uniformity of the levels of a window, from a histogram that slides along a row.

A voxel that enters or leaves changes the number n of its level by one, and with it the sums of ``n log2 n``,
in fixed point, and of ``n**2``. All are whole numbers, the same on every backend and on every way.

The functions are compiled for the CPU and for CUDA devices alike. Formulas: docs/definition.md, section 10.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from glcm_cuda.families.firstorder.rows import stretch_of, to_centre, voxel_of
from glcm_cuda.families.fixed_point import log_table
from glcm_cuda.families.stage import Chosen, Task


class Planes(NamedTuple):
    """Indices of the features' planes in the maps, -1 where one is not wanted."""

    entropy: Any
    uniformity: Any


class Plan(NamedTuple):
    """What is computed."""

    planes: Planes
    terms: Any  # (voxels + 1,) int64: n log2 n in fixed point
    bit: Any  # one bit of the fixed-point numbers, in the map's unit


class Histogram(NamedTuple):
    """Sums over the levels of a window."""

    voxels: Any
    squares: Any  # of n**2
    logs: Any  # of n log2 n, in fixed point


def plan_of(task: Task, chosen: Chosen, voxels: int) -> Plan:
    """Return what is computed, of windows of at most this many voxels."""
    planes = {feature.formula: plane for plane, feature in chosen}
    most = math.prod(task.settings.edges)  # not `voxels`, which the place of a block decides
    bits = min(44, 62 - math.ceil(math.log2(most * math.log2(most))))
    return Plan(
        Planes(*(planes.get(field, -1) for field in Planes._fields)),
        np.arange(voxels + 1) * log_table(voxels, 1 << bits),
        task.settings.log_unit / (1 << bits),
    )


def mapping() -> Callable[..., None]:
    """Return the loop over stretches as a Python function.

    Its arguments are those of `intensities.mapping`, save that the flat array holds levels, negative where a
    voxel does not count, and that the scratch memory is (G,) int32, 0 before and after.
    """

    def map_stretches(levels, rows, first, stretches, ahead, plan, counts, out):  # type: ignore[no-untyped-def]
        edge = rows.window.columns
        for number in range(first, stretches, ahead):
            stretch = stretch_of(rows, number)
            histogram = Histogram(0, 0, 0)
            columns = stretch.voxels + edge - 1
            for turn in range(columns + edge):
                place = stretch.place + turn * rows.step
                for sign in range(-1, 2, 2):  # first a column leaves, so that counts are never too large
                    if sign < 0 and turn >= edge:
                        histogram = with_column(
                            levels, place - edge * rows.step, sign, rows, plan.terms, counts, histogram
                        )
                    elif sign > 0 and turn < columns:
                        histogram = with_column(levels, place, sign, rows, plan.terms, counts, histogram)
                at = turn - edge + 1
                if 0 <= at < stretch.voxels:
                    centre = levels[place + to_centre(rows)]
                    y, x = voxel_of(rows, stretch, at)
                    write(centre, histogram, plan, out[:, stretch.z, y, x])

    return map_stretches


@njit
def with_column(levels, place, sign, rows, terms, counts, histogram):  # type: ignore[no-untyped-def]
    """Return the histogram with a column more, or with `sign` -1 without one that it holds."""
    voxels, squares, logs = 0, 0, 0
    for z in range(rows.window.slices):
        for row in range(rows.window.rows):
            level = levels[place + z * rows.slice_step + row * rows.row_step]
            if level >= 0:
                count = counts[level]
                counts[level] = count + sign
                voxels += sign
                squares += 2 * sign * count + 1
                logs += terms[count + sign] - terms[count]
    return Histogram(histogram.voxels + voxels, histogram.squares + squares, histogram.logs + logs)


@njit(inline="always")
def write(centre, histogram, plan, out):  # type: ignore[no-untyped-def]
    """Write the wanted features of a window, `out` (F,); NaN if the centre's level says it does not count."""
    voxels = histogram.voxels
    entropy, uniformity = np.nan, np.nan
    if centre >= 0:
        entropy = (plan.terms[voxels] - histogram.logs) / voxels * plan.bit
        uniformity = histogram.squares / (voxels * voxels)
    if plan.planes.entropy >= 0:
        out[plan.planes.entropy] = entropy
    if plan.planes.uniformity >= 0:
        out[plan.planes.uniformity] = uniformity
