"""The contract between a texture family and an engine.

An engine knows blocks of a volume; a stage knows textures. A stage computes some features of one family
together. It says what it reads, which levels it allows, what a voxel costs, and on a device how much memory
it needs, so that the engine can size the blocks it hands over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from glcm_cuda.families.feature import Feature
from glcm_cuda.levels.bins import Bins
from glcm_cuda.settings import GLCMSettings

Chosen = Sequence[tuple[int, Feature]]
"""Features, each with the plane of the maps (F, Z, Y, X) that it goes to."""


@dataclass(frozen=True)
class Task:
    """What is computed: features of windows, of an image whose bins are known."""

    settings: GLCMSettings
    bins: Bins
    features: tuple[Feature, ...]

    @property
    def merge(self) -> bool:
        """Whether the counts of all directions are pooled."""
        return self.settings.aggregate == "merge"

    def places(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """Return the shape of all that the windows of a block reach, inside the volume or not."""
        z, y, x = (size + edge - 1 for size, edge in zip(shape, self.settings.edges, strict=True))
        return z, y, x


class Stage(Protocol):
    """What every stage of a family is, on any backend."""

    reads: ClassVar[Literal["levels", "intensities"]]
    """Which blocks it is handed: grey levels, `bins.OUTSIDE` where a voxel does not count, or intensities."""

    def __init__(self, task: Task, chosen: Chosen) -> None: ...

    def check(self) -> None:
        """Raise ValueError if the settings or the number of levels exclude a feature."""


class CPUStage(Stage, Protocol):
    """A stage on the CPU."""

    @property
    def slowness(self) -> int:
        """How many times as long a voxel takes as the joint entropy of its window."""

    @property
    def entering(self) -> int:
        """How many pairs, runs or the like enter a window as it moves on by one voxel."""

    def map(self, source: npt.NDArray[Any], first: tuple[int, int], out: npt.NDArray[np.float32]) -> None:
        """Write the maps of a block.

        Parameters
        ----------
        source : (Z, Y, X) array
            What `reads` says, of all that the block's windows reach inside the volume.
        first : (int, int)
            Slice and row of `source` at which the block starts.
        out : (F, N, M, X) float32 array
            Takes the chosen features in their planes; NaN where a window holds nothing to count.
        """


class Extent(NamedTuple):
    """What the largest block of a volume takes."""

    read: int
    """Voxels that its windows reach inside the volume."""

    places: int
    """Voxels that they reach inside it or not."""

    written: int
    """Voxels of the block itself."""


class CUDAStage(Stage, Protocol):
    """A stage on a CUDA device. It compiles its kernels; what it needs on a device is made by `scratch`."""

    def comparisons(self) -> int:
        """Return how many comparisons of pairs, or steps that cost as much, a voxel takes."""

    def bytes(self, most: Extent) -> int:
        """Return the bytes of `scratch` that grow with the blocks."""

    def scratch(self, most: Extent) -> Any:
        """Return arrays and tables on the current device, for blocks of at most this extent."""

    def map(self, source: Any, first: tuple[int, int], scratch: Any, out: Any, stream: Any) -> None:
        """Start the kernels that write the maps of a block; the arguments are those of `CPUStage.map`."""
