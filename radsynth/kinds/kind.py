"""What every kind of image must provide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pipelines.images.volume import Volume

Spacing = Sequence[float] | None
"""Distance of neighbouring voxels in mm, in the order of the axes of the array or tensor."""

Map = npt.NDArray[np.float32]


class Kind(Protocol):
    """One kind of image.

    A volume has the axes z, y and x; each kind says in its module which of its axes is which.
    """

    @property
    def name(self) -> str:
        """What messages call an image of this kind."""

    @property
    def takes_arrays(self) -> bool:
        """Whether a mask may be a NumPy array, because its axes would be those of the image."""

    def owns(self, image: object) -> bool:
        """Whether an object is an image of this kind; must not import the kind's library."""

    def is_placed(self, image: Any) -> bool:
        """Whether an image states where its voxels lie."""

    def volumes(self, image: Any, name: str, spacing: Spacing) -> tuple[Volume, ...]:
        """Return an image as volumes, one for each channel.

        Parameters
        ----------
        image
            An image of this kind.
        name : str
            Name of the argument, for messages.
        spacing
            See `Spacing`; None where the image states its own, or for 1 mm.

        Raises
        ------
        TypeError, ValueError, OSError
            If the image is unfit; the message names the argument.
        """

    def image(self, maps: Sequence[Map], volumes: Sequence[Volume], source: Any, *, moved: bool) -> Any:
        """Return maps, one for each volume and on its grid, as one image of this kind.

        Parameters
        ----------
        maps : sequence of float32 arrays
            Of the shapes of the volumes.
        volumes : sequence of Volume
            The grids of the maps.
        source
            The image that was mapped.
        moved : bool
            Whether the grids are others than that of `source`, because it was resampled.
        """


def refuse_spacing(spacing: Spacing, kind: str) -> None:
    """Raise TypeError if a spacing is given for an image that states its own."""
    if spacing is not None:
        msg = f"spacing is for NumPy arrays and tensors, which state none; {kind} has its own"
        raise TypeError(msg)


def checked_spacing(spacing: Spacing, axes: str, count: int) -> tuple[float, ...]:
    """Return a spacing as floats, 1 mm by default.

    Parameters
    ----------
    spacing
        As it was given.
    axes : str
        What messages call the axes.
    count : int
        How many there are.

    Raises
    ------
    ValueError
        If there are not `count` finite positive numbers.
    """
    if spacing is None:
        return (1.0,) * count
    try:
        edges = tuple(float(edge) for edge in spacing)
    except (TypeError, ValueError):
        edges = ()
    if len(edges) != count or not all(0 < edge < np.inf for edge in edges):
        msg = f"spacing must be {count} positive numbers in mm, along {axes}, got {str(spacing)[:60]}"
        raise ValueError(msg)
    return edges


def unplaced(array: npt.NDArray[Any], spacing_mm: tuple[float, ...]) -> Volume:
    """Return an array (Z, Y, X) or (Y, X) as a volume at the origin; the spacing is along x, y and z."""
    dimensions = array.ndim
    direction = tuple(np.eye(dimensions).ravel().tolist())
    return Volume(array, spacing_mm, (0.0,) * dimensions, direction)


def refuse_not_real(array: npt.NDArray[Any], name: str) -> None:
    """Raise TypeError if an array does not hold one real number per voxel."""
    if array.dtype.kind not in "biuf":
        got = "colours" if array.dtype.fields else f"dtype {array.dtype}"
        msg = f"{name} must hold one real number per voxel, got {got}"
        raise TypeError(msg)
