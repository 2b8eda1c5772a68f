"""The pairs of one direction in the windows of a band of rows, laid out so that no window has a border.

Around every voxel of a band lies a box of places for pairs: `box_of` gives its planes, rows and columns.
`Ends` has the two levels at every place of all these boxes. The pairs of the window at (row, x) of the band
are at ``[:, row : row + rows, x : x + columns]``. Beyond the image, and where a voxel does not count, both
levels are -1.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from glcm_cuda.base.cache import can_cache, versioned

LANES = 16
"""Columns beyond the last one are filled too, to a multiple of this: vectors may reach there."""


class Box(NamedTuple):
    """Number of places for the pairs of one direction in a window, along each axis."""

    planes: int
    rows: int
    columns: int


def box_of(offset: npt.NDArray[np.integer], radii: npt.NDArray[np.integer]) -> Box | None:
    """Return the box of the pairs of a direction; None if it is longer than the window."""
    planes, rows, columns = (2 * radii + 1 - np.abs(offset)).tolist()
    return Box(planes, rows, columns) if min(planes, rows, columns) > 0 else None


class Ends(NamedTuple):
    """Levels at the places of a band, arrays (planes, lines, columns) of the levels' type."""

    first: npt.NDArray[np.integer]
    second: npt.NDArray[np.integer]


class Scratch:
    """Memory for the arrays of one thread, which are made anew for every band: fresh memory is slow."""

    def __init__(self) -> None:
        self._arrays: dict[str, npt.NDArray[Any]] = {}

    def array(self, name: str, shape: tuple[int, ...], kind: npt.DTypeLike) -> npt.NDArray[Any]:
        """Return an array with any content, in memory that later arrays of the same name use again."""
        size, kind = math.prod(shape), np.dtype(kind)
        kept = self._arrays.get(name)
        if kept is None or kept.size < size or kept.dtype != kind:
            kept = self._arrays[name] = np.empty(size, kind)
        return kept[:size].reshape(shape)


class Band(NamedTuple):
    """Rows of a slice around whose voxels windows lie."""

    levels: npt.NDArray[np.integer]  # (Z, Y, X), negative where a voxel does not count
    z: int  # slice of `levels`
    top: int  # row of `levels` at which the band starts
    rows: int
    scratch: Scratch


def ends_in(band: Band, offset: npt.NDArray[np.int32], box: Box, radii: tuple[int, int, int]) -> Ends:
    """Return the ends of all pairs of a direction in the windows of a band, until the next call."""
    levels = band.levels
    columns = -(-levels.shape[2] // LANES) * LANES + box.columns - 1
    shape = (box.planes, band.rows + box.rows - 1, columns)
    first, second = (band.scratch.array(name, shape, levels.dtype) for name in ("first", "second"))
    _compiled()(first, second, levels, offset, radii, band.z, band.top)
    return Ends(first, second)


@functools.cache
def _compiled() -> Any:
    """Return the loop that copies the levels of pairs."""

    @njit(nogil=True, cache=can_cache())
    @versioned(__name__)
    def fill_ends(first, second, levels, offset, radii, z, top):  # type: ignore[no-untyped-def]
        depth, height, width = levels.shape
        dz, dy, dx = offset
        x = -radii[2] - min(dx, 0)
        planes, lines, columns = first.shape
        for plane in range(planes):
            for line in range(lines):
                one, other = z - radii[0] - min(dz, 0) + plane, top - radii[1] - min(dy, 0) + line
                inside = 0 <= one < depth and 0 <= one + dz < depth
                inside = inside and 0 <= other < height and 0 <= other + dy < height
                begin = max(0, -x, -x - dx)
                end = min(columns, width - x, width - x - dx) if inside else 0
                for column in range(np.uint64(columns)):
                    first[plane, line, column] = -1
                    second[plane, line, column] = -1
                if begin < end:
                    a = levels[one, other, x + begin : x + end]
                    b = levels[one + dz, other + dy, x + dx + begin : x + dx + end]
                    _copy(first[plane, line, begin:end], second[plane, line, begin:end], a, b)

    return fill_ends


@njit
def _copy(first, second, a, b):  # type: ignore[no-untyped-def]
    """Copy the two ends of pairs, -1 both if one of them is negative."""
    for x in range(np.uint64(len(a))):
        valid = min(a[x], b[x]) >= 0
        first[x] = a[x] if valid else -1
        second[x] = b[x] if valid else -1
