"""What a call must give, from docs/definition.md and the oracle alone."""

from __future__ import annotations

import itertools
import math
from typing import Any

import naive
import naive_families
import numpy as np

from fuzz.strategies import Call
from glcm_cuda import GLCMSettings
from glcm_cuda.families.feature import Feature
from glcm_cuda.families.registry import FEATURES, REGION_FEATURES

DENSE_LEVELS = 300
"""Beyond it the oracle's matrices are too large, and entropy alone is compared."""

_SHRINK = 2.0**-20
"""Exact, and keeps the product of a range and a number of levels inside float64."""


class RefusedError(Exception):
    """The definition has no value for this call."""


def _refuse(condition: object) -> None:
    if condition:
        raise RefusedError


def _checked(array: Any) -> Any:
    """Return an array of real numbers."""
    _refuse(np.ma.is_masked(array))
    checked = np.asarray(array)
    _refuse(checked.dtype.kind not in "biuf")
    return checked


def _checked_mask(mask: Any, shape: tuple[int, ...]) -> Any:
    if mask is None:
        return np.ones(shape, bool)
    checked = _checked(mask)
    _refuse(checked.shape != shape)
    _refuse(not np.isfinite(checked).all() or not checked.any())
    return checked != 0


def _box(inside: Any, margin: int) -> tuple[slice, ...]:
    places = np.argwhere(inside)
    return tuple(
        slice(max(low - margin, 0), high + margin + 1)
        for low, high in zip(places.min(axis=0), places.max(axis=0), strict=True)
    )


def _range(values: Any, chosen: GLCMSettings) -> tuple[float, float]:
    """Return the range of the bins over these finite intensities."""
    if chosen.intensity_range is not None:
        return chosen.intensity_range
    values = values[np.isfinite(values)]
    low, high = float(values.min()), float(values.max())
    _refuse(not np.isfinite([low, high]).all())
    values = values.astype(float)
    if chosen.percentiles is not None:
        low, high = np.percentile(values, chosen.percentiles)
    elif chosen.deviations is not None and low < high:
        with np.errstate(all="ignore"):
            reach = chosen.deviations * values.std()
            _refuse(not np.isfinite(reach))
            low, high = max(low, values.mean() - reach), min(high, values.mean() + reach)
    return float(low), float(high)


def levels_of(image: Any, mask: Any, chosen: GLCMSettings) -> tuple[Any, Any, int]:
    """Return the levels, what is inside the mask, and the number of levels."""
    array = _checked(image)
    _refuse(array.size == 0)
    inside = _checked_mask(mask, array.shape)
    reached = _box(inside, max(chosen.radii))
    _refuse(not np.isfinite(array[inside]).all())
    _refuse(mask is not None and not chosen.masked_window and not np.isfinite(array[reached]).all())
    _refuse(mask is None and chosen.range_over != "image" and chosen.intensity_range is None)
    domain = {"image": array, "mask": array[inside], "crop": array[reached]}[chosen.range_over]
    low, high = _range(domain.reshape(-1), chosen)
    width = chosen.bin_width
    _refuse(not np.isfinite(max(abs(low), abs(high), high - low) + 2 * (width or 0)))
    finite = np.where(np.isfinite(array), array, low)
    if width is not None:
        _refuse(np.floor((high - low) / width) + 1 > 65536)
    if chosen.bin_edges == "pyradiomics":
        return _pyradiomics_levels(finite, array.dtype, low, high, chosen, inside)
    if width is not None:
        return naive.quantize_width(finite, width, low, high), inside, math.floor((high - low) / width) + 1
    if not np.isfinite(chosen.levels * (high - low)):
        finite, low, high = finite * _SHRINK, low * _SHRINK, high * _SHRINK
    finite = np.clip(np.asarray(finite, float), low, high)  # so that floor() meets no infinity
    return naive.quantize(finite, chosen.levels, low, high), inside, chosen.levels


def _pyradiomics_levels(
    finite: Any, dtype: Any, low: float, high: float, chosen: GLCMSettings, inside: Any
) -> tuple[Any, Any, int]:
    width, ends = chosen.bin_width, np.array([low, high])
    if dtype.kind == "f":
        reach = max(abs(low), abs(high), high - low) + 2 * (width or 0)
        fits = dtype.itemsize <= 8 and reach <= float(np.finfo(dtype).max)
    else:
        fits = dtype.kind != "b" and np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max
    if fits and np.array_equal(ends.astype(dtype), ends):
        ends = ends.astype(dtype)
    bins = {"bin_count": chosen.levels} if width is None else {"bin_width": width}
    try:
        top = int(naive.quantize_pyradiomics(ends.astype(float), ends, **bins).max())
        levels = naive.quantize_pyradiomics(np.minimum(np.asarray(finite, float), high), ends, **bins)
    except ValueError:  # NumPy finds no such edges
        _refuse(low < high)
        return np.zeros(finite.shape, int), inside, 1
    if width is None and high + 1 == high:  # pyradiomics' last edge, one more, is no larger: a level too many
        top = min(top, chosen.levels - 1)
        levels = np.minimum(levels, top)
    return levels, inside, top + 1


