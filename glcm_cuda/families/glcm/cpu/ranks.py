"""Ranks of the pairs in small windows as LLVM vector instructions: names of partitions, energy and maximum.

The rank of a pair is the number of earlier pairs in the window with the same code. The product of
``UNIT + 2 * rank`` over the pairs names the partition of the window (`partitions`). The n pairs of a code
have the ranks 0 to n - 1, so that n**2 is the sum of ``2 * rank + 1``, and n the largest of ``rank + 1``.

This is `vectors.multiply_ranks` for boxes of any shape, planes included. Codes are 16-bit words in a flat
array of lines, the lines of a plane one after another.
"""

from __future__ import annotations

import functools
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from glcm_cuda.families.glcm.cpu.pairs import LANES
from glcm_cuda.families.glcm.vectors import UNIT

NAME, WEIGHTS = 1, 2
"""What is computed: the name, energy and maximum, or the sum of these for both."""

_WORD, _INDEX = ir.IntType(16), ir.IntType(64)
_VECTOR = ir.VectorType(_WORD, LANES)


def _boxes(text: str) -> list[tuple[int, int, int]]:
    """Return the boxes that a text spells."""
    return [(int(z), int(y), int(x)) for z, y, x in (box.split(",") for box in text.split())]


@intrinsic(prefer_literal=True)
def multiply_ranks(typingctx, codes, names, energies, heights, at, size, stride, single, which, boxes, what):  # type: ignore[no-untyped-def]
    """Add one line of pairs to the windows that contain it, for the vector of windows from index `at` on.

    Windows are numbered by the place of their first pair in the first plane. A line is row i of the window
    that starts i lines higher, and there has i lines above it. One sweep upwards therefore serves all these
    windows: after i lines the ranks are those in the window whose results are i lines above. Lines must come
    in order from top to bottom: row 0 of a window overwrites its results, later rows add to them.

    Parameters
    ----------
    codes : uint16 array
        Codes of the pairs. Non-pairs have codes of their own, different ones in a window.
    names : uint16 array
        Receives the names, at the indices of the windows.
    energies, heights : uint16 arrays
        Receive the sum of n**2 over the codes, and the largest n; codes below `single` count 2 n**2 and 2 n.
    at : integer
        Index of the first code of the vector, and of its results.
    size, stride : integers
        Codes in a plane and in a line.
    single : integer
        Number of the codes, from 0 on, of pairs that a symmetric matrix counts twice in one cell.
    which : integer
        Number of the box of the pairs, in `boxes`.
    boxes : literal string
        Boxes of the pairs: ``"1,5,4 1,4,4"`` are two, of 1 plane, 5 and 4 rows, and 4 columns.
    what : literal integer
        `NAME`, `WEIGHTS` or their sum.
    """

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        place, size, stride, single, number = arguments[4:9]
        kinds = signature.args
        data = [context.make_array(kinds[j])(context, builder, arguments[j]).data for j in range(4)]
        sweep = _Sweep(builder, data, place, (size, stride), single)
        for k, box in enumerate(_boxes(boxes.literal_value)):
            with builder.if_then(builder.icmp_unsigned("==", number, ir.Constant(_INDEX, k))):
                sweep.rank(box, what.literal_value)
        return context.get_dummy_value()

    index = types.int64
    signature = types.void(codes, names, energies, heights, index, index, index, index, index, boxes, what)
    return signature, codegen


