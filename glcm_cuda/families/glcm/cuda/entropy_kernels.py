"""The CUDA kernels: threads march along columns of windows and rank every pair that enters.

A window's ``sum of n * log2(n)`` over its codes is a sum over its pairs: a pair with r equal ones before
it in the window adds ``(r + 1) * log2(r + 1) - r * log2(r)``. A thread marches down a column of windows,
along y in 2D and z in 3D. A row of pairs that enters lies in registers and is compared with the pairs
before it, plane by plane upwards: after i planes the ranks are those in the window that starts i planes
higher, whose sum waits in shared memory for the rest of its pairs. Every comparison so serves all windows
that hold both pairs; there is no matrix, no atomic and no local memory.

Pairs lie where windows find them: of both ends, the lower coordinate along x and along the rows of a 3D
window, the higher along the march, so that the pairs of all directions enter a window at once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import cuda, njit

from glcm_cuda.base.cache import fingerprint
from glcm_cuda.families.fixed_point import LOG_ONE, fixed_log2, log_steps
from glcm_cuda.families.glcm.definition import NO_PAIR, is_distinct, mean_entropy, pair_code, scaled_entropy
from glcm_cuda.families.glcm.partitions import MOST_PAIRS, NAMES, sums_by_name
from glcm_cuda.families.glcm.vectors import UNIT
from glcm_cuda.families.launching import BLOCK
from glcm_cuda.families.offsets import directions
from glcm_cuda.settings import GLCMSettings

NONE = 1 << 8
"""Word of what is no pair. A pair's word is its code times 2**16, plus 1 if its levels are two: the low
16 bits of a sum of words count both."""

_CODE = 1 << 16

NO_WIDE = (1 << 32) - 1
"""Wide word of what is no pair: in a symmetric matrix no pair has it, two equal levels having low codes, and
otherwise the pair of the level 65,535 with itself alone."""

_MOST_CHUNK = 12
"""Pairs of a row that are held in registers."""

_SHARED_BYTES = 48 << 10
"""Shared memory that every device grants a block."""

_BYTES_A_PLANE = 16
"""What a thread keeps there of the window that starts in a plane, and of all planes up to it."""


@dataclass(frozen=True)
class Shape:
    """Extent of the pairs of one direction in a window, and how late the first enters it."""

    late: int
    rows: int
    columns: int


@dataclass(frozen=True)
class March:
    """What a counting kernel is compiled for: one of `group` directions that are counted together."""

    dimensions: int
    edges: tuple[int, int, int]
    me: int
    group: tuple[Shape, ...]
    merge: bool
    wide: bool = False
    marked: bool = True  # whether a wide word of two levels is marked: that of a symmetric matrix

    @property
    def planes(self) -> int:
        """Planes of voxels from the first to the last that a window meets on its march."""
        return self.edges[0] if self.dimensions == 3 else self.edges[1]

    @property
    def pairs(self) -> int:
        """Pairs of a whole window that are counted in one matrix."""
        return sum((self.planes - shape.late) * shape.rows * shape.columns for shape in self.group)

    @property
    def named(self) -> bool:
        """Whether windows have so few pairs that a name stands for their sum; see `partitions`."""
        short = self.group[self.me].columns <= _MOST_CHUNK  # or a row's last registers hold no pairs
        return not self.merge and self.pairs <= MOST_PAIRS and short

    @property
    def block(self) -> tuple[int, int]:
        """Threads of a block along x and across: as many as have room for the sums of their windows."""
        threads = _SHARED_BYTES // (self.planes * _BYTES_A_PLANE)
        x = BLOCK[0] if threads >= BLOCK[0] else 8
        return x, min(BLOCK[1], threads // x)


@functools.cache
def marches(settings: GLCMSettings, wide: bool = False) -> tuple[March, ...]:
    """Return the specification of the counting kernel for each direction; `wide` is that of the words."""
    shapes = []
    for dz, dy, dx in np.abs(directions(settings)).tolist():
        late, across = (dz, dy) if settings.dimensions == 3 else (dy, 0)
        rows = settings.edges[1] - across if settings.dimensions == 3 else 1
        shapes.append(Shape(late, rows, settings.edges[2] - dx))
    merge = settings.aggregate == "merge"
    groups = [(me, tuple(shapes)) if merge else (0, (shape,)) for me, shape in enumerate(shapes)]
    marked = settings.symmetric or not wide  # words that are not wide hold their marks
    return tuple(
        March(settings.dimensions, settings.edges, me, group, merge, wide, marked) for me, group in groups
    )


@functools.cache
def lookup_table(pairs: int, named: bool) -> npt.NDArray[np.int64]:
    """Return what kernels look up for windows of so many pairs: sums by name, or what a rank adds."""
    table = sums_by_name(pairs).astype(np.int64) if named else log_steps(fixed_log2(np.arange(pairs + 1)))
    table.flags.writeable = False
    return table


def first_end(offset: tuple[int, int, int], dimensions: int) -> tuple[int, int, int]:
    """Return the way from the place of a pair to its first voxel; see the top of this file."""
    z, y, x = (max(0, -step) for step in offset)
    return (-offset[0], y, x) if dimensions == 3 else (z, -offset[1], x)


def word_kernel(wide: bool) -> Callable[..., None]:
    """Words of the pairs of one direction, in every place from which a window may reach them.

    `start` is the first voxel of the pair of the first place; see `first_end`.
    """
    sources = fingerprint(__name__)
    none = NO_WIDE if wide else NONE

    def words_of_pairs(  # type: ignore[no-untyped-def]
        levels, start, offset, number_of_levels, symmetric, direction, words
    ):
        _ = sources
        x, y, z = cuda.grid(3)
        depth, height, width = levels.shape
        if x >= words.shape[3] or y >= words.shape[2] or z >= words.shape[1]:
            return
        z0, y0, x0 = z + start[0], y + start[1], x + start[2]
        z1, y1, x1 = z0 + offset[0], y0 + offset[1], x0 + offset[2]
        word = none
        if (
            0 <= z0 < depth and 0 <= z1 < depth and 0 <= y0 < height and 0 <= y1 < height
            and 0 <= x0 < width and 0 <= x1 < width
        ):  # fmt: skip
            a, b = int(levels[z0, y0, x0]), int(levels[z1, y1, x1])
            code = pair_code(a, b, _CODE if wide else number_of_levels, symmetric)
            if code != NO_PAIR and wide:
                word = code
            elif code != NO_PAIR:
                word = code * _CODE + is_distinct(code, number_of_levels, symmetric)
        words[direction, z, y, x] = np.uint32(word)

    return words_of_pairs


def count_kernel(march: March) -> Callable[..., None]:
    """Return the counting kernel as a Python function.

    Its arguments: words uint32, flat; march strips of `strip` voxels; its `lookup_table`
    (int64) and that of logarithms (int64); whether this is the `first` direction and the `last`; what the
    directions before it have left in `totals` and `terms` (mean: sum of entropies and their number;
    merge: sum of ``n * log2(n)`` and pairs that are none); levels, whose negative ones are outside the
    mask, and where the map starts in them; the scale of the result; the map (Z, Y, X) float32.
    """
    sources = fingerprint(__name__)
    planes, me, merge, named = march.planes, march.me, march.merge, march.named
    solid, mine = march.dimensions == 3, march.group[march.me]
    late, rows, columns = mine.late, mine.rows, mine.columns
    chunk = columns if columns <= _MOST_CHUNK else _MOST_CHUNK // 2
    ragged = columns % chunk != 0
    group = len(march.group)
    shapes = np.array([(shape.late, shape.rows, shape.columns) for shape in march.group], np.int32)
    all_pairs = march.pairs
    rim_z, rim_y, rim_x = (edge - 1 for edge in march.edges)
    threads_x, threads_across = march.block
    ring = (planes, threads_x * threads_across)
    kind: type[np.number] = np.uint32 if named else np.int64
    empty = 1 if named else 0  # of a product, of a sum
    wide, marked = march.wide, march.marked
    absent = NO_WIDE if wide else NONE

    def count(  # type: ignore[no-untyped-def]
        words, strip, table, log_table, first, last, totals, terms, levels, first_z, first_y, scale, out
    ):
        _ = sources
        x, across, number = cuda.grid(3)
        depth, height, width = out.shape
        length, breadth = (depth, height) if solid else (height, depth)
        if x >= width or across >= breadth:
            return
        row = width + rim_x
        plane = row * (height + rim_y)
        volume = plane * (depth + rim_z)
        # Unsigned numbers spare Numba's checks for negative indices.
        down, beside = (np.uint32(plane), np.uint32(row)) if solid else (np.uint32(row), np.uint32(plane))
        start, stop = number * strip, min(number * strip + strip, length)
        thread = np.uint32(cuda.threadIdx.y * threads_x + cuda.threadIdx.x)
        sums = cuda.shared.array(ring, kind)
        passed = cuda.shared.array(ring, np.int64)
        seen = np.int64(0)  # none * 2**32 + distinct, of all pairs so far
        for slot in range(planes):
            sums[slot, thread] = empty
        shape = cuda.const.array_like(shapes)
        here = cuda.local.array(chunk, np.uint32)
        rank = cuda.local.array(chunk, np.uint32)
        column = np.uint32(across) * beside + np.uint32(x)
        for entering in range(start, stop + planes - 1):
            newest = column + np.uint32(entering) * down
            for r in range(rows):
                for c in range(0, columns, chunk):
                    place = newest + np.uint64(me * volume + c) + np.uint32(r) * beside
                    marks = 0
                    for j in range(chunk):
                        here[j] = absent
                        rank[j] = 0
                        if not ragged or c + j < columns:
                            here[j] = words[place + np.uint32(j)]
                            if wide:
                                marks += _marks_of(here[j], marked)
                            else:
                                marks += int(here[j] & np.uint32(0xFFFF))
                    seen += np.int64(marks >> 8) << 32 | np.int64(marks & 255)
                    for j in range(chunk):
                        for left in range(chunk):
                            if left < j:
                                rank[j] += here[left] == here[j]
                    for before in range(min(planes, entering - start + 1)):
                        for k in range(group):
                            above = before - shape[k, 0]
                            if above < 0:
                                continue
                            line = newest + np.uint64(k * volume) - np.uint32(above) * down
                            if above > 0 or k < me:
                                for _ in range(shape[k, 1]):
                                    _add_equal(rank, here, words, line, shape[k, 2])
                                    line += beside
                            elif k == me:
                                for _ in range(r):
                                    _add_equal(rank, here, words, line, columns)
                                    line += beside
                                if chunk < columns:
                                    _add_equal(rank, here, words, line, c)
                        if before >= late:
                            slot = entering % planes - before
                            waiting = np.uint32(slot + planes if slot < 0 else slot)
                            if named:
                                name = np.uint32(1)
                                for j in range(chunk):
                                    name *= np.uint32(UNIT) + np.uint32(2) * rank[j]
                                name = (name & np.uint32(NAMES - 1)) * sums[waiting, thread]
                                sums[waiting, thread] = name & np.uint32(NAMES - 1)
                            else:
                                added = np.int64(0)
                                for j in range(chunk):
                                    if not ragged or c + j < columns:
                                        added += table[rank[j]]
                                sums[waiting, thread] += added
            done = entering - (planes - 1)
            marks_of_window = seen
            if done + late > start:
                marks_of_window -= passed[(entering + late) % planes, thread]
            passed[entering % planes, thread] = seen
            if done < start:
                continue
            none, distinct = marks_of_window >> 32, marks_of_window & 0xFFFFFFFF
            log_sum = np.int64(sums[done % planes, thread])
            sums[done % planes, thread] = empty
            if named:
                log_sum = table[np.uint32(log_sum)]
            log_sum -= distinct * LOG_ONE
            z, y = (done, across) if solid else (across, done)
            entropy, entropies = 0.0, 0
            if merge and not first:
                log_sum += totals[z, y, x]
                none += terms[z, y, x]
            if not merge and not first:
                entropy, entropies = totals[z, y, x], terms[z, y, x]
            if merge and not last:
                totals[z, y, x] = log_sum
                terms[z, y, x] = none
                continue
            if none < all_pairs:
                log_sum -= none * log_table[none]
                entropy += scaled_entropy(all_pairs - none, log_sum, 0, log_table)
                entropies += 1
            if not last:
                totals[z, y, x] = entropy
                terms[z, y, x] = entropies
            elif levels[z + first_z, y + first_y, x] < 0:
                out[z, y, x] = np.nan
            else:
                out[z, y, x] = mean_entropy(entropy, entropies, scale)

    return count


@njit(inline="always")
def _marks_of(word, marked):  # type: ignore[no-untyped-def]
    """What the low bits of a word that is not wide say."""
    if word == np.uint32(NO_WIDE):
        return NONE
    return int(is_distinct(word, np.uint32(_CODE), marked))


@njit(inline="always")
def _add_equal(rank, here, words, line, number):  # type: ignore[no-untyped-def]
    """Count, for the pairs that lie in registers, the equal ones among a row of others."""
    for j in range(number):
        other = words[line + np.uint32(j)]
        for own in range(len(here)):
            rank[own] += here[own] == other
