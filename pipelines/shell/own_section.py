"""The section ``radsynth`` of a parameter file: what IBSI asks for and pyradiomics' settings cannot say."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pipelines.images.resampling import LINEAR, NEAREST
from pipelines.shell.yaml_values import Values

OWN_SECTION = "radsynth"
KEYS = ("grid", "maskInterpolator", "roundIntensities", "resegmentSigma", "binEdges", "ngtdmIsolated")
_TOOLS = ("pyradiomics", "ibsi")


@dataclass(frozen=True, kw_only=True)
class OwnSettings:
    """Settings of the section; the defaults are what pyradiomics does.

    Parameters
    ----------
    grid : {"pyradiomics", "ibsi"}
        Where the grid of a new spacing lies: at the corner of the image, or at its centre.
    mask_interpolator : {"sitkNearestNeighbor", "sitkLinear"}
        How the mask is resampled; linear with a threshold of 0.5.
    rounded : bool
        Whether intensities are rounded to whole numbers after resampling.
    resegment_sigma : float, optional
        Standard deviations from the mean of the mask beyond which voxels do not count, beside
        ``resegmentRange``.
    bin_edges : {"pyradiomics", "ibsi"}
        Where bins begin. IBSI's of a fixed width begin at the lower end of ``resegmentRange``.
    ngtdm_isolated : bool
        Whether voxels without neighbours count in the NGTDM.
    """

    grid: str = "pyradiomics"
    mask_interpolator: str = NEAREST
    rounded: bool = False
    resegment_sigma: float | None = None
    bin_edges: Literal["pyradiomics", "ibsi"] = "pyradiomics"
    ngtdm_isolated: bool = True


def own_settings(content: Mapping[str, Any]) -> OwnSettings:
    """Return the settings of the section.

    Raises
    ------
    ValueError
        If a value is unfit.
    """
    values = Values(content, may_be_null={"resegmentSigma"})
    ibsi_edges = values.choice("binEdges", "pyradiomics", _TOOLS) == "ibsi"
    return OwnSettings(
        grid=values.choice("grid", "pyradiomics", _TOOLS),
        mask_interpolator=values.choice("maskInterpolator", NEAREST, (NEAREST, LINEAR)),
        rounded=values.boolean("roundIntensities", False),
        resegment_sigma=values.positive("resegmentSigma", math.inf)
        if "resegmentSigma" in values.values
        else None,
        bin_edges="ibsi" if ibsi_edges else "pyradiomics",
        ngtdm_isolated=values.boolean("ngtdmIsolated", True),
    )
