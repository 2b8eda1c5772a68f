"""The oracle of the other families: docs/definition.md, section 10, in plain Python.

Slow and obvious; imports nothing of ours. The voxels that count are a dict from places (z, y, x) to levels
from 1 on, or to intensities. A matrix is a Counter of (level, number), such as a run's level and length.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np

# What the rows of a family's matrix count, as pyradiomics names it; {} is filled by the words below
SHARED = {
    "short": "{short}Emphasis",
    "long": "{long}Emphasis",
    "levels": "GrayLevelNonUniformity",
    "levels_normalized": "GrayLevelNonUniformityNormalized",
    "numbers": "{number}NonUniformity",
    "numbers_normalized": "{number}NonUniformityNormalized",
    "percentage": "{one}Percentage",
    "level_variance": "GrayLevelVariance",
    "number_variance": "{one}Variance",
    "entropy": "{one}Entropy",
    "low": "LowGrayLevel{one}Emphasis",
    "high": "HighGrayLevel{one}Emphasis",
    "short_low": "{short}LowGrayLevelEmphasis",
    "short_high": "{short}HighGrayLevelEmphasis",
    "long_low": "{long}LowGrayLevelEmphasis",
    "long_high": "{long}HighGrayLevelEmphasis",
}
WORDS = {
    "glrlm": {"short": "ShortRun", "long": "LongRun", "number": "RunLength", "one": "Run"},
    "glszm": {"short": "SmallArea", "long": "LargeArea", "number": "SizeZone", "one": "Zone"},
    "gldm": {
        "short": "SmallDependence",
        "long": "LargeDependence",
        "number": "Dependence",
        "one": "Dependence",
    },
    "gldzm": {"short": "SmallDistance", "long": "LargeDistance", "number": "ZoneDistance", "one": "Zone"},
}
# Names of the dependence matrix that do not follow the others', and what pyradiomics leaves out
DEPENDENCE = {"low": "LowGrayLevelEmphasis", "high": "HighGrayLevelEmphasis"}
DISTANCE = {"number_variance": "ZoneDistanceVariance", "entropy": "ZoneDistanceEntropy"}
FURTHER_DEPENDENCE = {
    "levels_normalized": "GrayLevelNonUniformityNormalized",
    "percentage": "DependencePercentage",
    "energy": "DependenceEnergy",
}
CONSTANT_OR_DOUBLE = {"levels_normalized", "percentage"}

FIRST_ORDER = (
    *("Energy", "TotalEnergy", "Entropy", "Uniformity", "Minimum", "Maximum", "Range", "Mean", "Median"),
    *("10Percentile", "90Percentile", "InterquartileRange", "MeanAbsoluteDeviation"),
    *("RobustMeanAbsoluteDeviation", "RootMeanSquared", "Skewness", "Kurtosis", "Variance"),
)
DIFFERENCE = ("Coarseness", "Contrast", "Busyness", "Complexity", "Strength")
FURTHER_STATISTICS = (
    *("ExcessKurtosis", "MedianAbsoluteDeviation", "CoefficientOfVariation"),
    "QuartileCoefficientOfDispersion",
)
HISTOGRAM = (
    *("Mean", "Variance", "Skewness", "Median", "Minimum", "10Percentile", "90Percentile", "Maximum", "Mode"),
    *("InterquartileRange", "Range", "MeanAbsoluteDeviation", "RobustMeanAbsoluteDeviation"),
    *("MaximumGradient", "MaximumGradientLevel", "MinimumGradient", "MinimumGradientLevel"),
    *FURTHER_STATISTICS,
)
OF_NUMBERS = {
    "firstorder": FIRST_ORDER,
    "ngtdm": DIFFERENCE,
    "stat": FURTHER_STATISTICS,
    "ih": HISTOGRAM,
}


def names_of(family):
    """Return pyradiomics' names of the features of a family, or such as they could be, by what they are."""
    if family in OF_NUMBERS:
        return {name: name for name in OF_NUMBERS[family]}
    if family == "ngldm":
        return FURTHER_DEPENDENCE
    names = {key: name.format(**WORDS[family]) for key, name in SHARED.items()}
    if family == "gldzm":
        names |= DISTANCE
    if family == "gldm":
        names = {key: DEPENDENCE.get(key, name) for key, name in names.items()}
        names = {key: name for key, name in names.items() if key not in CONSTANT_OR_DOUBLE}
    return names


# Matrices


def neighbours(dimensions, distances=(1,)):
    """Return all offsets (z, y, x), in both directions, whose longest part is one of the distances."""
    reach = range(-max(distances), max(distances) + 1)
    offsets = itertools.product([0] if dimensions == 2 else reach, reach, reach)
    return [offset for offset in offsets if max(map(abs, offset)) in distances]


