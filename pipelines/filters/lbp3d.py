"""Local binary patterns on a sphere, by spherical harmonics, as pyradiomics defines them.

A voxel is compared with samples on an icosphere around it. The signs are expanded in spherical harmonics;
of each degree n, the L2 norm of its part is an image, ``lbp-3D-m1`` to ``-m<levels>``. The kurtosis of the
samples is another, ``lbp-3D-k``.

Kept, so that the values are those of pyradiomics: coordinates count voxels, not mm; the samples of an image
of whole numbers are rounded; polar angle and azimuth are exchanged, so that the norms are not quite invariant
under rotation. Mended: voxels outside the mask are computed where windows reach them, in place of whatever
memory held; names that SciPy no longer has are not needed, without which pyradiomics gives no image.

References
----------
Banerjee et al. 2013, doi 10.1007/978-3-642-37410-4_3; pyradiomics, imageoperations.py: getLBP3DImage.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from glcm_cuda.base.checks import check_int
from glcm_cuda.base.extras import library, require
from pipelines.filters.contract import Derived, Scope
from pipelines.filters.intensity import refuse_not_finite
from pipelines.filters.thin import tell_thin
from pipelines.images.volume import Volume

Floats = npt.NDArray[np.float64]

_AT_ONCE = 1 << 15
"""Voxels whose samples are in memory together."""


@dataclass(frozen=True, kw_only=True)
class LocalBinaryPattern3D:
    """Local binary patterns on spheres.

    Parameters
    ----------
    levels : int
        Degrees of spherical harmonics, from 0 on.
    radius : float
        Of the sphere, in voxels.
    subdivision : int
        How often the faces of the icosahedron are divided: 1 gives 42 samples.
    """

    levels: int = 2
    radius: float = 1.0
    subdivision: int = 1

    def __post_init__(self) -> None:
        check_int("levels", self.levels, 1)
        check_int("subdivision", self.subdivision, 0, 4)
        if not 0 < self.radius < math.inf:
            msg = f"radius must be a number of voxels above 0, got {self.radius:g}"
            raise ValueError(msg)

    def names(self, dimensions: int, scope: Scope) -> tuple[str, ...]:
        """Return the names of the images."""
        return (*(f"lbp-3D-m{level}" for level in range(1, self.levels + 1)), "lbp-3D-k")

    def check(self, volume: Volume, scope: Scope) -> None:
        """Refuse a 2D image, and one that is not finite; say if the sphere is larger."""
        if volume.array.ndim != 3:
            msg = "lbp-3D needs a volume, got a 2D image; lbp-2D works on both"
            raise ValueError(msg)
        require("lbp-3D", "scipy", extra="filters")
        refuse_not_finite("lbp-3D", volume)
        tell_thin("lbp-3D", 2 * math.ceil(self.radius) + 1, volume, range(3), "samples beyond it are 0")

    def images(self, volume: Volume, scope: Scope) -> Iterator[Derived]:
        """Derive the images, in float64; voxels that are not needed are NaN."""
        needed = np.ones(volume.array.shape, bool) if scope.needed is None else scope.needed
        columns = self._columns(volume.array, np.argwhere(needed))
        for name, column in zip(self.names(3, scope), columns.T, strict=True):
            values = np.full(volume.array.shape, np.nan)
            values[needed] = column
            yield Derived(name=name, volume=replace(volume, array=values))

    def _columns(self, array: npt.NDArray[Any], places: npt.NDArray[np.intp]) -> Floats:
        """Return the values (voxel, image) at some places."""
        points = icosphere(self.subdivision, self.radius)
        parts = _parts(points, self.levels, self.radius)
        source = array.astype(np.uint8) if array.dtype == bool else array
        ndimage = library("scipy.ndimage", "lbp-3D", "filters")
        coefficients = ndimage.spline_filter(source, order=3, output=np.float64)
        columns = np.empty((len(places), self.levels + 1))
        for start in range(0, len(places), _AT_ONCE):
            some = places[start : start + _AT_ONCE]
            samples = ndimage.map_coordinates(
                coefficients,
                (some[:, None, :] + points).transpose(2, 0, 1),
                output=source.dtype,
                order=3,
                prefilter=False,
            )
            signs = (samples >= source[tuple(some.T)][:, None]).astype(float)
            rows = columns[start : start + len(some)]
            rows[:, :-1] = np.stack([_norms(signs, part) for part in parts], axis=1)
            rows[:, -1] = _kurtosis(samples)
        return columns

    def to_dict(self) -> dict[str, Any]:
        """Return the settings."""
        return {"type": "lbp-3D", **vars(self)}


def _norms(signs: Floats, part: Floats) -> Floats:
    """Return the L2 norm of the part of each row of signs.

    Not by BLAS, whose roundings depend on how many rows there are: voxels of one pattern share one value.
    """
    return np.asarray(np.linalg.norm(np.einsum("nv,vw->nw", signs, part), axis=1))


def _kurtosis(samples: npt.NDArray[Any]) -> Floats:
    """Return the excess kurtosis of each row; -3 where all samples are equal but for rounding.

    SciPy gave -3 there when pyradiomics was written, and gives NaN now.
    """
    values = samples.astype(np.float64)
    mean = values.mean(axis=1, keepdims=True)
    second, fourth = (((values - mean) ** power).mean(axis=1) for power in (2, 4))
    flat = second <= (np.finfo(float).eps * mean[:, 0]) ** 2
    quotient = np.divide(fourth, second**2, out=np.zeros_like(second), where=~flat)
    return np.asarray(quotient - 3)


def icosphere(subdivision: int, radius: float) -> Floats:
    """Return the vertices (N, 3) of an icosahedron whose faces were divided into four, on a sphere.

    Notes
    -----
    Edges are the pairs of vertices that lie closest; each division adds their middles, moved to the sphere.

    Examples
    --------
    >>> [len(icosphere(subdivision, 1.0)) for subdivision in range(3)]
    [12, 42, 162]
    """
    golden = (1 + math.sqrt(5)) / 2
    corners = [(0.0, one, other * golden) for one in (-1, 1) for other in (-1, 1)]
    turned = [np.roll(corner, turn) for corner in corners for turn in range(3)]
    points = np.array(turned) / math.hypot(1, golden)
    faces = [face for face in combinations(range(12), 3) if _is_face(points[list(face)])]
    for _ in range(subdivision):
        points, faces = _divided(points, faces)
    return points * radius


def _is_face(corners: Floats) -> bool:
    edge = 1 / math.sin(2 * math.pi / 5)  # of an icosahedron of radius 1
    sides = np.linalg.norm(corners - np.roll(corners, 1, axis=0), axis=1)
    return bool(np.allclose(sides, edge))


def _divided(points: Floats, faces: list[tuple[int, int, int]]) -> tuple[Floats, list[tuple[int, int, int]]]:
    """Return the vertices and the faces after each face was divided into four."""
    edges = sorted({tuple(sorted(edge)) for face in faces for edge in combinations(face, 2)})
    middles = np.array([points[list(edge)].mean(axis=0) for edge in edges])
    middles /= np.linalg.norm(middles, axis=1, keepdims=True)
    number = {frozenset(edge): len(points) + index for index, edge in enumerate(edges)}
    divided = []
    for a, b, c in faces:
        ab, bc, ca = (number[frozenset(edge)] for edge in ((a, b), (b, c), (c, a)))
        divided += [(a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca)]
    return np.concatenate([points, middles]), divided


def _parts(points: Floats, levels: int, radius: float) -> list[Floats]:
    """Return for each degree the matrix that takes signs at the points to their part of that degree."""
    polar = np.arccos(np.clip(points[:, 2] / radius, -1, 1))
    azimuth = np.arctan2(points[:, 1], points[:, 0])
    parts = []
    for degree in range(levels):
        orders = range(-degree, degree + 1)
        # SciPy's arguments are degree, order, polar angle, azimuth: pyradiomics gives the angles in turn.
        harmonics = np.array([_harmonic(degree, order, azimuth, polar) for order in orders])
        parts.append((harmonics.T @ harmonics).real)
    return parts


def _harmonic(degree: int, order: int, polar: Floats, azimuth: Floats) -> npt.NDArray[np.complex128]:
    """Return a spherical harmonic; SciPy renamed the function in 1.15 and removed the old name in 1.17."""
    special = library("scipy.special", "lbp-3D", "filters")
    if hasattr(special, "sph_harm_y"):
        return np.asarray(special.sph_harm_y(degree, order, polar, azimuth))
    return np.asarray(special.sph_harm(order, degree, azimuth, polar))
