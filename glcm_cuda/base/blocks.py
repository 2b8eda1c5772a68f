"""Blocks of a volume: whole slices, or rows of a few, with the halo that their windows reach into."""

from __future__ import annotations

import math
from collections.abc import Iterator

Block = tuple[slice, slice]
"""Range of slices and range of rows; a block always has full rows."""


def blocks(shape: tuple[int, int, int], voxels: int, together: int = 1) -> Iterator[Block]:
    """Yield the blocks of a volume in order, each with at most `voxels` voxels, but at least one row.

    Blocks have `together` slices, or a multiple of it, as far as the volume has them, and at least a row of
    each.

    Examples
    --------
    >>> [(z.stop - z.start, y.stop - y.start) for z, y in blocks((6, 4, 10), 80, together=4)]
    [(4, 2), (4, 2), (2, 2), (2, 2)]
    """
    depth, height, width = shape
    together = min(together, depth)
    rows = max(1, voxels // (width * together))
    thickness = max(1, rows // height) * together
    for z in range(0, depth, thickness):
        for y in range(0, height, rows):
            yield slice(z, min(z + thickness, depth)), slice(y, min(y + rows, height))


def with_halo(block: Block, radii: tuple[int, int, int], shape: tuple[int, int, int]) -> Block:
    """Return the part of the volume that the windows of a block reach, clipped at the border."""
    z, y = (
        slice(max(part.start - radius, 0), min(part.stop + radius, size))
        for part, radius, size in zip(block, radii, shape, strict=False)
    )
    return z, y


def start_in(part: Block, block: Block) -> tuple[int, int]:
    """Return the slice and row at which a block starts, counted from the start of a part around it."""
    return block[0].start - part[0].start, block[1].start - part[1].start


def shape_of(part: Block, width: int) -> tuple[int, int, int]:
    """Return the shape of a part of a volume whose rows have `width` voxels."""
    z, y = part
    return z.stop - z.start, y.stop - y.start, width


def size_of(part: Block, width: int) -> int:
    """Return the number of voxels in a part of a volume whose rows have `width` voxels."""
    return math.prod(shape_of(part, width))
