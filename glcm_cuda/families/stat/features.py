"""IBSI's 18 statistics of intensities. All but four are in the family ``firstorder``, as in pyradiomics."""

from __future__ import annotations

from glcm_cuda.families.feature import Family, Feature
from glcm_cuda.families.firstorder.features import FEATURES as FIRSTORDER

_SHARED = {feature.pyradiomics: feature for feature in FIRSTORDER}


def _statistic(name: str, formula: str, ibsi: tuple[str, str]) -> Feature:
    return Feature("stat", "region", f"stat_{name}", "", (ibsi,), formula=formula)


FEATURES = (
    _SHARED["Mean"],
    _SHARED["Variance"],
    _SHARED["Skewness"],
    _statistic("ExcessKurtosis", "excess_kurtosis", ("(excess) intensity kurtosis", "IPH6")),
    _SHARED["Median"],
    _SHARED["Minimum"],
    _SHARED["10Percentile"],
    _SHARED["90Percentile"],
    _SHARED["Maximum"],
    _SHARED["InterquartileRange"],
    _SHARED["Range"],
    _SHARED["MeanAbsoluteDeviation"],
    _SHARED["RobustMeanAbsoluteDeviation"],
    _statistic(
        "MedianAbsoluteDeviation", "median_deviation", ("intensity-based median absolute deviation", "N72L")
    ),
    _statistic(
        "CoefficientOfVariation",
        "coefficient_of_variation",
        ("intensity-based coefficient of variation", "7TET"),
    ),
    _statistic(
        "QuartileCoefficientOfDispersion",
        "quartile_dispersion",
        ("intensity-based quartile coefficient of dispersion", "9S40"),
    ),
    _SHARED["Energy"],
    _SHARED["RootMeanSquared"],
)
"""In IBSI's order."""

FAMILY = Family(
    "stat", FEATURES, region_only="IBSI defines it for regions, and pyradiomics lacks it; firstorder has maps"
)