def _offsets(chosen: GLCMSettings) -> list[tuple[int, ...]]:
    every = chosen.directions == "all"
    found = [naive.directions(chosen.dimensions, distance, every) for distance in chosen.distances]
    return list(itertools.chain(*found))


def expected_of(call: Call, chosen: GLCMSettings) -> Any:
    """Return the oracle's levels, maps by name or values by name.

    Raises
    ------
    RefusedError
        If there is no right value.
    """
    if call.function == "quantize":
        return levels_of(call.image, call.mask, chosen)[0]
    _refuse(np.ndim(call.image) not in (2, 3))
    _refuse(chosen.slice_axis and np.ndim(call.image) == 2)
    region = call.function == "roi_features"
    known = {feature.name: feature for feature in (REGION_FEATURES if region else FEATURES)}
    _refuse(not call.features or not set(call.features) <= set(known))
    levels, inside, number = levels_of(call.image, call.mask, chosen)
    image, stack, within = (
        np.moveaxis(np.reshape(array, (-1, *levels.shape[-2:])), chosen.slice_axis, 0)
        for array in (call.image, levels, inside)
    )
    wanted = [known[name] for name in call.features]
    pairs = [feature.name for feature in wanted if feature.family == "glcm"]
    names = [name for name in pairs if name == "joint_entropy" or number <= DENSE_LEVELS]
    others = [feature for feature in wanted if feature.family != "glcm"]
    if region:
        return _pairs(call, chosen, names, stack, within, number) | _others(
            naive_families.region, call, chosen, others, (image, stack + 1, within), number
        )
    maps = _pairs(call, chosen, names, stack, within, number) | _others(
        naive_families.maps, call, chosen, others, (image, stack + 1), number, mask=within
    )
    return {
        name: np.moveaxis(values, 0, chosen.slice_axis).reshape(levels.shape) for name, values in maps.items()
    }


def _pairs(
    call: Call, chosen: GLCMSettings, names: list[str], stack: Any, within: Any, number: int
) -> dict[str, Any]:
    """Return co-occurrence features by name."""
    if not names:
        return {}
    region = call.function == "roi_features"
    counted = within if chosen.masked_window or region else np.ones_like(within)
    dense, dense_number = _densely(stack, names, number)
    shared: dict[str, Any] = {
        "mask": within,
        "dimensions": chosen.dimensions,
        "symmetric": chosen.symmetric,
        "aggregate": chosen.aggregate,
        "log_base": chosen.log_base,
        "first_level": chosen.first_level,
        "offsets": _offsets(chosen),
        "image_levels": len(np.unique(stack[counted])),
        "number_of_levels": dense_number,
    }
    if region:
        return {name: naive.roi(dense, name=name, pool_slices=call.pool_slices, **shared) for name in names}
    return naive.maps(dense, names, window=chosen.edges, masked_window=chosen.masked_window, **shared)


def _others(
    oracle: Any,
    call: Call,
    chosen: GLCMSettings,
    wanted: list[Feature],
    arrays: tuple[Any, ...],
    number: int,
    **options: Any,
) -> dict[str, Any]:
    """Return features of the other families by name, from the oracle of maps or of regions."""
    if call.function == "roi_features":
        options |= {"pool_slices": call.pool_slices}
    else:
        options |= {"window": chosen.edges, "masked_window": chosen.masked_window}
    dependences = {"distances": chosen.distances, "alpha": chosen.gldm_a}
    own = {
        "firstorder": {"voxel_volume": math.prod(call.spacing), "shift": chosen.intensity_shift},
        "glrlm": {"merge": chosen.aggregate == "merge"},
        "gldm": dependences,
        "ngldm": dependences,
        "ngtdm": {"distances": chosen.distances, "isolated": chosen.ngtdm_isolated},
        "ih": {"number_of_levels": number},
    }
    found = {}
    for family in dict.fromkeys(feature.family for feature in wanted):
        values = oracle(family, *arrays, dimensions=chosen.dimensions, **own.get(family, {}), **options)
        for feature in (one for one in wanted if one.family == family):
            unit = chosen.log_unit if feature.is_entropy else 1.0
            found[feature.name] = unit * values[feature.full_name.removeprefix(f"{family}_")]
    return found


def _densely(levels: Any, names: list[str], number: int) -> tuple[Any, int]:
    """Return levels as ranks where entropy alone is wanted, which knows equal and different alone."""
    if names != ["joint_entropy"]:
        return levels, number
    ranks = np.unique(levels, return_inverse=True)[1].reshape(levels.shape)
    return ranks, int(ranks.max()) + 1
