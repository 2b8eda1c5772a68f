"""Images that filters derive, each with the settings of its maps or features."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from glcm_cuda import GLCMSettings
from glcm_cuda.base.steps import step
from glcm_cuda.families.feature import Feature
from glcm_cuda.levels.arrays import bounding_box
from glcm_cuda.levels.bins import Bins
from pipelines.filters.contract import Derived, ImageFilter, Scope
from pipelines.filters.specification import filter_of, refuse_same_names
from pipelines.images.volume import Volume
from pipelines.maps.inputs import Inputs, Mask
from pipelines.shell.parameter_file import ParameterFile

_PATTERNS = "lbp-"
"""Begins the names of images that hold a few small numbers."""


@dataclass(frozen=True, kw_only=True)
class Filtering:
    """A filter, and the settings of the features of its images.

    Parameters
    ----------
    filter : ImageFilter
        The filter.
    glcm : GLCMSettings
        Grey levels are found anew in every image.
    """

    filter: ImageFilter
    glcm: GLCMSettings

    def scope(self, mask: Mask | None) -> Scope:
        """Return where the filter works; `mask` holds the voxels that have features."""
        glcm = self.glcm
        return Scope(flat=glcm.dimensions == 2, slice_axis=glcm.slice_axis, needed=_needed(glcm, mask))

    def record(self, derived: Derived) -> dict[str, Any]:
        """Return what a sidecar says of one of its images."""
        return {"filter": {"image": derived.name, **self.filter.to_dict()}}


def _needed(glcm: GLCMSettings, mask: Mask | None) -> Mask | None:
    """Return the voxels that levels and windows depend on; None for all."""
    if mask is None or glcm.range_over == "image":
        return None
    if glcm.masked_window and glcm.range_over == "mask":
        return mask
    box = np.zeros(mask.shape, bool)
    box[bounding_box(mask, max(glcm.radii))] = True
    return box


def filterings_of(
    specifications: Sequence[str], inputs: Inputs, settings: Callable[[GLCMSettings | None], GLCMSettings]
) -> tuple[Filtering, ...]:
    """Return the filters that options name, or else those of the parameter file.

    Parameters
    ----------
    specifications : sequence of str
        See `filter_of`.
    inputs : Inputs
        With the parameter file, if there is one.
    settings : callable
        Returns the settings that options make of those of the file, or of none.

    Raises
    ------
    ValueError, TypeError, ModuleNotFoundError
        Those of `filter_of` and `settings`.
    """
    return filterings_from([filter_of(text) for text in specifications], inputs.parameters, settings)


def filterings_from(
    filters: Sequence[ImageFilter],
    parameters: ParameterFile | None,
    settings: Callable[[GLCMSettings | None], GLCMSettings],
) -> tuple[Filtering, ...]:
    """Return filters with their settings, or else those of a parameter file.

    Parameters
    ----------
    filters : sequence of ImageFilter
        They replace those of the file.
    parameters : ParameterFile, optional
        The file.
    settings : callable
        Returns the settings of maps from those of the file, or of none.

    Raises
    ------
    ValueError, TypeError
        Those of `settings`.
    """
    if filters:
        glcm = settings(None if parameters is None else parameters.settings)
        return tuple(Filtering(filter=one, glcm=glcm) for one in filters)
    types = () if parameters is None else parameters.image_types
    return tuple(Filtering(filter=one.filter, glcm=settings(one.settings)) for one in types)


def map_name(image: str, feature: Feature) -> str:
    """Return the name of a map of a derived image; without one, that of the feature.

    Examples
    --------
    >>> from glcm_cuda.families.registry import feature_named
    >>> map_name("wavelet-LLH", feature_named("contrast"))
    'wavelet-LLH_glcm_Contrast'
    """
    return f"{image}_{feature.full_name}" if image else feature.name


def checked_names(filterings: Sequence[Filtering], volume: Volume) -> list[str]:
    """Return the names of all images that the filters derive from a volume.

    Raises
    ------
    ValueError, ModuleNotFoundError
        If a filter has no values for the image, or two images have one name.
    """
    for one in filterings:
        one.filter.check(volume, one.scope(None))
    names = [name for one in filterings for name in one.filter.names(volume.array.ndim, one.scope(None))]
    refuse_same_names(names)
    return names


def derived_images(
    filterings: Sequence[Filtering], volume: Volume, mask: Mask | None
) -> Iterator[tuple[Derived, Filtering]]:
    """Yield every derived image with its filter, one after another."""
    for one in filterings:
        images = iter(one.filter.images(volume, one.scope(mask)))
        while True:
            with step("filters"):
                derived = next(images, None)
            if derived is None:
                break
            yield derived, one


def refuse_one_level(derived: Derived, glcm: GLCMSettings, bins: Bins, features: Sequence[Feature]) -> None:
    """Refuse bins in which all numbers of local binary patterns are one level.

    Raises
    ------
    ValueError
        If a feature depends on levels, and the bins are wider than all patterns together.
    """
    of_levels = [feature.name for feature in features if feature.family != "firstorder"]
    if glcm.bin_width is None or bins.levels > 1 or not of_levels or not derived.name.startswith(_PATTERNS):
        return
    values = derived.volume.array
    msg = (
        f"{derived.name} has values from {np.nanmin(values):g} to {np.nanmax(values):g}, one level with a "
        f"bin width of {glcm.bin_width:g}; give one of 1 (--bin-width, bin_width, or binWidth in the section "
        "of this image type)"
    )
    raise ValueError(msg)


def refuse_windows_beyond(filterings: Sequence[Filtering], pad: int | None) -> None:
    """Refuse windows that reach beyond the box that filters work on, as pyradiomics does.

    Parameters
    ----------
    filterings : sequence of Filtering
        Filters, with the settings of windows.
    pad : int or None
        Voxels around the mask in the box; None for the whole image.

    Raises
    ------
    ValueError
        If a window reaches farther.
    """
    reach = max((max(one.glcm.radii) for one in filterings), default=0)
    if pad is not None and reach > pad:
        msg = (
            f"windows reach {reach} voxels around the mask, filters work on {pad} (padDistance); give a "
            f"smaller window, or padDistance {reach} in the parameter file"
        )
        raise ValueError(msg)
