"""The 16 size-zone features; see `emphases`."""

from __future__ import annotations

import functools

from glcm_cuda.families.emphases import emphasis
from glcm_cuda.families.feature import Family

_zone = functools.partial(emphasis, "glszm")

FEATURES = (
    _zone("levels", "GrayLevelNonUniformity", ("grey level non-uniformity", "JNSA")),
    _zone(
        "levels_normalized",
        "GrayLevelNonUniformityNormalized",
        ("normalised grey level non-uniformity", "Y1RO"),
    ),
    _zone("level_variance", "GrayLevelVariance", ("grey level variance", "BYLV")),
    _zone("high", "HighGrayLevelZoneEmphasis", ("high grey level zone emphasis", "5GN9")),
    _zone("long", "LargeAreaEmphasis", ("large zone emphasis", "48P8")),
    _zone("long_high", "LargeAreaHighGrayLevelEmphasis", ("large zone high grey level emphasis", "J17V")),
    _zone("long_low", "LargeAreaLowGrayLevelEmphasis", ("large zone low grey level emphasis", "YH51")),
    _zone("low", "LowGrayLevelZoneEmphasis", ("low grey level zone emphasis", "XMSY")),
    _zone("numbers", "SizeZoneNonUniformity", ("zone size non-uniformity", "4JP3")),
    _zone(
        "numbers_normalized",
        "SizeZoneNonUniformityNormalized",
        ("normalised zone size non-uniformity", "VB3A"),
    ),
    _zone("short", "SmallAreaEmphasis", ("small zone emphasis", "5QRC")),
    _zone("short_high", "SmallAreaHighGrayLevelEmphasis", ("small zone high grey level emphasis", "HW1V")),
    _zone("short_low", "SmallAreaLowGrayLevelEmphasis", ("small zone low grey level emphasis", "5RAI")),
    _zone("entropy", "ZoneEntropy", ("zone size entropy", "GU8N")),
    _zone("percentage", "ZonePercentage", ("zone percentage", "P30P")),
    _zone("number_variance", "ZoneVariance", ("zone size variance", "3NSA")),
)
"""In pyradiomics' order."""

FAMILY = Family("glszm", FEATURES)
