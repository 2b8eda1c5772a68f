"""The window around a voxel as a small array of its own, with a margin, in which loops need no tests.

The functions are compiled for the CPU and for CUDA devices alike. All arrays are scratch memory, one set for
each thread.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from glcm_cuda.families.inlining import inlined
from glcm_cuda.settings import GLCMSettings

MARGIN = -1
"""What stands in the margin around a window, in which no voxel counts."""

NOTHING = -2
"""What stands inside a window where no voxel counts: outside the mask or the image."""


class Frame(NamedTuple):
    """Shape of the windows: radii along z, y and x, and the strides and the first place of their arrays.

    Arrays of a window are flat, (`size`,), with a margin around the window that holds `MARGIN`.
    """

    radius_z: int
    radius_y: int
    radius_x: int
    stride_z: int
    stride_y: int
    first: int  # place of the window's first voxel
    size: int


class Window(NamedTuple):
    """Scratch memory for the levels of a window."""

    values: Any  # (size,) int32: level of each voxel, or one of the numbers above
    places: Any  # (voxels,) int32: places of the voxels that count, in the order z, y, x
    levels: Any  # (most levels,) int32: levels that occur, in the order in which they are met
    names: Any  # (G,) int32: place of a level in `levels`; -1 between windows


class Counts(NamedTuple):
    """Numbers of voxels that count in a window, and of their levels."""

    voxels: Any
    levels: Any


def frame_of(settings: GLCMSettings, reach: int = 1) -> Frame:
    """Return the shape of windows whose loops look at most `reach` voxels around a voxel."""
    rz, ry, rx = settings.radii
    deep = reach if settings.dimensions == 3 else 0
    depth, height, width = 2 * (rz + deep) + 1, 2 * (ry + reach) + 1, 2 * (rx + reach) + 1
    first = (deep * height + reach) * width + reach
    return Frame(rz, ry, rx, height * width, width, first, depth * height * width)


def most_levels(settings: GLCMSettings, number_of_levels: int) -> int:
    """Return how many levels a window can hold."""
    return min(math.prod(settings.edges), number_of_levels)


def window_integers(settings: GLCMSettings, number_of_levels: int, frame: Frame) -> int:
    """Return how many int32 the arrays of a `Window` take; all are -1 at first."""
    return frame.size + math.prod(settings.edges) + most_levels(settings, number_of_levels) + number_of_levels


@inlined()
def window_of(integers, frame, kinds, number_of_levels):  # type: ignore[no-untyped-def]
    """Return the `Window` at the beginning of scratch memory, for at most `kinds` levels, and its end."""
    places = frame.size
    levels = places + (2 * frame.radius_z + 1) * (2 * frame.radius_y + 1) * (2 * frame.radius_x + 1)
    names = levels + kinds
    end = names + number_of_levels
    window = Window(integers[:places], integers[places:levels], integers[levels:names], integers[names:end])
    return window, end


def jumps(offsets: npt.NDArray[np.integer], frame: Frame) -> npt.NDArray[np.uint64]:
    """Return the distances in a window's flat array that offsets (K, 3) along z, y and x make.

    The first component of an offset that is not 0 is positive, and so is the distance. It is unsigned, like
    all indices in the innermost loops, which then need no test for negative ones.
    """
    strides = np.array([frame.stride_z, frame.stride_y, 1])
    distances: npt.NDArray[np.uint64] = (offsets.astype(np.int64) @ strides).astype(np.uint64)
    return distances


@inlined()
def gather(levels, centre, frame, window):  # type: ignore[no-untyped-def]
    """Copy the window around a voxel; return its `Counts`. `release` must follow before the next window."""
    (z0, y0, x0), (depth, height, width) = centre, levels.shape
    voxels, kinds = 0, 0
    for dz in range(-frame.radius_z, frame.radius_z + 1):
        for dy in range(-frame.radius_y, frame.radius_y + 1):
            z, y = z0 + dz, y0 + dy
            inside = 0 <= z < depth and 0 <= y < height
            place = (
                frame.first + (dz + frame.radius_z) * frame.stride_z + (dy + frame.radius_y) * frame.stride_y
            )
            for x in range(x0 - frame.radius_x, x0 + frame.radius_x + 1):
                level = NOTHING
                if inside and 0 <= x < width:
                    level = int(levels[z, y, x])
                if level >= 0:
                    window.places[voxels] = place
                    voxels += 1
                    if window.names[level] < 0:
                        window.names[level] = kinds
                        window.levels[kinds] = level
                        kinds += 1
                window.values[place] = level if level >= 0 else NOTHING
                place += 1
    return Counts(voxels, kinds)


@inlined()
def release(window, counts):  # type: ignore[no-untyped-def]
    """Forget the names of the levels of a window."""
    for kind in range(counts.levels):
        window.names[window.levels[kind]] = -1


@inlined()
def leave_out(sums):  # type: ignore[no-untyped-def]
    """Say that a voxel has no window: all its sums (matrices, fields) are 0."""
    for matrix in range(sums.shape[0]):
        for field in range(sums.shape[1]):
            sums[matrix, field] = 0.0
