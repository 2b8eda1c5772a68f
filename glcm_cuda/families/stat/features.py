"""Four statistics of intensities that IBSI has and pyradiomics lacks; the others are in ``firstorder``."""

from __future__ import annotations

from glcm_cuda.families.feature import Family, Feature


def _statistic(name: str, ibsi: tuple[str, str]) -> Feature:
    return Feature("stat", "region", f"stat_{name}", "", (ibsi,), formula=name)


FEATURES = (
    _statistic("ExcessKurtosis", ("(excess) intensity kurtosis", "IPH6")),
    _statistic(
        "MedianAbsoluteDeviation",
        ("intensity-based median absolute deviation", "N72L"),
    ),
    _statistic(
        "CoefficientOfVariation",
        ("intensity-based coefficient of variation", "7TET"),
    ),
    _statistic(
        "QuartileCoefficientOfDispersion",
        ("intensity-based quartile coefficient of dispersion", "9S40"),
    ),
)
"""In IBSI's order."""

FAMILY = Family("stat", FEATURES, region_only="IBSI defines it for regions, and pyradiomics lacks it")
