"""The contract between a texture family and an engine.

An engine knows blocks of a volume; a stage knows textures. A stage computes some features of one family
together. It says what it reads, which levels it allows and what a voxel costs, and on a CUDA device how much
memory it needs, so that the engine can choose the size of the blocks that it passes to the stage.
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
"""Features, each with the index of its plane in the maps (F, Z, Y, X)."""


@dataclass(frozen=True)
class Task:
    """What is computed: features of every window of an image whose bins are known."""

    settings: GLCMSettings
    bins: Bins
    features: tuple[Feature, ...]
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Distance of neighbouring voxels along z, y and x, in mm; only total energy depends on it."""

    @property
    def merge(self) -> bool:
        """Whether the counts of all directions are pooled."""
        return self.settings.aggregate == "merge"

    def places(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """Return the shape of the region that the windows of a block reach, also beyond the volume."""
        z, y, x = (size + edge - 1 for size, edge in zip(shape, self.settings.edges, strict=True))
        return z, y, x


class Source(NamedTuple):
    """What the windows of a block reach, on the backend's side: (Z, Y, X) arrays of one shape."""

    intensities: Any
    levels: Any
    """Grey levels, with `bins.OUTSIDE` where a voxel does not count; None if no stage reads them."""

    counted: Any
    """Non-zero where a voxel counts; None if all do."""


class Stage(Protocol):
    """What every stage of a family provides, on any backend."""

    reads: ClassVar[Literal["levels", "intensities"]]
    """What `map` reads of a `Source`: the levels, or the intensities and which of them count."""

    def __init__(self, task: Task, chosen: Chosen) -> None: ...

    def check(self) -> None:
        """Raise ValueError if the settings or the number of levels exclude a feature."""


class CPUStage(Stage, Protocol):
    """A stage on the CPU."""

    @property
    def slowness(self) -> int:
        """Time per voxel relative to the joint entropy of the same window, at least 1."""

    @property
    def entering(self) -> int:
        """Number of pairs, runs or the like that enter a window when it moves on by one voxel."""

    @property
    def together(self) -> int:
        """Slices of a block that are mapped in the time of one, at least 1."""

    def map(self, source: Source, origin: tuple[int, int], out: npt.NDArray[np.float32]) -> None:
        """Write the maps of a block.

        Parameters
        ----------
        source : Source
            The region that the block's windows reach inside the volume.
        origin : (int, int)
            Slice and row of `source` at which the block starts.
        out : (F, N, M, X) float32 array
            Receives the chosen features in their planes; NaN where a window holds nothing to count.
        """


class Extent(NamedTuple):
    """Sizes that are large enough for every block of a volume, in voxels."""

    read: int
    """Region that a block's windows reach inside the volume."""

    places: int
    """Region that they reach inside or outside it."""

    written: int
    """The block itself."""


class CUDAStage(Stage, Protocol):
    """A stage on a CUDA device. It compiles its own kernels; `scratch` makes the arrays that they need."""

    def comparisons(self) -> int:
        """Return how many comparisons of pairs, or steps of the same cost, a voxel takes."""

    def bytes(self, most: Extent) -> int:
        """Return the bytes of those arrays of `scratch` whose size depends on the blocks."""

    def scratch(self, most: Extent) -> Any:
        """Return arrays and tables on the current device, for blocks of at most this extent."""

    def map(self, source: Source, origin: tuple[int, int], scratch: Any, out: Any, stream: Any) -> None:
        """Start the kernels that write the maps of a block; see `CPUStage.map` for the arguments."""


class _ChosenStage:
    """Base of the stages, on any backend."""

    @property
    def together(self) -> int:
        """One slice, unless a stage overrides this."""
        return 1

    def __init__(self, task: Task, chosen: Chosen) -> None:
        self._task = task
        self._chosen = chosen

    def check(self) -> None:
        """Accept all settings and any number of levels, unless a stage overrides this."""


class LevelStage(_ChosenStage):
    """Base of those that read grey levels."""

    reads: ClassVar[Literal["levels", "intensities"]] = "levels"


class IntensityStage(_ChosenStage):
    """Base of those that read intensities."""

    reads: ClassVar[Literal["levels", "intensities"]] = "intensities"
