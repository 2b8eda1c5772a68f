"""What an extractor says of itself: the entries ``diagnostics_Versions...`` and ``..._Configuration...``.

The keys are those of pyradiomics' documentation, so that tables keep their columns.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import SimpleITK

from glcm_cuda.base.version import __version__
from pipelines.images.diagnostics import PREFIX


def versions(pyradiomics: str | None) -> dict[str, Any]:
    """Return who computed the features, and with which libraries.

    Parameters
    ----------
    pyradiomics : str or None
        What pyradiomics computed, if it did: ``"shape"``.
    """
    own = f"RadSynth {__version__}"
    by = f"computed by {own}"
    if pyradiomics is not None:
        by += f"; {pyradiomics} by pyradiomics {_version('pyradiomics', 'pyradiomics-bhklab')}"
    return {
        f"{PREFIX}Versions_PyRadiomics": by,
        f"{PREFIX}Versions_Numpy": np.__version__,
        f"{PREFIX}Versions_SimpleITK": SimpleITK.Version().VersionString(),
        f"{PREFIX}Versions_PyWavelet": _version("PyWavelets"),
        f"{PREFIX}Versions_Python": platform.python_version(),
        f"{PREFIX}Versions_RadSynth": __version__,
    }


def _version(*names: str) -> str:
    for name in names:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "not installed"


def configuration(settings: Mapping[str, Any], image_types: Mapping[str, Any]) -> dict[str, Any]:
    """Return how the extractor was set."""
    return {
        f"{PREFIX}Configuration_Settings": dict(settings),
        f"{PREFIX}Configuration_EnabledImageTypes": dict(image_types),
    }
