"""The rows of a block, along which windows slide, and the array with a margin that they read.

A block is divided into stretches of rows. The window of a stretch's first voxel is filled column by column; a
column is what a window has at one place of its row, a face across slices and rows. From voxel to voxel one
column enters and one leaves.

Rows run along x on the CPU, and along y on CUDA devices, where neighbouring threads take neighbouring rows.
The array that is read is flat. It has the block's voxels and a margin as wide as the windows' radii, so that
no loop asks where the image ends.

Here and in the modules that use it, most functions with one caller are inlined by Numba before it compiles
them: it would take a third longer to compile them by themselves first.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numba import njit

from glcm_cuda.settings import GLCMSettings


class Window(NamedTuple):
    """Edges of the windows."""

    slices: Any  # across slices
    rows: Any  # across rows
    columns: Any  # along the row


class Rows(NamedTuple):
    """The rows of a block, their stretches, and the steps between neighbours in the array with a margin."""

    rows: Any  # of a slice
    length: Any  # voxels of a row
    strip: Any  # voxels of a stretch; the last of a row may have less
    strips: Any  # stretches of a row
    along_y: Any
    slice_step: Any
    row_step: Any
    step: Any
    window: Window


class Stretch(NamedTuple):
    """A part of a row."""

    z: Any
    row: Any
    start: Any  # place of its first voxel in the row
    voxels: Any
    place: Any  # in the array with a margin: corner of the first voxel's window


def radii_in(source: tuple[int, ...], settings: GLCMSettings) -> tuple[int, int, int]:
    """Return the radii of the windows in z, y and x, cut to what they can reach in a region of this shape."""
    z, y, x = (min(radius, size - 1) for radius, size in zip(settings.radii, source, strict=True))
    return z, y, x


def with_margin(shape: tuple[int, ...], radii: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return the shape of a block with a margin."""
    z, y, x = (size + 2 * radius for size, radius in zip(shape, radii, strict=True))
    return z, y, x


def inside_margin(
    source: tuple[int, ...], origin: tuple[int, int], radii: tuple[int, int, int]
) -> tuple[slice, ...]:
    """Return where the region that a block's windows reach lies in the array with a margin.

    `source` is the region's shape, and the block starts at its slice and row `origin`.
    """
    starts = (radius - start for radius, start in zip(radii, (*origin, 0), strict=True))
    return tuple(slice(start, start + size) for start, size in zip(starts, source, strict=True))


def along_x(shape: tuple[int, ...], radii: tuple[int, int, int]) -> Rows:
    """Return the rows along x of a block (N, M, X), in one stretch each."""
    _, height, width = shape
    _, rows, columns = with_margin(shape, radii)
    z, y, x = (2 * radius + 1 for radius in radii)
    return Rows(height, width, width, 1, False, rows * columns, columns, 1, Window(z, y, x))


def along_y(shape: tuple[int, ...], radii: tuple[int, int, int], strip: int) -> Rows:
    """Return the rows along y of a block (N, M, X), in stretches of `strip` voxels."""
    _, height, width = shape
    _, columns, rows = with_margin(shape, radii)
    z, y, x = (2 * radius + 1 for radius in radii)
    return Rows(width, height, strip, -(-height // strip), True, rows * columns, 1, rows, Window(z, x, y))


@njit(inline="always")
def stretch_of(rows, number):  # type: ignore[no-untyped-def]
    """Return a stretch by its number; those of neighbouring rows follow each other."""
    row, line = number % rows.rows, number // rows.rows
    z, start = line // rows.strips, line % rows.strips * rows.strip
    voxels = min(rows.strip, rows.length - start)
    return Stretch(z, row, start, voxels, z * rows.slice_step + row * rows.row_step + start * rows.step)


@njit(inline="always")
def voxel_of(rows, stretch, at):  # type: ignore[no-untyped-def]
    """Return row and column, in the block, of a voxel of a stretch."""
    along = stretch.start + at
    return (along, stretch.row) if rows.along_y else (stretch.row, along)


@njit(inline="always")
def to_centre(rows):  # type: ignore[no-untyped-def]
    """Return the way from the first voxel of a window's last column to its centre."""
    window = rows.window
    return (
        window.slices // 2 * rows.slice_step
        + window.rows // 2 * rows.row_step
        - window.columns // 2 * rows.step
    )
