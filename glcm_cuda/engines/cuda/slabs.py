"""Slabs: blocks of a volume on their way through a device, and the memory that they need."""

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
from glcm_cuda.engines.cuda.pinned import pinned_memory
from glcm_cuda.families.launching import compiled, launch
from glcm_cuda.families.registry import stages_of
from glcm_cuda.families.stage import CUDAStage, Extent, Source, Task

MEMORY_VARIABLE = "GLCM_CUDA_MEMORY"
"""Environment variable: MiB of a device's memory that a map may use. By default four fifths of the free
memory."""

_MOST_SLICES, _MOST_ROWS = 1 << 15, 1 << 17
"""Most slices and rows of a slab: a grid has at most 65,535 blocks along z and y."""

_COPIED_AT_ONCE = 1 << 18
"""Voxels that make a copy worth a thread."""

_OUT_OF_MEMORY = 2
"""Value of CUDA_ERROR_OUT_OF_MEMORY."""

_SLAB_VOXELS = {2: 1 << 21, 3: 1 << 23}
"""Voxels of a slab, by the dimensions of the windows. They are enough to fill a device, and few enough for
copies and kernels to overlap and to save pinned memory, which is slow to allocate. Slabs for 3D windows
have halos."""

_SHARES = 8
"""Slabs get smaller in proportion to the number of features, whose maps all need memory, up to this
factor."""

_MOST_COMPARISONS, _LEAST_VOXELS = 1 << 38, 1 << 16
"""Most comparisons of pairs in one launch of a kernel, and voxels that a launch has in any case. A display
connected to the device must not freeze for seconds."""


@dataclass(frozen=True)
class Job:
    """A task on a volume: what its blocks read and write, and how large they may be.

    `dtype` is the type of the image, `masked` says whether there is a mask, `shape` is the volume's (Z, Y,
    X).
    """

    task: Task
    dtype: np.dtype[Any]
    masked: bool
    shape: tuple[int, int, int]

    @functools.cached_property
    def stages(self) -> list[CUDAStage]:
        """Stages that write the maps; raises ValueError if the settings or levels exclude a feature."""
        return stages_of(self.task, "cuda")

    def part(self, block: Block) -> Block:
        """Return the part of the volume that the windows of a block reach."""
        return with_halo(block, self.task.settings.radii, self.shape)

    def most(self, parts: Sequence[Block]) -> Extent:
        """Return sizes that are large enough for each of some blocks."""
        width = self.shape[2]
        return Extent(
            read=max(size_of(self.part(block), width) for block in parts),
            places=max(math.prod(self.task.places(shape_of(block, width))) for block in parts),
            written=max(size_of(block, width) for block in parts),
        )

    def voxels(self) -> int:
        """Return how many voxels are mapped at a time if memory does not limit them."""
        voxels = _SLAB_VOXELS[self.task.settings.dimensions] // min(len(self.task.features), _SHARES)
        for stage in self.stages:
            affordable = _MOST_COMPARISONS // stage.comparisons()
            voxels = min(voxels, max(affordable, _LEAST_VOXELS))
        return voxels


class Scratch:
    """Arrays on the current device for the steps from a block of intensities to its maps."""

    def __init__(self, job: Job, parts: Sequence[Block]) -> None:
        most, bins = job.most(parts), job.task.bins
        self.levels = cuda.device_array(most.read, bins.level_type)
        self.edges = None if bins.edges is None else cuda.to_device(bins.edges)
        self.stages = [(stage, stage.scratch(most)) for stage in job.stages]

    @staticmethod
    def bytes(job: Job, parts: Sequence[Block]) -> int:
        """Return the bytes of the arrays for blocks of this size."""
        most = job.most(parts)
        levels = most.read * np.dtype(job.task.bins.level_type).itemsize
        return levels + sum(stage.bytes(most) for stage in job.stages)


