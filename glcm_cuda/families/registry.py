"""The features of a co-occurrence matrix: their names, what others call them, what they are made of."""

from __future__ import annotations

from collections.abc import Iterable

from glcm_cuda.base.checks import nearest
from glcm_cuda.families.feature import Feature
from glcm_cuda.families.glcm.features import FEATURES

NAMES = tuple(feature.name for feature in FEATURES)
"""Names of all features."""


def _folded(name: str) -> str:
    """Return a name without what spellings differ in: case, spaces, hyphens and underscores."""
    return "".join(letter for letter in name.casefold() if letter.isalnum())


_BY_NAME = {_folded(name): feature for feature in FEATURES for name in (feature.name, *feature.synonyms)}


def feature_named(name: str) -> Feature:
    """Return the feature of a name, or of a synonym in any spelling.

    Raises
    ------
    ValueError
        If there is none; the message lists the names and suggests the nearest.

    Examples
    --------
    >>> [feature_named(name).name for name in ("Idmn", "TU9B", "f2", "sum variance")]
    ['idmn', 'joint_entropy', 'contrast', 'cluster_tendency']
    """
    found = _BY_NAME.get(_folded(str(name)))
    if found is None:
        known = [spelling for feature in FEATURES for spelling in (feature.name, *feature.synonyms)]
        msg = f"no feature {name!r}{nearest(name, known)}; the features are {', '.join(NAMES)}"
        raise ValueError(msg)
    return found


def features_named(names: str | Iterable[str]) -> tuple[Feature, ...]:
    """Return the features of names, each once; of ``"all"``, every feature.

    Raises
    ------
    ValueError
        If a name is unknown or there is none.
    """
    wanted = [names] if isinstance(names, str) else list(names)
    if "all" in wanted:
        return FEATURES
    if not wanted:
        msg = f"features must name at least one of {', '.join(NAMES)}, got none"
        raise ValueError(msg)
    return tuple(dict.fromkeys(feature_named(name) for name in wanted))
