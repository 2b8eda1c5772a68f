"""The stages of the first-order family on CUDA devices; see `kernels`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import cuda

from glcm_cuda.families.firstorder import intensities, levels
from glcm_cuda.families.firstorder.cuda import kernels
from glcm_cuda.families.firstorder.rows import Rows, along_y
from glcm_cuda.families.firstorder.sorting import list_size
from glcm_cuda.families.launching import compiled, launch, start
from glcm_cuda.families.stage import Chosen, CUDAStage, Extent, IntensityStage, LevelStage, Source, Task

_THREADS, _BYTES = 1 << 17, 1 << 29
"""Most threads, and most bytes for their scratch memory."""

_BLOCK = 64
"""Threads of a block."""

_EDGES, _LONGEST_STRETCH = 2, 64
"""Least voxels of a stretch, in edges of a window, and most, if that is not less. Before its first voxel a
window is filled, which costs about as much as a third of its edge in voxels. With more stretches than threads
they get longer."""


class _Stage:
    """What both stages share: the geometry, and the number of threads."""

    _task: Task

    @property
    def _edges(self) -> tuple[int, int, int]:
        """Edges of the windows across slices, across rows, and along rows, which run along y."""
        depth, height, width = self._task.settings.edges
        return depth, width, height

    def _rows(self, shape: tuple[int, int, int]) -> Rows:
        """Return the rows of a block (N, M, X) and their stretches."""
        least = _EDGES * self._edges[2]
        strip = max(least, min(math.prod(shape) // _THREADS, _LONGEST_STRETCH))
        return along_y(shape, self._task, min(strip, shape[1]))

    def _start_of_margin(self, origin: tuple[int, int]) -> tuple[int, int, int]:
        """Return where the margin's first voxel lies in the region that the windows reach."""
        z, y, x = self._task.settings.radii
        return origin[0] - z, origin[1] - y, -x


def _threads(bytes_a_thread: int, most: Extent) -> int:
    """Return the number of threads for blocks of this extent."""
    return min(_THREADS, most.written, max(_BYTES // bytes_a_thread, 1))


def _stretches(rows: Rows, slices: int) -> int:
    """Return the number of stretches of a block."""
    return int(slices * rows.strips * rows.rows)


class IntensitiesStage(_Stage, IntensityStage):
    """The features of intensities: sorted lists that slide."""

    def __init__(self, task: Task, chosen: Chosen) -> None:
        super().__init__(task, chosen)
        self._plan = intensities.plan_of(task, chosen, self._edges)
        self._reals = list_size(self._plan.shape) + len(intensities.FORMULAS)

    def comparisons(self) -> int:
        """See `CUDAStage`. The list of a window is read by one merge and by some sums."""
        return 4 * math.prod(self._edges)

    def bytes(self, most: Extent) -> int:
        """See `CUDAStage`. The array with a margin, and the threads' lists and features."""
        return 8 * most.places + 8 * self._reals * _threads(8 * self._reals, most)

    def scratch(self, most: Extent) -> list[Any]:
        """Return the plan, the array with a margin, and the threads' lists and features."""
        formulas, threads = len(intensities.FORMULAS), _threads(8 * self._reals, most)
        return [
            self._plan._replace(planes=cuda.to_device(self._plan.planes)),
            cuda.device_array(most.places, np.float64),
            cuda.device_array((self._reals - formulas, threads), np.float64),
            cuda.device_array((formulas, threads), np.float64),
        ]

    def map(self, source: Source, origin: tuple[int, int], scratch: list[Any], out: Any, stream: Any) -> None:
        """See `CUDAStage`."""
        plan, padded, memory, found = scratch
        places, rows = self._task.places(out.shape[1:]), self._rows(out.shape[1:])
        padded = padded[: math.prod(places)]
        masked = source.counted is not None
        launch(
            compiled(kernels.margin_kernel, masked), places, stream,
            source.intensities, source.counted if masked else source.intensities,
            *self._start_of_margin(origin), padded.reshape(places),
        )  # fmt: skip
        start(
            compiled(kernels.intensities_kernel), -(-memory.shape[1] // _BLOCK), _BLOCK, stream,
            padded, rows, _stretches(rows, out.shape[1]), plan, memory, found, out,
        )  # fmt: skip


class LevelsStage(_Stage, LevelStage):
    """Entropy and uniformity of levels: histograms that slide."""

    def __init__(self, task: Task, chosen: Chosen) -> None:
        super().__init__(task, chosen)
        self._plan = levels.plan_of(task, chosen, self._edges)

    def comparisons(self) -> int:
        """See `CUDAStage`. Voxels that enter a window and leave it when it moves on."""
        return 2 * math.prod(self._edges[:2])

    def bytes(self, most: Extent) -> int:
        """See `CUDAStage`. The array with a margin, and the threads' histograms."""
        histogram = 4 * self._task.bins.levels
        levels_read = most.places * np.dtype(self._task.bins.level_type).itemsize
        return int(levels_read + histogram * _threads(histogram, most))

    def scratch(self, most: Extent) -> list[Any]:
        """Return the plan, the array with a margin, and the threads' histograms."""
        levels_in_use = self._task.bins.levels
        return [
            self._plan._replace(terms=cuda.to_device(self._plan.terms)),
            cuda.device_array(most.places, self._task.bins.level_type),
            cuda.to_device(np.zeros((levels_in_use, _threads(4 * levels_in_use, most)), np.int32)),
        ]

    def map(self, source: Source, origin: tuple[int, int], scratch: list[Any], out: Any, stream: Any) -> None:
        """See `CUDAStage`."""
        plan, padded, counts = scratch
        places, rows = self._task.places(out.shape[1:]), self._rows(out.shape[1:])
        padded = padded[: math.prod(places)]
        launch(
            compiled(kernels.level_margin_kernel), places, stream,
            source.levels, *self._start_of_margin(origin), padded.reshape(places),
        )  # fmt: skip
        start(
            compiled(kernels.levels_kernel), -(-counts.shape[1] // _BLOCK), _BLOCK, stream,
            padded, rows, _stretches(rows, out.shape[1]), plan, counts, out,
        )  # fmt: skip


STAGES: dict[str, type[CUDAStage]] = {"intensities": IntensitiesStage, "levels": LevelsStage}
"""The two stages of the family."""
