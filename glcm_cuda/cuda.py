"""The CUDA backend: volumes stream through devices in slabs; arrays on a device stay there.

A slab goes through pinned memory to a device, is binned and mapped there (`kernels`), and comes back,
while the next one is on its way. ``NUMBA_ENABLE_CUDASIM=1`` with ``NUMBA_DISABLE_JIT=1`` runs the same in
Numba's simulator.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import cuda

from . import kernels
from .blocks import Block, blocks, shape_of, size_of, start_in, with_halo
from .checks import is_device_array
from .definition import LOG_ONE, fixed_log2
from .offsets import directions
from .quantize import mask_array, ruled_range
from .settings import GLCMSettings
from .threads import run_in_parts

MEMORY_VARIABLE = "GLCM_CUDA_MEMORY"
"""Environment variable: MiB of a device that a map may use. Without it, four fifths of what is free."""

_NATIVE = tuple(np.dtype(name) for name in ("uint8", "int16", "uint16", "int32", "float32", "float64"))
"""Types that devices bin; others go there as float64, in which all are binned."""

_SLAB_VOXELS = {2: 1 << 21, 3: 1 << 23}
"""Voxels mapped at a time, with 2D and with 3D windows: enough to fill a device, few enough for copies and
kernels to overlap and for pinned memory, which is slow to get. Slabs of 3D windows have halos."""

_MOST_SLICES, _MOST_ROWS = 1 << 15, 1 << 17
"""Slices and rows of a slab: a grid has at most 65,535 blocks along z and y."""

_TURNS = 2
"""Slabs under way on a device: one is copied while the other is mapped."""

_THREADS = 1 << 18
"""Threads that are worth more than longer strips, whose first planes are work without a result."""

_LONGEST_STRIP = 64

_EXTENT_THREADS = 1 << 15
"""Threads that look for the extent of intensities, each through a part of them."""

_COPIED_AT_ONCE = 1 << 18
"""Voxels whose copy is worth a thread."""

_OUT_OF_MEMORY = 2
"""CUDA_ERROR_OUT_OF_MEMORY"""


def map_volume(
    image: npt.NDArray[np.generic],
    bounds: tuple[float, float],
    settings: GLCMSettings,
    inside: npt.NDArray[np.generic] | None,
    out: npt.NDArray[np.float32],
    done: Callable[[int], None],
) -> None:
    """Map a volume that lies in the host's memory; see `cpu.map_volume`, whose bits these are."""
    if image.dtype not in _NATIVE:
        image = image.astype(np.float64)
    task = _Task(settings, bounds, image.dtype, inside is not None, out.shape)
    lock = threading.Lock()

    def finish(block: Block, entropy: npt.NDArray[np.float32]) -> None:
        _copy(out[block], entropy)
        with lock:
            done(size_of(block, out.shape[2]))

    def work(waiting: Iterator[Block], slabs: Sequence[_Slab]) -> None:
        line = itertools.cycle(slabs)
        for block, slab in zip(waiting, line, strict=False):
            slab.collect(finish)
            slab.send(image, inside, block)
        for slab in itertools.islice(line, len(slabs)):
            slab.collect(finish)

    with _quiet():
        cuda.current_context()  # stays when the devices' are left, for what is freed then
        devices = list(cuda.gpus)
        parts, lines = _prepared(task, _Slab, devices, _TURNS)
        _share(parts, lines, devices, work)


