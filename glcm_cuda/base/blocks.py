"""Volumes in blocks: whole slices, or rows of a large one, with the halo that windows reach into."""

from __future__ import annotations

import math
from collections.abc import Iterator

Block = tuple[slice, slice]
"""Slices and rows of a volume."""


def blocks(shape: tuple[int, int, int], voxels: int) -> Iterator[Block]:
    """Yield the blocks of a volume one after another, each of at most so many voxels, or of one row."""
    depth, height, width = shape
    rows = max(1, voxels // width)
    thickness = max(1, rows // height)
    for z in range(0, depth, thickness):
        for y in range(0, height, rows):
            yield slice(z, min(z + thickness, depth)), slice(y, min(y + rows, height))


def with_halo(block: Block, radii: tuple[int, int, int], shape: tuple[int, int, int]) -> Block:
    """Return the part of the volume that the windows of a block reach, clipped at its border."""
    z, y = (
        slice(max(part.start - radius, 0), min(part.stop + radius, size))
        for part, radius, size in zip(block, radii, shape, strict=False)
    )
    return z, y


def start_in(part: Block, block: Block) -> tuple[int, int]:
    """Return the slice and the row of a part of the volume at which a block of it starts."""
    return block[0].start - part[0].start, block[1].start - part[1].start


def shape_of(part: Block, width: int) -> tuple[int, int, int]:
    """Return the shape of a part of a volume."""
    z, y = part
    return z.stop - z.start, y.stop - y.start, width


def size_of(part: Block, width: int) -> int:
    """Return the number of voxels in a part of a volume."""
    return math.prod(shape_of(part, width))
