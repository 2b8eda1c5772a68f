"""The two inner loops of `cpu.lanes`, written as LLVM vector instructions: one lane per voxel.

Both loops compare 16-bit codes of pairs, one row of a window at a time, and keep everything in registers.
Loops over arrays would keep their counts in memory, and their speed would depend on LLVM's vectoriser; see
docs/performance.md.

The codes of a tile are in a flat buffer with `STRIDE` codes per row. In every direction, the window that
starts at index p of the buffer has its pairs at ``p + row * STRIDE + column``, with row and column counted
from 0.
"""

from __future__ import annotations

import functools
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

LANES = 16
"""Voxels per vector of 16-bit codes: 256 bits. Comparisons of 512 bits leave their results in mask
registers and need another instruction before they can be counted; they were slower, see
docs/performance.md."""

ROWS, COLUMNS = 64, 256
"""Size of a tile in voxels; its codes and sums fit into the second-level cache."""

STRIDE = COLUMNS + 64
"""Columns of a tile's buffers, which windows exceed by less than their edge and the last vector by
`LANES`."""

UNIT = 11
"""Factor of the first pair with its code; see `partitions`."""

_WORD, _INDEX = ir.IntType(16), ir.IntType(64)
_VECTOR = ir.VectorType(_WORD, LANES)


def shapes(edge: int, short: int) -> list[tuple[int, int]]:
    """Return rows and columns of pairs in a window, for each direction in the order of `directions`.

    `short` is the window's edge minus the distance.
    """
    return [(edge, short), (short, short), (short, edge), (short, short)]


def buffer_size(edge: int) -> int:
    """Return the number of codes of a tile in one direction, with a margin of `edge` rows above and below."""
    return (ROWS + 2 * edge) * STRIDE


@intrinsic(prefer_literal=True)
def multiply_ranks(typingctx, codes, names, at, direction, edge, short):  # type: ignore[no-untyped-def]
    """Multiply the factors of one row of pairs into the names of the windows that contain the row.

    A vector covers the windows whose columns start at ``at, at + 1, ...``. The pairs of this row of theirs
    are compared with the pairs to their left and with the rows above. The row is row i of the window that
    starts i rows higher, and there has i rows above it. One sweep upwards therefore serves all these
    windows: after i rows the ranks are those in the window whose name is i rows above.

    Parameters
    ----------
    codes : uint16 array
        Codes of the pairs, row by row.
    names : uint16 array
        Names of the windows, at the index at which each starts. Row 0 of a window overwrites its name, later
        rows multiply, so rows must come in order from top to bottom.
    at : integer
        Index of the first code, and of the first name, of the vector.
    direction : integer
        Number of the direction, in the order of `shapes`.
    edge, short : literal integers
        Window; see `shapes`.
    """
    window = edge.literal_value, short.literal_value

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        code = _Buffer(context, builder, signature.args[0], arguments[0], arguments[2])
        name = _Buffer(context, builder, signature.args[1], arguments[1], arguments[2])
        shapes_of_directions = shapes(*window)
        # One branch per shape of the pairs in a window; a direction takes the branch of its shape.
        for high, wide in dict.fromkeys(shapes_of_directions):
            has_shape = [
                builder.icmp_unsigned("==", arguments[3], ir.Constant(_INDEX, k))
                for k, shape in enumerate(shapes_of_directions)
                if shape == (high, wide)
            ]
            with builder.if_then(functools.reduce(builder.or_, has_shape)):
                # Column j of the row, of all windows of the vector. `factors` stays UNIT + 2 * rank
                # throughout.
                here = [code.load(0, column) for column in range(wide)]
                factors = [_constant(UNIT)] * wide
                for row in range(high):
                    # Row 0 is the row itself: only pairs to the left come earlier. Rows above count whole.
                    above = [code.load(-row, column) for column in range(wide)] if row else []
                    for column in range(wide):
                        equal = _minus_matches(builder, here[column], above or here[:column])
                        factors[column] = builder.sub(factors[column], builder.add(equal, equal))
                    # The ranks are now complete for the windows that start `row` rows higher.
                    product = functools.reduce(builder.mul, factors)
                    name.store(-row, builder.mul(product, name.load(-row)) if row else product)
        return context.get_dummy_value()

    return types.void(codes, names, at, types.int64, edge, short), codegen


