"""The 16 features of zones by their distance from the border of the region; see `emphases`."""

from __future__ import annotations

from glcm_cuda.families.feature import Family, Feature


def _zone(formula: str, name: str, ibsi: tuple[str, str]) -> Feature:
    return Feature("gldzm", "region", f"gldzm_{name}", "", (ibsi,), formula=formula)


FEATURES = (
    _zone("short", "SmallDistanceEmphasis", ("small distance emphasis", "0GBI")),
    _zone("long", "LargeDistanceEmphasis", ("large distance emphasis", "MB4I")),
    _zone("low", "LowGrayLevelZoneEmphasis", ("low grey level zone emphasis", "S1RA")),
    _zone("high", "HighGrayLevelZoneEmphasis", ("high grey level zone emphasis", "K26C")),
    _zone(
        "short_low", "SmallDistanceLowGrayLevelEmphasis", ("small distance low grey level emphasis", "RUVG")
    ),
    _zone(
        "short_high",
        "SmallDistanceHighGrayLevelEmphasis",
        ("small distance high grey level emphasis", "DKNJ"),
    ),
    _zone(
        "long_low", "LargeDistanceLowGrayLevelEmphasis", ("large distance low grey level emphasis", "A7WM")
    ),
    _zone(
        "long_high",
        "LargeDistanceHighGrayLevelEmphasis",
        ("large distance high grey level emphasis", "KLTH"),
    ),
    _zone("levels", "GrayLevelNonUniformity", ("grey level non-uniformity", "VFT7")),
    _zone(
        "levels_normalized",
        "GrayLevelNonUniformityNormalized",
        ("normalised grey level non-uniformity", "7HP3"),
    ),
    _zone("numbers", "ZoneDistanceNonUniformity", ("zone distance non-uniformity", "V294")),
    _zone(
        "numbers_normalized",
        "ZoneDistanceNonUniformityNormalized",
        ("normalised zone distance non-uniformity", "IATH"),
    ),
    _zone("per_voxel", "ZonePercentage", ("zone percentage", "VIWW")),
    _zone("level_variance", "GrayLevelVariance", ("grey level variance", "QK93")),
    _zone("number_variance", "ZoneDistanceVariance", ("zone distance variance", "7WT1")),
    _zone("entropy", "ZoneDistanceEntropy", ("zone distance entropy", "GBDU")),
)
"""In IBSI's order."""

FAMILY = Family(
    "gldzm",
    FEATURES,
    region_only="it takes the distance of zones from the border of a region, which a window cuts",
)
