"""Features of a whole region of interest, the form in which reference values and studies give them."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from glcm_cuda.families.feature import Feature
from glcm_cuda.families.region import Levels, Region
from glcm_cuda.families.registry import REGION_FAMILIES, requested
from glcm_cuda.levels.arrays import bounding_box, mask_array
from glcm_cuda.levels.bins import OUTSIDE, Bins
from glcm_cuda.levels.quantize import bin_levels
from glcm_cuda.levels.volume import MaskedVolume
from glcm_cuda.settings import GLCMSettings


def roi_features(
    image: npt.ArrayLike,
    features: str | Iterable[str] = "all",
    settings: GLCMSettings | None = None,
    *,
    mask: npt.ArrayLike | None = None,
    bins: Bins | None = None,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    pool_slices: bool = False,
    morphological_mask: npt.ArrayLike | None = None,
) -> dict[str, float]:
    """Features of a region, of any family.

    Parameters
    ----------
    image : (Y, X) or (Z, Y, X) array of real numbers
        Intensities in any unit.
    features : str or iterable of str
        See `feature_maps`. Regions have features without a map, too, in the families ``stat``, ``ih``,
        ``gldzm`` and ``ngldm``; ``"all"`` are those of all `registry.REGION_FAMILIES`.
    settings : GLCMSettings, optional
        `window` and `masked_window` do not change what is counted. `dimensions` and `aggregate` choose
        among the aggregations of IBSI, for the families ``glcm`` and ``glrlm``: 2D by direction or merged
        (BTW3, SUJT), 2.5D (JJUI, ZW7Z; with `pool_slices`), 3D (ITBB, IAZD). The other textures have no
        direction: 2D (8QNN), 2.5D (62GR), 3D (KOBO). Statistics and the histogram are of the whole region.
    mask : array of the image's shape, optional
        Non-zero inside; by default all voxels are inside.
    bins : Bins, optional
        Bins of the grey levels; by default they are found in `image` (`find_bins`).
    spacing : (float, float, float)
        Distance of neighbouring voxels along z, y and x, in mm. It matters to total energy, and to
        `weighting`.
    pool_slices : bool
        Pool the counts of all slices instead of averaging the features of the slices. Ignored with
        ``dimensions=3``, where neighbours may be in two slices.
    morphological_mask : array of the image's shape, optional
        The region before voxels were left out for their intensities (IBSI's G5KJ), from whose border the
        distances of ``gldzm`` are counted. It holds all of `mask`; by default it is `mask`.

    Returns
    -------
    dict of str to float
        Keys are the names that were given, in their order; the features' own names where a family or all
        were asked for. NaN where the definition gives no value, such as without a pair.

    Raises
    ------
    TypeError, ValueError
        As in `feature_maps`; also if MCC would need a matrix of more than 4096 levels, or a voxel of `mask`
        lies outside the morphological mask.

    References
    ----------
    docs/definition.md, sections 7 and 10; IBSI reference manual.

    Examples
    --------
    >>> roi_features([[0, 1], [0, 1]], ["joint_entropy", "gldzm_ZonePercentage"], GLCMSettings(levels=2))
    {'joint_entropy': 1.0, 'gldzm_ZonePercentage': 0.5}
    """
    settings, wanted = settings or GLCMSettings(), requested(features, region=True)
    volume = MaskedVolume.of(image, mask)
    if settings.slice_axis and np.ndim(image) == 2:
        msg = f"slice_axis={settings.slice_axis} needs a volume, got shape {np.shape(image)}"
        raise ValueError(msg)
    bins = volume.bins(settings, bins)
    shape = _shape(
        volume, None if morphological_mask is None else mask_array(morphological_mask, np.shape(image))
    )
    intensities, levels, shape = _counted(volume, bins, shape)
    region = Region(
        intensities=np.moveaxis(intensities, settings.slice_axis, 0),
        levels=np.ascontiguousarray(np.moveaxis(levels, settings.slice_axis, 0)),
        morphology=np.moveaxis(shape, settings.slice_axis, 0),
        bins=bins,
        settings=settings,
        pool_slices=pool_slices,
        spacing=_along_slices(spacing, settings.slice_axis),
    )
    values = _values(region, tuple(dict.fromkeys(wanted.values())))
    return {name: values[feature] for name, feature in wanted.items()}


def _shape(volume: MaskedVolume, given: npt.NDArray[np.generic] | None) -> npt.NDArray[np.bool_]:
    """Return the morphological mask; without one the mask, or all of the image."""
    inside = np.ones(volume.image.shape, bool) if volume.mask is None else volume.mask != 0
    if given is None:
        return inside
    shape: npt.NDArray[np.bool_] = given.reshape(volume.image.shape) != 0
    beyond = int(np.count_nonzero(inside & ~shape))
    if beyond:
        msg = (
            f"morphological_mask must hold all of the mask, got {beyond} of its voxels outside; is it the "
            "mask before resegmentation?"
        )
        raise ValueError(msg)
    return shape


def _counted(
    volume: MaskedVolume, bins: Bins, shape: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.generic], Levels, npt.NDArray[np.bool_]]:
    """Return intensities, levels and morphological mask of the box around it, beyond which nothing counts."""
    image, mask = volume.image, volume.mask
    if mask is None:
        return image, bin_levels(image, bins, np.int32), shape
    box = bounding_box(shape, 0)
    levels = bin_levels(image[box], bins, np.int32)
    levels[mask[box] == 0] = OUTSIDE
    return image[box], levels, shape[box]


def _along_slices(spacing: tuple[float, float, float], slice_axis: int) -> tuple[float, float, float]:
    """Return spacings in the order in which the axes are counted: the one across the slices first."""
    others = [edge for axis, edge in enumerate(spacing) if axis != slice_axis]
    return spacing[slice_axis], others[0], others[1]


def _values(region: Region, chosen: tuple[Feature, ...]) -> dict[Feature, float]:
    """Return the features, each the mean over the rows of its family; see `families.region`."""
    values: dict[Feature, float] = {}
    for family in REGION_FAMILIES:
        own = [feature for feature in chosen if feature.family == family.name]
        if own:
            rows = importlib.import_module(f"{family.package}.region").values(region, own)
            means = np.mean(rows, axis=0).tolist() if rows else [math.nan] * len(own)
            values |= dict(zip(own, means, strict=True))
    return values
