"""Small 2D windows on the CPU: counting pairs in vector lanes, one lane per voxel.

The entropy of a window depends only on how many pairs there are of each code: the sizes of the groups
of equal pairs, a partition of the number of pairs. Twenty pairs, the most a 5x5 window has in one
direction, have 627 partitions, so that sixteen bits are enough to name one. The name is a product,
modulo 2**16. Every pair contributes ``UNIT + 2 * rank``, its rank being how many pairs before it in
the window have its code: a group of n contributes the same n factors wherever its pairs lie. `UNIT`
was chosen so that no two partitions of equal size and different entropy have one name, which
`sums_by_name` verifies. A table gives the sum of logarithms that belongs to the name: the integers
that every backend adds up, and so the same bits.

The ranks cost comparisons of 16-bit codes and nothing else. `multiply_ranks` states them as vectors
of LLVM, which keeps all of a window's row in registers; loops that Numba's vectoriser must see
through were several times slower. See docs/performance.md.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import njit, prange, types
from numba.core.config import DISABLE_JIT
from numba.extending import intrinsic

from . import definition
from .definition import (
    LOG_ONE,
    fixed_log2,
    mean_entropy,
    scaled_entropy,
)

MOST_PAIRS = 20
"""Pairs of a direction that a window may have here."""

UNIT = 11
"""Factor of a pair that is the first of its code; odd, so that no product loses bits."""

LANES = 32 if get_host_cpu_features().get("avx512bw") else 16
"""Voxels to a vector of 16-bit codes: 512 bits, or 256 where that is the widest."""

ROWS, COLUMNS = 64, 256
"""Voxels of a tile, whose codes, names and sums stay in the second-level cache."""

STRIDE = COLUMNS + 64
"""Columns of a tile's buffers: windows reach beyond it by their edge, vectors by theirs."""

BLOCK = 32
NAMES = 1 << 16
NO_CODE = np.uint16(0x00FF)
"""Code of what is no pair; it would be (0, 255), which is (255, 0) in a symmetric matrix."""

NONE = 256
"""What is no pair adds this to the marks of a window, a pair of two different levels 1."""


def fits(offsets: npt.NDArray[np.int32], radii: tuple[int, int, int], levels: int, symmetric: bool) -> bool:
    """Whether this module can count a window: its pairs have names, and its codes 16 bits."""
    edges = [2 * radius + 1 for radius in radii]
    pairs = np.prod(np.maximum(np.subtract(edges, np.abs(offsets)), 0), axis=1)
    return (
        not DISABLE_JIT
        and radii[0] == 0
        and pairs.min() > 0
        and pairs.max() <= MOST_PAIRS
        and levels < (257 if symmetric else 256)
    )


def map_levels(
    levels: npt.NDArray[np.int16],
    offsets: npt.NDArray[np.int32],
    out: npt.NDArray[np.float32],
    *,
    first: tuple[int, int],
    radii: tuple[int, int, int],
    number_of_levels: int,
    symmetric: bool,
    merge: bool,
    log_unit: float,
) -> None:
    """Fill `out` as `cpu.map_levels` does, for a window that `fits`."""
    edge, distance = 2 * radii[1] + 1, int(offsets.max())
    short = edge - distance
    tables = np.stack([sums_by_name(edge * short), sums_by_name(short * short)])
    log_table = fixed_log2(np.arange(MOST_PAIRS + 1))
    _compiled(edge, short)(levels, offsets, first, symmetric, tables, log_table, log_unit / LOG_ONE, out)


@functools.cache
def sums_by_name(pairs: int) -> npt.NDArray[np.float64]:
    """Sum of the fixed-point logarithms of a window's counts, by the name of its partition.

    Parameters
    ----------
    pairs : int
        Pairs in the window, at most `MOST_PAIRS`.

    Returns
    -------
    (65536,) float64 array
        Sum over the groups of ``n * fixed_log2(n)``, whole numbers; 0 where there is no such name.
    """
    log_table = fixed_log2(np.arange(pairs + 1))
    factors = np.cumprod([1, *(UNIT + 2 * rank for rank in range(pairs))], dtype=np.uint64) % NAMES
    sums = np.zeros(NAMES)
    counts: dict[int, int] = {}
    for groups in partitions(pairs):
        name = int(np.prod(factors[list(groups)], dtype=np.uint64)) % NAMES
        product = int(np.prod([size**size for size in groups], dtype=object))
        if counts.setdefault(name, product) != product:
            msg = f"two partitions of {pairs} pairs have the name {name}; choose another UNIT"
            raise AssertionError(msg)
        sums[name] = sum(size * int(log_table[size]) for size in groups)
    return sums


