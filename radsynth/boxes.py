"""Maps and features of a volume, computed in the box of its mask."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from glcm_cuda import GLCMSettings, feature_maps, find_bins
from glcm_cuda.engines.choice import Backend
from glcm_cuda.families.registry import features_named
from glcm_cuda.levels.arrays import bounding_box
from glcm_cuda.levels.bins import Bins
from glcm_cuda.roi import roi_features
from pipelines.filters.contract import Derived
from pipelines.images.volume import Volume
from pipelines.maps.filtering import refuse_one_level
from pipelines.maps.inputs import RegionMasks
from radsynth.inputs import Mask
from radsynth.kinds.kind import Map


def mask_box(mask: Mask, settings: GLCMSettings) -> tuple[slice, ...]:
    """Return the box that the windows around a mask reach."""
    return bounding_box(mask, max(settings.radii))


def box_maps(
    volume: Volume,
    mask: Mask | None,
    features: Sequence[str],
    settings: GLCMSettings,
    *,
    outside: float,
    backend: Backend = "auto",
    derived: str = "",
) -> dict[str, Map]:
    """Return maps of features, by the names that ask for them, in the box of the mask.

    Parameters
    ----------
    volume : Volume
        The image; its grey levels are those of the whole.
    mask : bool array of the volume's shape, optional
        Without one the box is the volume.
    features, settings, backend
        See `glcm_cuda.feature_maps`.
    outside : float
        Value outside the mask.
    derived : str
        Name of the image, if a filter derived it.

    Raises
    ------
    TypeError, ValueError, RuntimeError
        Those of `glcm_cuda.feature_maps`.
    """
    bins = _bins(volume, mask, features, settings, derived)
    box = tuple(slice(None) for _ in volume.array.shape) if mask is None else mask_box(mask, settings)
    inside = None if mask is None else mask[box]
    maps = feature_maps(
        volume.array[box],
        features,
        settings,
        mask=inside,
        bins=bins,
        spacing=volume.zyx_spacing_mm,
        backend=backend,
    )
    if inside is not None and not np.isnan(outside):
        for values in maps.values():
            values[~inside] = outside
    return maps


def on_whole(part: Map, volume: Volume, mask: Mask | None, settings: GLCMSettings, outside: float) -> Map:
    """Return a map of the box as one of the volume, with a value beyond the box."""
    if mask is None:
        return part
    whole = np.full(volume.array.shape, outside, np.float32)
    whole[mask_box(mask, settings)] = part
    return whole


def region_values(
    volume: Volume,
    masks: RegionMasks,
    features: Sequence[str],
    settings: GLCMSettings,
    pool_slices: bool,
    derived: str = "",
) -> dict[str, float]:
    """Return features of a region, by the names that ask for them.

    Parameters
    ----------
    volume : Volume
        The image; its grey levels are those of the whole.
    masks : RegionMasks
        The region, of the volume's shape.
    features, settings, pool_slices
        See `glcm_cuda.roi.roi_features`.
    derived : str
        Name of the image, if a filter derived it.

    Raises
    ------
    TypeError, ValueError
        Those of `glcm_cuda.roi.roi_features`.
    """
    mask, shape = masks.intensity, masks.morphological
    bins = _bins(volume, mask, features, settings, derived)
    box = bounding_box(shape, 0)  # beyond it there is no pair inside the mask
    return roi_features(
        volume.array[box],
        features,
        settings,
        mask=mask[box],
        pool_slices=pool_slices,
        morphological_mask=shape[box],
        bins=bins,
        spacing=volume.zyx_spacing_mm,
    )


def _bins(
    volume: Volume, mask: Mask | None, features: Sequence[str], settings: GLCMSettings, derived: str
) -> Bins:
    """Return the bins of an image; messages about a derived one begin with its name."""
    if not derived:
        return find_bins(volume.array, settings, mask)
    try:
        bins = find_bins(volume.array, settings, mask)
    except ValueError as error:
        msg = f"{derived}: {error}"
        raise ValueError(msg) from None
    named = features_named(features, region=True)
    refuse_one_level(Derived(name=derived, volume=volume), settings, bins, named)
    return bins
