"""Maps of images of any kind."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from glcm_cuda import GLCMSettings
from glcm_cuda.engines.choice import Backend
from glcm_cuda.families.registry import requested
from pipelines.filters.contract import Derived
from pipelines.maps.filtering import refuse_windows_beyond
from pipelines.shell.parameter_file import ParameterFile
from radsynth.arguments import texts_of
from radsynth.boxes import box_maps, on_whole
from radsynth.filtering import Filters, filters_from, images_of, key_of, names_of
from radsynth.inputs import Inputs
from radsynth.kinds.kind import Spacing
from radsynth.settings import fitted_to, parameters_from, settings_from

_LARGEST_FLOAT32 = float(np.finfo(np.float32).max)


def map(
    image: Any,
    features: str | Iterable[str] | None = None,
    *,
    mask: Any = None,
    label: int | None = None,
    settings: GLCMSettings | None = None,
    params: str | os.PathLike[str] | None = None,
    filters: Filters = None,
    spacing: Spacing = None,
    outside: float | None = None,
    backend: Backend = "auto",
    **keywords: Any,
) -> Any:
    """Exact texture maps of an image, as images of the same kind on the same grid.

    Parameters
    ----------
    image : path, SimpleITK image, nibabel image, NumPy array or torch tensor
        2D or 3D, one real number per voxel. Arrays are (z, y, x) or (y, x). Tensors are (C, H, W, D) with the
        axes x, y, z of the file, as in MONAI; every channel is mapped by itself.
    features : str or iterable of str, optional
        Names as `glcm_cuda.feature_maps` takes them. By default joint entropy, or what `params` names.
    mask : same kinds as `image`, optional
        Non-zero inside, on the image's grid. It limits the maps, and pairs count inside only (see
        `masked_window`). Images with a place (all but NumPy arrays and plain tensors) take a mask of any
        such kind; NumPy masks go with paths, SimpleITK images and arrays, tensors with tensors.
    label : int, optional
        Take only the voxels of this value in the mask.
    settings : Settings, optional
        By default the preset ``radsynth``: 64 levels, 5x5 windows in the plane of a slice.
    params : path, optional
        Parameter file of pyradiomics, instead of settings; needs a mask. Its steps (normalisation,
        resampling, resegmentation) are taken first, and resampling changes the grid of the maps.
    filters : str or iterable of str, optional
        Filters whose images are mapped in place of the image itself: ``["original", "log:sigma=2,4"]``
        (docs/filters.md). By default those of `params`.
    spacing : sequence of float, optional
        Distance of neighbouring voxels in mm for arrays and tensors, in the order of their axes.
    outside : float, optional
        Value outside the mask; by default NaN, or what `params` says.
    backend : {"auto", "cpu", "cuda"}
        Engine; it does not change the result.
    **keywords
        Fields of `Settings` that replace those of `settings` or `params`: ``levels=32, window=7``.

    Returns
    -------
    image of the kind of `image`, or dict of such images
        float32. One image if `features` is the name of one feature; else a dict with the names that were
        given, or the features' own names where a family or all were asked for. With filters always a dict,
        with pyradiomics' keys: ``"log-sigma-2-0-mm-3D_glcm_Contrast"``. A path gives SimpleITK images.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind.
    ValueError
        If an image is 4D, in colour or without voxels, the mask lies on another grid, or a setting is unfit.
    OSError
        If a file cannot be read.

    Examples
    --------
    >>> import numpy as np
    >>> import radsynth
    >>> image = np.arange(60).reshape(3, 4, 5)
    >>> radsynth.map(image, levels=8, window=3).shape
    (3, 4, 5)
    >>> list(radsynth.map(image, ["contrast", "glrlm_RunEntropy"], levels=8, backend="cpu"))
    ['contrast', 'glrlm_RunEntropy']
    >>> list(radsynth.map(image, "contrast", filters=["square", "gradient"], levels=8))
    ['square_glcm_Contrast', 'gradient_glcm_Contrast']
    """
    parameters = parameters_from(params, mask, settings)
    changed = partial(settings_from, settings, keywords=keywords, caller="map")
    filterings = filters_from(filters, parameters, changed)
    glcm = changed(None if parameters is None else parameters.settings)
    wanted = _wanted(features, parameters)
    value = _outside(outside, mask, parameters)
    inputs = Inputs.of(image, mask, label, spacing, parameters, for_filters=bool(filterings))
    fitted = partial(fitted_to, inputs.channels[0][0], parameters=parameters, given=keywords)
    glcm = fitted(glcm)
    filterings = tuple(replace(one, glcm=fitted(one.glcm)) for one in filterings)
    refuse_windows_beyond(filterings, None if parameters is None else parameters.filter_pad)
    names = names_of(wanted, filterings)
    maps: dict[str, Any] = {}
    channels = (images_of(volume, inside, glcm, filterings) for volume, inside in inputs.channels)
    for of_channels in zip(*channels, strict=True):
        made = _maps_of(inputs, of_channels, names, value, backend)
        maps |= {key_of(of_channels[0][0].name, name): made[name] for name in names}
    return maps[wanted[0]] if _is_single(features, parameters) and not filterings else maps


def _maps_of(
    inputs: Inputs,
    channels: tuple[tuple[Derived, GLCMSettings], ...],
    names: tuple[str, ...],
    outside: float,
    backend: Backend,
) -> dict[str, Any]:
    """Return maps of an image that was derived from each channel, as images of the kind of the inputs."""
    maps = []
    for (derived, glcm), (_, inside) in zip(channels, inputs.channels, strict=True):
        volume = derived.volume
        parts = box_maps(volume, inside, names, glcm, outside=outside, backend=backend, derived=derived.name)
        maps.append({name: on_whole(part, volume, inside, glcm, outside) for name, part in parts.items()})
    return {name: inputs.image([channel[name] for channel in maps], outside) for name in names}


def _wanted(features: str | Iterable[str] | None, parameters: ParameterFile | None) -> tuple[str, ...]:
    """Return the names that ask for features, in their order; of a family, those of its features."""
    if features is None:
        features = "joint_entropy" if parameters is None else parameters.features
    return tuple(requested(texts_of("features", features, "a name or several")))


def _is_single(features: str | Iterable[str] | None, parameters: ParameterFile | None) -> bool:
    """Whether one feature is asked for by its name."""
    if features is None:
        return parameters is None
    return isinstance(features, str) and tuple(requested(features)) == (features,)


def _outside(outside: float | None, mask: Any, parameters: ParameterFile | None) -> float:
    if outside is None:
        return np.nan if parameters is None else parameters.outside
    if mask is None:
        msg = "outside needs a mask; without one every voxel has a value"
        raise ValueError(msg)
    if isinstance(outside, bool) or not isinstance(outside, (int, float, np.number)):
        msg = f"outside must be a number, got {outside!r}"
        raise TypeError(msg)
    if not (np.isnan(outside) or abs(outside) <= _LARGEST_FLOAT32):
        msg = f"outside must be a number that fits in float32, or nan, got {outside:g}"
        raise ValueError(msg)
    return float(outside)
