"""Images that filters derive from an image of any kind, under the keys that pyradiomics writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from glcm_cuda import GLCMSettings
from glcm_cuda.families.registry import features_named
from pipelines.filters.contract import Derived
from pipelines.filters.specification import filter_of
from pipelines.images.volume import Volume
from pipelines.maps.filtering import Filtering, checked_names, derived_images, filterings_from
from pipelines.shell.parameter_file import ParameterFile
from radsynth.arguments import texts_of
from radsynth.inputs import Mask

Filters = str | Iterable[str] | None
"""Specifications such as ``"log:sigma=2,4"``, one or several."""


def filters_from(
    filters: Filters,
    parameters: ParameterFile | None,
    settings: Callable[[GLCMSettings | None], GLCMSettings],
) -> tuple[Filtering, ...]:
    """Return the filters that specifications name, or else those of a parameter file.

    Without any, the image itself is meant.

    Parameters
    ----------
    filters
        See `Filters`.
    parameters, settings
        See `pipelines.maps.filtering.filterings_from`.

    Raises
    ------
    TypeError
        If they are no texts.
    ValueError, ModuleNotFoundError
        If there is no such filter or setting, or the filter needs a library that is not installed.
    """
    named = [filter_of(text, "filters") for text in _texts(filters)]
    return filterings_from(named, parameters, settings)


def _texts(filters: Filters) -> tuple[str, ...]:
    if filters is None:
        return ()
    texts = texts_of("filters", filters, "specifications such as 'log:sigma=2,4'")
    if not texts:
        msg = "filters must name at least one filter, got none; leave the argument out for the image itself"
        raise ValueError(msg)
    return texts


def images_of(
    volume: Volume, mask: Mask | None, glcm: GLCMSettings, filterings: Sequence[Filtering]
) -> Iterator[tuple[Derived, GLCMSettings]]:
    """Yield the images that are mapped or measured, one after another, each with its settings.

    Without filters that is the image itself, without a name.

    Parameters
    ----------
    volume : Volume
        The image.
    mask : bool array of its shape, optional
        The voxels that have features.
    glcm : GLCMSettings
        Settings for the image itself.
    filterings : sequence of Filtering
        Filters, each with settings in place of `glcm`.

    Raises
    ------
    ValueError, ModuleNotFoundError
        If a filter has no values for the image, or two images have one name.
    """
    if not filterings:
        yield Derived(name="", volume=volume), glcm
        return
    checked_names(filterings, volume)
    for derived, one in derived_images(filterings, volume, mask):
        yield derived, one.glcm


def names_of(
    wanted: Sequence[str], filterings: Sequence[Filtering], *, region: bool = False
) -> tuple[str, ...]:
    """Return the names of the features in keys: as they were asked for, or pyradiomics' behind a filter's."""
    if not filterings:
        return tuple(wanted)
    return tuple(feature.full_name for feature in features_named(wanted, region=region))


def key_of(image: str, name: str) -> str:
    """Return the key of a feature of a derived image; without one, the feature's name."""
    return f"{image}_{name}" if image else name
