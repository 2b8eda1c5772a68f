"""The 14 dependence features, IBSI's neighbouring grey level dependence; see `emphases`."""

from __future__ import annotations

import functools

from glcm_cuda.families.emphases import emphasis
from glcm_cuda.families.feature import Family

_dependence = functools.partial(emphasis, "gldm")

FEATURES = (
    _dependence("entropy", "DependenceEntropy", ("dependence count entropy", "FCBV")),
    _dependence("numbers", "DependenceNonUniformity", ("dependence count non-uniformity", "Z87G")),
    _dependence(
        "numbers_normalized",
        "DependenceNonUniformityNormalized",
        ("normalised dependence count non-uniformity", "OKJI"),
    ),
    _dependence("number_variance", "DependenceVariance", ("dependence count variance", "DNX2")),
    _dependence("levels", "GrayLevelNonUniformity", ("grey level non-uniformity", "FP8K")),
    _dependence("level_variance", "GrayLevelVariance", ("grey level variance", "1PFV")),
    _dependence("high", "HighGrayLevelEmphasis", ("high grey level count emphasis", "OAE7")),
    _dependence("long", "LargeDependenceEmphasis", ("high dependence emphasis", "IMOQ")),
    _dependence(
        "long_high",
        "LargeDependenceHighGrayLevelEmphasis",
        ("high dependence high grey level emphasis", "9QMG"),
    ),
    _dependence(
        "long_low", "LargeDependenceLowGrayLevelEmphasis", ("high dependence low grey level emphasis", "NBZI")
    ),
    _dependence("low", "LowGrayLevelEmphasis", ("low grey level count emphasis", "TL9H")),
    _dependence("short", "SmallDependenceEmphasis", ("low dependence emphasis", "SODN")),
    _dependence(
        "short_high",
        "SmallDependenceHighGrayLevelEmphasis",
        ("low dependence high grey level emphasis", "JA6D"),
    ),
    _dependence(
        "short_low", "SmallDependenceLowGrayLevelEmphasis", ("low dependence low grey level emphasis", "EQ3F")
    ),
)
"""In pyradiomics' order."""

FAMILY = Family("gldm", FEATURES)