class Slab:
    """Arrays through which blocks pass the current device, one block at a time."""

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
        """Return the bytes of the arrays on the device for blocks of this size."""
        read, _, written = job.most(parts)
        sent = read * (job.dtype.itemsize + job.masked)
        return Scratch.bytes(job, parts) + sent + 4 * written * len(job.task.features)

    def send(
        self, image: npt.NDArray[np.generic], mask: npt.NDArray[np.generic] | None, block: Block
    ) -> None:
        """Start to map a block; do not wait for the device."""
        part, shape = self._job.part(block), shape_of(block, self._job.shape[2])
        source = self._image.send(image[part], self._stream)
        inside = None if mask is None else self._mask.send(mask[part] != 0, self._stream)
        out = self._maps.device((len(self._job.task.features), *shape))
        map_block(self._job, source, inside, start_in(part, block), self._scratch, out, self._stream)
        self._maps.start_back(out.size, self._stream)
        self._block = block

    def collect(self, finish: Callable[[Block, npt.NDArray[np.float32]], None]) -> None:
        """Wait for the block that was sent, if any, and call `finish` with it and its maps (F, Z, Y, X)."""
        if self._block is None:
            return
        self._stream.synchronize()
        block, self._block = self._block, None
        finish(block, self._maps.host((len(self._job.task.features), *shape_of(block, self._job.shape[2]))))

    def give_back(self) -> None:
        """Leave the pinned memory to the next map; no block may be on its way, nor any be sent later."""
        for staged in (self._image, self._mask, self._maps):
            staged.give_back()


