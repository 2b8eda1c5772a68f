"""Slabs: blocks of a volume on their way through a device, and the memory they need."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import cuda

from glcm_cuda.base.blocks import Block, blocks, shape_of, size_of, start_in, with_halo
from glcm_cuda.base.threads import run_in_parts
from glcm_cuda.engines.cuda import kernels
from glcm_cuda.families.launching import compiled, launch
from glcm_cuda.families.registry import stages_of
from glcm_cuda.families.stage import CUDAStage, Extent, Task

MEMORY_VARIABLE = "GLCM_CUDA_MEMORY"
"""Environment variable: MiB of a device that a map may use. Without it, four fifths of what is free."""

_MOST_SLICES, _MOST_ROWS = 1 << 15, 1 << 17
"""Slices and rows of a slab: a grid has at most 65,535 blocks along z and y."""

_COPIED_AT_ONCE = 1 << 18
"""Voxels whose copy is worth a thread."""

_OUT_OF_MEMORY = 2
"""CUDA_ERROR_OUT_OF_MEMORY"""


_SLAB_VOXELS = {2: 1 << 21, 3: 1 << 23}
"""Voxels mapped at a time, with 2D and with 3D windows: enough to fill a device, few enough for copies and
kernels to overlap and for pinned memory, which is slow to get. Slabs of 3D windows have halos."""

_SHARES = 8
"""A map of many features goes in slabs that are up to so many times smaller, since it is so much larger."""

_MOST_COMPARISONS, _LEAST_VOXELS = 1 << 38, 1 << 16
"""Comparisons of pairs that one launch of a kernel may take, and voxels that it gets all the same: a display
that hangs on the device must not wait for seconds."""


@dataclass(frozen=True)
class Job:
    """A task on a volume: what its blocks read and write, and how large they may be."""

    task: Task
    dtype: np.dtype[Any]
    masked: bool
    shape: tuple[int, int, int]

    @functools.cached_property
    def stages(self) -> list[CUDAStage]:
        """What makes the maps; raises ValueError if the settings or levels exclude a feature."""
        return stages_of(self.task, "cuda")

    def part(self, block: Block) -> Block:
        """Return what the windows of a block reach inside the volume."""
        return with_halo(block, self.task.settings.radii, self.shape)

    def most(self, parts: Sequence[Block]) -> Extent:
        """Return what the largest of some blocks takes."""
        width = self.shape[2]
        return Extent(
            read=max(size_of(self.part(block), width) for block in parts),
            places=max(math.prod(self.task.places(shape_of(block, width))) for block in parts),
            written=max(size_of(block, width) for block in parts),
        )

    def voxels(self) -> int:
        """Return how many voxels are mapped at a time where memory does not limit them."""
        voxels = _SLAB_VOXELS[self.task.settings.dimensions] // min(len(self.task.features), _SHARES)
        for stage in self.stages:
            affordable = _MOST_COMPARISONS // stage.comparisons()
            voxels = min(voxels, max(affordable, _LEAST_VOXELS))
        return voxels


class Scratch:
    """Arrays on the current device that lie between a block of intensities and its maps."""

    def __init__(self, job: Job, parts: Sequence[Block]) -> None:
        most, bins = job.most(parts), job.task.bins
        self.levels = cuda.device_array(most.read, bins.level_type)
        self.edges = None if bins.edges is None else cuda.to_device(bins.edges)
        self.stages = [(stage, stage.scratch(most)) for stage in job.stages]

    @staticmethod
    def bytes(job: Job, parts: Sequence[Block]) -> int:
        """Return what the arrays of one take."""
        most = job.most(parts)
        levels = most.read * np.dtype(job.task.bins.level_type).itemsize
        return levels + sum(stage.bytes(most) for stage in job.stages)


class Slab:
    """A block on its way through the current device."""

    def __init__(self, job: Job, parts: Sequence[Block]) -> None:
        read, _, written = job.most(parts)
        self._job = job
        written *= len(job.task.features)
        self._scratch = Scratch(job, parts)
        self._stream = cuda.stream()
        self._image = _Staged(read, job.dtype)
        self._mask = _Staged(read if job.masked else 1, np.dtype(np.uint8))
        self._maps = _Staged(written, np.dtype(np.float32))
        self._block: Block | None = None

    @staticmethod
    def bytes(job: Job, parts: Sequence[Block]) -> int:
        """Return what the arrays of one take on the device."""
        read, _, written = job.most(parts)
        sent = read * (job.dtype.itemsize + job.masked)
        return Scratch.bytes(job, parts) + sent + 4 * written * len(job.task.features)

    def send(
        self, image: npt.NDArray[np.generic], mask: npt.NDArray[np.generic] | None, block: Block
    ) -> None:
        """Start to map a block; nothing here waits for the device."""
        part, shape = self._job.part(block), shape_of(block, self._job.shape[2])
        source = self._image.send(image[part], self._stream)
        inside = None if mask is None else self._mask.send(mask[part] != 0, self._stream)
        out = self._maps.device((len(self._job.task.features), *shape))
        map_block(self._job, source, inside, start_in(part, block), self._scratch, out, self._stream)
        self._maps.start_back(out.size, self._stream)
        self._block = block

    def collect(self, finish: Callable[[Block, npt.NDArray[np.float32]], None]) -> None:
        """Wait for the block that was sent, if there is one, and hand its maps over."""
        if self._block is None:
            return
        self._stream.synchronize()
        block, self._block = self._block, None
        finish(block, self._maps.host((len(self._job.task.features), *shape_of(block, self._job.shape[2]))))


class _Staged:
    """An array on the device and its like in pinned memory, from which copies need not wait."""

    def __init__(self, size: int, dtype: np.dtype[Any]) -> None:
        self._pinned = cuda.pinned_array(size, dtype)
        self._device = cuda.device_array(size, dtype)

    def host(self, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        """Return the beginning of the pinned array in a shape."""
        view: npt.NDArray[Any] = self._pinned[: int(np.prod(shape))].reshape(shape)
        return view

    def device(self, shape: tuple[int, ...]) -> Any:
        """Return the beginning of the array on the device in a shape."""
        return self._device[: int(np.prod(shape))].reshape(shape)

    def send(self, values: npt.NDArray[Any], stream: Any) -> Any:
        """Start to copy values to the device; return them there."""
        copy_in_parallel(self.host(values.shape), values)
        self._device[: values.size].copy_to_device(self._pinned[: values.size], stream)
        return self.device(values.shape)

    def start_back(self, size: int, stream: Any) -> None:
        """Start to copy the beginning of the array from the device."""
        self._device[:size].copy_to_host(self._pinned[:size], stream)


def map_block(
    job: Job, source: Any, inside: Any, first: tuple[int, int], scratch: Scratch, out: Any, stream: Any
) -> None:
    """Start the kernels that map intensities; the maps start in slice and row `first` of them."""
    levels = scratch.levels[: source.size].reshape(source.shape)
    marks = inside is not None and job.task.settings.masked_window
    bins, edges = job.task.bins, scratch.edges
    bin_kernel = compiled(kernels.bin_kernel, marks, edges is not None)
    launch(
        bin_kernel, source.shape, stream, source, inside if marks else source,
        source if edges is None else edges, bins.levels - 1.0, bins.low, bins.high, bins.factor, bins.span,
        levels,
    )  # fmt: skip
    for stage, arrays in scratch.stages:
        stage.map(levels if stage.reads == "levels" else source, first, arrays, out, stream)
    if inside is not None and not marks:
        launch(compiled(kernels.blank_kernel), out.shape[1:], stream, inside, *first, out)


def prepare(
    job: Job, kind: type[Any], devices: Sequence[Any], turns: int
) -> tuple[list[Block], list[list[Any]]]:
    """Return blocks that fit all devices, and for each device the arrays through which they go."""
    _, height, width = job.shape
    voxels = min(job.voxels(), _MOST_SLICES * height * width, _MOST_ROWS * width)
    while True:
        parts = list(blocks(job.shape, voxels))
        needed = kind.bytes(job, parts) * min(turns, len(parts))
        try:
            lines = []
            for device in devices[: len(parts)]:
                with device:
                    if needed > _allowed_bytes():
                        raise MemoryError
                    lines.append([kind(job, parts) for _ in range(min(turns, len(parts)))])
            return parts, lines
        except Exception as error:
            if not _is_out_of_memory(error):
                raise
        lines.clear()
        if voxels <= width:
            msg = (
                f"a row of {width} voxels needs {needed / 2**20:.1f} MiB on the CUDA device, which has "
                f"not so much free or is not granted it by {MEMORY_VARIABLE}; use backend 'cpu'"
            )
            raise RuntimeError(msg)
        voxels = max(width, voxels // 2)


def _allowed_bytes() -> float:
    """Return how much of the current device's memory a map may use."""
    text = os.environ.get(MEMORY_VARIABLE)
    if text is None:
        return 0.8 * float(cuda.current_context().get_memory_info().free)
    try:
        return float(text) * 2**20
    except ValueError:
        msg = f"the environment variable {MEMORY_VARIABLE} must be a number of MiB, got {text!r}"
        raise ValueError(msg) from None


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or getattr(error, "code", None) == _OUT_OF_MEMORY


