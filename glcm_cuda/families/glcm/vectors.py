"""The two inner loops of the vector lanes, stated to LLVM as vectors: one lane per voxel.

Both compare 16-bit codes of pairs, a row of a window at a time, with everything in registers. Loops
over arrays would keep their counts in memory and depend on what the vectoriser makes of them; see
docs/performance.md.

The codes lie in a flat buffer, `STRIDE` to a row. The window that starts at place p of the buffer has
its pairs at ``p + row * STRIDE + column``, in every direction: buffers are aligned so.
"""

from __future__ import annotations

import functools
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

LANES = 16
"""Voxels to a vector of 16-bit codes: 256 bits. Comparisons of 512 bits end in mask registers, from where
each takes another instruction to be counted; they were slower, see docs/performance.md."""

ROWS, COLUMNS = 64, 256
"""Voxels of a tile, whose codes and sums stay in the second-level cache."""

STRIDE = COLUMNS + 64
"""Columns of a tile's buffers: windows reach beyond it by their edge, vectors by theirs."""

UNIT = 11
"""Factor of a pair that is the first of its code; see `partitions`."""

_WORD, _INDEX = ir.IntType(16), ir.IntType(64)
_VECTOR = ir.VectorType(_WORD, LANES)


def shapes(edge: int, short: int) -> list[tuple[int, int]]:
    """Rows and columns of pairs in a window, for each direction in the order of `directions`.

    `short` is the window's edge less the distance.
    """
    return [(edge, short), (short, short), (short, edge), (short, short)]


def buffer_size(edge: int) -> int:
    """Codes of a tile in one direction, with a margin of `edge` rows above and below."""
    return (ROWS + 2 * edge) * STRIDE


@intrinsic(prefer_literal=True)
def multiply_ranks(typingctx, codes, names, at, direction, edge, short):  # type: ignore[no-untyped-def]
    """Multiply the factors of a row of pairs onto the names of the windows that hold it.

    The pairs of the windows that start at ``at, at + 1, ...``, a vector of them, are compared with the
    pairs before them: those to the left and those in the rows above. In the window whose row i they
    are, the rows above are i; so one sweep upwards serves all windows, whose names lie i rows above.
    """
    window = edge.literal_value, short.literal_value

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        code = _Buffer(context, builder, signature.args[0], arguments[0], arguments[2])
        name = _Buffer(context, builder, signature.args[1], arguments[1], arguments[2])
        every = shapes(*window)
        for high, wide in dict.fromkeys(every):
            of_this_shape = [
                builder.icmp_unsigned("==", arguments[3], ir.Constant(_INDEX, k))
                for k, shape in enumerate(every)
                if shape == (high, wide)
            ]
            with builder.if_then(functools.reduce(builder.or_, of_this_shape)):
                here = [code.load(0, column) for column in range(wide)]
                factors = [_constant(UNIT)] * wide
                for row in range(high):
                    above = [code.load(-row, column) for column in range(wide)] if row else []
                    for column in range(wide):
                        equal = _minus_matches(builder, here[column], above or here[:column])
                        factors[column] = builder.sub(factors[column], builder.add(equal, equal))
                    product = functools.reduce(builder.mul, factors)
                    name.store(-row, builder.mul(product, name.load(-row)) if row else product)
        return context.get_dummy_value()

    return types.void(codes, names, at, types.int64, edge, short), codegen


@intrinsic(prefer_literal=True)
def count_equal(typingctx, codes, counts, at, to, direction, entering, edge, short, merge):  # type: ignore[no-untyped-def]
    """Count, for a row of pairs that enters or leaves windows, the pairs there that are equal.

    For each pair from ``at`` on, a vector of them, and each column j of the window that it may be in,
    its count goes to ``counts[to + j * STRIDE]``. Rows enter and leave one direction after another: the
    pairs that count are those of rows and directions already in, or not yet out, and those to the left.
    With `merge` the pairs of all directions count, whose codes follow each other in the buffer.
    """
    window, merged = (edge.literal_value, short.literal_value), bool(merge.literal_value)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        code = _Buffer(context, builder, signature.args[0], arguments[0], arguments[2])
        count = _Buffer(context, builder, signature.args[1], arguments[1], arguments[3])
        for k in range(4):
            for enters in (True, False):
                wanted = builder.and_(
                    builder.icmp_unsigned("==", arguments[4], ir.Constant(_INDEX, k)),
                    builder.icmp_unsigned("==", arguments[5], ir.Constant(_INDEX, int(enters))),
                )
                with builder.if_then(wanted):
                    for column, total in enumerate(_counts(builder, code, k, enters, window, merged)):
                        count.store(column, total)
        return context.get_dummy_value()

    signature = types.void(codes, counts, at, to, types.int64, types.int64, edge, short, merge)
    return signature, codegen


def _counts(
    builder: ir.IRBuilder, code: _Buffer, k: int, enters: bool, window: tuple[int, int], merged: bool
) -> list[ir.Value]:
    """Equal pairs of a row of direction k, for each column of the window that the pair may be in."""
    high, wide = shapes(*window)[k]
    starts = [merged * other * buffer_size(window[0]) for other in range(4)]
    here = code.load(0, 0, starts[k])
    totals = [_constant(0)] * wide
    for other, (rows, columns) in enumerate(shapes(*window)):
        if other != k and not merged:
            continue
        # A row that enters is the window's last, `high - 1` below its first; one that leaves is its first.
        span = range(1 - high, rows - high + (other < k)) if enters else range(int(other <= k), rows)
        running = [_constant(0)]
        for step in range(1 - wide, columns):
            equal = running[-1]
            for row in span:
                equal = builder.sub(equal, _equals(builder, here, code.load(row, step, starts[other])))
            running.append(equal)
        for column in range(wide):
            first = wide - 1 - column
            inside = builder.sub(running[first + columns], running[first])
            totals[column] = builder.add(totals[column], inside)
    left = _constant(0)
    for column in range(1, wide):
        left = builder.sub(left, _equals(builder, here, code.load(0, -column, starts[k])))
        totals[column] = builder.add(totals[column], left)
    return totals


class _Buffer:
    """Vectors of a flat array of 16-bit words, by row and column from a place on."""

    def __init__(self, context: Any, builder: ir.IRBuilder, kind: Any, array: Any, at: ir.Value) -> None:
        self.builder = builder
        self.data = context.make_array(kind)(context, builder, array).data
        self.at = at

    def pointer(self, offset: int) -> ir.Value:
        place = self.builder.add(self.at, ir.Constant(_INDEX, offset))
        return self.builder.bitcast(self.builder.gep(self.data, [place]), _VECTOR.as_pointer())

    def load(self, row: int, column: int = 0, start: int = 0) -> ir.Value:
        return self.builder.load(self.pointer(row * STRIDE + column + start), align=2)

    def store(self, row: int, value: ir.Value) -> None:
        self.builder.store(value, self.pointer(row * STRIDE), align=2)


def _constant(number: int) -> ir.Constant:
    return ir.Constant(_VECTOR, [number] * LANES)


def _equals(builder: ir.IRBuilder, one: ir.Value, other: ir.Value) -> ir.Value:
    """-1 in the lanes that are equal, LLVM's truth as a number, else 0."""
    return builder.sext(builder.icmp_unsigned("==", one, other), _VECTOR)


def _minus_matches(builder: ir.IRBuilder, one: ir.Value, others: list[ir.Value]) -> ir.Value:
    """Minus the number of vectors that are equal, by lane."""
    return functools.reduce(builder.add, (_equals(builder, one, other) for other in others), _constant(0))
