"""Linear algebra on four matrices at once, written as LLVM vector instructions: a lane for each matrix.

All numbers are in one flat float64 array. A place is the index of the first of the `FOUR` numbers of an
element, one for each matrix. The elements of a row follow each other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

FOUR = 4
"""Matrices at once: vectors of 256 bits."""

MINORS = 13
"""Elements of the state of `add_minors`."""

_INDEX = ir.IntType(64)
_VECTOR = ir.VectorType(ir.DoubleType(), FOUR)


class _Numbers:
    """Elements of the array, by place."""

    def __init__(self, context: Any, builder: ir.IRBuilder, kind: Any, array: Any) -> None:
        self.builder = builder
        self.data = context.make_array(kind)(context, builder, array).data

    def _at(self, place: ir.Value, element: ir.Value | int) -> ir.Value:
        """Return a pointer to an element of the row that starts at a place."""
        number = ir.Constant(_INDEX, element) if isinstance(element, int) else element
        index = self.builder.add(place, self.builder.mul(number, ir.Constant(_INDEX, FOUR)))
        return self.builder.bitcast(self.builder.gep(self.data, [index]), _VECTOR.as_pointer())

    def load(self, place: ir.Value, element: ir.Value | int = 0) -> ir.Value:
        """Return an element of a row."""
        return self.builder.load(self._at(place, element), align=8)

    def store(self, value: ir.Value, place: ir.Value, element: ir.Value | int = 0) -> None:
        """Write an element of a row."""
        self.builder.store(value, self._at(place, element), align=8)


def _loop(places: int, body: Callable[[ir.IRBuilder, _Numbers, list[ir.Value], ir.Value], None]) -> Any:
    """Return the types and the code of an intrinsic (array, `places` places, count)."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        numbers = _Numbers(context, builder, signature.args[0], arguments[0])
        body(builder, numbers, list(arguments[1 : 1 + places]), arguments[1 + places])
        return context.get_dummy_value()

    return types.void(types.float64[::1], *[types.int64] * (places + 1)), codegen


@intrinsic
def dot(typingctx, numbers, to, one, other, count):  # type: ignore[no-untyped-def]
    """Write the sum of the products of two rows."""

    def body(builder: ir.IRBuilder, numbers: _Numbers, places: list[ir.Value], count: ir.Value) -> None:
        total = cgutils.alloca_once_value(builder, _constant(0.0))
        with cgutils.for_range(builder, count) as loop:
            product = builder.fmul(numbers.load(places[1], loop.index), numbers.load(places[2], loop.index))
            builder.store(builder.fadd(builder.load(total), product), total)
        numbers.store(builder.load(total), places[0])

    return _loop(3, body)


@intrinsic
def multiply(typingctx, numbers, to, cells, vector, edge, count):  # type: ignore[no-untyped-def]
    """Write the product of a symmetric matrix, of `count` rows, and a vector.

    `cells` is the place of its first element, in rows of `edge` elements; those left of the diagonal are not
    read.
    """

    def body(builder: ir.IRBuilder, numbers: _Numbers, places: list[ir.Value], count: ir.Value) -> None:
        to, cells, vector, edge = places
        total = cgutils.alloca_once(builder, _VECTOR)
        with cgutils.for_range(builder, count) as rows:
            builder.store(_constant(0.0), total)
            with cgutils.for_range(builder, rows.index) as above:
                place = builder.add(builder.mul(above.index, edge), rows.index)
                product = builder.fmul(numbers.load(cells, place), numbers.load(vector, above.index))
                builder.store(builder.fadd(builder.load(total), product), total)
            row = builder.mul(rows.index, edge)
            with cgutils.for_range(builder, count, start=rows.index) as columns:
                place = builder.add(row, columns.index)
                product = builder.fmul(numbers.load(cells, place), numbers.load(vector, columns.index))
                builder.store(builder.fadd(builder.load(total), product), total)
            numbers.store(builder.load(total), to, rows.index)

    return _loop(4, body)


