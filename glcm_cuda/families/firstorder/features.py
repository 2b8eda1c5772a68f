"""The 18 first-order features: of the intensities of a window and, two of them, of its levels.

The stage "intensities" computes all but entropy and uniformity, which are in the stage "levels". `formula` is
one of `intensities.FORMULAS` or a field of `levels.Planes`. `needs` says which sums over the sorted
intensities a feature takes: of their squares ("squares"), of the values ("mean"), of powers of their
deviations from the mean ("deviations"), and those over the values between two percentiles ("robust").
"""

from __future__ import annotations

from glcm_cuda.families.feature import Family, Feature


def _intensity(
    name: str, formula: str, ibsi: tuple[tuple[str, str], ...] = (), needs: tuple[str, ...] = ()
) -> Feature:
    """Return a feature of intensities by pyradiomics' name."""
    return Feature(
        "firstorder", "intensities", f"firstorder_{name}", name, ibsi, needs=needs, formula=formula
    )


def _level(name: str, formula: str, ibsi: tuple[str, str]) -> Feature:
    """Return a feature of levels by pyradiomics' name."""
    others = (f"ih_{name}",)  # IBSI counts it among the features of the intensity histogram
    return Feature(
        "firstorder", "levels", f"firstorder_{name}", name, (ibsi,), others=others, formula=formula
    )


_DEVIATIONS = ("mean", "deviations")

FEATURES = (
    _intensity("10Percentile", "percentile_10", (("10th intensity percentile", "QG58"),)),
    _intensity("90Percentile", "percentile_90", (("90th intensity percentile", "8DWT"),)),
    _intensity("Energy", "energy", (("intensity-based energy", "N8CA"),), ("squares",)),
    _level("Entropy", "entropy", ("discretised intensity entropy", "TLU2")),
    _intensity("InterquartileRange", "interquartile_range", (("intensity interquartile range", "SALO"),)),
    _intensity("Kurtosis", "kurtosis", needs=_DEVIATIONS),  # IBSI's (IPH6) is 3 less
    _intensity("Maximum", "maximum", (("maximum intensity", "84IY"),)),
    _intensity(
        "MeanAbsoluteDeviation",
        "mean_deviation",
        (("intensity-based mean absolute deviation", "4FUA"),),
        _DEVIATIONS,
    ),
    _intensity("Mean", "mean", (("mean intensity", "Q4LE"),), ("mean",)),
    _intensity("Median", "median", (("median intensity", "Y12H"),)),
    _intensity("Minimum", "minimum", (("minimum intensity", "1GSF"),)),
    _intensity("Range", "range", (("intensity range", "2OJQ"),)),
    _intensity(
        "RobustMeanAbsoluteDeviation",
        "robust_deviation",
        (("intensity-based robust mean absolute deviation", "1128"),),
        ("robust",),
    ),
    _intensity(
        "RootMeanSquared", "root_mean_square", (("root mean square intensity", "5ZWQ"),), ("squares",)
    ),
    _intensity("Skewness", "skewness", (("intensity skewness", "KE2A"),), _DEVIATIONS),
    _intensity("TotalEnergy", "total_energy", needs=("squares",)),
    _level("Uniformity", "uniformity", ("discretised intensity uniformity", "BJ5W")),
    _intensity("Variance", "variance", (("intensity variance", "ECT3"),), _DEVIATIONS),
)
"""In pyradiomics' order."""

FAMILY = Family("firstorder", FEATURES)
