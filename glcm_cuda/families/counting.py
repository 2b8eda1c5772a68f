"""How a family counts the windows of a block: what its stages on the CPU and on CUDA devices share.

Such a family has one compiled function that counts the window around a voxel into sums. Formulas turn the
sums into features, and the map holds their mean over the matrices that a window has.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

from glcm_cuda.families.offsets import settings_within
from glcm_cuda.families.stage import Chosen, LevelStage, Task

_MOST_BYTES = 1 << 32
"""Most bytes of scratch memory for one window."""


class Memory(NamedTuple):
    """Elements of the scratch memory that a thread needs."""

    integers: int  # int32, -1 at first
    reals: int  # float64

    @property
    def bytes(self) -> int:
        """Bytes of a thread."""
        return 4 * self.integers + 8 * self.reals


@dataclass(frozen=True)
class Counting:
    """How the windows of a task are counted.

    Parameters
    ----------
    make_plan : callable ()
        Returns what the compiled functions of the family take, a NamedTuple: numbers, and arrays in the
        host's memory.
    memory : Memory
        Scratch memory of a thread.
    matrices : int
        Most matrices of a window.
    steps : int
        Steps that a window takes, such as voxels times directions.
    """

    make_plan: Callable[[], Any]
    memory: Memory
    matrices: int
    steps: int


@dataclass(frozen=True)
class Counted:
    """What a family's stages do with a task.

    Parameters
    ----------
    sums : type of NamedTuple
        Class of the sums; its first field is 0 where a window has no such matrix.
    formulas : mapping
        Functions of the sums, by `Feature.formula`.
    counting : callable (Task, Chosen)
        Returns the `Counting` of a task; raises ValueError if its settings exclude a feature.
    """

    sums: Any
    formulas: Mapping[str, Callable[[Any], Any]]
    counting: Callable[[Task, Chosen], Counting]


class CountedStage(LevelStage):
    """Base of these stages on any backend."""

    counted: ClassVar[Counted]
    """How the family counts; set by its stages."""

    def __init__(self, task: Task, chosen: Chosen) -> None:
        super().__init__(task, chosen)
        self._counting = self.counted.counting(task, chosen)

    @functools.cached_property
    def plan(self) -> Any:
        """What the compiled functions of the family take; its tables may be large."""
        return self._counting.make_plan()

    def _within(self, shape: tuple[int, ...]) -> tuple[Counting, Any]:
        """Return how the windows of a volume, or part, of this shape are counted, and the plan for it."""
        settings = settings_within(self._task.settings, shape)
        if settings == self._task.settings:
            return self._counting, self.plan
        counting = self.counted.counting(replace(self._task, settings=settings), self._chosen)
        return counting, counting.make_plan()

    def check(self) -> None:
        """Raise ValueError if a window would need too much memory."""
        needed = self._counting.memory.bytes
        if needed > _MOST_BYTES:
            settings, (_, feature) = self._task.settings, self._chosen[0]
            msg = (
                f"{feature.family} in windows of {math.prod(settings.edges)} voxels with "
                f"{self._task.bins.levels} levels needs {needed / 2**20:.1f} MiB for each window, more than "
                f"{_MOST_BYTES / 2**20:g} MiB; use a smaller window or fewer levels"
            )
            raise ValueError(msg)