@intrinsic
def scale(typingctx, numbers, row, factor, factors, count):  # type: ignore[no-untyped-def]
    """Multiply the elements of a row by a factor, and each by one of a row of factors."""

    def body(builder: ir.IRBuilder, numbers: _Numbers, places: list[ir.Value], count: ir.Value) -> None:
        common = numbers.load(places[1])
        with cgutils.for_range(builder, count) as loop:
            factor = builder.fmul(common, numbers.load(places[2], loop.index))
            product = builder.fmul(numbers.load(places[0], loop.index), factor)
            numbers.store(product, places[0], loop.index)

    return _loop(3, body)


@intrinsic
def combine(typingctx, numbers, row, factor, other_factor, other, count):  # type: ignore[no-untyped-def]
    """Multiply a row by a factor and subtract a multiple of another row."""

    def body(builder: ir.IRBuilder, numbers: _Numbers, places: list[ir.Value], count: ir.Value) -> None:
        factors = numbers.load(places[1]), numbers.load(places[2])
        with cgutils.for_range(builder, count) as loop:
            one = builder.fmul(factors[0], numbers.load(places[0], loop.index))
            other = builder.fmul(factors[1], numbers.load(places[3], loop.index))
            numbers.store(builder.fsub(one, other), places[0], loop.index)

    return _loop(4, body)


@intrinsic
def subtract(typingctx, numbers, row, factor, one, other_factor, other, count):  # type: ignore[no-untyped-def]
    """Subtract multiples of two rows from a row."""

    def body(builder: ir.IRBuilder, numbers: _Numbers, places: list[ir.Value], count: ir.Value) -> None:
        factors = numbers.load(places[1]), numbers.load(places[3])
        with cgutils.for_range(builder, count) as loop:
            first = builder.fmul(factors[0], numbers.load(places[2], loop.index))
            second = builder.fmul(factors[1], numbers.load(places[4], loop.index))
            left = builder.fsub(numbers.load(places[0], loop.index), builder.fadd(first, second))
            numbers.store(left, places[0], loop.index)

    return _loop(5, body)


@intrinsic
def add_minors(typingctx, numbers, state, x, diagonal, beside, count):  # type: ignore[no-untyped-def]
    """Go on by `count` rows of tridiagonal matrices T with the leading minors of x - T and of x + T.

    The state has, for x - T and then for x + T, the last minor with its first two derivatives and the one
    before it with its own; and the least minor of all. `diagonal` is the place of the first of these rows,
    `beside` that of the square beside the diagonal in the row before.
    """

    def body(builder: ir.IRBuilder, numbers: _Numbers, places: list[ir.Value], count: ir.Value) -> None:
        state = [
            cgutils.alloca_once_value(builder, numbers.load(places[0], element)) for element in range(MINORS)
        ]
        x = numbers.load(places[1])
        with cgutils.for_range(builder, count) as loop:
            on_diagonal = numbers.load(places[2], loop.index)
            square = numbers.load(places[3], loop.index)
            steps = builder.fsub(x, on_diagonal), builder.fadd(x, on_diagonal)
            least = builder.load(state[-1])
            for step, first in zip(steps, (0, 6), strict=True):
                minor = _next_minor(builder, step, square, state[first : first + 6])
                smaller = builder.fcmp_ordered("<", minor, least)
                least = builder.select(smaller, minor, least)
            builder.store(least, state[-1])
        for element, value in enumerate(state):
            numbers.store(builder.load(value), places[0], element)

    return _loop(4, body)


def _next_minor(builder: ir.IRBuilder, step: ir.Value, square: ir.Value, state: list[ir.Value]) -> ir.Value:
    """Replace a minor and the one before by the next minor and this one, with their derivatives."""
    last, before = [builder.load(value) for value in state[:3]], [builder.load(value) for value in state[3:]]
    following = [
        builder.fsub(builder.fmul(step, value), builder.fmul(square, earlier))
        for value, earlier in zip(last, before, strict=True)
    ]
    following[1] = builder.fadd(following[1], last[0])
    following[2] = builder.fadd(following[2], builder.fmul(_constant(2.0), last[1]))
    for value, place in zip(following + last, state, strict=True):
        builder.store(value, place)
    return following[0]


def _constant(number: float) -> ir.Constant:
    """Return a vector with the same number in all lanes."""
    return ir.Constant(_VECTOR, [number] * FOUR)
