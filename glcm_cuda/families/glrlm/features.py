"""The 16 run-length features; see `emphases`."""

from __future__ import annotations

import functools

from glcm_cuda.families.emphases import emphasis
from glcm_cuda.families.feature import Family

_run = functools.partial(emphasis, "glrlm")

FEATURES = (
    _run("levels", "GrayLevelNonUniformity", ("grey level non-uniformity", "R5YN")),
    _run(
        "levels_normalized",
        "GrayLevelNonUniformityNormalized",
        ("normalised grey level non-uniformity", "OVBL"),
    ),
    _run("level_variance", "GrayLevelVariance", ("grey level variance", "8CE5")),
    _run("high", "HighGrayLevelRunEmphasis", ("high grey level run emphasis", "G3QZ")),
    _run("long", "LongRunEmphasis", ("long runs emphasis", "W4KF")),
    _run("long_high", "LongRunHighGrayLevelEmphasis", ("long run high grey level emphasis", "3KUM")),
    _run("long_low", "LongRunLowGrayLevelEmphasis", ("long run low grey level emphasis", "IVPO")),
    _run("low", "LowGrayLevelRunEmphasis", ("low grey level run emphasis", "V3SW")),
    _run("entropy", "RunEntropy", ("run entropy", "HJ9O")),
    _run("numbers", "RunLengthNonUniformity", ("run length non-uniformity", "W92Y")),
    _run(
        "numbers_normalized",
        "RunLengthNonUniformityNormalized",
        ("normalised run length non-uniformity", "IC23"),
    ),
    _run("percentage", "RunPercentage", ("run percentage", "9ZK5")),
    _run("number_variance", "RunVariance", ("run length variance", "SXLW")),
    _run("short", "ShortRunEmphasis", ("short runs emphasis", "22OV")),
    _run("short_high", "ShortRunHighGrayLevelEmphasis", ("short run high grey level emphasis", "GD3A")),
    _run("short_low", "ShortRunLowGrayLevelEmphasis", ("short run low grey level emphasis", "HTZT")),
)
"""In pyradiomics' order."""

FAMILY = Family("glrlm", FEATURES, directed=True)
