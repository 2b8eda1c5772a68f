"""The texture families, their features by name, and the stages that compute the features."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any, Literal

from glcm_cuda.base.checks import nearest
from glcm_cuda.families.feature import Feature
from glcm_cuda.families.glcm.features import FAMILY as GLCM
from glcm_cuda.families.stage import Task
from glcm_cuda.levels.bins import Bins
from glcm_cuda.settings import GLCMSettings

FAMILIES = (GLCM,)
"""All families. The rest of a family is in its folder."""

FEATURES = tuple(feature for family in FAMILIES for feature in family.features)
"""All features of all families."""

NAMES = tuple(feature.name for feature in FEATURES)
"""The features' own names."""


def _folded(name: str) -> str:
    """Return the letters and digits of a name in lower case: what all its spellings share."""
    return "".join(letter for letter in name.casefold() if letter.isalnum())


_BY_NAME = {_folded(name): feature for feature in FEATURES for name in (feature.name, *feature.synonyms)}


def feature_named(name: str) -> Feature:
    """Return a feature by its name or a synonym, in any spelling.

    Raises
    ------
    ValueError
        If there is no such feature; the message lists all names and suggests the closest.

    Examples
    --------
    >>> [feature_named(name).name for name in ("Idmn", "TU9B", "f2", "sum variance")]
    ['idmn', 'joint_entropy', 'contrast', 'cluster_tendency']
    """
    feature = _BY_NAME.get(_folded(str(name)))
    if feature is None:
        known = [spelling for feature in FEATURES for spelling in (feature.name, *feature.synonyms)]
        msg = f"no feature {name!r}{nearest(name, known)}; the features are {', '.join(NAMES)}"
        raise ValueError(msg)
    return feature


def features_named(names: str | Iterable[str]) -> tuple[Feature, ...]:
    """Return features by their names, each once; all features for ``"all"``.

    Raises
    ------
    ValueError
        If a name is unknown, or there are no names.
    """
    wanted = [names] if isinstance(names, str) else list(names)
    if "all" in wanted:
        return FEATURES
    if not wanted:
        msg = f"features must name at least one of {', '.join(NAMES)}, got none"
        raise ValueError(msg)
    return tuple(dict.fromkeys(feature_named(name) for name in wanted))


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
        classes = importlib.import_module(f"{family.package}.{backend}.stages").STAGES
        for name in dict.fromkeys(feature.stage for _, feature in chosen):
            stages.append(classes[name](task, [pair for pair in chosen if pair[1].stage == name]))
    for stage in stages:
        stage.check()
    return stages
