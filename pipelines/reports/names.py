"""Names and units of features as tables and figures print them."""

from __future__ import annotations

from typing import Any

from glcm_cuda import GLCMSettings
from glcm_cuda.families.registry import feature_named


def unit_of(feature: str, settings: GLCMSettings) -> str | None:
    """Return the unit of a feature's values; only entropies have one."""
    return settings.unit if feature.endswith("_entropy") else None


def feature_title(feature: str) -> str:
    """Return what titles and axes call a feature."""
    return "entropy" if feature == "joint_entropy" else feature.replace("_", " ")


def with_unit(text: str, unit: str | None) -> str:
    """Return the text of an axis or a column, with its unit if there is one.

    Examples
    --------
    >>> with_unit("bias", "bits"), with_unit("bias", None)
    ('bias (bits)', 'bias')
    """
    return text if unit is None else f"{text} ({unit})"


def feature_names(feature: str) -> dict[str, Any]:
    """Return the names of a feature: ours, that of pyradiomics, and those of IBSI."""
    known = feature_named(feature, region=True)
    ibsi = [f"{name} ({identifier})" for name, identifier in known.ibsi]
    return {"name": known.name, "pyradiomics": known.pyradiomics, "ibsi": ibsi}
