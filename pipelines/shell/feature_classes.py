"""Feature classes of pyradiomics' parameter files as features of ours."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from glcm_cuda.base.checks import nearest
from glcm_cuda.families.feature import Family
from glcm_cuda.families.registry import FAMILIES, NAMES
from pipelines.images.shape import COMPUTED, NEED_A_MESH
from pipelines.shell.yaml_values import Section, UnfitError, refuse_unknown, shown

_log = logging.getLogger(__name__)

SHAPES = tuple(COMPUTED)
"""Feature classes of the mask alone, which have no maps."""

SAME_AS = {
    "firstorder": {"StandardDeviation": "the root of Variance"},
    "glcm": {
        "Dissimilarity": "DifferenceAverage",
        "Homogeneity1": "Id",
        "Homogeneity2": "Idm",
        "SumVariance": "ClusterTendency",
    },
    "gldm": {
        "GrayLevelNonUniformityNormalized": "Uniformity of firstorder",
        "DependencePercentage": "always 1",
    },
}
"""Features that pyradiomics has deprecated, by class, and what they are."""


@dataclass(frozen=True)
class Wanted:
    """Features that a file asks for: names of textures and statistics, and of shape (``shape_Flatness``)."""

    features: tuple[str, ...]
    shapes: tuple[str, ...] = ()


def wanted_of(classes: Section, *, region: bool) -> Wanted:
    """Return the features of the classes that are named, or those of all classes.

    What has no value here is left out, and the log says so, if a whole class is asked for.

    Parameters
    ----------
    classes : Section
        The section ``featureClass``: a list of features for each class; empty or null for all of it.
    region : bool
        Whether features of a region are asked for; maps have no shape.

    Raises
    ------
    ValueError
        If a class or a feature is unknown or needs a mesh, or nothing is left.
    """
    families = {family.name: family for family in FAMILIES}
    if not classes:
        _log.info("no featureClass: pyradiomics would compute every class; shape is left out of maps")
        return Wanted(NAMES, tuple(_shapes_of("shape", None, classes)) if region else ())
    refuse_unknown("featureClass", classes, (*families, *SHAPES))
    features: dict[str, None] = {}
    shapes: list[str] = []
    for name, given in classes.items():
        if given is not None and not isinstance(given, list):
            msg = (
                f"featureClass {name} must be a list of features, got {shown(given)}; leave it empty for all "
                f"of them{classes.place(name)}"
            )
            raise UnfitError(msg)
        if name in families:
            features |= dict.fromkeys(_textures_of(families[name], given, classes))
        elif region:
            shapes += _shapes_of(name, given, classes)
        else:
            _log.warning("featureClass %s is left out: it has one value for a whole region", name)
    if not features and not shapes:
        msg = "featureClass: none of these features is computed here; name others"
        raise ValueError(msg)
    return Wanted(tuple(features), tuple(dict.fromkeys(shapes)))


def _textures_of(family: Family, names: list[Any] | None, classes: Section) -> list[str]:
    """Return the features of a class that are named, or all of the class."""
    known = {feature.pyradiomics: feature.name for feature in family.features}
    found = []
    for part, name in enumerate(map(str, names or known)):
        deprecated = SAME_AS.get(family.name, {}).get(name)
        if deprecated is not None:
            _log.warning(
                "featureClass %s: %s, which pyradiomics has deprecated, is left out: it is %s",
                family.name, name, deprecated,
            )  # fmt: skip
        elif name not in known:
            raise _unknown(family.name, name, list(known), classes, part)
        else:
            found.append(known[name])
    return found


def _shapes_of(name: str, names: list[Any] | None, classes: Section) -> list[str]:
    """Return the features of a class of shapes that are named, or all that need no mesh."""
    if not names:
        _log.warning(
            "featureClass %s: %s are left out: they need a mesh of the surface, which is not made here",
            name, ", ".join(NEED_A_MESH[name]),
        )  # fmt: skip
    found = []
    for part, feature in enumerate(map(str, names or COMPUTED[name])):
        if feature in NEED_A_MESH[name]:
            msg = (
                f"featureClass {name}: {feature} needs a mesh of the surface, which is not made here; remove "
                f"it{classes.place(name, part)}"
            )
            raise UnfitError(msg)
        if feature not in COMPUTED[name]:
            raise _unknown(name, feature, COMPUTED[name], classes, part)
        found.append(f"{name}_{feature}")
    return found


def _unknown(name: str, feature: str, known: Sequence[str], classes: Section, part: int) -> UnfitError:
    hint = nearest(feature, known) or f"; the features are {', '.join(known)}"
    return UnfitError(f"featureClass {name}: no feature {feature!r}{hint}{classes.place(name, part)}")
