"""The inner loop of `cpu.patches`, written as LLVM vector instructions: one lane per window of a patch.

A patch is `SIDE` by `SIDE` windows, neighbours in z and y. They move along x together: a plane of pairs
leaves and one enters. A pair belongs to some of the windows; its code has a vector of counts, one for each
window, of which those of these windows change by one.

Windows with d by h pairs in a plane meet ``(d + SIDE - 1) (h + SIDE - 1)`` pairs. Pairs whose places are the
same modulo d and h have no window in common, and each window has one of them. The counts that they find are
therefore kept in one vector: there are d h of them.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

SIDE = 4
"""Slices of a patch, and rows."""

WINDOWS = SIDE * SIDE
"""Windows of a patch: lanes of a vector of 16-bit counts. Lane ``SIDE * z + y`` is the window at (z, y)."""

_WORD, _INDEX = ir.IntType(16), ir.IntType(64)
_VECTOR = ir.VectorType(_WORD, WINDOWS)


@intrinsic(prefer_literal=True)
def exchange(  # type: ignore[no-untyped-def]
    typingctx, codes, leaving, entering, counts, keys, to, first, last, high, heights, row, radix
):
    """Move the windows of a patch on: a row of pairs leaves, another enters; write what was counted before.

    The row lies along y, at one place in z.

    Parameters
    ----------
    codes : uint16 array
        Codes of the pairs.
    leaving, entering : integers
        Index of the first code of the row that leaves, and of the one that enters.
    counts : uint16 array
        A vector for each code.
    keys : uint16 array
        Receives a vector for each of the h pairs of a window in the row: the count before the pair entered
        plus `radix` times the count after one left. Without a radix, 0, it receives two vectors, the first
        counts and the others. Only the lanes of windows that hold the row are written.
    to : integer
        Index of the first of these vectors.
    first, last : integers
        Windows that hold the row: the first and the last of them in z.
    high : integer
        Pairs of a window in the row, h: one of `heights`.
    heights : literal text
        Numbers with a blank between them; Numba's literals are numbers and texts.
    row : literal integer
        Distance of neighbouring pairs of the row in the array of codes.
    radix : literal integer
    """
    choices = [int(height) for height in heights.literal_value.split()]
    pitch, factor = row.literal_value, radix.literal_value

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        arrays = [
            context.make_array(signature.args[place])(context, builder, arguments[place]).data
            for place in (0, 3, 4)
        ]
        inside = _between(builder, *arguments[6:8])
        for height in choices:
            has_height = builder.icmp_unsigned("==", arguments[8], ir.Constant(_INDEX, height))
            row_of_pairs = _Row(builder, arrays, inside, height, pitch)
            with builder.if_then(has_height):
                row_of_pairs.move(arguments[1], arguments[2], arguments[5], factor)
        return context.get_dummy_value()

    integer = types.int64
    signature = types.void(
        codes, integer, integer, counts, keys, integer, integer, integer, integer, heights, row, radix
    )
    return signature, codegen


class _Row:
    """Instructions that move windows with `high` pairs in a row."""

    def __init__(
        self, builder: ir.IRBuilder, arrays: list[ir.Value], inside: ir.Value, high: int, pitch: int
    ) -> None:
        self.builder = builder
        self.codes, self.counts, self.keys = arrays
        self.inside = inside
        self.high = high
        self.pitch = pitch

    def move(self, leaving: ir.Value, entering: ir.Value, to: ir.Value, radix: int) -> None:
        """Write the keys of a row that leaves and one that enters."""
        for y in range(self.high):
            left, entered = self._count(leaving, y, -1), self._count(entering, y, 1)
            place = self.builder.add(to, ir.Constant(_INDEX, y))
            if radix:
                scaled = self.builder.mul(left, _vector([radix] * WINDOWS))
                self._store(place, self.builder.add(entered, scaled))
            else:
                place = self.builder.mul(place, ir.Constant(_INDEX, 2))
                self._store(place, entered)
                self._store(self.builder.add(place, ir.Constant(_INDEX, 1)), left)

    def _count(self, start: ir.Value, first: int, change: int) -> ir.Value:
        """Count the pairs at these places modulo `high` on or off; return the counts without them."""
        builder, found = self.builder, None
        for y in range(first, self.high + SIDE - 1, self.high):
            with_pair = [int(0 <= y - lane % SIDE < self.high) for lane in range(WINDOWS)]
            place = builder.add(start, ir.Constant(_INDEX, y * self.pitch))
            code = builder.zext(builder.load(builder.gep(self.codes, [place])), _INDEX)
            cell = _vector_at(builder, self.counts, code)
            before = builder.load(cell, align=2)
            moved = builder.and_(self.inside, _vector(with_pair))
            after = (builder.add if change > 0 else builder.sub)(before, moved)
            builder.store(after, cell, align=2)
            without = before if change > 0 else after
            found = without if found is None else _choose(builder, with_pair, without, found)
        return found

    def _store(self, place: ir.Value, keys: ir.Value) -> None:
        """Store the keys of the windows that hold the row."""
        cell = _vector_at(self.builder, self.keys, place)
        others = self.builder.load(cell, align=2)
        kept = self.builder.or_(
            self.builder.and_(keys, self.inside), self.builder.and_(others, self.builder.not_(self.inside))
        )
        self.builder.store(kept, cell, align=2)


def _between(builder: ir.IRBuilder, first: ir.Value, last: ir.Value) -> ir.Value:
    """Return a vector of -1, all bits, for the windows from the first to the last in z, and of 0."""
    place = _vector([lane // SIDE for lane in range(WINDOWS)])
    bounds = [_splat(builder, bound) for bound in (first, last)]
    after = builder.icmp_signed(">=", place, bounds[0])
    before = builder.icmp_signed("<=", place, bounds[1])
    return builder.sext(builder.and_(after, before), _VECTOR)


def _splat(builder: ir.IRBuilder, number: ir.Value) -> ir.Value:
    """Return a vector with a number in all lanes."""
    one = builder.insert_element(
        _vector([0] * WINDOWS), builder.trunc(number, _WORD), ir.Constant(ir.IntType(32), 0)
    )
    return builder.shuffle_vector(
        one, one, ir.Constant(ir.VectorType(ir.IntType(32), WINDOWS), [0] * WINDOWS)
    )


def _choose(builder: ir.IRBuilder, windows: list[int], one: ir.Value, other: ir.Value) -> ir.Value:
    """Return a vector with the lanes of `one` for these windows, and of `other` for the rest."""
    lanes = [lane if inside else WINDOWS + lane for lane, inside in enumerate(windows)]
    return builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(ir.IntType(32), WINDOWS), lanes))


def _vector(numbers: list[int]) -> ir.Constant:
    """Return a vector of these numbers."""
    return ir.Constant(_VECTOR, numbers)


def _vector_at(builder: ir.IRBuilder, array: ir.Value, number: ir.Value) -> ir.Value:
    """Return a pointer to the vector with this number in an array."""
    first = builder.gep(array, [builder.mul(number, ir.Constant(_INDEX, WINDOWS))])
    return builder.bitcast(first, _VECTOR.as_pointer())
