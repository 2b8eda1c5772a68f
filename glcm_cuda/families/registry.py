"""The texture families, their features by name, and the stages that compute the features."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any, Literal

from glcm_cuda.base.checks import nearest
from glcm_cuda.families.feature import Family, Feature
from glcm_cuda.families.firstorder.features import FAMILY as FIRSTORDER
from glcm_cuda.families.glcm.features import FAMILY as GLCM
from glcm_cuda.families.gldm.features import FAMILY as GLDM
from glcm_cuda.families.gldzm.features import FAMILY as GLDZM
from glcm_cuda.families.glrlm.features import FAMILY as GLRLM
from glcm_cuda.families.glszm.features import FAMILY as GLSZM
from glcm_cuda.families.ih.features import FAMILY as IH
from glcm_cuda.families.ngldm.features import FAMILY as NGLDM
from glcm_cuda.families.ngtdm.features import FAMILY as NGTDM
from glcm_cuda.families.stage import Task
from glcm_cuda.families.stat.features import FAMILY as STAT
from glcm_cuda.levels.bins import Bins
from glcm_cuda.settings import GLCMSettings

FAMILIES = (FIRSTORDER, GLCM, GLRLM, GLSZM, GLDM, NGTDM)
"""The families of maps, in pyradiomics' order. The rest of a family is in its folder."""

REGION_FAMILIES = (*FAMILIES, STAT, IH, GLDZM, NGLDM)
"""The families of whole regions: those of maps, and those that only regions have."""

FEATURES = tuple(feature for family in FAMILIES for feature in family.features)
"""All features that have maps."""

REGION_FEATURES = tuple(dict.fromkeys(feature for family in REGION_FAMILIES for feature in family.features))
"""All features of whole regions."""

NAMES = tuple(feature.name for feature in FEATURES)
"""The own names of the features that have maps."""


def _folded(name: str) -> str:
    """Return the letters and digits of a name in lower case: what all its spellings share."""
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _by_name(features: Iterable[Feature]) -> dict[str, tuple[Feature, ...]]:
    """Return the features that a folded name may mean; a unique name means one, whoever shares it."""
    unique = {_folded(name): (feature,) for feature in features for name in feature.unique_names}
    shared: dict[str, tuple[Feature, ...]] = {}
    for feature in features:
        for name in dict.fromkeys(map(_folded, feature.shared_names)):
            shared[name] = (*shared.get(name, ()), feature)
    return shared | unique


_BY_NAME = _by_name(FEATURES)
_BY_NAME_IN_REGIONS = _by_name(REGION_FEATURES)


def feature_named(name: str, *, region: bool = False) -> Feature:
    """Return a feature by its name or a synonym, in any spelling.

    Parameters
    ----------
    name : str
        The name.
    region : bool
        Whether it may be a feature that only whole regions have.

    Raises
    ------
    ValueError
        If there is no such feature, or several of different families; the message suggests the closest
        names.

    Examples
    --------
    >>> [feature_named(name).name for name in ("Idmn", "TU9B", "f2", "sum variance", "Run entropy")]
    ['idmn', 'joint_entropy', 'contrast', 'cluster_tendency', 'glrlm_RunEntropy']
    """
    found = (_BY_NAME_IN_REGIONS if region else _BY_NAME).get(_folded(str(name)), ())
    if len(found) > 1:
        msg = f"feature {name!r} is ambiguous; give {' or '.join(feature.full_name for feature in found)}"
        raise ValueError(msg)
    if not found:
        _refuse_region_only(name)
        known = [
            *(family.name for family in _families(region)),
            *(
                spelling
                for one in (REGION_FEATURES if region else FEATURES)
                for spelling in (*one.unique_names, *one.shared_names)
            ),
        ]
        families = ", ".join(f"{family.name} ({len(family.features)})" for family in _families(region))
        msg = f"no feature {name!r}{nearest(name, known)}; give all, or a name of the families {families}"
        raise ValueError(msg)
    return found[0]


def _families(region: bool) -> tuple[Family, ...]:
    return REGION_FAMILIES if region else FAMILIES


def _refuse_region_only(name: str) -> None:
    """Raise ValueError if a name means a family or a feature without a map."""
    families = {family.name: family for family in REGION_FAMILIES if family.region_only}
    found = [
        families[one.family]
        for one in _BY_NAME_IN_REGIONS.get(_folded(str(name)), ())
        if one.family in families
    ]
    for family in found or [one for one in families.values() if _folded(one.name) == _folded(str(name))]:
        msg = f"{name} has no map, only a value of a whole region (radsynth roi): {family.region_only}"
        raise ValueError(msg)


def requested(names: str | Iterable[str], *, region: bool = False) -> dict[str, Feature]:
    """Return features by the names that ask for them.

    Parameters
    ----------
    names : str or iterable of str
        Names of features; a family's name for all its features, ``"all"`` for those of all families.
    region : bool
        Whether features of whole regions are asked for, some of which have no map.

    Returns
    -------
    dict of str to Feature
        Under each name as it was given; under their own names where a family or all were asked for.

    Raises
    ------
    ValueError
        If a name is unknown, or there are no names.

    Examples
    --------
    >>> list(requested(["TU9B", "ngtdm"]))[:3]
    ['TU9B', 'ngtdm_Busyness', 'ngtdm_Coarseness']
    """
    wanted = [names] if isinstance(names, str) else list(names)
    if not wanted:
        msg = "features must name at least one feature or family, got none"
        raise ValueError(msg)
    groups = {_folded(family.name): family.features for family in _families(region)}
    groups["all"] = REGION_FEATURES if region else FEATURES
    found: dict[str, Feature] = {}
    for name in wanted:
        group = groups.get(_folded(str(name)))
        found |= (
            {name: feature_named(name, region=region)} if group is None else {one.name: one for one in group}
        )
    return found


def features_named(names: str | Iterable[str], *, region: bool = False) -> tuple[Feature, ...]:
    """Return the features that `requested` finds, each once."""
    return tuple(dict.fromkeys(requested(names, region=region).values()))


def check_features(features: tuple[Feature, ...], settings: GLCMSettings, bins: Bins) -> None:
    """Raise ValueError if the settings or the number of levels exclude a feature."""
    stages_of(Task(settings, bins, features), "cpu")


def stages_of(task: Task, backend: Literal["cpu", "cuda"]) -> list[Any]:
    """Return the stages that compute a task's features on a backend, checked.

    Only the families of these features are imported.

    Parameters
    ----------
    task : Task
        What is computed.
    backend : {"cpu", "cuda"}
        Whose stages.

    Returns
    -------
    list of `stage.CPUStage` or `stage.CUDAStage`

    Raises
    ------
    ValueError
        If the settings or the number of levels exclude a feature.
    """
    stages = []
    for family in FAMILIES:
        chosen = [pair for pair in enumerate(task.features) if pair[1].family == family.name]
        if not chosen:
            continue
        if family.directed and task.settings.weighting is not None:
            msg = (
                f"weighting={task.settings.weighting!r} (weightingNorm) applies to regions; maps of "
                f"{family.name} count whole numbers and have no weights"
            )
            raise ValueError(msg)
        classes = importlib.import_module(f"{family.package}.{backend}.stages").STAGES
        for name in dict.fromkeys(feature.stage for _, feature in chosen):
            stages.append(classes[name](task, [pair for pair in chosen if pair[1].stage == name]))
    for stage in stages:
        stage.check()
    return stages
