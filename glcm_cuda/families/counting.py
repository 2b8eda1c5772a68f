"""How a family counts the windows of a block: what its stages on the CPU and on CUDA devices share.

Such a family has one compiled function that counts the window around a voxel into sums. Formulas turn the
sums into features, and the map holds their mean over the matrices that a window has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from glcm_cuda.families.stage import Chosen, Task


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
    plan : NamedTuple
        What the compiled functions of the family take: numbers, and arrays in the host's memory.
    memory : Memory
        Scratch memory of a thread.
    matrices : int
        Most matrices of a window.
    steps : int
        Steps that a window takes, such as voxels times directions.
    """

    plan: Any
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
