"""Images that are thinner than a kernel: the log says so, since little but the boundary is left there."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from pipelines.images.volume import Volume

_log = logging.getLogger(__name__)


def tell_thin(name: str, length: int, volume: Volume, axes: Iterable[int], beyond: str) -> None:
    """Log in one line that a filter reaches over more voxels than the image has along an axis.

    Parameters
    ----------
    name : str
        What the line calls the filter.
    length : int
        Voxels that it reaches over.
    volume : Volume
        The image.
    axes : iterable of int
        Axes of the array along which the filter works; the first that is too short is named.
    beyond : str
        What the filter takes beyond the image, as the line says it.
    """
    names = "zyx"[-volume.array.ndim :]
    for axis in axes:
        size = volume.array.shape[axis]
        if size < length:
            _log.warning(
                "%s reaches over %d voxels, the image has %d along %s; %s",
                name, length, size, names[axis], beyond,
            )  # fmt: skip
            return
