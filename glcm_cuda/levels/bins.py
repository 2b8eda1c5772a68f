"""The bins of the grey levels, as a value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

OUTSIDE = -1
"""Level of a voxel that does not count: it is outside a mask that limits the windows."""

_MOST_NARROW_LEVELS = 256
"""Most levels that engines pass to the families as 16-bit numbers, which keeps the loops narrow."""


@dataclass(frozen=True)
class Bins:
    """The bins of the grey levels; see docs/definition.md, section 1.

    Parameters
    ----------
    levels : int
        Number of levels, up to that of the highest intensity.
    low, high : float
        Range of intensities, in the image's unit. An intensity outside it counts as the nearer end.
    factor, span : float
        The level of an intensity x is the integer part of ``factor * (x - low) / span``, and 0 if `span` is
        0.
    edges : (levels,) float64 array or None
        Lower edges of the bins, where `factor` and `span` do not describe them exactly.
    """

    levels: int
    low: float
    high: float
    factor: float
    span: float
    edges: npt.NDArray[np.float64] | None = None

    @property
    def flat(self) -> bool:
        """Whether all intensities fall into one bin."""
        return self.levels == 1 or self.low == self.high

    @property
    def wide(self) -> bool:
        """Whether engines pass the levels as 32-bit numbers."""
        return self.levels > _MOST_NARROW_LEVELS

    @property
    def level_type(self) -> type[np.int16 | np.int32]:
        """Type of the levels that an engine passes to the families."""
        return np.int32 if self.wide else np.int16
