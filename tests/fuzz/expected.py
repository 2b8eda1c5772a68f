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
from glcm_cuda.families.registry import NAMES, REGION_FEATURES, feature_named

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
    of_region = call.function == "roi_features"
    known = [feature.name for feature in REGION_FEATURES] if of_region else NAMES
    _refuse(not call.features or not set(call.features) <= set(known))
    levels, inside, number = levels_of(call.image, call.mask, chosen)
    stack, within = (array.reshape((-1, *array.shape[-2:])) for array in (levels, inside))
    stack, within = (np.moveaxis(array, chosen.slice_axis, 0) for array in (stack, within))
    counted = within if chosen.masked_window or of_region else np.ones_like(within)
    wanted = [feature_named(name, region=of_region) for name in call.features]
    pairs = [feature.name for feature in wanted if feature.family == "glcm"]
    names = [name for name in pairs if name == "joint_entropy" or number <= DENSE_LEVELS]
    shared: dict[str, Any] = {
        "mask": within,
        "dimensions": chosen.dimensions,
        "symmetric": chosen.symmetric,
        "aggregate": chosen.aggregate,
        "log_base": chosen.log_base,
        "first_level": chosen.first_level,
        "offsets": _offsets(chosen),
        "image_levels": len(np.unique(stack[counted])),
    }
    image = np.moveaxis(np.reshape(call.image, (-1, *levels.shape[-2:])), chosen.slice_axis, 0)
    others = [one for one in wanted if one.family != "glcm"]
    if of_region:
        values = _densely(stack, names, number)
        found = {
            name: naive.roi(
                values[0], name=name, pool_slices=call.pool_slices, number_of_levels=values[1], **shared
            )
            for name in names
        }
        return found | _other_values(call, chosen, others, image, stack, within, number)
    maps = {}
    if names:
        dense, number = _densely(stack, names, number)
        maps = naive.maps(
            dense,
            names,
            window=chosen.edges,
            masked_window=chosen.masked_window,
            number_of_levels=number,
            **shared,
        )
    maps |= _other_maps(call, chosen, others, image, stack, within)
    return {
        name: np.moveaxis(values, 0, chosen.slice_axis).reshape(levels.shape) for name, values in maps.items()
    }


def _other_maps(
    call: Call, chosen: GLCMSettings, wanted: list[Feature], image: Any, levels: Any, inside: Any
) -> dict[str, Any]:
    """Return the maps of features of the families other than the co-occurrence matrix."""
    maps = {}
    for family in dict.fromkeys(feature.family for feature in wanted):
        found = naive_families.maps(
            family,
            image,
            levels + 1,
            window=chosen.edges,
            dimensions=chosen.dimensions,
            mask=inside,
            masked_window=chosen.masked_window,
            **_options(family, call, chosen),
        )
        for feature in (one for one in wanted if one.family == family):
            unit = chosen.log_unit if feature.is_entropy else 1.0
            maps[feature.name] = unit * found[feature.pyradiomics]
    return maps


def _other_values(
    call: Call,
    chosen: GLCMSettings,
    wanted: list[Feature],
    image: Any,
    levels: Any,
    inside: Any,
    number: int,
) -> dict[str, float]:
    """Return the values of a region of features of the families other than the co-occurrence matrix."""
    values = {}
    for family in dict.fromkeys(feature.family for feature in wanted):
        found = naive_families.region(
            family,
            image,
            levels + 1,
            inside,
            dimensions=chosen.dimensions,
            pool_slices=call.pool_slices,
            **_options(family, call, chosen),
            **({"number_of_levels": number} if family == "ih" else {}),
        )
        for feature in (one for one in wanted if one.family == family):
            unit = chosen.log_unit if feature.is_entropy else 1.0
            values[feature.name] = unit * found[feature.full_name.removeprefix(f"{family}_")]
    return values


def _options(family: str, call: Call, chosen: GLCMSettings) -> dict[str, Any]:
    """Return what the oracle of a family takes beyond the window."""
    if family == "firstorder":
        return {"voxel_volume": math.prod(call.spacing), "shift": chosen.intensity_shift}
    if family == "glrlm":
        return {"merge": chosen.aggregate == "merge"}
    if family in ("gldm", "ngldm"):
        return {"distances": chosen.distances, "alpha": chosen.gldm_a}
    if family == "ngtdm":
        return {"distances": chosen.distances, "isolated": chosen.ngtdm_isolated}
    return {}


def _densely(levels: Any, names: list[str], number: int) -> tuple[Any, int]:
    """Return levels as ranks where entropy alone is wanted, which knows equal and different alone."""
    if names != ["joint_entropy"]:
        return levels, number
    ranks = np.unique(levels, return_inverse=True)[1].reshape(levels.shape)
    return ranks, int(ranks.max()) + 1
