"""Features, their units and the settings of maps as DICOM names them: in codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydicom import Dataset

from glcm_cuda.families.feature import Feature
from glcm_cuda.families.registry import FEATURES
from glcm_cuda.settings import GLCMSettings
from pipelines.reports.names import unit_of

Code = tuple[str, str]
"""A code of UCUM and its meaning."""

SCHEME = "99RADSYNTH"
"""Coding scheme of features that the IBSI has no code for, and of settings."""

_IBSI_UID = "1.2.840.10008.2.16.13"

SETTINGS: dict[str, tuple[str, Code]] = {
    "levels": ("grey levels", ("1", "no units")),
    "window": ("edge of the window", ("{voxel}", "voxels")),
    "distance": ("distance of the pairs", ("{voxel}", "voxels")),
}
"""Settings that every mapping names in codes, with meaning and unit; all settings are in the record."""

_UNITS: dict[str, Code] = {
    "bits": ("bit", "bit"),
    "nats": ("{nat}", "nat"),
    "hartleys": ("{hartley}", "hartley"),
}
_NO_UNIT: Code = ("1", "no units")
_ARBITRARY: Code = ("[arb'U]", "arbitrary unit")
_WITHOUT_UNIT = ("firstorder_Skewness", "firstorder_Kurtosis")
"""Features of intensities that do not depend on the image's unit, which is not known."""


def feature_code(feature: Feature) -> tuple[str, str, str]:
    """Return code, coding scheme and meaning of a feature."""
    if feature.ibsi:
        name, identifier = feature.ibsi[0]
        return identifier, "IBSI", name
    # Without its family, since a code has 16 characters at most.
    code = feature.name.removeprefix(f"{feature.family}_")
    return code, SCHEME, code.replace("_", " ")


def feature_of_code(code: str) -> str | None:
    """Return the name of the feature with a code, None if no feature has it."""
    return next((feature.name for feature in FEATURES if feature_code(feature)[0] == code), None)


def feature_label(feature: Feature) -> str:
    """Return a label of a feature that no other has, of at most 16 characters (value representation SH)."""
    code, _, _ = feature_code(feature)
    return (feature.name if feature.family == "glcm" else f"{feature.family} {code}")[:16]


def unit_code(feature: Feature, provenance: Mapping[str, Any]) -> Code:
    """Return the unit of a feature's values in a map with this provenance."""
    if feature.is_of_intensities and feature.name not in _WITHOUT_UNIT:
        return _ARBITRARY
    unit = unit_of(feature.name, GLCMSettings.from_dict(provenance["settings"]))
    return _UNITS.get(unit or "", _NO_UNIT)


def coding_schemes() -> list[Dataset]:
    """Return what an object says of the coding schemes that it uses."""
    ibsi, ours = Dataset(), Dataset()
    ibsi.CodingSchemeDesignator, ibsi.CodingSchemeUID = "IBSI", _IBSI_UID
    ibsi.CodingSchemeRegistry = "HL7"
    ibsi.CodingSchemeName = "Image Biomarker Standardisation Initiative"
    ours.CodingSchemeDesignator, ours.CodingSchemeName = SCHEME, "RadSynth"
    ours.CodingSchemeResponsibleOrganization = "RadSynth"
    return [ibsi, ours]
