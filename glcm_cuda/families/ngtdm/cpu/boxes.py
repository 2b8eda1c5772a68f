"""Sums over the neighbours in a window by box sums, axis after axis, in loops that LLVM vectorises.

All voxels up to a distance d fill a box of edge 2 d + 1; those at d alone are the difference of two boxes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from glcm_cuda.families.inlining import inlined
from glcm_cuda.families.windows import Frame
from glcm_cuda.settings import GLCMSettings

FRAMES = 4
"""Size of the scratch memory in arrays of a window's frame: levels and counts, before and after a sum."""


class Boxes(NamedTuple):
    """Boxes around a voxel that together hold its neighbours and itself."""

    strides: Any  # (2 or 3,) int64: steps along x, y and z in a window's array
    diagonal: Any  # their sum
    radii: Any  # (B,) int64
    signs: Any  # (B,) int64: 1 to add, -1 to subtract
    missing: Any  # how often the voxel itself is missing in their sum, 0 or 1


def boxes_of(settings: GLCMSettings, frame: Frame) -> Boxes:
    """Return the boxes of the distances of some settings."""
    strides = (1, frame.stride_y, frame.stride_z)[: settings.dimensions]
    near = settings.distances
    signs = {radius: (radius in near) - (radius + 1 in near) for radius in range(1, max(near) + 1)}
    used = {radius: sign for radius, sign in signs.items() if sign}
    return Boxes(
        strides=np.array(strides, np.int64),
        diagonal=sum(strides),
        radii=np.array(list(used), np.int64),
        signs=np.array(list(used.values()), np.int64),
        missing=int(1 not in near),
    )


@inlined()
def add_boxes(window, voxels, boxes, frame, around):  # type: ignore[no-untyped-def]
    """Write the sums over every voxel and its neighbours; see `differences.counting_with`."""
    values, size = window.values, frame.size
    for at in range(np.uint64(voxels)):
        around.levels[at] = boxes.missing * values[np.uint64(window.places[at])]
        around.counts[at] = boxes.missing
    for box in range(len(boxes.radii)):
        radius, sign = boxes.radii[box], boxes.signs[box]
        # The levels are in the first half of an array, the counts in the second.
        source, target = around.work[: 2 * size], around.work[2 * size : 4 * size]
        levels, counts = source[:size], source[size:]
        for index in range(len(levels)):
            levels[index] = values[index] if values[index] >= 0 else 0
            counts[index] = 1 if values[index] >= 0 else 0
        # Along each axis, sums are needed of the voxels that the sums along the axes to follow will add.
        first = frame.first - radius * boxes.diagonal
        for axis in range(len(boxes.strides)):
            first += radius * boxes.strides[axis]
            add_beside(source, target, first, radius, boxes.strides[axis])
            source, target = target, source
        levels, counts = source[:size], source[size:]
        for at in range(np.uint64(voxels)):
            voxel = np.uint64(window.places[at])
            around.levels[at] += sign * levels[voxel]
            around.counts[at] += sign * counts[voxel]


@inlined()
def add_beside(source, target, first, radius, stride):  # type: ignore[no-untyped-def]
    """Write the sum of every element and of `radius` elements before and after it, `stride` apart.

    The first and last `first` elements are left out.
    """
    stop = len(source) - first
    sums, middle = target[first:stop], source[first:stop]
    before, after = source[first - stride : stop - stride], source[first + stride : stop + stride]
    for place in range(len(sums)):
        sums[place] = middle[place] + before[place] + after[place]
    for step in range(2 * stride, radius * stride + 1, stride):
        before, after = source[first - step : stop - step], source[first + step : stop + step]
        for place in range(len(sums)):
            sums[place] += before[place] + after[place]