def moved(place, offset, times=1):
    return tuple(a + times * b for a, b in zip(place, offset, strict=True))


def runs(levels, offset):
    """Return the runs along a direction, empty if no line along it holds two voxels."""
    matrix, seen, is_empty = Counter(), set(), True
    extent = 1 + max(max(place[axis] for place in levels) for axis in range(3)) if levels else 0
    for place in levels:
        is_empty &= not any(moved(place, offset, step) in levels for step in range(1, extent))
        if place in seen:
            continue
        start = place
        while levels.get(moved(start, offset, -1)) == levels[place]:
            start = moved(start, offset, -1)
        length = 0
        while levels.get(moved(start, offset, length)) == levels[place]:
            seen.add(moved(start, offset, length))
            length += 1
        matrix[levels[place], length] += 1
    return Counter() if is_empty else matrix


def zones(levels, dimensions):
    """Return the zones, connected places of one level, as lists of places."""
    found, seen = [], set()
    for place in levels:
        if place in seen:
            continue
        zone, waiting = [], [place]
        seen.add(place)
        while waiting:
            one = waiting.pop()
            zone.append(one)
            for offset in neighbours(dimensions):
                other = moved(one, offset)
                if other not in seen and levels.get(other) == levels[place]:
                    seen.add(other)
                    waiting.append(other)
        found.append(zone)
    return found


def zone_sizes(levels, dimensions):
    return Counter((levels[zone[0]], len(zone)) for zone in zones(levels, dimensions))


def border_distances(levels, dimensions):
    """Return how many steps across faces lead out of the voxels, 1 at their border."""
    faces = [offset for offset in neighbours(dimensions) if sum(map(abs, offset)) == 1]
    distances, step = {}, 1
    while len(distances) < len(levels):
        rest = [place for place in levels if place not in distances]
        layer = [
            place
            for place in rest
            if any(distances.get(moved(place, face), 0) == step - 1 for face in faces)
            and (step > 1 or any(moved(place, face) not in levels for face in faces))
        ]
        distances.update(dict.fromkeys(layer, step))
        step += 1
    return distances


def zone_distances(levels, dimensions, whole=None):
    """Count zones by level and distance from the border of a region, of which `whole` holds all voxels."""
    distance = border_distances(whole or levels, dimensions)
    return Counter(
        (levels[zone[0]], min(distance[place] for place in zone)) for zone in zones(levels, dimensions)
    )


def dependences(levels, dimensions, distances=(1,), alpha=0):
    matrix = Counter()
    for place, level in levels.items():
        around = [levels.get(moved(place, offset)) for offset in neighbours(dimensions, distances)]
        matrix[level, 1 + sum(other is not None and abs(other - level) <= alpha for other in around)] += 1
    return matrix


def differences(levels, dimensions, distances=(1,), *, isolated=True):
    """Return for every level the number of voxels and the sum of their differences from what is around.

    A voxel with nothing around it has the difference 0; without `isolated` it does not count.
    """
    numbers, sums = Counter(), Counter()
    for place, level in levels.items():
        around = [levels.get(moved(place, offset)) for offset in neighbours(dimensions, distances)]
        around = [other for other in around if other is not None]
        if around or isolated:
            numbers[level] += 1
            sums[level] += abs(level - sum(around) / len(around)) if around else 0.0
    return numbers, sums


# Features


def variance(weights):
    """Return the variance of what a Counter counts."""
    total = sum(weights.values())
    mean = sum(n * x for x, n in weights.items()) / total
    return sum(n * (x - mean) ** 2 for x, n in weights.items()) / total


def entropy(weights):
    total = sum(weights.values())
    return -sum(n / total * math.log2(n / total) for n in weights.values() if n)


def of_matrix(matrix, voxels):
    """Return the 16 features that runs, zones and dependences share; `voxels` is the number of voxels."""
    total = sum(matrix.values())
    levels, numbers = Counter(), Counter()
    for (i, j), n in matrix.items():
        levels[i] += n
        numbers[j] += n

    def mean(f):
        return sum(n * f(i, j) for (i, j), n in matrix.items()) / total

    return {
        "short": mean(lambda _, j: j**-2),
        "long": mean(lambda _, j: j**2),
        "levels": sum(n**2 for n in levels.values()) / total,
        "levels_normalized": sum(n**2 for n in levels.values()) / total**2,
        "numbers": sum(n**2 for n in numbers.values()) / total,
        "numbers_normalized": sum(n**2 for n in numbers.values()) / total**2,
        "percentage": total / voxels,
        "level_variance": variance(levels),
        "number_variance": variance(numbers),
        "entropy": entropy(matrix),
        "energy": sum((n / total) ** 2 for n in matrix.values()),
        "low": mean(lambda i, _: i**-2),
        "high": mean(lambda i, _: i**2),
        "short_low": mean(lambda i, j: i**-2 * j**-2),
        "short_high": mean(lambda i, j: i**2 * j**-2),
        "long_low": mean(lambda i, j: i**-2 * j**2),
        "long_high": mean(lambda i, j: i**2 * j**2),
    }


