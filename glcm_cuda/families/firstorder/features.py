"""The 18 first-order features: of the intensities of a window and, two of them, of its levels.

The stage "intensities" computes all but entropy and uniformity, which are in the stage "levels". `needs`
names what takes an order of the intensities ("order"), and what takes their mean first ("deviations").
"""

from __future__ import annotations

from glcm_cuda.families.feature import Family, Feature


def _intensity(name: str, ibsi: tuple[tuple[str, str], ...] = (), needs: tuple[str, ...] = ()) -> Feature:
    """Return a feature of intensities by pyradiomics' name."""
    return Feature("firstorder", "intensities", f"firstorder_{name}", name, ibsi, needs=needs)


def _level(name: str, ibsi: tuple[str, str]) -> Feature:
    """Return a feature of levels by pyradiomics' name."""
    return Feature("firstorder", "levels", f"firstorder_{name}", name, (ibsi,))


FEATURES = (
    _intensity("10Percentile", (("10th percentile", "QG58"),), ("order",)),
    _intensity("90Percentile", (("90th percentile", "8DWT"),), ("order",)),
    _intensity("Energy", (("energy", "N8CA"),)),
    _level("Entropy", ("discretised intensity entropy", "TLU2")),
    _intensity("InterquartileRange", (("interquartile range", "SALO"),), ("order",)),
    _intensity("Kurtosis", needs=("deviations",)),  # IBSI's (IPH6) is 3 less
    _intensity("Maximum", (("maximum", "84IY"),)),
    _intensity("MeanAbsoluteDeviation", (("mean absolute deviation", "4FUA"),), ("deviations",)),
    _intensity("Mean", (("mean", "Q4LE"),)),
    _intensity("Median", (("median", "Y12H"),), ("order",)),
    _intensity("Minimum", (("minimum", "1GSF"),)),
    _intensity("Range", (("range", "2OJQ"),)),
    _intensity(
        "RobustMeanAbsoluteDeviation",
        (("robust mean absolute deviation", "1128"),),
        ("order", "deviations"),
    ),
    _intensity("RootMeanSquared", (("root mean square", "5ZWQ"),)),
    _intensity("Skewness", (("skewness", "KE2M"),), ("deviations",)),
    _intensity("TotalEnergy"),
    _level("Uniformity", ("discretised intensity uniformity", "BJ5W")),
    _intensity("Variance", (("variance", "ECT3"),), ("deviations",)),
)
"""In pyradiomics' order."""

FAMILY = Family("firstorder", FEATURES)
