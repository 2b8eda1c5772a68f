"""Three features of dependences that IBSI has and pyradiomics lacks; the others are in ``gldm``."""

from __future__ import annotations

from glcm_cuda.families.feature import Family, Feature


def _dependence(formula: str, name: str, ibsi: tuple[str, str]) -> Feature:
    return Feature("ngldm", "region", f"ngldm_{name}", "", (ibsi,), formula=formula)


FEATURES = (
    _dependence(
        "levels_normalized",
        "GrayLevelNonUniformityNormalized",
        ("normalised grey level non-uniformity", "5SPA"),
    ),
    _dependence("per_voxel", "DependencePercentage", ("dependence count percentage", "6XV8")),
    _dependence("energy", "DependenceEnergy", ("dependence count energy", "CAS9")),
)
"""In IBSI's order."""

FAMILY = Family("ngldm", FEATURES, region_only="IBSI defines it for regions, and pyradiomics lacks it")