def of_differences(numbers, sums):
    """Return the five features of differences; the sums are over the levels that are there."""
    total, levels = sum(numbers.values()), sorted(numbers)
    p = {i: numbers[i] / total for i in levels}
    pairs = list(itertools.product(levels, levels))
    weighted, together = sum(p[i] * sums[i] for i in levels), sum(sums.values())
    spread = sum(p[i] * p[j] * (i - j) ** 2 for i, j in pairs)
    apart = sum(abs(i * numbers[i] - j * numbers[j]) for i, j in pairs) / total
    return {
        "Coarseness": min(1 / weighted, 1e6) if weighted else 1e6,
        "Contrast": spread * together / total / (len(levels) * (len(levels) - 1)) if len(levels) > 1 else 0.0,
        "Busyness": weighted / apart if apart else 0.0,
        "Complexity": sum(abs(i - j) * (p[i] * sums[i] + p[j] * sums[j]) / (p[i] + p[j]) for i, j in pairs)
        / total,
        "Strength": sum((p[i] + p[j]) * (i - j) ** 2 for i, j in pairs) / together if together else 0.0,
    }


def percentile(ordered, percent):
    """Return the value at `percent` of the way from the first to the last of sorted values."""
    at = percent / 100 * (len(ordered) - 1)
    below = math.floor(at)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (at - below) * (ordered[above] - ordered[below])


def first_order(values, levels, *, voxel_volume=1.0, shift=0.0):
    """Return the features of intensities; entropy and uniformity are of the levels."""
    x = sorted(map(float, values.values()))
    n, mean = len(x), math.fsum(map(float, values.values())) / len(values)
    p10, p25, p50, p75, p90 = (percentile(x, percent) for percent in (10, 25, 50, 75, 90))
    kept = [value for value in x if p10 <= value <= p90]
    center = math.fsum(kept) / len(kept) if kept else math.nan
    second, third, fourth = (math.fsum((value - mean) ** k for value in x) / n for k in (2, 3, 4))
    is_flat = x[0] == x[-1]
    energy = math.fsum((value + shift) ** 2 for value in x)
    histogram = Counter(levels.values())
    return {
        "Energy": energy,
        "TotalEnergy": voxel_volume * energy,
        "Entropy": entropy(histogram),
        "Uniformity": sum((k / n) ** 2 for k in histogram.values()),
        "Minimum": x[0],
        "Maximum": x[-1],
        "Range": x[-1] - x[0],
        "Mean": mean,
        "Median": p50,
        "10Percentile": p10,
        "90Percentile": p90,
        "InterquartileRange": p75 - p25,
        "MeanAbsoluteDeviation": math.fsum(abs(value - mean) for value in x) / n,
        "RobustMeanAbsoluteDeviation": math.fsum(abs(value - center) for value in kept) / len(kept)
        if kept
        else math.nan,
        "RootMeanSquared": math.sqrt(energy / n),
        "Skewness": 0.0 if is_flat else third / second**1.5,
        "Kurtosis": 0.0 if is_flat else fourth / second**2,
        "Variance": 0.0 if is_flat else second,
    }


def further_statistics(values):
    """Return IBSI's features of intensities that pyradiomics lacks."""
    x = sorted(map(float, values.values()))
    p25, median, p75 = (percentile(x, percent) for percent in (25, 50, 75))
    usual = first_order(values, {0: 1})
    return {
        "ExcessKurtosis": usual["Kurtosis"] - 3 if x[0] < x[-1] else 0.0,
        "MedianAbsoluteDeviation": sum(abs(value - median) for value in x) / len(x),
        "CoefficientOfVariation": math.sqrt(usual["Variance"]) / usual["Mean"] if usual["Mean"] else math.nan,
        "QuartileCoefficientOfDispersion": (p75 - p25) / (p75 + p25) if p75 + p25 else math.nan,
    }


def histogram(levels, number_of_levels):
    """Return IBSI's features of the histogram of levels from 1 on."""
    counts = [list(levels.values()).count(level) for level in range(1, number_of_levels + 1)]
    usual = first_order(levels, levels) | further_statistics(levels)
    last = number_of_levels - 1
    gradients = [
        (counts[min(i + 1, last)] - counts[max(i - 1, 0)]) / (1 if i in (0, last) else 2)
        for i in range(number_of_levels)
    ]
    return usual | {
        "Mode": min(
            (level for level, n in enumerate(counts, 1) if n == max(counts)),
            key=lambda level: abs(level * len(levels) - sum(levels.values())),
        ),
        "MaximumGradient": max(gradients),
        "MaximumGradientLevel": gradients.index(max(gradients)) + 1,
        "MinimumGradient": min(gradients),
        "MinimumGradientLevel": gradients.index(min(gradients)) + 1,
    }


