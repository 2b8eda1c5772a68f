"""IBSI's 17 features of dependences. All but three are in the family ``gldm``, as in pyradiomics."""

from __future__ import annotations

from glcm_cuda.families.feature import Family, Feature
from glcm_cuda.families.gldm.features import FEATURES as GLDM


def _dependence(formula: str, name: str, ibsi: tuple[str, str]) -> Feature:
    return Feature("ngldm", "region", f"ngldm_{name}", "", (ibsi,), formula=formula)


FEATURES = (
    *GLDM,
    _dependence(
        "levels_normalized",
        "GrayLevelNonUniformityNormalized",
        ("normalised grey level non-uniformity", "5SPA"),
    ),
    _dependence("per_voxel", "DependencePercentage", ("dependence count percentage", "6XV8")),
    _dependence("energy", "DependenceEnergy", ("dependence count energy", "CAS9")),
)
"""Those of ``gldm`` in their order, and the others in IBSI's."""

FAMILY = Family(
    "ngldm", FEATURES, region_only="IBSI defines it for regions, and pyradiomics lacks it; gldm has maps"
)
