"""Where the bins of grey levels lie, as a value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

OUTSIDE = -1
"""Level of a voxel that does not count: outside the mask, where the mask limits the windows."""

_FEW = 256
"""Levels that are handed to the families as 16-bit numbers, which keeps the loops narrow."""


@dataclass(frozen=True)
class Bins:
    """Where the bins of grey levels lie; see docs/definition.md, section 1.

    Parameters
    ----------
    levels : int
        How many there are, up to that of the highest intensity.
    low, high : float
        Range of intensities; an intensity outside it counts as its nearer end.
    factor, span : float
        The level of an intensity x is the whole part of ``factor * (x - low) / span``; 0 if `span` is 0.
    edges : (levels,) float64 array or None
        Lower edges of the bins, if they are not exactly where `factor` and `span` have them.
    """

    levels: int
    low: float
    high: float
    factor: float
    span: float
    edges: npt.NDArray[np.float64] | None = None

    @property
    def flat(self) -> bool:
        """Whether all intensities are in one bin."""
        return self.levels == 1 or self.low == self.high

    @property
    def wide(self) -> bool:
        """Whether the levels need 32-bit numbers in the engines."""
        return self.levels > _FEW

    @property
    def level_type(self) -> type[np.int16 | np.int32]:
        """Type of the levels that an engine hands to the families."""
        return np.int32 if self.wide else np.int16