def map_device_array(
    image: Any, settings: GLCMSettings, mask: Any, out: Any, stream: Any, progress: Callable[[int, int], None]
) -> Any:
    """Map an array that lies on a device, without a copy to the host; see `entropy_map`."""
    with _quiet():
        queue = _queue(stream)
        source, inside = _on_device("image", image), None
        if mask is not None:
            if not is_device_array(mask):
                mask = cuda.to_device(np.ascontiguousarray(mask_array(mask, tuple(image.shape)) != 0))
            if tuple(mask.shape) != tuple(image.shape):
                msg = f"mask must have the image's shape {tuple(image.shape)}, got {tuple(mask.shape)}"
                raise ValueError(msg)
            inside = _on_device("mask", mask)
        if out is image:
            msg = "out must not be the image, of which windows of voxels to come need what is there"
            raise ValueError(msg)
        result = cuda.device_array(tuple(image.shape), np.float32) if out is None else out
        target = _on_device("out", result)
        if tuple(result.shape) != tuple(image.shape) or target.dtype != np.float32:
            got = f"{target.dtype} of shape {tuple(result.shape)}"
            msg = f"out must be float32 of shape {tuple(image.shape)}, got {got}"
            raise ValueError(msg)
        bounds = ruled_range(settings, mask is not None, lambda every: _extent(source, inside, every, queue))
        task = _Task(settings, bounds, source.dtype, inside is not None, target.shape)
        parts, ((scratch,),) = _prepared(task, _Scratch, [contextlib.nullcontext()], 1)
        if queue:  # which need not wait for the default stream, on which tables and mask came
            cuda.default_stream().synchronize()
        mapped = 0
        for block in parts:
            part = task.part(block)
            mask_part = None if inside is None else inside[part]
            _map(task, source[part], mask_part, start_in(part, block), scratch, target[block], queue)
            mapped += size_of(block, target.shape[2])
            progress(mapped, target.size)
        return result


def probe() -> None:
    """Run a kernel on a device; raises an error if driver, compiler or memory are unfit."""
    with _quiet():
        source, out = cuda.to_device(np.ones((1, 1, 1), np.float32)), cuda.device_array((1, 1, 1), np.int16)
        _launch(kernels.compiled(kernels.bin_kernel, False), out.shape, 0, source, source, 2, 0.0, 1.0, out)
        if int(out.copy_to_host()[0, 0, 0]) != 1:
            msg = "a kernel gave a wrong value"
            raise RuntimeError(msg)


