"""What an engine asks of a texture family: the contract of a stage."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from glcm_cuda.base.blocks import Block, shape_of, size_of, with_halo
from glcm_cuda.families.feature import Feature
from glcm_cuda.levels.bins import Bins
from glcm_cuda.settings import MAX_LEVELS, GLCMSettings

_SLAB_VOXELS = {2: 1 << 21, 3: 1 << 23}
"""Voxels mapped at a time, with 2D and with 3D windows: enough to fill a device, few enough for copies and
kernels to overlap and for pinned memory, which is slow to get. Slabs of 3D windows have halos."""

_SHARES = 8
"""Into so many times smaller slabs a map of many features goes, whose slabs are so much larger for it."""

_MOST_COMPARISONS, _LEAST_VOXELS = 1 << 38, 1 << 16
"""Comparisons of pairs that one launch of a kernel may take, and voxels that it gets all the same: a display
that hangs on the device must not wait for seconds."""


@dataclass(frozen=True)
class Task:
    """What is mapped, and how."""

    settings: GLCMSettings
    bins: Bins
    features: tuple[Feature, ...]
    dtype: np.dtype[Any]
    masked: bool
    shape: tuple[int, int, int]

    def check(self) -> None:
        """Refuse the one case in which a word is wanting for what is no pair."""
        full = self.wide and self.bins.levels == MAX_LEVELS and not self.settings.symmetric
        if full and "joint_entropy" in self.names:
            msg = (
                f"joint entropy of {MAX_LEVELS} levels, not symmetric, is not mapped on CUDA devices; "
                "give fewer levels or use backend 'cpu'"
            )
            raise ValueError(msg)

    @property
    def names(self) -> list[str]:
        """Names of the features."""
        return [feature.name for feature in self.features]

    @property
    def wide(self) -> bool:
        """Whether levels are so many that levels and words are wide."""
        return self.bins.levels > MOST_LEVELS

    @property
    def level_type(self) -> type[np.signedinteger[Any]]:
        """Type of the levels on the device."""
        return np.int32 if self.wide else np.int16

    @property
    def merge(self) -> bool:
        """Whether the pairs of all directions are counted in one matrix."""
        return self.settings.aggregate == "merge"

    @property
    def stages(self) -> list[type[_Stage]]:
        """What makes the maps of the levels."""
        from glcm_cuda.families.glcm.cuda.stages import CorrelationStage, EntropyStage, SumsStage

        kinds: dict[str, type[_Stage]] = {"joint_entropy": EntropyStage, "mcc": CorrelationStage}
        return list(dict.fromkeys(kinds.get(name, SumsStage) for name in self.names))

    def part(self, block: Block) -> Block:
        """Return what the windows of a block reach."""
        return with_halo(block, self.settings.radii, self.shape)

    def places(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """Return the shape of what the windows of a block reach, inside the volume or not."""
        z, y, x = (size + edge - 1 for size, edge in zip(shape, self.settings.edges, strict=True))
        return z, y, x

    def most(self, parts: Sequence[Block]) -> Most:
        """Return the largest numbers of voxels that blocks read, of places, and of voxels they write."""
        width = self.shape[2]
        return Most(
            max(size_of(self.part(block), width) for block in parts),
            max(math.prod(self.places(shape_of(block, width))) for block in parts),
            max(size_of(block, width) for block in parts),
        )

    def voxels(self) -> int:
        """Return how many voxels are mapped at a time where memory does not limit them."""
        voxels = _SLAB_VOXELS[self.settings.dimensions] // min(len(self.features), _SHARES)
        for stage in self.stages:
            affordable = _MOST_COMPARISONS // stage.comparisons(self)
            voxels = min(voxels, max(affordable, _LEAST_VOXELS))
        return voxels


class Most(NamedTuple):
    """Voxels that the largest block reads, places from which its windows read, and voxels it writes."""

    read: int
    places: int
    written: int


class _Stage(Protocol):
    """From levels to maps: kernels, and arrays on the current device that they need."""

    def __init__(self, task: Task, most: Most) -> None: ...

    @staticmethod
    def bytes(task: Task, most: Most) -> int:
        """Return what the arrays take that grow with the blocks."""

    @staticmethod
    def comparisons(task: Task) -> int:
        """Return how many comparisons of pairs, or steps like these, a voxel takes."""

    def map(self, levels: Any, first: tuple[int, int], out: Any, stream: Any) -> None:
        """Start the kernels; the maps (F, Z, Y, X) start in slice and row `first` of the levels."""


MOST_LEVELS = 1 << 8
"""Levels whose pairs have such words. Those of more have wide ones, in which the code takes all 32 bits
and leaves no place for marks."""
