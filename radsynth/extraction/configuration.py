"""Settings, image types and features of an extractor, and what they mean here.

Names and defaults are those of pyradiomics' documentation.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK

from glcm_cuda.base.checks import nearest
from glcm_cuda.families.registry import FAMILIES
from pipelines.images.shape import COMPUTED
from pipelines.shell.feature_classes import SAME_AS, SHAPES, Wanted
from pipelines.shell.parameter_file import (
    INTERPOLATORS,
    SETTINGS,
    VOXEL_SETTINGS,
    ParameterFile,
    parameters_of,
)

_log = logging.getLogger(__name__)

DEFAULTS: dict[str, Any] = {
    "minimumROIDimensions": 2,
    "minimumROISize": None,
    "normalize": False,
    "normalizeScale": 1,
    "removeOutliers": None,
    "resampledPixelSpacing": None,
    "interpolator": "sitkBSpline",
    "preCrop": False,
    "padDistance": 5,
    "distances": [1],
    "force2D": False,
    "force2Ddimension": 0,
    "resegmentRange": None,
    "label": 1,
    "additionalInfo": True,
}
"""Settings of an extractor that was told nothing."""

CLASSES = (*sorted(family.name for family in FAMILIES), *SHAPES)
"""Feature classes, in pyradiomics' order."""

_TEXTURES = {family.name: family for family in FAMILIES}
_WITH_THE_SUBJECT = ("label", "label_channel", "correctMask", "geometryTolerance", "voxelBatch")
"""Settings that are read with image and mask, or change no value."""

_ROOT = "firstorder_Variance"
"""What the deprecated feature StandardDeviation is the root of."""

STANDARD_DEVIATION = "firstorder_StandardDeviation"


def defaults() -> dict[str, Any]:
    """Return the default settings, which the caller may change."""
    return {**DEFAULTS, "distances": [1]}


def parameters_from(
    settings: Mapping[str, Any],
    own: Mapping[str, Any] | None = None,
    image_type: str = "Original",
    *,
    voxel_based: bool,
) -> ParameterFile:
    """Return what the settings of an extractor ask for.

    Settings with a name that pyradiomics does not know change nothing, as there; the log names them.

    Parameters
    ----------
    settings : mapping
        Of sections ``setting`` and ``voxelSetting`` together.
    own : mapping, optional
        Settings for an image type alone. Of those that are given, the log names what is unknown.
    image_type : str
        Its name.
    voxel_based : bool
        Whether maps are asked for.

    Raises
    ------
    ValueError
        If a setting has an unfit value, or asks for what is not supported; the message names it.
    """
    for name in settings if own is None else own:
        if name not in (*SETTINGS, *VOXEL_SETTINGS, "voxelBased"):
            hint = nearest(name, (*SETTINGS, *VOXEL_SETTINGS))
            _log.warning("setting %r is unknown to pyradiomics and changes nothing%s", name, hint)
    used = {name: plain(name, value) for name, value in settings.items() if name not in _WITH_THE_SUBJECT}
    special = {
        name: plain(name, value) for name, value in (own or {}).items() if name not in _WITH_THE_SUBJECT
    }
    return parameters_of(
        Path("the extractor"),
        _only(used, SETTINGS),
        _only(used | special, VOXEL_SETTINGS),
        types={image_type: _only(special, SETTINGS)},
        wanted=Wanted(()),
        region=not voxel_based,
    )


def _only(values: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: values[name] for name in names if name in values}


def plain(name: str, value: Any) -> Any:
    """Return a setting as a parameter file has it: lists, numbers, and the names of interpolators."""
    if isinstance(value, (tuple, np.ndarray)):
        return [plain(name, part) for part in value]
    if isinstance(value, np.generic):
        return value.item()
    if name == "interpolator" and isinstance(value, int):
        names = {getattr(SimpleITK, one): one for one in INTERPOLATORS}
        return names.get(value, value)
    return value


def shapes_in(features: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the classes of shape that are enabled, with the features that are named."""
    return {name: list(given or ()) for name, given in features.items() if name in SHAPES}


def are_computed(shapes: Mapping[str, list[str]]) -> bool:
    """Return whether features of shape are all named, and none needs a mesh, which is not made here."""
    return all(names and set(names) <= set(COMPUTED[name]) for name, names in shapes.items())


def textures_in(features: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the other classes that are enabled, with the features to compute.

    Classes with a name that pyradiomics does not know change nothing, as there; the log names them.

    Raises
    ------
    LookupError
        If a feature is unknown.
    """
    found = {}
    for name, given in features.items():
        if name in _TEXTURES:
            found[name] = _names_of(name, given)
        elif name not in SHAPES:
            hint = nearest(name, CLASSES)
            _log.warning("feature class %r is unknown to pyradiomics and changes nothing%s", name, hint)
    return found


def _names_of(family: str, given: Any) -> list[str]:
    """Return the features of a class that are named, or all that are not deprecated."""
    known = [feature.pyradiomics for feature in _TEXTURES[family].features if feature.pyradiomics]
    known.sort(key="{}FeatureValue".format)  # pyradiomics sorts its methods: MeanAbsoluteDeviation, then Mean
    if not isinstance(given, list | tuple | set | None):
        msg = f"{family} must be a list of features, got {given!r}"
        raise TypeError(msg)
    names = [str(name) for name in given or ()]
    for name in names:
        if name in SAME_AS.get(family, {}):
            _log.warning("%s: %s is deprecated: it is %s", family, name, SAME_AS[family][name])
        elif name not in known:
            msg = f"Feature not found: {family}_{name}{nearest(name, known)}"
            raise LookupError(msg)
    return list(dict.fromkeys(names)) or known


def computed_as(full_name: str) -> str | None:
    """Return the feature that a feature's value is made of; None where pyradiomics computes nothing.

    Of deprecated features it computes only the standard deviation.
    """
    if full_name == STANDARD_DEVIATION:
        return _ROOT
    family, _, name = full_name.partition("_")
    return None if name in SAME_AS.get(family, {}) else full_name
