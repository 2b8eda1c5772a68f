"""Image types of an extractor: filters, each with the settings of the features of its images."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipelines.filters.contract import Derived, ImageFilter, Mask
from pipelines.filters.intensity import Original
from pipelines.images.volume import Volume
from pipelines.maps.filtering import Filtering, checked_names
from pipelines.shell.image_types import IMAGE_TYPES
from pipelines.shell.parameter_file import ParameterFile
from pipelines.shell.yaml_values import mapping, refuse_unknown
from radsynth.extraction.configuration import parameters_from

_log = logging.getLogger(__name__)

_OF_ALL = ("resampledPixelSpacing", "preCrop", "kernelRadius")
"""Settings that make the box which is filtered or mapped; an image type cannot have its own."""


@dataclass(frozen=True, kw_only=True)
class ImageType:
    """A filter, and the settings of the features of its images."""

    filter: ImageFilter
    parameters: ParameterFile

    def filtering(self, volume: Volume) -> Filtering:
        """Return the filter for an image."""
        return Filtering(filter=self.filter, glcm=self.parameters.fitted(self.parameters.settings, volume))


def image_types_from(
    settings: Mapping[str, Any], enabled: Mapping[str, Any], *, voxel_based: bool
) -> list[ImageType]:
    """Return the image types that are enabled, in order.

    LoG without ``sigma`` makes no image, as in pyradiomics; the log says so.

    Parameters
    ----------
    settings : mapping
        Of the extractor.
    enabled : mapping
        Settings for each image type, in place of those of the extractor.
    voxel_based : bool
        Whether maps are asked for.

    Raises
    ------
    ValueError
        If an image type is unknown, or a setting is unfit.
    ModuleNotFoundError
        If a filter needs a library that is not installed.
    """
    refuse_unknown("imageType", enabled, tuple(IMAGE_TYPES))
    types = []
    for name, given in enabled.items():
        own = mapping(f"imageType {name}", given)
        if name == "LoG" and {**settings, **own}.get("sigma") is None:
            _log.warning("imageType LoG makes no image: it has no sigma; give sigma=[2.0, 4.0], for example")
            continue
        for key in _OF_ALL:
            if key in own and own[key] != settings.get(key):
                msg = f"imageType {name}: {key} must be given for all image types, as a setting"
                raise ValueError(msg)
        types.append(_image_type(name, settings, own, voxel_based=voxel_based))
    return types


def _image_type(
    name: str, settings: Mapping[str, Any], own: Mapping[str, Any], *, voxel_based: bool
) -> ImageType:
    parameters = parameters_from(settings, own, name, voxel_based=voxel_based)
    (found,) = parameters.image_types or (None,)
    if found is None:
        return ImageType(filter=Original(), parameters=parameters)
    return ImageType(filter=found.filter, parameters=replace(parameters, settings=found.settings))


def images_of(types: Sequence[ImageType], volume: Volume, mask: Mask) -> Iterator[tuple[Derived, ImageType]]:
    """Yield the images that are derived from an image, one after another, each with its type.

    Raises
    ------
    ValueError
        If a filter has no values for the image, or two images have one name; before any is derived.
    """
    filterings = [one.filtering(volume) for one in types]
    if filterings:
        checked_names(filterings, volume)
    for one, filtering in zip(types, filterings, strict=True):
        for derived in one.filter.images(volume, filtering.scope(mask)):
            yield derived, one