def partitions(number: int, largest: int | None = None) -> Iterator[tuple[int, ...]]:
    """Yield every way to write a number as a sum, the largest part first."""
    if number == 0:
        yield ()
    for part in range(min(number, largest or number), 0, -1):
        for rest in partitions(number - part, part):
            yield (part, *rest)


@intrinsic(prefer_literal=True)
def multiply_ranks(typingctx, codes, names, at, height, width):  # type: ignore[no-untyped-def]
    """Multiply the factors of one row of pairs onto the names of the windows that hold it.

    The pairs of the windows that start in columns ``at, at + 1, ...``, a vector of them, are compared
    with the pairs before them: those to the left and those in the rows above. In the window whose
    row i they are, the rows above are i; so one sweep upwards serves all `height` windows.
    """
    rows, columns = height.literal_value, width.literal_value
    vector = ir.VectorType(ir.IntType(16), LANES)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        def pointer(argument: int, row: int, column: int = 0) -> ir.Value:
            array = context.make_array(signature.args[argument])(context, builder, arguments[argument])
            place = builder.add(arguments[2], ir.Constant(ir.IntType(64), column - row * STRIDE))
            return builder.bitcast(builder.gep(array.data, [place]), vector.as_pointer())

        def codes_of(row: int) -> list[ir.Value]:
            return [builder.load(pointer(0, row, column), align=2) for column in range(columns)]

        here = codes_of(0)
        factors = [ir.Constant(vector, [UNIT] * LANES)] * columns
        for row in range(rows):
            above = codes_of(row) if row else None
            for column in range(columns):
                earlier = above or here[:column]
                equal = ir.Constant(vector, [0] * LANES)
                for other in earlier:
                    same = builder.icmp_unsigned("==", here[column], other)
                    equal = builder.add(equal, builder.sext(same, vector))  # -1 where they are equal
                factors[column] = builder.sub(factors[column], builder.add(equal, equal))
            product = functools.reduce(builder.mul, factors)
            if row:
                product = builder.mul(product, builder.load(pointer(1, row), align=2))
            builder.store(product, pointer(1, row), align=2)
        return context.get_dummy_value()

    return types.void(codes, names, at, height, width), codegen


@functools.cache
def _compiled(edge: int, short: int) -> Any:
    """Return the parallel loop over tiles, for windows of `edge` voxels and `short` pairs along a row."""
    fingerprint = zlib.crc32(Path(definition.__file__).read_bytes())

    @njit(parallel=True, cache=True, error_model="numpy")
    def map_tiles(levels, offsets, first, symmetric, tables, log_table, scale, out):  # type: ignore[no-untyped-def]
        _ = fingerprint
        slices, height, width = out.shape
        down, across = (height + ROWS - 1) // ROWS, (width + COLUMNS - 1) // COLUMNS
        size = (ROWS + 2 * edge) * STRIDE
        begin = np.uint64(edge * STRIDE)
        for task in prange(slices * down * across):
            codes, names = np.empty(size, np.uint16), np.empty(size, np.uint16)
            totals, terms = np.empty(ROWS * COLUMNS, np.float64), np.empty(ROWS * COLUMNS, np.uint16)
            totals[:] = 0.0
            terms[:] = len(offsets)
            z, top, left = task // (down * across), task // across % down * ROWS, task % across * COLUMNS
            rows, columns = min(ROWS, height - top), min(COLUMNS, width - left)
            for k in range(len(offsets)):
                _, dy, dx = offsets[k]
                high, wide = edge - abs(dy), edge - abs(dx)
                y, x = first[1] + top - edge // 2, left - edge // 2 - min(dx, 0)
                _fill_codes(
                    codes,
                    begin,
                    levels,
                    first[0] + z,
                    y,
                    x,
                    rows + high - 1,
                    columns + wide - 1,
                    dy,
                    dx,
                    symmetric,
                )
                for row in range(np.uint64(rows + high - 1)):
                    for column in range(np.uint64(0), np.uint64(columns), np.uint64(LANES)):
                        at = begin + row * np.uint64(STRIDE) + column
                        if dy == 0:
                            multiply_ranks(codes, names, at, edge, short)
                        elif dx == 0:
                            multiply_ranks(codes, names, at, short, edge)
                        else:
                            multiply_ranks(codes, names, at, short, short)
                table = tables[0] if dy == 0 or dx == 0 else tables[1]
                _add_entropies(
                    totals, terms, names, codes, begin, rows, columns, high, wide, symmetric, table, log_table
                )
            for row in range(rows):
                for column in range(columns):
                    at = np.uint64(row * COLUMNS + column)
                    out[z, top + row, left + column] = mean_entropy(totals[at], terms[at], scale)

    return map_tiles


