"""Stages on CUDA devices of families that count windows one after another; see `counting`.

Threads, each with scratch memory of its own on the device, go from voxel to voxel and write the sums of the
windows. A second kernel turns the sums into features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numba import cuda, njit

from glcm_cuda.families.counting import CountedStage
from glcm_cuda.families.launching import compiled, start
from glcm_cuda.families.stage import Chosen, Extent, Source, Task

_THREADS, _BYTES = 1 << 17, 1 << 29
"""Most threads that count, and most bytes for their scratch memory."""

_VOXELS = 1 << 17
"""Most voxels whose sums are kept before they are evaluated."""

_BLOCK = 64
"""Threads of a block."""

Planes = tuple[int, ...]
"""For each formula of a family the index of its plane in the maps, -1 if it is not wanted."""


class CUDACountedStage(CountedStage):
    """Base of these stages; a subclass says how its family counts."""

    count_kernel: Callable[[], Callable[..., None]]
    """Returns the kernel (levels, origin z, origin y, block's height, first voxel, voxels, plan, integers,
    reals, sums) as a Python function; `integers`, `reals` have the threads and `sums` (matrices, fields,
    voxels) the voxels along their last axis."""

    mean_kernel: Callable[[Planes], Callable[..., None]]
    """Returns the kernel (sums, first voxel, voxels, maps) that writes features."""

    def __init__(self, task: Task, chosen: Chosen) -> None:
        super().__init__(task, chosen)
        planes = {feature.formula: plane for plane, feature in chosen}
        self.planes = tuple(planes.get(formula, -1) for formula in self.counted.formulas)

    def comparisons(self) -> int:
        """See `CUDAStage`."""
        return self._counting.steps

    def bytes(self, most: Extent) -> int:
        """See `CUDAStage`. Scratch memory of the threads, and the sums of some voxels."""
        matrices, fields = self._counting.matrices, len(self.counted.sums._fields)
        sums = 8 * matrices * fields * min(_VOXELS, most.written)
        return self._threads(most) * self._counting.memory.bytes + sums

    def scratch(self, most: Extent) -> list[Any]:
        """Return the plan, the threads' memory and the sums on the current device."""
        memory, threads = self._counting.memory, self._threads(most)
        sums = self._counting.matrices, len(self.counted.sums._fields), min(_VOXELS, most.written)
        return [
            _on_device(self.plan),
            cuda.to_device(np.full((memory.integers, threads), -1, np.int32)),
            cuda.device_array((memory.reals, threads), np.float64),
            cuda.device_array(sums, np.float64),
        ]

    def map(self, source: Source, origin: tuple[int, int], scratch: list[Any], out: Any, stream: Any) -> None:
        """See `CUDAStage`."""
        plan, integers, reals, sums = scratch
        _, depth, height, width = out.shape
        count = compiled(type(self).count_kernel)
        means = compiled(type(self).mean_kernel, self.planes)
        blocks = -(-integers.shape[1] // _BLOCK)
        for first in range(0, depth * height * width, sums.shape[2]):
            voxels = min(sums.shape[2], depth * height * width - first)
            start(
                count, blocks, _BLOCK, stream,
                source.levels, *origin, height, first, voxels, plan, integers, reals, sums,
            )  # fmt: skip
            start(means, -(-voxels // _BLOCK), _BLOCK, stream, sums, first, voxels, out)

    def _threads(self, most: Extent) -> int:
        """Return the number of threads for blocks of this extent."""
        enough = max(_BYTES // self._counting.memory.bytes, _BLOCK)
        return min(_THREADS, most.written, enough)


def _on_device(plan: Any) -> Any:
    """Return a plan with its arrays on the current device."""
    if isinstance(plan, np.ndarray):
        return cuda.to_device(plan)
    if isinstance(plan, tuple):
        return type(plan)(*map(_on_device, plan))
    return plan


@njit
def voxel_at(voxel, height, width):  # type: ignore[no-untyped-def]
    """Return slice, row and column of a voxel of a block by its number."""
    return voxel // width // height, voxel // width % height, voxel % width


def writing(formulas: Mapping[str, Callable[[Any], Any]], sums_at: Any) -> Any:
    """Return a compiled function that writes the wanted features of a voxel into the maps.

    Its arguments: sums (matrices, fields, voxels), number of the voxel in them, planes, maps, and z, y and x
    of the voxel there. A chain of functions with constant indices, instead of a loop, compiles only the
    formulas that are wanted. `sums_at` returns the sums of a matrix and voxel as the formulas take them.
    """
    write: Any = njit(lambda sums, voxel, planes, out, z, y, x: None)
    for place, formula in reversed(list(enumerate(formulas.values()))):
        write = _with_feature(place, _mean(njit(formula), sums_at), write)
    return write


def _with_feature(place: int, mean: Any, write_others: Any) -> Any:
    """Return `write_others`, which writes all later features, with one feature more."""

    @njit
    def write(sums, voxel, planes, out, z, y, x):  # type: ignore[no-untyped-def]
        if planes[place] >= 0:
            out[planes[place], z, y, x] = mean(sums, voxel)
        write_others(sums, voxel, planes, out, z, y, x)

    return write


def _mean(formula: Any, sums_at: Any) -> Any:
    """Return a compiled function: the mean of a formula over the matrices of a voxel; NaN without any."""

    @njit
    def mean(sums, voxel):  # type: ignore[no-untyped-def]
        total, terms = 0.0, 0
        for matrix in range(sums.shape[0]):
            if sums[matrix, 0, voxel] > 0.0:
                total += formula(sums_at(sums, matrix, voxel))
                terms += 1
        return total / terms if terms > 0 else np.nan

    return mean