class _Staged:
    """An array on the device with its copy in pinned memory, which asynchronous transfers need."""

    def __init__(self, size: int, dtype: np.dtype[Any]) -> None:
        self._memory = pinned_memory()
        self._buffer = self._memory.take(size * dtype.itemsize)
        self._pinned = self._buffer[: size * dtype.itemsize].view(dtype)
        self._device = cuda.device_array(size, dtype)

    def host(self, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        """Return the beginning of the pinned array as an array of this shape."""
        view: npt.NDArray[Any] = self._pinned[: int(np.prod(shape))].reshape(shape)
        return view

    def device(self, shape: tuple[int, ...]) -> Any:
        """Return the beginning of the array on the device as an array of this shape."""
        return self._device[: int(np.prod(shape))].reshape(shape)

    def send(self, values: npt.NDArray[Any], stream: Any) -> Any:
        """Start to copy values to the device; return the array there."""
        copy_in_parallel(self.host(values.shape), values)
        self._device[: values.size].copy_to_device(self._pinned[: values.size], stream)
        return self.device(values.shape)

    def start_back(self, size: int, stream: Any) -> None:
        """Start to copy the first `size` elements back from the device."""
        self._device[:size].copy_to_host(self._pinned[:size], stream)

    def give_back(self) -> None:
        """Leave the pinned memory to the next map."""
        self._memory.give_back(self._buffer)


def map_block(
    job: Job, source: Any, mask: Any, origin: tuple[int, int], scratch: Scratch, out: Any, stream: Any
) -> None:
    """Start the kernels that write the maps of a block.

    Parameters
    ----------
    job : Job
        What is computed.
    source, mask : (Z, Y, X) device arrays
        Intensities and mask of the region that the block's windows reach; None without a mask.
    origin : (int, int)
        Slice and row of `source` at which the block starts.
    scratch : Scratch
        Arrays on the device, large enough for the block.
    out : (F, N, M, X) float32 device array
        Receives the maps of the block.
    stream : Numba stream, or 0
        Stream of all kernels.
    """
    levels = scratch.levels[: source.size].reshape(source.shape)
    # A mask that limits the windows is written into the levels; another one blanks the finished maps.
    in_levels = mask is not None and job.task.settings.masked_window
    bins, edges = job.task.bins, scratch.edges
    bin_kernel = compiled(kernels.bin_kernel, in_levels, edges is not None)
    launch(
        bin_kernel, source.shape, stream, source, mask if in_levels else source,
        source if edges is None else edges, bins.levels - 1.0, bins.low, bins.high, bins.factor, bins.span,
        levels,
    )  # fmt: skip
    regions = Source(source, levels, mask if in_levels else None)
    for stage, arrays in scratch.stages:
        stage.map(regions, origin, arrays, out, stream)
    if mask is not None and not in_levels:
        launch(compiled(kernels.blank_kernel), out.shape[1:], stream, mask, *origin, out)


def prepare(
    job: Job, holder: type[Any], devices: Sequence[Any], turns: int
) -> tuple[list[Block], list[list[Any]]]:
    """Return blocks that fit the memory of all devices, and for each device its holders.

    Parameters
    ----------
    job : Job
        What is computed.
    holder : `Scratch` or `Slab`
        Class of the arrays through which a block passes a device.
    devices : sequence of context managers
        Each makes its device the current one.
    turns : int
        Most holders of a device.

    Raises
    ------
    RuntimeError
        If one row of voxels needs more memory than a device may use.
    """
    _, height, width = job.shape
    voxels = min(job.voxels(), _MOST_SLICES * height * width, _MOST_ROWS * width)
    while True:
        parts = list(blocks(job.shape, voxels))
        needed = holder.bytes(job, parts) * min(turns, len(parts))
        try:
            holders = []
            for device in devices[: len(parts)]:
                with device:
                    if needed > _allowed_bytes():
                        raise MemoryError
                    holders.append([holder(job, parts) for _ in range(min(turns, len(parts)))])
            return parts, holders
        except Exception as error:
            if not _is_out_of_memory(error):
                raise
        holders.clear()  # frees what the other devices have allocated
        if voxels <= width:
            msg = (
                f"a row of {width} voxels needs {needed / 2**20:.1f} MiB on the CUDA device, more than is "
                f"free there or than {MEMORY_VARIABLE} allows; use backend 'cpu'"
            )
            raise RuntimeError(msg)
        voxels = max(width, voxels // 2)


def _allowed_bytes() -> float:
    """Return how many bytes of the current device's memory a map may use."""
    text = os.environ.get(MEMORY_VARIABLE)
    if text is None:
        return 0.8 * float(cuda.current_context().get_memory_info().free)
    try:
        return float(text) * 2**20
    except ValueError:
        msg = f"the environment variable {MEMORY_VARIABLE} must be a number of MiB, got {text!r}"
        raise ValueError(msg) from None


def _is_out_of_memory(error: Exception) -> bool:
    """Return whether an error means that a device, or its share for this map, has too little memory."""
    return isinstance(error, MemoryError) or getattr(error, "code", None) == _OUT_OF_MEMORY


def share_blocks(
    parts: Sequence[Block],
    holders: Sequence[Sequence[Slab]],
    devices: Sequence[Any],
    work: Callable[[Iterator[Block], Sequence[Slab]], None],
) -> None:
    """Let the devices take blocks until none is left; the calling thread drives the first device.

    Parameters
    ----------
    parts : sequence of blocks
        All blocks of a volume.
    holders, devices : sequences
        The slabs of each device, and the devices.
    work : callable (blocks that are left, slabs of a device)
        Maps blocks on the current device; called once per device.
    """
    waiting = iter(parts)

    def drive(slabs: Sequence[Slab], device: Any) -> None:
        try:
            with device:
                work(waiting, slabs)
        finally:
            for _ in waiting:  # after an exception no device begins another block
                pass

    with ThreadPoolExecutor(max(1, len(holders) - 1)) as pool:
        others = [pool.submit(drive, *pair) for pair in zip(holders[1:], devices[1:], strict=False)]
        drive(holders[0], devices[0])
    for other in others:
        other.result()


def copy_in_parallel(target: npt.NDArray[Any], source: npt.NDArray[Any]) -> None:
    """Copy a (Z, Y, X) array on all cores; NumPy releases the global lock meanwhile."""
    axis = int(np.argmax(target.shape[:2]))
    target, source = np.moveaxis(target, axis, 0), np.moveaxis(source, axis, 0)
    count = min(len(target), target.size // _COPIED_AT_ONCE + 1)

    def copy_some(start: int, stop: int) -> None:
        some = slice(start * len(target) // count, stop * len(target) // count)
        target[some] = source[some]

    run_in_parts(copy_some, count)