@njit
def _fill_codes(codes, begin, levels, z, y, x, rows, columns, dy, dx, symmetric):  # type: ignore[no-untyped-def]
    """Codes of the pairs of slice z that start in row y and column x, or after."""
    _, height, width = levels.shape
    flat = levels.reshape(-1)
    first = max(0, -x, -x - dx)
    last = max(first, min(columns, width - x, width - x - dx))
    for row in range(rows):
        line = begin + np.uint64(row * STRIDE)
        inside = y + row >= 0 and y + row + dy < height
        if first > 0 or last < columns or not inside:
            for column in range(np.uint64(columns)):
                codes[line + column] = NO_CODE
        if inside:
            one = np.uint64((z * height + y + row) * width + x)
            other = one + np.uint64(dy * width + dx)
            for column in range(np.uint64(first), np.uint64(last)):
                codes[line + column] = _code(flat[one + column], flat[other + column], symmetric)


@njit(inline="always")
def _code(first, second, symmetric):  # type: ignore[no-untyped-def]
    """16 bits that are equal for the pairs that `pair_code` takes for equal."""
    low, high = min(first, second), max(first, second)
    one, other = (high, low) if symmetric else (first, second)
    code = np.uint16(np.uint16(one) * np.uint16(NONE) + np.uint16(other))
    return code if low >= 0 else NO_CODE


@njit(inline="always")
def _mark(code, symmetric):  # type: ignore[no-untyped-def]
    """NONE for what is no pair, 1 for two different levels of a symmetric matrix, else 0."""
    difference = np.uint16((code >> np.uint16(8)) ^ (code & np.uint16(255)))
    distinct = np.uint16(min(difference, np.uint16(symmetric)))
    return np.uint16(NONE) if code == NO_CODE else distinct


@njit(error_model="numpy")
def _add_entropies(  # type: ignore[no-untyped-def]
    totals, terms, names, codes, begin, rows, columns, high, wide, symmetric, table, log_table
):
    """Add the entropy of every window of a tile in one direction.

    All windows are done as if they held nothing but pairs, so that the loop becomes vectors; what
    others need instead, at a border or the edge of a mask, is added one by one.
    """
    pairs = high * wide
    stride = np.uint64(STRIDE)
    columns = np.uint64(columns)
    below = np.zeros(STRIDE, np.uint16)
    marks = np.empty(COLUMNS, np.uint16)
    log_sums = np.empty(COLUMNS, np.float64)
    for entering in range(rows + high - 1):
        start = begin + np.uint64(entering) * stride
        for column in range(columns + np.uint64(wide - 1)):
            below[column] += _mark(codes[start + column], symmetric)
        row = entering - high + 1
        if row < 0:
            continue
        start = begin + np.uint64(row) * stride
        for column in range(columns):
            marks[column] = below[column]
        for step in range(np.uint64(1), np.uint64(wide)):
            for column in range(columns):
                marks[column] += below[step + column]
        for column in range(columns):
            log_sums[column] = table[np.uint64(names[start + column])]
        line = np.uint64(row * COLUMNS)
        for block in range(np.uint64(0), columns, np.uint64(BLOCK)):
            any_mark = np.uint16(0)
            for column in range(block, block + np.uint64(BLOCK)):
                any_mark |= marks[column]
            if any_mark < NONE:
                for column in range(block, block + np.uint64(BLOCK)):
                    totals[line + column] += scaled_entropy(
                        pairs, log_sums[column], np.float64(marks[column]), log_table
                    )
            else:
                for column in range(block, block + np.uint64(BLOCK)):
                    none = np.int64(marks[column] // NONE)
                    if none < pairs:
                        log_sum = log_sums[column] - none * log_table[none]
                        distinct = marks[column] % NONE
                        totals[line + column] += scaled_entropy(pairs - none, log_sum, distinct, log_table)
                    else:
                        terms[line + column] -= np.uint16(1)
        for column in range(columns + np.uint64(wide - 1)):
            below[column] -= _mark(codes[start + column], symmetric)
