"""The ways from the co-occurrence matrices of a region's slices and directions to one value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from glcm_cuda import GLCMSettings


@dataclass(frozen=True)
class Aggregation:
    """One of the aggregations of the IBSI.

    Parameters
    ----------
    ibsi : str
        Its identifier.
    dimensions, aggregate
        See `GLCMSettings`.
    pool_slices : bool
        See `glcm_cuda.roi.roi_features`.
    """

    ibsi: str
    dimensions: int
    aggregate: Literal["mean", "merge"]
    pool_slices: bool = False

    def settings(self, settings: GLCMSettings) -> GLCMSettings:
        """Return the settings with this aggregation."""
        axis = settings.slice_axis if self.dimensions == 2 else 0
        return replace(settings, dimensions=self.dimensions, aggregate=self.aggregate, slice_axis=axis)


AGGREGATIONS = {
    "2d-mean": Aggregation("BTW3", 2, "mean"),
    "2d-merge": Aggregation("SUJT", 2, "merge"),
    "2.5d-mean": Aggregation("JJUI", 2, "mean", pool_slices=True),
    "2.5d-merge": Aggregation("ZW7Z", 2, "merge", pool_slices=True),
    "3d-mean": Aggregation("ITBB", 3, "mean"),
    "3d-merge": Aggregation("IAZD", 3, "merge"),
}
