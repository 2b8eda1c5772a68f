"""IBSI's 23 features of the intensity histogram, which are statistics of levels counted from 1.

Two of them are in the family ``firstorder``, where pyradiomics has them: entropy and uniformity.
"""

from __future__ import annotations

from glcm_cuda.families.feature import Family, Feature
from glcm_cuda.families.firstorder.features import FEATURES as FIRSTORDER


def _statistic(name: str, ibsi: tuple[str, str]) -> Feature:
    return Feature("ih", "region", f"ih_{name}", "", (ibsi,), formula=name)


_ENTROPY, _UNIFORMITY = (
    feature for feature in FIRSTORDER if feature.pyradiomics in ("Entropy", "Uniformity")
)

FEATURES = (
    _statistic("Mean", ("mean discretised intensity", "X6K6")),
    _statistic("Variance", ("discretised intensity variance", "CH89")),
    _statistic("Skewness", ("discretised intensity skewness", "88K1")),
    _statistic("ExcessKurtosis", ("(excess) discretised intensity kurtosis", "C3I7")),
    _statistic("Median", ("median discretised intensity", "WIFQ")),
    _statistic("Minimum", ("minimum discretised intensity", "1PR8")),
    _statistic("10Percentile", ("10th discretised intensity percentile", "GPMT")),
    _statistic("90Percentile", ("90th discretised intensity percentile", "OZ0C")),
    _statistic("Maximum", ("maximum discretised intensity", "3NCY")),
    _statistic("Mode", ("intensity histogram mode", "AMMC")),
    _statistic("InterquartileRange", ("discretised intensity interquartile range", "WR0O")),
    _statistic("Range", ("discretised intensity range", "5Z3W")),
    _statistic(
        "MeanAbsoluteDeviation",
        ("intensity histogram mean absolute deviation", "D2ZX"),
    ),
    _statistic(
        "RobustMeanAbsoluteDeviation",
        ("intensity histogram robust mean absolute deviation", "WRZB"),
    ),
    _statistic(
        "MedianAbsoluteDeviation",
        ("intensity histogram median absolute deviation", "4RNL"),
    ),
    _statistic(
        "CoefficientOfVariation",
        ("intensity histogram coefficient of variation", "CWYJ"),
    ),
    _statistic(
        "QuartileCoefficientOfDispersion",
        ("intensity histogram quartile coefficient of dispersion", "SLWD"),
    ),
    _ENTROPY,
    _UNIFORMITY,
    _statistic("MaximumGradient", ("maximum histogram gradient", "12CE")),
    _statistic("MaximumGradientLevel", ("maximum histogram gradient intensity", "8E6O")),
    _statistic("MinimumGradient", ("minimum histogram gradient", "VQB3")),
    _statistic("MinimumGradientLevel", ("minimum histogram gradient intensity", "RHQZ")),
)
"""In IBSI's order."""

FAMILY = Family(
    "ih",
    FEATURES,
    region_only="IBSI defines the histogram for regions, and a window fills too few of its bins",
)
