"""The oracle: docs/definition.md in plain Python. Slow and obvious; imports nothing of ours."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from types import SimpleNamespace

import numpy as np

LOGARITHMS = {2: np.log2, 10: np.log10, "e": np.log}


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


def quantize_width(image, width, low=None, high=None):
    """Return the levels of bins of a fixed width from low on, intensities limited to low ... high."""
    image = np.asarray(image, dtype=float)
    low = image.min() if low is None else low
    high = image.max() if high is None else high
    out = np.zeros(image.shape, dtype=int)
    for place, value in np.ndenumerate(image):
        out[place] = math.floor((min(max(value, low), high) - low) / width)
    return out


def quantize_pyradiomics(image, mask_values, bin_count=None, bin_width=None):
    """Return pyradiomics' levels, less one; mask_values are the intensities that decide the edges.

    The edges have the type that numpy gives for mask_values, as they have there. An intensity below all
    edges is level 0; one above them (not in mask_values) is one level above the last bin.
    """
    values = np.ravel(mask_values)
    if bin_count is not None:
        edges = np.histogram(values, bin_count)[1]
        edges[-1] += 1
    else:
        low, high = values.min(), values.max()
        edges = np.arange(low - low % bin_width, high + 2 * bin_width, bin_width)
        if len(edges) == 1:
            edges = [edges[0] - 0.5, edges[0] + 0.5]
    return np.maximum(np.digitize(image, edges) - 1, 0)


def directions(dimensions, distance, every=False):
    """Return one of every two opposite offsets: the unit ones scaled, or every one of that length."""
    steps = range(-distance, distance + 1) if every else [-distance, 0, distance]
    offsets = itertools.product([0] if dimensions == 2 else steps, steps, steps)
    return [a for a in offsets if a > (0, 0, 0) and max(map(abs, a)) == distance]


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


def matrix(pairs, number_of_levels, symmetric):
    """Return the dense matrix of the pairs, divided by its sum."""
    counts = np.zeros((number_of_levels, number_of_levels))
    for first, second in pairs:
        counts[first, second] += 1
    if symmetric:
        counts = counts + counts.T
    return counts / counts.sum()


def cross_entropy(p, q, log_base):
    """Return -sum p log q over the cells with p > 0."""
    full = p > 0
    return -np.sum(p[full] * LOGARITHMS[log_base](q[full]))


def summary(p, first_level, log_base, number_of_levels, image_levels):
    """Return all that the formulas of the features are written in."""
    q = np.arange(len(p))
    first, second = np.meshgrid(q, q, indexing="ij")
    m = SimpleNamespace(p=p, log_base=log_base, image_levels=image_levels)
    m.levels = len(p) if number_of_levels is None else number_of_levels
    m.i, m.j = first + first_level, second + first_level
    m.apart = np.abs(first - second)
    m.px, m.py = p.sum(axis=1), p.sum(axis=0)
    m.mean_x, m.mean_y = np.sum(m.i * p), np.sum(m.j * p)
    m.both = m.i + m.j - m.mean_x - m.mean_y
    m.p_sum = np.bincount((first + second).ravel(), p.ravel())
    m.sums = np.arange(len(m.p_sum)) + 2 * first_level
    m.p_difference = np.bincount(m.apart.ravel(), p.ravel())
    m.differences = np.arange(len(m.p_difference))
    return m


def sum_squares(m):
    return np.sum((m.i - m.mean_x) ** 2 * m.p)


def correlation(m):
    """Return the covariance over the standard deviations, 1 where one of these is 0: a single level."""
    if np.count_nonzero(m.px) == 1 or np.count_nonzero(m.py) == 1:
        return 1.0
    variance_y = np.sum((m.j - m.mean_y) ** 2 * m.p)
    return np.sum((m.i - m.mean_x) * (m.j - m.mean_y) * m.p) / np.sqrt(sum_squares(m) * variance_y)


def difference_average(m):
    return np.sum(m.differences * m.p_difference)


def difference_variance(m):
    return np.sum((m.differences - difference_average(m)) ** 2 * m.p_difference)


def inverse_variance(m):
    different = m.apart > 0
    return np.sum(m.p[different] / m.apart[different] ** 2)


def joint_entropy(m):
    return cross_entropy(m.p, m.p, m.log_base)


def imc1(m):
    """Return (HXY - HXY1) / max(HX, HY), 0 where both marginals have a single level."""
    if np.count_nonzero(m.px) == 1 and np.count_nonzero(m.py) == 1:
        return 0.0
    hx, hy = cross_entropy(m.px, m.px, m.log_base), cross_entropy(m.py, m.py, m.log_base)
    hxy1 = cross_entropy(m.p, np.outer(m.px, m.py), m.log_base)
    return (joint_entropy(m) - hxy1) / max(hx, hy)


def imc2(m):
    """Return sqrt(1 - exp(-2 (HXY2 - HXY))), 0 where HXY2 is not above HXY."""
    independent = np.outer(m.px, m.py)
    gain = cross_entropy(independent, independent, m.log_base) - joint_entropy(m)
    return np.sqrt(1 - np.exp(-2 * gain)) if gain > 0 else 0.0


def mcc(m):
    """Return the second largest singular value of Dx^-1/2 P Dy^-1/2, 1 for an image of one level.

    Its square is the second largest eigenvalue of Q(i, j) = sum_k p(i, k) p(j, k) / (p_x(i) p_y(k)). A level
    that the matrix does not have adds an eigenvalue 0.
    """
    if m.image_levels == 1:
        return 1.0
    rows, columns = m.px > 0, m.py > 0
    scaled = m.p[rows][:, columns] / np.sqrt(np.outer(m.px[rows], m.py[columns]))
    values = np.linalg.svd(scaled, compute_uv=False)
    return values[1] if len(values) > 1 else 0.0


FEATURES = {
    "autocorrelation": lambda m: np.sum(m.i * m.j * m.p),
    "joint_average": lambda m: m.mean_x,
    "cluster_prominence": lambda m: np.sum(m.both**4 * m.p),
    "cluster_shade": lambda m: np.sum(m.both**3 * m.p),
    "cluster_tendency": lambda m: np.sum(m.both**2 * m.p),
    "contrast": lambda m: np.sum(m.apart**2 * m.p),
    "correlation": correlation,
    "difference_average": difference_average,
    "difference_entropy": lambda m: cross_entropy(m.p_difference, m.p_difference, m.log_base),
    "difference_variance": difference_variance,
    "joint_energy": lambda m: np.sum(m.p**2),
    "joint_entropy": joint_entropy,
    "imc1": imc1,
    "imc2": imc2,
    "idm": lambda m: np.sum(m.p / (1 + m.apart**2)),
    "mcc": mcc,
    "idmn": lambda m: np.sum(m.p / (1 + m.apart**2 / m.levels**2)),
    "id": lambda m: np.sum(m.p / (1 + m.apart)),
    "idn": lambda m: np.sum(m.p / (1 + m.apart / m.levels)),
    "inverse_variance": inverse_variance,
    "maximum_probability": lambda m: np.max(m.p),
    "sum_average": lambda m: np.sum(m.sums * m.p_sum),
    "sum_entropy": lambda m: cross_entropy(m.p_sum, m.p_sum, m.log_base),
    "sum_squares": sum_squares,
}


def feature(name, p, *, first_level=1, log_base=2, number_of_levels=None, image_levels=None):
    """Return a feature of a matrix; image_levels are the image's, for mcc (None: more than one)."""
    return float(FEATURES[name](summary(p, first_level, log_base, number_of_levels, image_levels)))


