"""The five features of grey-tone differences: how far a voxel's level is from the mean of its neighbours'."""

from __future__ import annotations

from glcm_cuda.families.feature import Family, Feature


def _difference(name: str, identifier: str) -> Feature:
    """Return a feature by its name, which is the same in pyradiomics and in IBSI, and its identifier."""
    return Feature(
        "ngtdm", "differences", f"ngtdm_{name}", name, ((name.lower(), identifier),), formula=name.lower()
    )


FEATURES = (
    _difference("Busyness", "NQ30"),
    _difference("Coarseness", "QCDE"),
    _difference("Complexity", "HDEZ"),
    _difference("Contrast", "65HE"),
    _difference("Strength", "1X9X"),
)
"""In pyradiomics' order."""

FAMILY = Family("ngtdm", FEATURES)
