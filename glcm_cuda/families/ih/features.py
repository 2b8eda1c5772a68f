"""IBSI's 23 features of the intensity histogram, which are statistics of levels counted from 1.

Two of them are in the family ``firstorder``, where pyradiomics has them: entropy and uniformity.
"""

from __future__ import annotations

from glcm_cuda.families.feature import Family, Feature
from glcm_cuda.families.firstorder.features import FEATURES as FIRSTORDER


def _statistic(name: str, formula: str, ibsi: tuple[str, str]) -> Feature:
    return Feature("ih", "region", f"ih_{name}", "", (ibsi,), formula=formula)


_ENTROPY, _UNIFORMITY = (
    feature for feature in FIRSTORDER if feature.pyradiomics in ("Entropy", "Uniformity")
)

FEATURES = (
    _statistic("Mean", "mean", ("mean discretised intensity", "X6K6")),
    _statistic("Variance", "variance", ("discretised intensity variance", "CH89")),
    _statistic("Skewness", "skewness", ("discretised intensity skewness", "88K1")),
    _statistic("ExcessKurtosis", "excess_kurtosis", ("(excess) discretised intensity kurtosis", "C3I7")),
    _statistic("Median", "median", ("median discretised intensity", "WIFQ")),
    _statistic("Minimum", "minimum", ("minimum discretised intensity", "1PR8")),
    _statistic("10Percentile", "percentile_10", ("10th discretised intensity percentile", "GPMT")),
    _statistic("90Percentile", "percentile_90", ("90th discretised intensity percentile", "OZ0C")),
    _statistic("Maximum", "maximum", ("maximum discretised intensity", "3NCY")),
    _statistic("Mode", "mode", ("intensity histogram mode", "AMMC")),
    _statistic(
        "InterquartileRange", "interquartile_range", ("discretised intensity interquartile range", "WR0O")
    ),
    _statistic("Range", "range", ("discretised intensity range", "5Z3W")),
    _statistic(
        "MeanAbsoluteDeviation",
        "mean_deviation",
        ("intensity histogram mean absolute deviation", "D2ZX"),
    ),
    _statistic(
        "RobustMeanAbsoluteDeviation",
        "robust_deviation",
        ("intensity histogram robust mean absolute deviation", "WRZB"),
    ),
    _statistic(
        "MedianAbsoluteDeviation",
        "median_deviation",
        ("intensity histogram median absolute deviation", "4RNL"),
    ),
    _statistic(
        "CoefficientOfVariation",
        "coefficient_of_variation",
        ("intensity histogram coefficient of variation", "CWYJ"),
    ),
    _statistic(
        "QuartileCoefficientOfDispersion",
        "quartile_dispersion",
        ("intensity histogram quartile coefficient of dispersion", "SLWD"),
    ),
    _ENTROPY,
    _UNIFORMITY,
    _statistic("MaximumGradient", "maximum_gradient", ("maximum histogram gradient", "12CE")),
    _statistic(
        "MaximumGradientLevel", "maximum_gradient_level", ("maximum histogram gradient intensity", "8E6O")
    ),
    _statistic("MinimumGradient", "minimum_gradient", ("minimum histogram gradient", "VQB3")),
    _statistic(
        "MinimumGradientLevel", "minimum_gradient_level", ("minimum histogram gradient intensity", "RHQZ")
    ),
)
"""In IBSI's order."""

FAMILY = Family(
    "ih",
    FEATURES,
    region_only="IBSI defines it for regions, and a window fills few bins of it; firstorder has maps",
)
