"""What IBSI's filters share: separable convolution, boundaries, pooling over rotations, energy.

References
----------
IBSI 2 reference manual, arXiv 2006.05470: boundary conditions, rotational invariance, energy images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import permutations, product

import numpy as np
import numpy.typing as npt

from glcm_cuda.base.checks import check_choice
from glcm_cuda.base.extras import library, require
from pipelines.filters.contract import Scope
from pipelines.images.volume import Volume

Floats = npt.NDArray[np.float64]

BOUNDARIES = {"zero": "constant", "nearest": "nearest", "periodic": "wrap", "mirror": "reflect"}
"""IBSI's boundaries by SciPy's names; a mirror repeats the voxel at the border."""

POOLINGS = ("none", "max", "average")


def check_boundary(boundary: str) -> None:
    """Raise ValueError if there is no such boundary, ModuleNotFoundError without SciPy, which makes it."""
    require("a filter of IBSI", "scipy", extra="filters")
    check_choice("boundary", boundary, tuple(BOUNDARIES))


def check_pooling(pooling: str) -> None:
    """Raise ValueError if there is no such pooling."""
    check_choice("pooling", pooling, POOLINGS)


def refuse_other_axes(name: str, count: int, volume: Volume, scope: Scope) -> None:
    """Raise ValueError if a filter of so many kernels works along another number of axes.

    `name` says what messages call the kernels.
    """
    axes = len(scope.axes(volume.array.ndim))
    if count != axes:
        msg = (
            f"{name} is for {count} axes, the filter works along {axes}; give one for {axes}, or "
            f"--dimensions {count}"
        )
        raise ValueError(msg)


def convolved(array: Floats, kernels: Sequence[Floats], axes: Sequence[int], boundary: str) -> Floats:
    """Return an array convolved with a kernel along each axis.

    The centre of a kernel of even length is the later of its two middle entries.
    """
    ndimage = library("scipy.ndimage", "a filter of IBSI", "filters")
    for kernel, axis in zip(kernels, axes, strict=True):
        array = ndimage.convolve1d(array, kernel, axis=axis, mode=BOUNDARIES[boundary])
    return array


def pooled(array: Floats, response: Callable[[Floats], Floats], axes: Sequence[int], pooling: str) -> Floats:
    """Return a response: as it stands ("none"), or pooled over the rotations by right angles.

    The image is turned and its response turned back, so that the centres of even kernels turn too.

    Parameters
    ----------
    array : array
        The image.
    response : callable
        Returns the response of an image, on the same grid.
    axes : sequence of int
        Two or three axes that span the plane or the space of the rotations.
    pooling : {"none", "max", "average"}
        The largest response at each voxel, or their mean.
    """
    if pooling == "none":
        return response(array)
    total, count = np.zeros(0), 0
    for order, back in _rotations(array.ndim, axes):
        turned = response(np.ascontiguousarray(order(array)))
        count += 1
        if count == 1:
            total = np.array(back(turned))
        elif pooling == "max":
            np.maximum(total, back(turned), out=total)
        else:
            total += back(turned)
    return total if pooling == "max" else total / count


Turn = Callable[[Floats], Floats]


def _rotations(dimensions: int, axes: Sequence[int]) -> Iterator[tuple[Turn, Turn]]:
    """Yield every rotation by right angles and its inverse: 4 in a plane, 24 in space."""
    identity = np.eye(len(axes))
    for order in permutations(range(len(axes))):
        for flips in product((1, -1), repeat=len(axes)):
            if np.linalg.det(identity[list(order)]) * np.prod(flips) > 0:
                yield _turns(dimensions, axes, order, flips)


def _turns(
    dimensions: int, axes: Sequence[int], order: Sequence[int], flips: Sequence[int]
) -> tuple[Turn, Turn]:
    """Return the exchange of axes with mirrored ones that is a rotation, and its inverse."""
    whole = list(range(dimensions))
    for axis, source in zip(axes, order, strict=True):
        whole[axis] = axes[source]
    mirrored = tuple(axis for axis, flip in zip(axes, flips, strict=True) if flip < 0)
    inverse = tuple(int(axis) for axis in np.argsort(whole))

    def turn(array: Floats) -> Floats:
        return np.flip(np.transpose(array, whole), mirrored)

    def turn_back(array: Floats) -> Floats:
        return np.transpose(np.flip(array, mirrored), inverse)

    return turn, turn_back


def energy(response: Floats, distance: int, axes: Sequence[int], boundary: str) -> Floats:
    """Return the mean absolute response over the box of voxels up to a distance along each axis."""
    size = 2 * distance + 1
    return convolved(np.abs(response), (np.full(size, 1 / size),) * len(axes), axes, boundary)
