"""What is not ours is handed to pyradiomics, if it is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any

from radsynth.extraction.subject import Subject


def refuse_without_pyradiomics(what: str) -> None:
    """Raise ImportError if pyradiomics is needed and not installed; `what` names what it computes."""
    if importlib.util.find_spec("radiomics") is None:
        msg = f"{what} is computed by pyradiomics, which is not installed; install pyradiomics or disable it"
        raise ImportError(msg)


def by_pyradiomics(
    subject: Subject, settings: Mapping[str, Any], features: Mapping[str, list[str]]
) -> dict[str, Any]:
    """Return what pyradiomics computes of a subject's region, without its diagnostics.

    Parameters
    ----------
    subject : Subject
        Image and mask.
    settings, features : mapping
        The extractor's settings, and the feature classes that are handed over.
    """
    from radiomics.featureextractor import RadiomicsFeatureExtractor  # optional

    theirs = RadiomicsFeatureExtractor(**{**settings, "additionalInfo": False, "correctMask": False})
    theirs.enabledImagetypes = {}
    theirs.enabledFeatures = dict(features)
    result: dict[str, Any] = theirs.execute(*subject.images(), label=subject.label)
    return result
