"""A whole region of interest, of which each family computes one value per feature.

The module ``region`` of a family's package defines ``values(region, features)``. It returns one row of values
for each of the family's matrices, or one row where the family has no matrix; a feature of the region is the
mean over the rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from glcm_cuda.levels.bins import OUTSIDE, Bins
from glcm_cuda.settings import GLCMSettings

_MOST_COUNTERS = 1 << 22
"""Counters that are cheaper than sorting."""

_Number = TypeVar("_Number", bound=np.generic)

Counts = npt.NDArray[Any]
"""How often each of some codes occurs: int64 or, where directions are weighted, float64."""

Levels = npt.NDArray[np.int32]
"""Grey levels (Z, Y, X) from 0 on, `OUTSIDE` where a voxel does not count."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Region:
    """The voxels of an image that count.

    Parameters
    ----------
    intensities : (Z, Y, X) array of real numbers
        The image; what lies outside the region is not read.
    levels : (Z, Y, X) int32 array
        Its grey levels, `OUTSIDE` outside the region.
    bins : Bins
        Bins of the levels.
    settings : GLCMSettings
        What is counted, and how it is aggregated.
    pool_slices : bool
        Whether 2D matrices of all slices are summed.
    spacing : (float, float, float)
        Distance of neighbouring voxels along z, y and x, in mm; of slices across another axis, along theirs.
    morphology : (Z, Y, X) bool array, optional
        IBSI's morphological mask: the region before voxels were left out for their intensities. By default
        the region itself.
    """

    intensities: npt.NDArray[np.generic]
    levels: Levels
    bins: Bins
    settings: GLCMSettings
    pool_slices: bool = False
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    morphology: npt.NDArray[np.bool_] | None = None

    @property
    def voxel_volume(self) -> float:
        """Volume of a voxel, in mm^3."""
        return math.prod(self.spacing)

    def lengths_mm(self, offsets: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
        """Return the lengths of offsets (K, 3) in the norm of the settings, which have one."""
        along = np.abs(offsets) * np.array(self.spacing)
        if self.settings.weighting == "euclidean":
            lengths: npt.NDArray[np.float64] = np.sqrt((along**2).sum(axis=1))
        elif self.settings.weighting == "manhattan":
            lengths = along.sum(axis=1)
        else:
            lengths = along.max(axis=1)
        return lengths

    def parts(self) -> Iterator[Levels]:
        """Yield the levels of all voxels that are counted together: of the region, or of each slice."""
        for levels, _ in self.parts_in_shape():
            yield levels

    def parts_in_shape(self) -> Iterator[tuple[Levels, npt.NDArray[np.bool_]]]:
        """Yield the levels as `parts` does, each with the morphological mask there."""
        shape = self.levels != OUTSIDE if self.morphology is None else self.morphology
        if self.settings.dimensions == 3 or self.pool_slices:
            yield self.levels, shape
            return
        for z in range(len(self.levels)):
            if (self.levels[z] != OUTSIDE).any():
                yield self.levels[z : z + 1], shape[z : z + 1]


def both_ends(
    array: npt.NDArray[_Number], offset: npt.NDArray[np.int32]
) -> tuple[npt.NDArray[_Number], npt.NDArray[_Number]]:
    """Return views of an array (Z, Y, X): places from which an offset stays inside, and where it leads."""
    starts, ends = [], []
    for step, size in zip(offset.tolist(), array.shape, strict=True):
        starts.append(slice(max(0, -step), max(0, size - step)))
        ends.append(slice(max(0, step), max(0, size + step)))
    return array[tuple(starts)], array[tuple(ends)]


def distinct(codes: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the different codes, whole numbers from 0 on, ascending, and how often each occurs."""
    if int(codes.max()) >= _MOST_COUNTERS:
        found, counts = np.unique(codes, return_counts=True)
        return found, counts
    counts = np.bincount(codes)
    found = np.flatnonzero(counts)
    return found, counts[found]