def pooled(groups):
    return [item for group in groups for item in group]


def mean_features(names, groups, number_of_levels, symmetric, first_level, log_base, image_levels):
    """Return each feature's mean over the groups of pairs that are not empty, NaN if all are."""
    matrices = [matrix(pairs, number_of_levels, symmetric) for pairs in groups if pairs]
    found = [summary(p, first_level, log_base, number_of_levels, image_levels) for p in matrices]
    return {name: np.mean([FEATURES[name](m) for m in found]) if found else np.nan for name in names}


def maps(
    levels,
    names,
    *,
    window=5,
    distance=1,
    dimensions=2,
    symmetric=True,
    aggregate="mean",
    log_base=2,
    mask=None,
    masked_window=True,
    first_level=1,
    number_of_levels=None,
    image_levels=None,
    offsets=None,
):
    """Return {name: float64 map} of a stack (Z, Y, X) or slice (Y, X) of levels.

    Without masked_window the mask says only where the maps have values: pairs count everywhere. A list of
    offsets (z, y, x) replaces the directions.
    """
    levels = np.asarray(levels)
    stack = levels.reshape((-1, *levels.shape[-2:]))
    everywhere = np.ones(stack.shape, dtype=bool)
    inside = everywhere if mask is None else np.asarray(mask).reshape(stack.shape) != 0
    counted = inside if masked_window else everywhere
    if number_of_levels is None:
        number_of_levels = int(stack.max()) + 1
    if image_levels is None:
        image_levels = len(np.unique(stack[counted]))
    if offsets is None:
        offsets = directions(dimensions, distance)
    edges = (1 if dimensions == 2 else window, window, window) if isinstance(window, int) else window
    radii = [edge // 2 for edge in edges]
    out = {name: np.full(stack.shape, np.nan) for name in names}
    for centre in zip(*np.nonzero(inside), strict=True):
        groups = [window_pairs(stack, centre, radii, a, counted) for a in offsets]
        if aggregate == "merge":
            groups = [pooled(groups)]
        values = mean_features(
            names, groups, number_of_levels, symmetric, first_level, log_base, image_levels
        )
        for name in names:
            out[name][centre] = values[name]
    return {name: values.reshape(levels.shape) for name, values in out.items()}


def feature_map(levels, name, **settings):
    """Return the float64 map of one feature, with the settings of maps."""
    return maps(levels, [name], **settings)[name]


def roi(
    levels,
    mask,
    name,
    *,
    dimensions=2,
    aggregate="mean",
    pool_slices=False,
    distance=1,
    symmetric=True,
    log_base=2,
    first_level=1,
    number_of_levels=None,
    image_levels=None,
    offsets=None,
):
    """Return a feature of all voxels of a mask (None: of the image), NaN if they have no pair.

    In 2D it is the mean over the slices and directions (merged: the slices), unless the pairs of all slices
    are pooled first; in 3D the mean over the directions (merged: that of all pairs).
    """
    levels = np.asarray(levels)
    stack = levels.reshape((-1, *levels.shape[-2:]))
    inside = np.ones(stack.shape, bool) if mask is None else np.asarray(mask).reshape(stack.shape) != 0
    if number_of_levels is None:
        number_of_levels = int(stack.max()) + 1
    if image_levels is None:
        image_levels = len(np.unique(stack[inside]))
    if offsets is None:
        offsets = directions(dimensions, distance)
    parts = [slice(z, z + 1) for z in range(len(stack))] if dimensions == 2 else [slice(None)]
    found = [
        [window_pairs(stack[part], (0, 0, 0), stack.shape, a, inside[part]) for a in offsets]
        for part in parts
    ]
    if pool_slices:
        found = [[pooled(slices) for slices in zip(*found, strict=True)]]
    groups = [pooled(part) for part in found] if aggregate == "merge" else pooled(found)
    return float(
        mean_features([name], groups, number_of_levels, symmetric, first_level, log_base, image_levels)[name]
    )