class _Sweep:
    """The instructions for a vector of windows."""

    def __init__(
        self, builder: ir.IRBuilder, data: list[ir.Value], at: ir.Value, steps: tuple[ir.Value, ir.Value],
        single: ir.Value,
    ) -> None:  # fmt: skip
        self._builder = builder
        self._codes, self._names, self._energies, self._heights = data
        self._at = at
        self._size, self._stride = steps
        word = builder.trunc(single, _WORD)
        lane = builder.insert_element(
            ir.Constant(_VECTOR, ir.Undefined), word, ir.Constant(ir.IntType(32), 0)
        )
        mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        self._single = builder.shuffle_vector(lane, ir.Constant(_VECTOR, ir.Undefined), mask)

    def rank(self, box: tuple[int, int, int], what: int) -> None:
        """Rank the pairs of a line in all windows that contain it."""
        planes, rows, columns = box
        builder = self._builder
        here = self._line(planes, columns, 0)
        # Where codes are counted twice, all bits are 1.
        double = [self._below(code) for code in here] if what & WEIGHTS else []
        # `factors` stays UNIT + 2 * rank throughout.
        factors = [_constant(UNIT)] * len(here)
        for row in range(rows):
            # Line 0 is the line itself: only pairs before come earlier. Lines above count whole.
            above = self._line(planes, columns, -row) if row else []
            for j, code in enumerate(here):
                equal = self._minus_matches(code, above or here[:j])
                factors[j] = builder.sub(factors[j], builder.add(equal, equal))
            # The ranks are now complete for the windows that start `row` lines higher.
            if what & NAME:
                product = functools.reduce(builder.mul, factors)
                self._combine(self._names, row, product, builder.mul)
            if what & WEIGHTS:
                self._weigh(row, factors, double)

    def _weigh(self, row: int, factors: list[ir.Value], double: list[ir.Value]) -> None:
        """Add the energy of the line to that of the windows, and raise their maximum."""
        builder = self._builder
        energy, height = _constant(0), _constant(0)
        for factor, twice in zip(factors, double, strict=True):
            term = builder.sub(factor, _constant(UNIT - 1))  # 2 * rank + 1
            energy = builder.add(energy, builder.add(term, builder.and_(term, twice)))
            term = builder.add(term, _constant(1))  # 2 * (rank + 1)
            height = self._largest(height, builder.add(term, builder.and_(term, twice)))
        self._combine(self._energies, row, energy, builder.add)
        self._combine(self._heights, row, builder.lshr(height, _constant(1)), self._largest)

    def _combine(self, results: ir.Value, row: int, value: ir.Value, operation: Any) -> None:
        """Store the value of row 0 of the windows, or combine that of a later row with what is there."""
        place = self._pointer(results, 0, -row, 0)
        if row:
            value = operation(value, self._builder.load(place, align=2))
        self._builder.store(value, place, align=2)

    def _line(self, planes: int, columns: int, line: int) -> list[ir.Value]:
        """Return the codes of a line in all planes and columns, a vector for each."""
        return [
            self._builder.load(self._pointer(self._codes, plane, line, column), align=2)
            for plane in range(planes)
            for column in range(columns)
        ]

    def _pointer(self, data: ir.Value, plane: int, line: int, column: int) -> ir.Value:
        """Return a pointer to a vector of 16-bit words."""
        builder = self._builder
        place = builder.add(self._at, builder.mul(self._size, ir.Constant(_INDEX, plane)))
        place = builder.add(place, builder.mul(self._stride, ir.Constant(_INDEX, line)))
        place = builder.add(place, ir.Constant(_INDEX, column))
        return builder.bitcast(builder.gep(data, [place]), _VECTOR.as_pointer())

    def _below(self, code: ir.Value) -> ir.Value:
        return self._builder.sext(self._builder.icmp_unsigned("<", code, self._single), _VECTOR)

    def _largest(self, one: ir.Value, other: ir.Value) -> ir.Value:
        return self._builder.select(self._builder.icmp_unsigned(">", one, other), one, other)

    def _minus_matches(self, one: ir.Value, others: list[ir.Value]) -> ir.Value:
        """Return, for each lane, minus the number of vectors in `others` that are equal to `one`."""
        builder = self._builder
        matches = (builder.sext(builder.icmp_unsigned("==", one, other), _VECTOR) for other in others)
        return functools.reduce(builder.add, matches, _constant(0))


def _constant(number: int) -> ir.Constant:
    """Return a vector with the same number in all lanes."""
    return ir.Constant(_VECTOR, [number] * LANES)
