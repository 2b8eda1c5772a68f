"""CUDA kernels of joint entropy: threads march along columns of windows and rank every pair that enters.

A window's sum of ``n * log2(n)`` over its codes is also a sum over its pairs: a pair of rank r, with r
equal pairs before it in the window, adds ``(r + 1) * log2(r + 1) - r * log2(r)``.

A thread marches along a column of windows, along y in 2D and along z in 3D. A plane is what one step of the
march adds to a window: a row of voxels in 2D, a slice in 3D. A row of pairs that enters is kept in
registers and compared with the pairs before it, plane by plane upwards. After i planes, the ranks are those
in the window that starts i planes higher; its sum waits in shared memory for the rest of its pairs. Every
comparison thus serves all windows that hold both pairs. There is no matrix, no atomic operation and no
local memory.

The place of a pair is made of coordinates of its two ends: the lower one along x and along the rows of a 3D
window, the higher one along the march. The pairs of all directions whose last voxels are in the same plane
therefore enter a window together.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import cuda, njit

from glcm_cuda.base.cache import versioned
from glcm_cuda.families.fixed_point import LOG_ONE, fixed_log2, log_steps
from glcm_cuda.families.glcm.definition import NO_PAIR, is_distinct, mean_entropy, pair_code, scaled_entropy
from glcm_cuda.families.glcm.partitions import MOST_PAIRS, NAMES, sums_by_name
from glcm_cuda.families.glcm.vectors import UNIT
from glcm_cuda.families.launching import BLOCK
from glcm_cuda.families.offsets import directions
from glcm_cuda.settings import GLCMSettings

NON_PAIR = 1 << 8
"""Word of a non-pair. The word of a pair is its code times 2**16, plus 1 if its two levels differ and the
matrix is symmetric. The low 16 bits of words, their marks, can be added up: non-pairs times 2**8, plus
distinct pairs."""

_CODE = 1 << 16
"""Factor of the code in a word, and the number of levels in the codes of wide words."""

WIDE_NON_PAIR = (1 << 32) - 1
"""Wide word of a non-pair. Other wide words are codes. In a symmetric matrix no pair has this code, since
two equal levels have a low one; otherwise only two levels of 65,535 have it, which `stages.EntropyStage`
refuses."""

_MOST_CHUNK = 12
"""Most pairs of a row that are in registers at the same time."""

_SHARED_BYTES = 48 << 10
"""Shared memory that a block has on every device, in bytes."""

_BYTES_A_PLANE = 16
"""Shared memory of a thread for each plane: the sum of the window that starts there, and the marks up to
there."""


@dataclass(frozen=True)
class Shape:
    """Extent of the pairs of one direction in a window."""

    late: int  # planes of the window before the first with pairs
    rows: int  # rows of pairs in a plane
    columns: int  # pairs in a row


@dataclass(frozen=True)
class March:
    """What a counting kernel is compiled for: one direction, with those that share its matrix."""

    dimensions: int
    edges: tuple[int, int, int]
    me: int  # index of this direction in the group
    group: tuple[Shape, ...]  # directions that are counted together: one, or all if they are merged
    merge: bool
    wide: bool = False  # whether words are wide: codes alone, for more than 256 levels
    marked: bool = True  # False only for wide words if the matrix is not symmetric; others hold their marks

    @property
    def planes(self) -> int:
        """Number of planes of a window."""
        return self.edges[0] if self.dimensions == 3 else self.edges[1]

    @property
    def pairs(self) -> int:
        """Number of places for pairs in a window that are counted in one matrix."""
        return sum((self.planes - shape.late) * shape.rows * shape.columns for shape in self.group)

    @property
    def named(self) -> bool:
        """Whether windows have so few pairs that their sums are looked up by name; see `partitions`."""
        # The last registers of a longer row may hold no pair.
        short = self.group[self.me].columns <= _MOST_CHUNK
        return not self.merge and self.pairs <= MOST_PAIRS and short

    @property
    def block(self) -> tuple[int, int]:
        """Threads of a block along x and across: as many as the shared memory has room for."""
        threads = _SHARED_BYTES // (self.planes * _BYTES_A_PLANE)
        x = BLOCK[0] if threads >= BLOCK[0] else 8
        return x, min(BLOCK[1], threads // x)


@functools.cache
def marches(settings: GLCMSettings, wide: bool = False) -> tuple[March, ...]:
    """Return the specification of the counting kernel for each direction; see `March` for `wide`."""
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
    """Return the table for windows with this many pairs: int64 sums by name, or terms by rank."""
    table = sums_by_name(pairs).astype(np.int64) if named else log_steps(fixed_log2(np.arange(pairs + 1)))
    table.flags.writeable = False
    return table


def first_end(offset: tuple[int, int, int], dimensions: int) -> tuple[int, int, int]:
    """Return the offset from the place of a pair to its first voxel; see the top of this file."""
    z, y, x = (max(0, -step) for step in offset)
    return (-offset[0], y, x) if dimensions == 3 else (z, -offset[1], x)


def word_kernel(wide: bool) -> Callable[..., None]:
    """Return the kernel that writes the words of the pairs of one direction, as a Python function.

    Its arguments: levels (Z, Y, X); `start`, the first voxel of the pair at the first place (see
    `first_end`), in coordinates of `levels`; offset of the direction; number of levels; whether the matrix
    is symmetric; index of the direction in its group; words (directions, Z, Y, X) uint32, for all places
    that the windows reach.
    """
    none = WIDE_NON_PAIR if wide else NON_PAIR

    @versioned(__name__)
    def words_of_pairs(  # type: ignore[no-untyped-def]
        levels, start, offset, number_of_levels, symmetric, direction, words
    ):
        x, y, z = cuda.grid(3)
        depth, height, width = levels.shape
        if x >= words.shape[3] or y >= words.shape[2] or z >= words.shape[1]:
            return
        # One thread per place. A pair counts if both its voxels are in the image and in the mask.
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

    Its arguments: words (uint32, flat); voxels of a strip, which is one thread's part of a march;
    `lookup_table` and logarithms (int64); whether this is the `first` direction and the `last`; `totals`
    and `terms`, flat, which directions pass on to each other (mean: sum of the entropies and their
    number; merge: sum of ``n * log2(n)`` and number of non-pairs); levels (Z, Y, X), negative outside the
    mask, and slice and row at which the map starts in them; the scale of the result; the map (Z, Y, X)
    float32.

    All that `march` gives is constant in the kernel, so that loops are unrolled and `here` and `rank` stay in
    registers.
    """
    planes, me, merge, named = march.planes, march.me, march.merge, march.named
    volumetric, mine = march.dimensions == 3, march.group[march.me]
    late, rows, columns = mine.late, mine.rows, mine.columns
    # A long row is taken in chunks; the last one is ragged if it is not full.
    chunk = columns if columns <= _MOST_CHUNK else _MOST_CHUNK // 2
    ragged = columns % chunk != 0
    group = len(march.group)
    shapes = np.array([(shape.late, shape.rows, shape.columns) for shape in march.group], np.int32)
    all_pairs = march.pairs
    rim_z, rim_y, rim_x = (edge - 1 for edge in march.edges)
    threads_x, threads_across = march.block
    ring = (planes, threads_x * threads_across)
    sum_type: type[np.number] = np.uint32 if named else np.int64
    empty = 1 if named else 0  # a name is a product, other sums are sums
    wide, marked = march.wide, march.marked
    absent = WIDE_NON_PAIR if wide else NON_PAIR

    @versioned(__name__)
    def count(  # type: ignore[no-untyped-def]
        words, strip, table, log_table, first, last, totals, terms, levels, origin_z, origin_y, scale, out
    ):
        x, across, number = cuda.grid(3)
        depth, height, width = out.shape
        # The march is along `length`; threads lie beside each other along x and `breadth`.
        length, breadth = (depth, height) if volumetric else (height, depth)
        if x >= width or across >= breadth:
            return
        x, across = np.uint32(x), np.uint32(across)
        row = width + rim_x
        plane = row * (height + rim_y)
        volume = plane * (depth + rim_z)
        # Unsigned numbers save Numba's tests for negative indices.
        down, beside = (
            (np.uint32(plane), np.uint32(row)) if volumetric else (np.uint32(row), np.uint32(plane))
        )
        start = np.uint32(number * strip)
        # Numba's sums of 32-bit numbers have 64 bits, which take a device two instructions each.
        steps = np.int32(min(strip, length - number * strip) + planes - 1)
        thread = np.uint32(cuda.threadIdx.y * threads_x + cuda.threadIdx.x)
        # Rings with a slot for each of the last planes: `sums` of the windows that start in them, and
        # `passed`, what `seen` was after each of them.
        sums = cuda.shared.array(ring, sum_type)
        passed = cuda.shared.array(ring, np.int64)
        # Non-pairs * 2**32 + distinct pairs, of all planes so far.
        seen = np.int64(0)
        for slot in range(planes):
            sums[slot, thread] = empty
        shape = cuda.const.array_like(shapes)
        here = cuda.local.array(chunk, np.uint32)
        rank = cuda.local.array(chunk, np.uint32)
        # In every step a plane enters; the window that starts `planes - 1` planes higher is complete after
        # it. In the first `planes - 1` steps none is.
        column = start * down + across * beside + x
        entering = np.uint32(planes - 1)  # slot of the plane that enters
        for step in range(steps):
            entering = _slot(entering + 1, planes)
            newest = column + np.uint32(step) * down
            for r in range(rows):
                for c in range(0, columns, chunk):
                    # Load a chunk of the row, and add up its marks. Past the end of the row are non-pairs.
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
                    # Ranks within the chunk: equal pairs to the left.
                    for j in range(chunk):
                        for left in range(chunk):
                            if left < j:
                                rank[j] += here[left] == here[j]
                    # Go up from window to window. The one that starts `before` planes higher has one plane
                    # more of each direction k than the last: its first plane with pairs, which is `above`
                    # planes higher.
                    for before in range(min(np.int32(planes), np.int32(step + 1))):
                        for k in range(group):
                            above = np.int32(before - shape[k, 0])
                            if above < 0:
                                continue
                            line = newest + np.uint64(k * volume) - np.uint32(above) * down
                            # What comes before this chunk: in higher planes and for earlier directions all
                            # rows; in its own plane and direction the rows before and the chunks to the
                            # left.
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
                        # The ranks are now those in the window that starts `before` planes higher, if it
                        # holds this row: add the row's terms to its sum, or multiply its factors into the
                        # name.
                        if before >= late:
                            waiting = _slot(entering + planes - before, planes)
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
            # Marks of the window that is complete: of all planes so far, less those before its first one
            # with pairs.
            done = np.int32(step - (planes - 1))
            marks_of_window = seen
            if done + late > 0:
                marks_of_window -= passed[_slot(entering + late, planes), thread]
            passed[entering, thread] = seen
            if done < 0:
                continue
            # Take the window's sum out: its slot is for the window that starts in the plane that enters next.
            none, distinct = marks_of_window >> 32, marks_of_window & 0xFFFFFFFF
            oldest = _slot(entering + 1, planes)
            log_sum = np.int64(sums[oldest, thread])
            sums[oldest, thread] = empty
            if named:
                log_sum = table[np.uint32(log_sum)]
            # `distinct` enters the numerator of the entropy as a sum does, with the other sign; see
            # `entropy_of`.
            log_sum -= distinct * LOG_ONE
            along = start + np.uint32(done)
            z, y = (along, across) if volumetric else (across, along)
            voxel = np.uint64((z * np.uint32(height) + y) * np.uint32(width) + x)
            # Continue what earlier directions have left; pass on what later ones need.
            entropy, entropies = 0.0, 0
            if merge and not first:
                log_sum += totals[voxel]
                none += terms[voxel]
            if not merge and not first:
                entropy, entropies = totals[voxel], terms[voxel]
            if merge and not last:
                totals[voxel] = log_sum
                terms[voxel] = none
                continue
            # Non-pairs are counted like pairs of one code: take them off. Without pairs there is no entropy.
            if none < all_pairs:
                log_sum -= none * log_table[np.uint64(none)]
                entropy += scaled_entropy(all_pairs - none, log_sum, 0, log_table)
                entropies += 1
            if not last:
                totals[voxel] = entropy
                terms[voxel] = entropies
            elif levels[np.uint32(z + origin_z), np.uint32(y + origin_y), x] < 0:
                out[z, y, x] = np.nan
            else:
                out[z, y, x] = mean_entropy(entropy, entropies, scale)

    return count


@njit(inline="always")
def _slot(number, planes):  # type: ignore[no-untyped-def]
    """Return a number below ``2 * planes`` modulo `planes`, without a division: a slot of a ring."""
    number = np.int32(number)
    return np.uint32(number - planes if number >= planes else number)


@njit(inline="always")
def _marks_of(word, marked):  # type: ignore[no-untyped-def]
    """Return the marks of a wide word, as the low bits of other words have them."""
    if word == np.uint32(WIDE_NON_PAIR):
        return NON_PAIR
    return int(is_distinct(word, np.uint32(_CODE), marked))


@njit(inline="always")
def _add_equal(rank, here, words, line, number):  # type: ignore[no-untyped-def]
    """Add to the ranks of the pairs in registers the equal pairs among `number` others, from `line` on."""
    for j in range(number):
        other = words[line + np.uint32(j)]
        for own in range(len(here)):
            rank[own] += here[own] == other
