"""The stages of the first-order family on CUDA devices; see `kernels`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import cuda

from glcm_cuda.families.firstorder import intensities, levels
from glcm_cuda.families.firstorder.cuda import kernels
from glcm_cuda.families.firstorder.rows import along_y, radii_in, with_margin
from glcm_cuda.families.firstorder.sorting import list_size
from glcm_cuda.families.launching import compiled, launch, start
from glcm_cuda.families.stage import Chosen, CUDAStage, Extent, IntensityStage, LevelStage, Source, Task
from glcm_cuda.settings import GLCMSettings

_THREADS, _BYTES = 1 << 17, 1 << 29
"""Most threads, and most bytes for their scratch memory."""

_BLOCK = 64
"""Threads of a block."""

_EDGES, _LONGEST_STRETCH = 2, 64
"""Least voxels of a stretch, in edges of a window, and most, if that is not less. Before its first voxel a
window is filled, which costs about as much as a third of its edge in voxels. With more stretches than threads
they get longer."""


class _Geometry:
    """How a block lies in what its windows read, and how it is divided into stretches."""

    def __init__(self, source: Any, origin: tuple[int, int], out: Any, settings: GLCMSettings) -> None:
        self.radii = radii_in(source.shape, settings)
        self.places = with_margin(out.shape[1:], self.radii)
        z, y, x = self.radii
        self.start = origin[0] - z, origin[1] - y, -x  # of the margin, in the source
        _, height, _ = out.shape[1:]
        strip = max(_EDGES * (2 * y + 1), min(out.size // len(out) // _THREADS, _LONGEST_STRETCH))
        self.rows = along_y(out.shape[1:], self.radii, min(strip, height))
        self.stretches = out.shape[1] * self.rows.strips * self.rows.rows


def _threads(bytes_a_thread: int, most: Extent) -> int:
    """Return the number of threads for blocks of this extent."""
    return min(_THREADS, most.written, max(_BYTES // bytes_a_thread, 1))


class IntensitiesStage(IntensityStage):
    """The features of intensities: sorted lists that slide."""

    def __init__(self, task: Task, chosen: Chosen) -> None:
        super().__init__(task, chosen)
        depth, height, width = task.settings.edges
        self._reals = list_size((depth, width, height))

    def comparisons(self) -> int:
        """See `CUDAStage`. The list of a window is read by one merge and by some sums."""
        return 4 * math.prod(self._task.settings.edges)

    def bytes(self, most: Extent) -> int:
        """See `CUDAStage`. The array with a margin, and the threads' lists and features."""
        return 8 * most.places + self._bytes_a_thread() * self._threads(most)

    def scratch(self, most: Extent) -> list[Any]:
        """Return the plan, the array with a margin, and the threads' lists and features."""
        plan = intensities.plan_of(self._task, self._chosen)
        return [
            plan._replace(planes=cuda.to_device(plan.planes)),
            cuda.device_array(most.places, np.float64),
            cuda.device_array((self._reals, self._threads(most)), np.float64),
            cuda.device_array((len(intensities.FORMULAS), self._threads(most)), np.float64),
        ]

    def map(self, source: Source, origin: tuple[int, int], scratch: list[Any], out: Any, stream: Any) -> None:
        """See `CUDAStage`."""
        plan, padded, memory, found = scratch
        geometry = _Geometry(source.intensities, origin, out, self._task.settings)
        padded = padded[: math.prod(geometry.places)]
        masked = source.counted is not None
        launch(
            compiled(kernels.margin_kernel, masked), geometry.places, stream,
            source.intensities, source.counted if masked else source.intensities,
            *geometry.start, padded.reshape(geometry.places),
        )  # fmt: skip
        start(
            compiled(kernels.intensities_kernel), -(-memory.shape[1] // _BLOCK), _BLOCK, stream,
            padded, geometry.rows, geometry.stretches, plan, memory, found, out,
        )  # fmt: skip

    def _bytes_a_thread(self) -> int:
        """Return the bytes of a thread's lists and features."""
        return 8 * (self._reals + len(intensities.FORMULAS))

    def _threads(self, most: Extent) -> int:
        """Return the number of threads for blocks of this extent."""
        return _threads(self._bytes_a_thread(), most)


class LevelsStage(LevelStage):
    """Entropy and uniformity of levels: histograms that slide."""

    def comparisons(self) -> int:
        """See `CUDAStage`. Voxels that enter a window and leave it when it moves on."""
        depth, _, width = self._task.settings.edges
        return 2 * depth * width

    def bytes(self, most: Extent) -> int:
        """See `CUDAStage`. The array with a margin, and the threads' histograms."""
        levels_read = most.places * np.dtype(self._task.bins.level_type).itemsize
        return int(levels_read + 4 * self._task.bins.levels * self._threads(most))

    def scratch(self, most: Extent) -> list[Any]:
        """Return the plan, the array with a margin, and the threads' histograms."""
        plan = levels.plan_of(self._task, self._chosen, math.prod(self._task.settings.edges))
        return [
            plan._replace(terms=cuda.to_device(plan.terms)),
            cuda.device_array(most.places, self._task.bins.level_type),
            cuda.to_device(np.zeros((self._task.bins.levels, self._threads(most)), np.int32)),
        ]

    def map(self, source: Source, origin: tuple[int, int], scratch: list[Any], out: Any, stream: Any) -> None:
        """See `CUDAStage`."""
        plan, padded, counts = scratch
        geometry = _Geometry(source.levels, origin, out, self._task.settings)
        padded = padded[: math.prod(geometry.places)]
        launch(
            compiled(kernels.level_margin_kernel), geometry.places, stream,
            source.levels, *geometry.start, padded.reshape(geometry.places),
        )  # fmt: skip
        start(
            compiled(kernels.levels_kernel), -(-counts.shape[1] // _BLOCK), _BLOCK, stream,
            padded, geometry.rows, geometry.stretches, plan, counts, out,
        )  # fmt: skip

    def _threads(self, most: Extent) -> int:
        """Return the number of threads for blocks of this extent."""
        return _threads(4 * self._task.bins.levels, most)


STAGES: dict[str, type[CUDAStage]] = {"intensities": IntensitiesStage, "levels": LevelsStage}
"""The two stages of the family."""