def share_blocks(
    parts: Sequence[Block],
    lines: Sequence[Sequence[Slab]],
    devices: Sequence[Any],
    work: Callable[[Iterator[Block], Sequence[Slab]], None],
) -> None:
    """Let every device work on what blocks the others have not begun; this thread drives the first."""
    waiting = iter(parts)

    def drive(line: Sequence[Slab], device: Any) -> None:
        try:
            with device:
                work(waiting, line)
        finally:
            for _ in waiting:  # after an exception nobody begins another block
                pass

    with ThreadPoolExecutor(max(1, len(lines) - 1)) as pool:
        others = [pool.submit(drive, *pair) for pair in zip(lines[1:], devices[1:], strict=False)]
        drive(lines[0], devices[0])
    for other in others:
        other.result()


def copy_in_parallel(target: npt.NDArray[Any], source: npt.NDArray[Any]) -> None:
    """Copy a (Z, Y, X) array on all cores; NumPy lets go of the global lock meanwhile."""
    axis = int(np.argmax(target.shape[:2]))
    target, source = np.moveaxis(target, axis, 0), np.moveaxis(source, axis, 0)

    pieces = min(len(target), target.size // _COPIED_AT_ONCE + 1)

    def copy_some(start: int, stop: int) -> None:
        some = slice(start * len(target) // pieces, stop * len(target) // pieces)
        target[some] = source[some]

    run_in_parts(copy_some, pieces)
