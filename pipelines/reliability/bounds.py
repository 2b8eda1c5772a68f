"""The smallest and largest value that a feature of a window can have, where the settings tell."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from glcm_cuda import GLCMSettings
from glcm_cuda.families.offsets import directions, largest_entropy

_PARTS = (
    "firstorder_Uniformity", "joint_energy", "maximum_probability", "idm", "id", "imc2", "mcc",
    "inverse_variance", "glrlm_GrayLevelNonUniformityNormalized", "glrlm_RunLengthNonUniformityNormalized",
    "glrlm_RunPercentage", "glrlm_ShortRunEmphasis", "glszm_GrayLevelNonUniformityNormalized",
    "glszm_SizeZoneNonUniformityNormalized", "glszm_SmallAreaEmphasis", "glszm_ZonePercentage",
    "gldm_DependenceNonUniformityNormalized", "gldm_SmallDependenceEmphasis",
)  # fmt: skip
"""Features from 0 to 1: parts, probabilities and means of reciprocals, whatever the settings.

Those that many levels drive to one end of such a range, whatever the image (idn, idmn and the emphases of
grey levels), are not among them: there, to be near the end says nothing.
"""


def bounds_of(feature: str, settings: GLCMSettings, levels: int) -> tuple[float, float] | None:
    """Return floor and ceiling of a feature's map; None where they are not known.

    Parameters
    ----------
    feature : str
        Its own name.
    settings : GLCMSettings
        Of the map.
    levels : int
        Number of grey levels.

    Notes
    -----
    The floors and ceilings follow from docs/definition.md. Of entropies the ceiling is that of as many
    different values as there can be: exact for the joint entropy, for others what no window exceeds.

    Examples
    --------
    >>> [round(end, 3) for end in bounds_of("joint_entropy", GLCMSettings(), 64)]
    [0.0, 5.161]
    >>> bounds_of("correlation", GLCMSettings(), 64), bounds_of("firstorder_Mean", GLCMSettings(), 64)
    ((-1.0, 1.0), None)
    """
    if feature in _PARTS:
        return 0.0, 1.0
    if feature == "correlation":
        return -1.0, 1.0
    if feature == "imc1":
        return -1.0, 0.0
    if feature == "joint_entropy":
        return 0.0, largest_entropy(replace(settings, levels=max(levels, 2), bin_width=None))
    outcomes = _outcomes(settings, levels).get(feature)
    return None if outcomes is None else (0.0, settings.log_unit * math.log2(max(outcomes, 1)))


def _outcomes(settings: GLCMSettings, levels: int) -> dict[str, int]:
    """Return how many different values the variable of an entropy can have in one window."""
    voxels = math.prod(settings.edges)
    lengths = np.abs(directions(settings))
    pairs = np.prod(np.maximum(settings.edges - lengths, 0), axis=1)
    most = int(pairs.sum() if settings.aggregate == "merge" else pairs.max())
    return {
        "firstorder_Entropy": min(voxels, levels),
        "difference_entropy": min(most, levels),
        "sum_entropy": min(most, 2 * levels - 1),
        "glrlm_RunEntropy": voxels,
        "glszm_ZoneEntropy": voxels,
        "gldm_DependenceEntropy": voxels,
    }
