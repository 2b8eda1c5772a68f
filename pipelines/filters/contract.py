"""What every filter is: a value that derives images, one after another, under the names of their maps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pipelines.images.volume import Volume

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class Scope:
    """Where a filter works.

    Parameters
    ----------
    flat : bool
        Whether features are computed in slices (pyradiomics' ``force2D``): wavelets then leave out the axis
        across the slices.
    slice_axis : {0, 1, 2}
        Axis of the array (z, y, x) across the slices (``force2Ddimension``).
    needed : (Z, Y, X) bool array, optional
        Voxels whose values are needed; by default all. A filter that costs much leaves the others NaN.
    """

    flat: bool = False
    slice_axis: int = 0
    needed: Mask | None = None

    def axes(self, dimensions: int) -> tuple[int, ...]:
        """Return the axes of an image of so many dimensions along which wavelets and the like work, x first.

        In a 2D image these are both.
        """
        axes = range(dimensions - 1, -1, -1)
        return tuple(axis for axis in axes if not (self.flat and dimensions == 3 and axis == self.slice_axis))


@dataclass(frozen=True, kw_only=True, eq=False)
class Derived:
    """An image that a filter has made.

    Parameters
    ----------
    name : str
        Begins the names of its maps, such as ``log-sigma-2-0-mm-3D``.
    volume : Volume
        On the grid of the image it was made from.
    """

    name: str
    volume: Volume


class ImageFilter(Protocol):
    """A filter with its settings."""

    def names(self, dimensions: int, scope: Scope) -> tuple[str, ...]:
        """Return the names of the images that it derives from an image of so many dimensions, in order."""

    def check(self, volume: Volume, scope: Scope) -> None:
        """Raise ValueError if it has no values for an image; ImportError if it lacks a library."""

    def images(self, volume: Volume, scope: Scope) -> Iterator[Derived]:
        """Derive the images, each when it is asked for. The image is one that `check` has passed."""

    def to_dict(self) -> dict[str, Any]:
        """Return the filter and its settings as sidecars record them."""
