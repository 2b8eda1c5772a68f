"""The ways from the matrices of a region's slices and directions to one value."""

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
    directed : str
        Its identifier for families with a matrix for each direction.
    undirected : str
        Its identifier for the other textures, of which two aggregations may be the same.
    dimensions, aggregate
        See `GLCMSettings`.
    pool_slices : bool
        See `glcm_cuda.roi.roi_features`.
    """

    directed: str
    undirected: str
    dimensions: int
    aggregate: Literal["mean", "merge"]
    pool_slices: bool = False

    @property
    def identifiers(self) -> tuple[str, str]:
        """Identifiers of the IBSI."""
        return self.directed, self.undirected

    def ibsi(self, family: str) -> str:
        """Return the identifier for a family."""
        if family in ("glcm", "glrlm"):
            return self.directed
        return _OF_STATISTICS if family in ("firstorder", "stat", "ih") else self.undirected

    def settings(self, settings: GLCMSettings) -> GLCMSettings:
        """Return the settings with this aggregation."""
        axis = settings.slice_axis if self.dimensions == 2 else 0
        return replace(
            settings,
            dimensions=self.dimensions,
            aggregate=self.aggregate,
            weighting=settings.weighting if self.aggregate == "merge" else None,
            slice_axis=axis,
        )


_OF_STATISTICS = "DHQ4"
"""Identifier of the aggregation of statistics and histograms: all voxels together, in every case."""

AGGREGATIONS = {
    "2d-mean": Aggregation("BTW3", "8QNN", 2, "mean"),
    "2d-merge": Aggregation("SUJT", "8QNN", 2, "merge"),
    "2.5d-mean": Aggregation("JJUI", "62GR", 2, "mean", pool_slices=True),
    "2.5d-merge": Aggregation("ZW7Z", "62GR", 2, "merge", pool_slices=True),
    "3d-mean": Aggregation("ITBB", "KOBO", 3, "mean"),
    "3d-merge": Aggregation("IAZD", "KOBO", 3, "merge"),
}
