"""Settings of maps and regions from the arguments of the public functions."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Container, Mapping
from typing import Any

from glcm_cuda import GLCMSettings
from glcm_cuda.base.checks import nearest
from pipelines.images.volume import Volume
from pipelines.shell.parameter_file import ParameterFile, read_parameter_file
from pipelines.shell.settings import changed_settings
from radsynth.arguments import path_of

_NAMES = tuple(field.name for field in dataclasses.fields(GLCMSettings))


def parameters_from(
    params: str | os.PathLike[str] | None, mask: Any, settings: GLCMSettings | None, *, region: bool = False
) -> ParameterFile | None:
    """Return what a parameter file asks for, if one is given.

    Raises
    ------
    TypeError, ValueError, OSError
        If it cannot be read, there is no mask, or `settings` are given too.
    """
    if params is None:
        return None
    if mask is None:
        msg = "params needs a mask, as in pyradiomics"
        raise ValueError(msg)
    if settings is not None:
        msg = "settings and params are mutually exclusive; give keywords such as levels=32 beside params"
        raise ValueError(msg)
    return read_parameter_file(path_of("params", params), region=region)


def settings_from(
    settings: GLCMSettings | None, of_file: GLCMSettings | None, keywords: Mapping[str, Any], caller: str
) -> GLCMSettings:
    """Return settings, of a parameter file or by default, changed by keywords.

    Parameters
    ----------
    settings, of_file
        Those that were given, and those of a parameter file; at most one of them.
    keywords : mapping
        Fields of `GLCMSettings`; each replaces what it contradicts.
    caller : str
        Name of the function, for messages.

    Raises
    ------
    TypeError
        If a keyword is unknown or a value has the wrong type.
    ValueError
        If a value is out of range, or two keywords contradict each other.
    """
    for name in keywords:
        if name not in _NAMES:
            msg = f"{caller}() got an unexpected keyword argument {name!r}{nearest(name, _NAMES)}"
            raise TypeError(msg)
    if settings is not None and not isinstance(settings, GLCMSettings):
        msg = f"settings must be radsynth.Settings, got {type(settings).__name__}"
        raise TypeError(msg)
    if {"levels", "bin_width"} <= keywords.keys():
        msg = "levels and bin_width are mutually exclusive; give one of them"
        raise ValueError(msg)
    return changed_settings(settings or of_file or GLCMSettings(), keywords)


def fitted_to(
    volume: Volume, settings: GLCMSettings, parameters: ParameterFile | None, given: Container[str]
) -> GLCMSettings:
    """Return the settings for an image; in a 2D image those of a parameter file are two-dimensional.

    Parameters
    ----------
    volume : Volume
        The image.
    settings, parameters
        What `settings_from` and `parameters_from` returned.
    given : container of str
        Names of the settings that were given beside the file.

    Raises
    ------
    ValueError
        If they need a volume and the image has two dimensions.
    """
    if parameters is not None and "dimensions" not in given:
        settings = parameters.fitted(settings, volume)
    if volume.array.ndim == 2 and (settings.dimensions == 3 or settings.slice_axis):
        name = "dimensions=3" if settings.dimensions == 3 else f"slice_axis={settings.slice_axis}"
        msg = f"{name} needs a volume, got an image of two dimensions"
        raise ValueError(msg)
    return settings
