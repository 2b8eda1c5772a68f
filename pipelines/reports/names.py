"""Names and units of features as tables and figures print them."""

from __future__ import annotations

from typing import Any

from glcm_cuda import GLCMSettings
from glcm_cuda.families.registry import feature_named


def unit_of(feature: str, settings: GLCMSettings) -> str | None:
    """Return the unit of a feature's values; only entropies have one."""
    return settings.unit if feature_named(feature).is_entropy else None


def feature_title(feature: str) -> str:
    """Return what titles and axes call a feature.

    Examples
    --------
    >>> feature_title("joint_entropy"), feature_title("imc1"), feature_title("glrlm_RunEntropy")
    ('entropy', 'imc1', 'GLRLM RunEntropy')
    """
    return _short_title(feature) if feature_named(feature).family == "glcm" else full_title(feature)


def full_title(feature: str) -> str:
    """Return what titles call a feature, its family included.

    Examples
    --------
    >>> full_title("joint_entropy"), full_title("glrlm_RunEntropy")
    ('GLCM entropy', 'GLRLM RunEntropy')
    """
    return f"{family_title(feature_named(feature).family)} {_short_title(feature)}"


def _short_title(feature: str) -> str:
    if feature == "joint_entropy":
        return "entropy"
    known = feature_named(feature)
    return known.name.replace("_", " ") if known.family == "glcm" else known.pyradiomics


def family_title(family: str) -> str:
    """Return what titles call a family.

    Examples
    --------
    >>> family_title("glszm"), family_title("firstorder")
    ('GLSZM', 'first-order')
    """
    return "first-order" if family == "firstorder" else family.upper()


def map_kind(feature: str) -> str:
    """Return what sidecars call a map of a feature.

    Examples
    --------
    >>> map_kind("joint_entropy"), map_kind("ngtdm_Contrast")
    ('GLCM entropy map', 'NGTDM feature map')
    """
    what = "entropy" if feature == "joint_entropy" else "feature"
    return f"{family_title(feature_named(feature).family)} {what} map"


def with_unit(text: str, unit: str | None) -> str:
    """Return the text of an axis or a column, with its unit if there is one.

    Examples
    --------
    >>> with_unit("bias", "bits"), with_unit("bias", None)
    ('bias (bits)', 'bias')
    """
    return text if unit is None else f"{text} ({unit})"


def feature_names(feature: str) -> dict[str, Any]:
    """Return the names of a feature: ours, its family's, that of pyradiomics, and those of IBSI."""
    known = feature_named(feature, region=True)
    ibsi = [f"{name} ({identifier})" for name, identifier in known.ibsi]
    return {"name": known.name, "family": known.family, "pyradiomics": known.pyradiomics, "ibsi": ibsi}
