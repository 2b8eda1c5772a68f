"""What lies inside a polygon, by the number of edges between a point and infinity."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

EDGE = 1e-6
"""Points within this distance of an edge, in the unit of the corners, are on it."""

Mask = npt.NDArray[np.bool_]
Points = npt.NDArray[np.float64]


def filled(corners: Points, shape: tuple[int, int]) -> Mask:
    """Return the pixels whose centre is inside a polygon.

    Whether a centre exactly on an edge counts depends on the way in which the edge runs, as in Matplotlib.
    Libraries that draw polygons on pixels round the corners first.

    Parameters
    ----------
    corners : (n, 2) float array
        Column and row of each corner, in pixels; the last is joined to the first.
    shape : (int, int)
        Rows and columns.
    """
    mask = np.zeros(shape, np.bool_)
    rows, columns = np.arange(shape[0]), np.arange(shape[1])
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        between = np.flatnonzero((start[1] >= rows) != (end[1] >= rows))
        mask[between] ^= _is_left(start, end, columns, between[:, np.newaxis])
    return mask


def contains(corners: Points, points: Points, *, edge: bool) -> Mask:
    """Return which points (m, 2) are inside a polygon (n, 2); those on an edge are if `edge`."""
    x, y = points[:, 0, np.newaxis], points[:, 1, np.newaxis]
    starts, ends = corners.T, np.roll(corners, -1, axis=0).T
    between = (starts[1] >= y) != (ends[1] >= y)
    odd: Mask = (between & _is_left(starts, ends, x, y)).sum(axis=1) % 2 == 1
    on_edge = (_distances(starts, ends, x, y) <= EDGE).any(axis=1)
    return odd | on_edge if edge else odd & ~on_edge


def _is_left(start: Any, end: Any, x: Any, y: Any) -> Mask:
    """Return whether points lie left of an edge or on it; for points between its ends in y."""
    left: Mask = (end[1] - y) * (start[0] - end[0]) >= (end[0] - x) * (start[1] - end[1])
    points: Mask = left == (end[1] >= y)
    return points


def _distances(starts: Any, ends: Any, x: Any, y: Any) -> npt.NDArray[np.float64]:
    """Return the distance of points from edges."""
    along = ends - starts
    squared = np.maximum((along**2).sum(axis=0), np.finfo(float).tiny)  # two corners in one place
    share = np.clip(((x - starts[0]) * along[0] + (y - starts[1]) * along[1]) / squared, 0, 1)
    distances: npt.NDArray[np.float64] = np.hypot(
        x - starts[0] - share * along[0], y - starts[1] - share * along[1]
    )
    return distances