@intrinsic(prefer_literal=True)
def count_equal(typingctx, codes, counts, at, to, direction, entering, edge, short, merge):  # type: ignore[no-untyped-def]
    """Count, for each pair of a row that enters or leaves windows, the equal pairs in the window.

    A vector covers the pairs at ``at, at + 1, ...``. Each pair is in column j of the window that starts j
    columns to its left; its count in that window is stored at ``counts[to + j * STRIDE]``. The pairs of a
    row enter one after another from left to right and leave from right to left, and with `merge` one
    direction after another. Counted are therefore the equal pairs in the window's other rows, those to the
    left in the same row, and, of the same row in merged directions, those that have already entered or not
    yet left.

    Parameters
    ----------
    codes : uint16 array
        Codes of the pairs, row by row; with `merge`, the buffers of the four directions in succession.
    counts : uint16 array
        Receives the counts.
    at, to : integers
        Index of the first code of the vector, and of its count for column 0.
    direction : integer
        Number of the direction of the row, in the order of `shapes`.
    entering : integer
        1 if the row enters at the bottom of the windows, 0 if it leaves at their top.
    edge, short, merge : literal integers
        Window, see `shapes`; 1 if all directions are counted together, else 0.
    """
    window, merged = (edge.literal_value, short.literal_value), bool(merge.literal_value)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        code = _Buffer(context, builder, signature.args[0], arguments[0], arguments[2])
        count = _Buffer(context, builder, signature.args[1], arguments[1], arguments[3])
        # One branch for each direction and each way.
        for k in range(4):
            for enters in (True, False):
                is_case = builder.and_(
                    builder.icmp_unsigned("==", arguments[4], ir.Constant(_INDEX, k)),
                    builder.icmp_unsigned("==", arguments[5], ir.Constant(_INDEX, int(enters))),
                )
                with builder.if_then(is_case):
                    for column, total in enumerate(_counts(builder, code, k, enters, window, merged)):
                        count.store(column, total)
        return context.get_dummy_value()

    signature = types.void(codes, counts, at, to, types.int64, types.int64, edge, short, merge)
    return signature, codegen


def _counts(
    builder: ir.IRBuilder, code: _Buffer, k: int, enters: bool, window: tuple[int, int], merged: bool
) -> list[ir.Value]:
    """Return the counts for a row of direction k, one vector for each column that the pair may have."""
    high, wide = shapes(*window)[k]
    starts = [merged * other * buffer_size(window[0]) for other in range(4)]  # of the directions' buffers
    here = code.load(0, 0, starts[k])
    totals = [_constant(0)] * wide
    for other, (rows, columns) in enumerate(shapes(*window)):
        if other != k and not merged:
            continue
        # `span`: the rows of direction `other` that are in the window, counted from this row. A row that
        # enters is the last of `high`, so the window's top is at 1 - high; the last row of `other` has
        # entered if other < k. A row that leaves is at the top, 0; the first row of `other` has left, or is
        # this row, if other <= k.
        span = range(1 - high, rows - high + (other < k)) if enters else range(int(other <= k), rows)
        # columns_before[i]: equal pairs in the first i columns, counted from column 1 - wide left of the
        # pair. A window of `columns` columns holds the difference of two of these sums.
        columns_before = [_constant(0)]
        for step in range(1 - wide, columns):
            equal = columns_before[-1]
            for row in span:
                equal = builder.sub(equal, _equals(builder, here, code.load(row, step, starts[other])))
            columns_before.append(equal)
        for column in range(wide):
            first = wide - 1 - column
            in_window = builder.sub(columns_before[first + columns], columns_before[first])
            totals[column] = builder.add(totals[column], in_window)
    # The pairs to the left in the same row: `column` of them in a window in which the pair has this column.
    left = _constant(0)
    for column in range(1, wide):
        left = builder.sub(left, _equals(builder, here, code.load(0, -column, starts[k])))
        totals[column] = builder.add(totals[column], left)
    return totals


class _Buffer:
    """Vectors of a flat array of 16-bit words, addressed by row and column from an index `at`."""

    def __init__(self, context: Any, builder: ir.IRBuilder, kind: Any, array: Any, at: ir.Value) -> None:
        self.builder = builder
        self.data = context.make_array(kind)(context, builder, array).data
        self.at = at

    def pointer(self, offset: int) -> ir.Value:
        """Return a pointer to the vector that starts `offset` words after `at`."""
        place = self.builder.add(self.at, ir.Constant(_INDEX, offset))
        return self.builder.bitcast(self.builder.gep(self.data, [place]), _VECTOR.as_pointer())

    def load(self, row: int, column: int = 0, start: int = 0) -> ir.Value:
        """Return the vector at a row and column, of the buffer that begins `start` words later."""
        return self.builder.load(self.pointer(row * STRIDE + column + start), align=2)

    def store(self, row: int, value: ir.Value) -> None:
        """Store a vector at a row and column 0."""
        self.builder.store(value, self.pointer(row * STRIDE), align=2)


def _constant(number: int) -> ir.Constant:
    """Return a vector with the same number in all lanes."""
    return ir.Constant(_VECTOR, [number] * LANES)


def _equals(builder: ir.IRBuilder, one: ir.Value, other: ir.Value) -> ir.Value:
    """Return -1, LLVM's signed true, in the lanes that are equal, else 0."""
    return builder.sext(builder.icmp_unsigned("==", one, other), _VECTOR)


def _minus_matches(builder: ir.IRBuilder, one: ir.Value, others: list[ir.Value]) -> ir.Value:
    """Return, for each lane, minus the number of vectors in `others` that are equal to `one`."""
    return functools.reduce(builder.add, (_equals(builder, one, other) for other in others), _constant(0))