@dataclass(frozen=True)
class _Task:
    """What is mapped, and how."""

    settings: GLCMSettings
    bounds: tuple[float, float]
    dtype: np.dtype[Any]
    masked: bool
    shape: tuple[int, int, int]

    @property
    def merge(self) -> bool:
        return self.settings.aggregate == "merge"

    @property
    def together(self) -> int:
        """Directions whose words are needed at once."""
        return len(kernels.marches(self.settings)[0].group)

    def part(self, block: Block) -> Block:
        """Return what the windows of a block reach."""
        return with_halo(block, self.settings.radii, self.shape)

    def places(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """Return the shape of what the windows of a block reach, inside the volume or not."""
        z, y, x = (size + edge - 1 for size, edge in zip(shape, self.settings.edges, strict=True))
        return z, y, x

    def most(self, parts: Sequence[Block]) -> tuple[int, int, int]:
        """Return the largest numbers of voxels that blocks read, of places, and of voxels they write."""
        width = self.shape[2]
        return (
            max(size_of(self.part(block), width) for block in parts),
            max(math.prod(self.places(shape_of(block, width))) for block in parts),
            max(size_of(block, width) for block in parts),
        )


class _Scratch:
    """Arrays on the current device that lie between a block of intensities and its map."""

    def __init__(self, task: _Task, parts: Sequence[Block]) -> None:
        read, places, written = task.most(parts)
        marches = kernels.marches(task.settings)
        self.levels = cuda.device_array(read, np.int16)
        self.words = cuda.device_array(places * task.together, np.uint32)
        self.totals = cuda.device_array(written, np.int64 if task.merge else np.float64)
        self.terms = cuda.device_array(written, np.int32)
        self.tables = [cuda.to_device(kernels.lookup_table(march.pairs, march.named)) for march in marches]
        self.log_table = cuda.to_device(fixed_log2(np.arange(max(march.pairs for march in marches) + 1)))

    @staticmethod
    def bytes(task: _Task, parts: Sequence[Block]) -> int:
        """Return what the arrays of one take."""
        read, places, written = task.most(parts)
        return 2 * read + 4 * places * task.together + 12 * written


class _Slab:
    """A block on its way through the current device."""

    def __init__(self, task: _Task, parts: Sequence[Block]) -> None:
        read, _, written = task.most(parts)
        self._task = task
        self._scratch = _Scratch(task, parts)
        self._stream = cuda.stream()
        self._image = _Staged(read, task.dtype)
        self._mask = _Staged(read if task.masked else 1, np.dtype(np.uint8))
        self._entropy = _Staged(written, np.dtype(np.float32))
        self._block: Block | None = None

    @staticmethod
    def bytes(task: _Task, parts: Sequence[Block]) -> int:
        """Return what the arrays of one take on the device."""
        read, _, written = task.most(parts)
        return _Scratch.bytes(task, parts) + read * (task.dtype.itemsize + task.masked) + 4 * written

    def send(
        self, image: npt.NDArray[np.generic], mask: npt.NDArray[np.generic] | None, block: Block
    ) -> None:
        """Start to map a block; nothing here waits for the device."""
        part, shape = self._task.part(block), shape_of(block, self._task.shape[2])
        source = self._image.send(image[part], self._stream)
        inside = None if mask is None else self._mask.send(mask[part] != 0, self._stream)
        out = self._entropy.device(shape)
        _map(self._task, source, inside, start_in(part, block), self._scratch, out, self._stream)
        self._entropy.start_back(out.size, self._stream)
        self._block = block

    def collect(self, finish: Callable[[Block, npt.NDArray[np.float32]], None]) -> None:
        """Wait for the block that was sent, if there is one, and hand its map over."""
        if self._block is None:
            return
        self._stream.synchronize()
        block, self._block = self._block, None
        finish(block, self._entropy.host(shape_of(block, self._task.shape[2])))


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
        _copy(self.host(values.shape), values)
        self._device[: values.size].copy_to_device(self._pinned[: values.size], stream)
        return self.device(values.shape)

    def start_back(self, size: int, stream: Any) -> None:
        """Start to copy the beginning of the array from the device."""
        self._device[:size].copy_to_host(self._pinned[:size], stream)


def _map(
    task: _Task, source: Any, inside: Any, first: tuple[int, int], scratch: _Scratch, out: Any, stream: Any
) -> None:
    """Start the kernels that map intensities; the map starts in slice and row `first` of them."""
    settings, marches = task.settings, kernels.marches(task.settings)
    levels = scratch.levels[: source.size].reshape(source.shape)
    bin_kernel = kernels.compiled(kernels.bin_kernel, inside is not None)
    mask = source if inside is None else inside
    _launch(bin_kernel, source.shape, stream, source, mask, settings.levels, *task.bounds, levels)
    places = task.places(out.shape)
    words = scratch.words[: task.together * math.prod(places)]
    by_direction = words.reshape((task.together, *places))
    totals, terms = (array[: out.size].reshape(out.shape) for array in (scratch.totals, scratch.terms))
    offsets = [tuple(offset) for offset in directions(settings.dimensions, settings.distance).tolist()]
    last = len(offsets) - 1
    for together in [range(last + 1)] if task.merge else [[k] for k in range(last + 1)]:
        for k in together:
            ways = kernels.first_end(offsets[k], settings.dimensions), (*first, 0), settings.radii
            start = tuple(end + begin - radius for end, begin, radius in zip(*ways, strict=True))
            _launch(
                kernels.compiled(kernels.word_kernel), places, stream, levels, start, offsets[k],
                settings.levels, settings.symmetric, marches[k].me, by_direction,
            )  # fmt: skip
        for k in together:
            march = marches[k]
            strip = min(max(4 * (march.planes - 1), out.size // _THREADS, 1), _LONGEST_STRIP)
            length, across = out.shape[:2] if settings.dimensions == 3 else out.shape[1::-1]
            threads = (-(-length // strip), across, out.shape[2])
            _launch(
                kernels.compiled(kernels.count_kernel, march), threads, stream, words,
                strip, scratch.tables[k], scratch.log_table, k == 0, k == last, totals, terms,
                levels, *first, settings.log_unit / LOG_ONE, out, block=march.block,
            )  # fmt: skip


def _launch(
    kernel: Any, shape: Sequence[int], stream: Any, *arguments: Any, block: tuple[int, int] = kernels.BLOCK
) -> None:
    """Start a kernel with a thread for every element of a (Z, Y, X) shape."""
    depth, height, width = shape
    grid = (-(-width // block[0]), -(-height // block[1]), depth)
    kernel[grid, block, stream](*arguments)


def _prepared(
    task: _Task, kind: type[Any], devices: Sequence[Any], turns: int
) -> tuple[list[Block], list[list[Any]]]:
    """Return blocks that fit all devices, and for each device the arrays through which they go."""
    _, height, width = task.shape
    voxels = min(_SLAB_VOXELS[task.settings.dimensions], _MOST_SLICES * height * width, _MOST_ROWS * width)
    while True:
        parts = list(blocks(task.shape, voxels))
        needed = kind.bytes(task, parts) * min(turns, len(parts))
        try:
            lines = []
            for device in devices[: len(parts)]:
                with device:
                    if needed > _allowed_bytes():
                        raise MemoryError
                    lines.append([kind(task, parts) for _ in range(min(turns, len(parts)))])
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


def _share(
    parts: Sequence[Block],
    lines: Sequence[Sequence[_Slab]],
    devices: Sequence[Any],
    work: Callable[[Iterator[Block], Sequence[_Slab]], None],
) -> None:
    """Let every device work on what blocks the others have not begun; this thread drives the first."""
    waiting = iter(parts)

    def drive(line: Sequence[_Slab], device: Any) -> None:
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


def _copy(target: npt.NDArray[Any], source: npt.NDArray[Any]) -> None:
    """Copy a (Z, Y, X) array on all cores; NumPy lets go of the global lock meanwhile."""
    axis = int(np.argmax(target.shape[:2]))
    target, source = np.moveaxis(target, axis, 0), np.moveaxis(source, axis, 0)

    pieces = min(len(target), target.size // _COPIED_AT_ONCE + 1)

    def copy_some(start: int, stop: int) -> None:
        some = slice(start * len(target) // pieces, stop * len(target) // pieces)
        target[some] = source[some]

    run_in_parts(copy_some, pieces)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without Numba's advice on small grids: that a small image fills no device is no fault."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Grid size")
        yield


def _on_device(name: str, array: Any) -> Any:
    """Return an array on a device as a (Z, Y, X) array of Numba's."""
    if not is_device_array(array):
        msg = f"{name} must lie on the CUDA device, as the image does, got {type(array).__name__}"
        raise ValueError(msg)
    view = array if hasattr(array, "__cuda_ndarray__") else cuda.as_cuda_array(array)
    if view.dtype.kind not in "biuf":
        msg = f"{name} must hold real numbers, got dtype {view.dtype}"
        raise TypeError(msg)
    if view.ndim not in (2, 3) or view.size == 0:
        msg = f"{name} must have two or three dimensions and not be empty, got shape {tuple(view.shape)}"
        raise ValueError(msg)
    if not view.is_c_contiguous():
        msg = f"{name} lies on the device with gaps; pass a contiguous copy"
        raise ValueError(msg)
    return view if view.ndim == 3 else view.reshape((1, *view.shape))


def _queue(stream: Any) -> Any:
    """Return a stream of Numba's for a handle, or an object of CuPy's or PyTorch's that has one."""
    for name in ("ptr", "cuda_stream"):
        stream = getattr(stream, name, stream)
    if isinstance(stream, (int, np.integer)):
        return cuda.external_stream(int(stream)) if stream else 0
    return stream or 0


def _extent(source: Any, inside: Any, every: bool, stream: Any) -> tuple[float, float, int]:
    """Return what `ruled_range` asks for, of an array on a device."""
    counts = cuda.device_array((2, _EXTENT_THREADS), np.int64)
    ends = cuda.device_array((2, _EXTENT_THREADS), np.float64)
    masked = inside is not None and not every
    kernels.compiled(kernels.extent_kernel, masked)[_EXTENT_THREADS // 128, 128, stream](
        source, inside if masked else source, ends, counts
    )
    found, numbers = ends.copy_to_host(stream=stream), counts.copy_to_host(stream=stream)
    if stream:
        stream.synchronize()
    (lows, highs), (finite, wrong) = found, numbers.sum(axis=1)
    if masked and finite + wrong == 0:
        msg = "mask must have voxels inside, got none"
        raise ValueError(msg)
    return float(lows.min()), float(highs.max()), int(wrong)
