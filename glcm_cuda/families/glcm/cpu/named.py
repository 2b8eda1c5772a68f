"""Windows of few pairs in a direction (5x5, 3x3x3): logarithmic sums, energy and maximum by vector lanes.

Sixteen neighbouring windows are counted at once (`ranks`). A table gives the logarithmic sum of a window by
the name of its partition (`partitions`). Every non-pair has a code of its own in a window: a pair alone adds
nothing to the logarithmic sum, and 1 to the energy.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit
from numba.core.config import DISABLE_JIT

from glcm_cuda.base.cache import can_cache, versioned
from glcm_cuda.families.glcm.cpu.kinds import Counted, code_of, codes_of
from glcm_cuda.families.glcm.cpu.pairs import LANES, Band, Box, Ends
from glcm_cuda.families.glcm.cpu.ranks import NAME, WEIGHTS, multiply_ranks
from glcm_cuda.families.glcm.cpu.tally import ENDS, JOINT
from glcm_cuda.families.glcm.definition import Scale, Sums
from glcm_cuda.families.glcm.partitions import MOST_PAIRS, sums_by_name

_CODES = 1 << 16
"""Number of codes."""

_ENERGY, _LARGEST = Sums._fields.index("energy"), Sums._fields.index("largest")


def fits(box: Box, kind: int, number_of_levels: int) -> bool:
    """Return whether codes of a kind can be counted here in windows with this box of pairs."""
    pairs = math.prod(box)
    few = pairs <= MOST_PAIRS and codes_of(kind, number_of_levels) + pairs <= _CODES
    return few and kind != ENDS and not DISABLE_JIT


@functools.lru_cache(maxsize=16)
def table_of(pairs: int, log_one: int) -> npt.NDArray[np.int64]:
    """Return the logarithmic sums by name, (65536,) int64; not to be changed, since bands share it."""
    return sums_by_name(pairs, log_one).astype(np.int64)


def counter(
    counted: Counted, box: Box, boxes: Sequence[Box], number_of_levels: int, scale: Scale
) -> Callable[..., None]:
    """Return a function that counts codes of one kind in all windows of a band.

    Parameters
    ----------
    counted : Counted
        The codes, and the sums that are wanted.
    box, boxes : Box, sequence of Box
        Box of the pairs of this direction, and the different ones of all directions that fit.
    number_of_levels : int
        Number of levels.
    scale : Scale
        Scale of the sums.

    Returns
    -------
    callable ``(sums, ends, offsets, band)``
        Writes to the sums (rows, fields, X) int64, in which it reads the number of pairs.
    """
    kind, symmetric = counted.kind, scale.orders == 2
    what = (NAME if counted.field is not None else 0) + (WEIGHTS if counted.weights else 0)
    fill_codes, rank_band = _fill(kind), _rank(_spelled(boxes), what)
    single = number_of_levels if symmetric and kind == JOINT else 0
    absent, which, margin, places = (
        codes_of(kind, number_of_levels),
        boxes.index(box),
        box.rows - 1,
        math.prod(box),
    )

    def count(sums: npt.NDArray[np.int64], ends: Ends, _: object, band: Band) -> None:
        planes, lines, stride = ends.first.shape
        codes = band.scratch.array("codes", (planes, margin + lines, stride), np.uint16)
        results = band.scratch.array("results", (3, margin + lines, stride), np.uint16)
        fill_codes(codes, *ends, box.rows, box.columns, absent, number_of_levels, symmetric)
        rank_band(
            codes.reshape(-1), *results.reshape(3, -1), stride, lines, margin, sums.shape[2], single, which
        )
        names, energies, heights = results[:, margin:]
        if counted.field is not None:
            _look_up()(sums, counted.field, names, table_of(places, scale.log_one))
        if counted.weights:
            _weigh()(sums, energies, heights, places)

    return count


def _spelled(boxes: Sequence[Box]) -> str:
    return " ".join(",".join(map(str, box)) for box in boxes)


@functools.cache
def _fill(kind: int) -> Any:
    """Return the loop that writes the codes of a band, below a margin that holds anything."""

    @njit(nogil=True, cache=can_cache())
    @versioned(__name__)
    def fill_codes(codes, first, second, high, wide, absent, number_of_levels, symmetric):  # type: ignore[no-untyped-def]
        planes, lines, columns = first.shape
        margin = codes.shape[1] - lines
        for plane in range(planes):
            for line in range(lines):
                code, a, b = codes[plane, margin + line], first[plane, line], second[plane, line]
                for x in range(np.uint64(columns)):
                    code[x] = np.uint16(code_of(a[x], b[x], kind, number_of_levels, symmetric))
                lowest = np.int64(0)
                for x in range(np.uint64(columns)):
                    lowest = min(lowest, np.int64(a[x]))
                if lowest < 0:
                    # A number of its own for every place in a box, wherever the box is.
                    own = absent + (plane * high + line % high) * wide
                    for x in range(columns):
                        if a[x] < 0:
                            code[x] = own + x % wide

    return fill_codes


@functools.cache
def _rank(boxes: str, what: int) -> Any:
    """Return the loop that ranks the pairs of a band; see `ranks.multiply_ranks`."""

    @njit(nogil=True, cache=can_cache())
    @versioned(__name__)
    def rank_band(codes, names, energies, heights, stride, lines, margin, width, single, which):  # type: ignore[no-untyped-def]
        size = (margin + lines) * stride
        for line in range(margin, margin + lines):
            for at in range(line * stride, line * stride + width, LANES):
                multiply_ranks(codes, names, energies, heights, at, size, stride, single, which, boxes, what)

    return rank_band


@functools.cache
def _look_up() -> Any:
    """Return the loop that finds logarithmic sums by name."""

    @njit(nogil=True, cache=can_cache())
    @versioned(__name__)
    def look_up(sums, field, names, table):  # type: ignore[no-untyped-def]
        for row in range(len(sums)):
            out, name = sums[row, field], names[row]
            for x in range(np.uint64(len(out))):
                out[x] = table[np.uint64(name[x])]

    return look_up


@functools.cache
def _weigh() -> Any:
    """Return the loop that writes energy and maximum."""

    @njit(nogil=True, cache=can_cache())
    @versioned(__name__)
    def weigh(sums, energies, heights, places):  # type: ignore[no-untyped-def]
        for row in range(len(sums)):
            out, energy, height = sums[row], energies[row], heights[row]
            for x in range(np.uint64(out.shape[1])):
                # A non-pair added 1 to the energy. It cannot be above a pair.
                out[_ENERGY, x] = np.int64(energy[x]) - (places - out[0, x])
                out[_LARGEST, x] = np.int64(height[x])

    return weigh
