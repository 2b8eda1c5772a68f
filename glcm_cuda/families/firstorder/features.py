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
    others = (f"ih_{name}",)  # IBSI counts it among the features of the intensity histogram
    return Feature("firstorder", "levels", f"firstorder_{name}", name, (ibsi,), others=others)


FEATURES = (
    _intensity("10Percentile", (("10th intensity percentile", "QG58"),), ("order",)),
    _intensity("90Percentile", (("90th intensity percentile", "8DWT"),), ("order",)),
    _intensity("Energy", (("intensity-based energy", "N8CA"),)),
    _level("Entropy", ("discretised intensity entropy", "TLU2")),
    _intensity("InterquartileRange", (("intensity interquartile range", "SALO"),), ("order",)),
    _intensity("Kurtosis", needs=("deviations",)),  # IBSI's (IPH6) is 3 less
    _intensity("Maximum", (("maximum intensity", "84IY"),)),
    _intensity(
        "MeanAbsoluteDeviation", (("intensity-based mean absolute deviation", "4FUA"),), ("deviations",)
    ),
    _intensity("Mean", (("mean intensity", "Q4LE"),)),
    _intensity("Median", (("median intensity", "Y12H"),), ("order",)),
    _intensity("Minimum", (("minimum intensity", "1GSF"),)),
    _intensity("Range", (("intensity range", "2OJQ"),)),
    _intensity(
        "RobustMeanAbsoluteDeviation",
        (("intensity-based robust mean absolute deviation", "1128"),),
        ("order", "deviations"),
    ),
    _intensity("RootMeanSquared", (("root mean square intensity", "5ZWQ"),)),
    _intensity("Skewness", (("intensity skewness", "KE2A"),), ("deviations",)),
    _intensity("TotalEnergy"),
    _level("Uniformity", ("discretised intensity uniformity", "BJ5W")),
    _intensity("Variance", (("intensity variance", "ECT3"),), ("deviations",)),
)
"""In pyradiomics' order."""

FAMILY = Family("firstorder", FEATURES)