# A set of voxels: a window, or a region


def mean_of(found):
    """Return the mean of each feature over several sets of features; NaN if there are none."""
    return {key: math.fsum(one[key] for one in found) / len(found) for key in found[0]} if found else {}


def sets_of_features(
    family,
    levels,
    values=None,
    *,
    dimensions=3,
    distances=(1,),
    alpha=0,
    merge=False,
    isolated=True,
    number_of_levels=None,
    **first_order_options,
):
    """Return the features of every matrix of a family, of all voxels together; none if there is no matrix."""
    if family == "firstorder":
        return [first_order(values, levels, **first_order_options)]
    if family == "stat":
        return [further_statistics(values)]
    if family == "ih":
        return [histogram(levels, number_of_levels)]
    if family == "ngtdm":
        found = differences(levels, dimensions, distances, isolated=isolated)
        return [of_differences(*found)] if found[0] else []
    if family == "glrlm":
        half = [offset for offset in neighbours(dimensions) if offset > (0, 0, 0)]
        matrices = [matrix for matrix in (runs(levels, offset) for offset in half) if matrix]
        if merge and matrices:
            matrices = [sum(matrices, Counter())]
        return [of_matrix(m, sum(j * n for (_, j), n in m.items())) for m in matrices]
    matrix = {
        "glszm": lambda: zone_sizes(levels, dimensions),
        "gldzm": lambda: zone_distances(levels, dimensions),
        "gldm": lambda: dependences(levels, dimensions, distances, alpha),
        "ngldm": lambda: dependences(levels, dimensions, distances, alpha),
    }[family]()
    return [of_matrix(matrix, len(levels))]


def features(family, levels, values=None, **options):
    """Return {pyradiomics' name: value} of the features of one family, of all voxels together."""
    found = mean_of(sets_of_features(family, levels, values, **options))
    return {name: found.get(key, math.nan) for key, name in names_of(family).items()}


def counted(array, inside, ranges):
    """Return {place: value} of the voxels inside within ranges of the axes."""
    return {place: array[place].item() for place in itertools.product(*ranges) if inside[place]}


def maps(family, image, levels, *, window=5, dimensions=2, mask=None, masked_window=True, **options):
    """Return {name: float64 map} of a stack or slice; `levels` from 1 on. Outside the mask is NaN.

    In 3D `window` may be three edges, along z, y and x.
    """
    shape = (-1, *np.shape(levels)[-2:])
    stack, numbers = np.reshape(image, shape), np.reshape(levels, shape)
    inside = np.ones(stack.shape, bool) if mask is None else np.reshape(mask, stack.shape) != 0
    window_mask = inside if masked_window else np.ones(stack.shape, bool)
    edges = (1 if dimensions == 2 else window, window, window) if isinstance(window, int) else window
    radii = [edge // 2 for edge in edges]
    out = {name: np.full(stack.shape, np.nan) for name in names_of(family).values()}
    for centre in zip(*np.nonzero(inside), strict=True):
        ranges = [
            range(max(c - r, 0), min(c + r + 1, size))
            for c, r, size in zip(map(int, centre), radii, stack.shape, strict=True)
        ]
        found = features(
            family,
            counted(numbers, window_mask, ranges),
            counted(stack, window_mask, ranges),
            dimensions=dimensions,
            **options,
        )
        for name, value in found.items():
            out[name][centre] = value
    return {name: values.reshape(np.shape(levels)) for name, values in out.items()}


def region(family, image, levels, mask, *, dimensions=3, pool_slices=False, **options):
    """Return {name: value} of the voxels of a mask.

    In 2D the mean over all matrices of all slices; with `pool_slices` all slices count together, while
    neighbours still lie in the plane (IBSI's 2.5D). Statistics are of all voxels in any case.
    """
    inside = np.asarray(mask) != 0
    ranges = [range(size) for size in inside.shape]
    if dimensions == 3 or pool_slices or family in ("firstorder", "stat", "ih"):
        sets = [ranges]
    else:
        sets = [[[z], *ranges[1:]] for z in ranges[0] if inside[z].any()]
    found = mean_of(
        [
            one
            for part in sets
            for one in sets_of_features(
                family,
                counted(levels, inside, part),
                counted(image, inside, part),
                dimensions=dimensions,
                **options,
            )
        ]
    )
    return {name: found.get(key, math.nan) for key, name in names_of(family).items()}
