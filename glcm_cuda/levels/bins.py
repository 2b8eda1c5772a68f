"""Where the bins of grey levels lie, as a value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Bins:
    """Where the bins of grey levels lie; see docs/definition.md, section 1.

    Parameters
    ----------
    levels : int
        How many there are, up to that of the highest intensity.
    low, high : float
        Range of intensities; what lies outside counts as its nearer end.
    factor, span : float
        The level of an intensity x is the whole part of ``factor * (x - low) / span``; 0 where `span` is.
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
