"""Ways of counting that the CUDA backend does not use, written out for one direction of 5x5.

They exist only so that `kernel_counts` can count their instructions. A thread holds the twenty words of one
window in registers and writes the sum of a table's values over the pairs; borders are ignored.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import cuda, types

ROWS, COLUMNS = 5, 4
PAIRS = ROWS * COLUMNS

SIGNATURE = (
    types.Array(types.uint32, 1, "C"),
    types.uint32,
    types.Array(types.int64, 1, "C"),
    types.Array(types.int64, 1, "C"),
)


def _written(body: list[str]) -> Callable[..., None]:
    """Return a kernel with an unrolled body, so that everything it compares stays in registers."""
    loads = [
        f"w{row * COLUMNS + column} = words[place + np.uint32({row}) * stride + np.uint32({column})]"
        for row in range(ROWS)
        for column in range(COLUMNS)
    ]
    lines = ["place = np.uint32(cuda.grid(1))", *loads, *body]
    space = {"cuda": cuda, "np": np}
    exec("def kernel(words, stride, table, out):\n" + "".join(f"    {line}\n" for line in lines), space)
    return space["kernel"]  # type: ignore[return-value]


def all_pairs() -> Callable[..., None]:
    """Compare each pair with each other pair, and increase the counts of both."""
    counts = [f"n{i} = np.uint32(0)" for i in range(PAIRS)]
    compares = []
    for i in range(PAIRS):
        for j in range(i):
            compares += [f"e = np.uint32(w{i} == w{j})", f"n{i} += e", f"n{j} += e"]
    return _written([*counts, *compares, _sum("n{}")])


def bit_masks() -> Callable[..., None]:
    """Make a bit mask of the equal pairs for each pair, and count its bits."""
    masks = [f"m{i} = np.uint32({1 << i})" for i in range(PAIRS)]
    compares = []
    for i in range(PAIRS):
        for j in range(i):
            compares += [
                f"m{i} |= np.uint32({1 << j}) if w{i} == w{j} else np.uint32(0)",
                f"m{j} |= np.uint32({1 << i}) if w{i} == w{j} else np.uint32(0)",
            ]
    return _written([*masks, *compares, _sum("cuda.popc(m{})")])


def packed() -> Callable[..., None]:
    """Keep two codes of 15 bits per register; the highest bits of a difference tell which are equal."""
    half = PAIRS // 2
    pack = [
        f"p{i} = np.uint32(w{2 * i} >> np.uint32(16)) | (w{2 * i + 1} & np.uint32(0xFFFF0000))"
        for i in range(half)
    ]
    turned = [f"q{i} = (p{i} << np.uint32(16)) | (p{i} >> np.uint32(16))" for i in range(half)]
    counts = [f"n{i} = np.uint32(0)" for i in range(half)]
    compares = []
    for i in range(half):
        for j in range(half):
            for other in ("p", "q"):
                if (other, i) != ("p", j):
                    equal = f"(np.uint32(0x80008000) - (p{i} ^ {other}{j})) >> np.uint32(15)"
                    compares.append(f"n{i} += ({equal}) & np.uint32(0x10001)")
    low, high = _sum("(n{} & np.uint32(0xFFFF))", half), _sum("(n{} >> np.uint32(16))", half, "+=")
    return _written([*pack, *turned, *counts, *compares, low, high])


def _sum(number: str, count: int = PAIRS, store: str = "=") -> str:
    terms = " + ".join(f"table[{number.format(i)}]" for i in range(count))
    return f"out[place] {store} {terms}"


VARIANTS = {
    "all pairs of a window": all_pairs,
    "all pairs, bit masks and population counts": bit_masks,
    "all pairs, two codes to a register": packed,
}
