"""The oracle: docs/definition.md in plain Python. Slow and obvious; imports nothing of ours."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np


def quantize(image, levels, low=None, high=None):
    image = np.asarray(image, dtype=float)
    low = image.min() if low is None else low
    high = image.max() if high is None else high
    out = np.zeros(image.shape, dtype=int)
    if high == low:
        return out
    for place, value in np.ndenumerate(image):
        bin_number = math.floor(levels * (value - low) / (high - low))
        out[place] = min(max(bin_number, 0), levels - 1)
    return out


def directions(dimensions, distance):
    depths = [0] if dimensions == 2 else [-1, 0, 1]
    unit = [a for a in itertools.product(depths, [-1, 0, 1], [-1, 0, 1]) if a > (0, 0, 0)]
    return [(distance * z, distance * y, distance * x) for z, y, x in unit]


def window_pairs(levels, centre, radii, offset, mask=None):
    """Return the (first level, second level) of every pair of a direction inside the clipped window."""
    ranges = [
        range(max(c - r, 0), min(c + r + 1, size))
        for c, r, size in zip(centre, radii, levels.shape, strict=True)
    ]
    pairs = []
    for p in itertools.product(*ranges):
        q = tuple(a + b for a, b in zip(p, offset, strict=True))
        inside = all(c in span for c, span in zip(q, ranges, strict=True))
        if inside and (mask is None or (mask[p] and mask[q])):
            pairs.append((int(levels[p]), int(levels[q])))
    return pairs


def entropy(pairs, symmetric, log_base):
    """Return -sum p log p over the cells of the matrix that the pairs fill."""
    cells = Counter(pairs)
    if symmetric:
        cells.update((b, a) for a, b in pairs)
    total = sum(cells.values())
    base = math.e if log_base == "e" else log_base
    return -sum(n / total * math.log(n / total, base) for n in cells.values())


def entropy_map(
    levels, *, window=5, distance=1, dimensions=2, symmetric=True, aggregate="mean", log_base=2, mask=None
):
    """Return the float64 map of a stack (Z, Y, X) or slice (Y, X) of levels."""
    levels = np.asarray(levels)
    stack = levels.reshape((-1, *levels.shape[-2:]))
    inside = None if mask is None else np.asarray(mask).reshape(stack.shape) != 0
    edges = (1 if dimensions == 2 else window, window, window) if isinstance(window, int) else window
    radii = [edge // 2 for edge in edges]
    out = np.full(stack.shape, np.nan)
    for centre in np.ndindex(stack.shape):
        if inside is not None and not inside[centre]:
            continue
        found = [window_pairs(stack, centre, radii, a, inside) for a in directions(dimensions, distance)]
        found = [pairs for pairs in found if pairs]
        if aggregate == "merge":
            found = [[pair for pairs in found for pair in pairs]] if found else []
        if found:
            out[centre] = np.mean([entropy(pairs, symmetric, log_base) for pairs in found])
    return out.reshape(levels.shape)
