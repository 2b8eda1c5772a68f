"""Run lengths of a whole region."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from glcm_cuda.families.cells import Cells, cells_of, values_of
from glcm_cuda.families.feature import Feature
from glcm_cuda.families.offsets import directions
from glcm_cuda.families.region import Levels, Region
from glcm_cuda.levels.bins import OUTSIDE

_Runs = tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]
"""Level and length of every run."""


def values(region: Region, features: Sequence[Feature]) -> list[list[float]]:
    """Return the features of every matrix: of each direction that has runs, or of all directions."""
    settings, rows = replace(region.settings, distance=1, directions="scaled"), []
    offsets = directions(settings)
    for levels in region.parts():
        voxels = int((levels != OUTSIDE).sum())
        found = [
            (runs, weight)
            for offset, weight in zip(offsets, _weights(region, offsets), strict=True)
            if (runs := _runs(levels, offset)) is not None
        ]
        groups = [found] if settings.aggregate == "merge" and found else [[one] for one in found]
        for group in groups:
            counted = voxels * sum(weight for _, weight in group)
            rows.append(values_of(_cells(group), features, counted, settings.log_unit))
    return rows


def _cells(group: Sequence[tuple[_Runs, float]]) -> Cells:
    """Return the matrix of the runs of some directions, each with a weight."""
    levels, lengths = (np.concatenate([runs[part] for runs, _ in group]) for part in range(2))
    if all(weight == 1 for _, weight in group):
        return cells_of(levels, lengths)
    return cells_of(
        levels, lengths, np.concatenate([np.full(len(runs[0]), weight) for runs, weight in group])
    )


def _weights(region: Region, offsets: npt.NDArray[np.int32]) -> list[int] | list[float]:
    """Return the weight of the runs along each offset: its length in mm; 1 without a norm."""
    if region.settings.weighting is None:
        return [1] * len(offsets)
    weights: list[float] = region.lengths_mm(offsets).tolist()
    return weights


def _runs(levels: Levels, offset: npt.NDArray[np.int32]) -> _Runs | None:
    """Return the runs along a direction; None if no line along it holds two voxels."""
    padded = np.pad(levels, 1, constant_values=OUTSIDE)
    flat, places = padded.ravel(), np.flatnonzero(padded != OUTSIDE)
    jump = int(offset @ np.array([padded.shape[1] * padded.shape[2], padded.shape[2], 1]))
    level = flat[places]
    starts = places[flat[places - jump] != level]
    if len(starts) == len(places) and not _has_line(levels, offset):
        return None
    return flat[starts], _lengths(flat, starts, jump)


def _lengths(flat: npt.NDArray[np.int32], starts: npt.NDArray[np.int64], jump: int) -> npt.NDArray[np.int64]:
    """Return the lengths of the runs that start at these places; all runs grow by a voxel at a time."""
    lengths = np.ones(len(starts), np.int64)
    going: npt.NDArray[np.int64] = np.arange(len(starts))
    while len(going):
        ahead = starts[going] + lengths[going] * jump
        going = going[flat[ahead] == flat[starts[going]]]
        lengths[going] += 1
    return lengths


def _has_line(levels: Levels, offset: npt.NDArray[np.int32]) -> bool:
    """Return whether a line along a direction holds two voxels that count, adjacent or not."""
    voxels = np.argwhere(levels != OUTSIDE)
    axis = np.flatnonzero(offset)[0]
    # Where the line of each voxel crosses the plane 0 of the direction's first axis; its step there is 1.
    crossings = voxels - voxels[:, axis : axis + 1] * offset
    return len(np.unique(crossings, axis=0)) < len(voxels)
