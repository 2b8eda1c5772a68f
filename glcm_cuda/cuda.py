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
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from numba import cuda

from . import feature_kernels, kernels
from .bins import Bins
from .blocks import Block, blocks, shape_of, size_of, start_in, with_halo
from .checks import is_device_array
from .definition import LOG_ONE, fixed_log2
from .features import FEATURES, Feature, feature_named
from .mcc import scratch_sizes
from .offsets import directions
from .quantize import bins_between, mask_array, ruled_range
from .scales import inverse_table, log_table, most_pairs, scale_of
from .settings import MAX_LEVELS, GLCMSettings
from .threads import run_in_parts

MEMORY_VARIABLE = "GLCM_CUDA_MEMORY"
"""Environment variable: MiB of a device that a map may use. Without it, four fifths of what is free."""

_NATIVE = tuple(np.dtype(name) for name in ("uint8", "int16", "uint16", "int32", "float32", "float64"))
"""Types that devices bin; others go there as float64, in which all are binned."""

_SLAB_VOXELS = {2: 1 << 21, 3: 1 << 23}
"""Voxels mapped at a time, with 2D and with 3D windows: enough to fill a device, few enough for copies and
kernels to overlap and for pinned memory, which is slow to get. Slabs of 3D windows have halos."""

_SHARES = 8
"""Into so many times smaller slabs a map of many features goes, whose slabs are so much larger for it."""

_MOST_COMPARISONS, _LEAST_VOXELS = 1 << 38, 1 << 16
"""Comparisons of pairs that one launch of a kernel may take, and voxels that it gets all the same: a display
that hangs on the device must not wait for seconds."""

_MATRIX_THREADS, _MATRIX_BYTES = 1 << 16, 1 << 28
"""Threads that have matrices for MCC, and bytes of them that are enough for fewer threads."""

_MATRIX_BLOCK = 64
"""Threads of a block of these."""

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
    bins: Bins,
    settings: GLCMSettings,
    inside: npt.NDArray[np.generic] | None,
    features: Sequence[Feature],
    out: npt.NDArray[np.float32],
    done: Callable[[int], None],
) -> None:
    """Map a volume that lies in the host's memory; see `cpu.map_volume`.

    Joint entropy has the bits of the CPU; the others are as near as a float64 rounded once or twice more.
    """
    if image.dtype not in _NATIVE:
        image = image.astype(np.float64)
    task = _Task(settings, bins, tuple(features), image.dtype, inside is not None, out.shape[1:])
    task.check()
    lock = threading.Lock()

    def finish(block: Block, maps: npt.NDArray[np.float32]) -> None:
        for target, source in zip(out, maps, strict=True):
            _copy(target[block], source)
        with lock:
            done(size_of(block, out.shape[3]))

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
    _refuse_what_needs_the_host(settings)
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
        if inside is not None and not settings.masked_window:
            _refuse_not_finite(_extent(source, None, True, queue)[2])
        bins = bins_between(*bounds, settings, source.dtype)
        entropy = (feature_named("joint_entropy"),)
        task = _Task(settings, bins, entropy, source.dtype, inside is not None, target.shape)
        task.check()
        parts, ((scratch,),) = _prepared(task, _Scratch, [contextlib.nullcontext()], 1)
        if queue:  # which need not wait for the default stream, on which tables and mask came
            cuda.default_stream().synchronize()
        mapped = 0
        for block in parts:
            part = task.part(block)
            mask_part = None if inside is None else inside[part]
            maps = target[block].reshape((1, *shape_of(block, target.shape[2])))
            _map(task, source[part], mask_part, start_in(part, block), scratch, maps, queue)
            mapped += size_of(block, target.shape[2])
            progress(mapped, target.size)
        return result


def probe() -> None:
    """Run a kernel on a device; raises an error if driver, compiler or memory are unfit."""
    with _quiet():
        source, out = cuda.to_device(np.ones((1, 1, 1), np.float32)), cuda.device_array((1, 1, 1), np.int16)
        bin_kernel = kernels.compiled(kernels.bin_kernel, False, False)
        _launch(bin_kernel, out.shape, 0, source, source, source, 1.0, 0.0, 1.0, 2.0, 1.0, out)
        if int(out.copy_to_host()[0, 0, 0]) != 1:
            msg = "a kernel gave a wrong value"
            raise RuntimeError(msg)


def _refuse_what_needs_the_host(settings: GLCMSettings) -> None:
    """Refuse ranges that are not found on a device, and slices that do not lie one after another there."""
    wrong = next((name for name in ("percentiles", "deviations") if getattr(settings, name) is not None), "")
    if settings.range_over == "crop" and settings.intensity_range is None:
        wrong = 'range_over="crop"'
    if wrong:
        msg = f"{wrong} needs an image in the host's memory; give intensity_range or copy it to the host"
        raise ValueError(msg)
    if settings.slice_axis:
        msg = f"slice_axis={settings.slice_axis} needs an image in the host's memory; copy it to the host"
        raise ValueError(msg)


def _refuse_not_finite(wrong: int) -> None:
    if wrong:
        msg = (
            f"with masked_window=False an image on a device must hold finite intensities, got {wrong} NaN or "
            "infinite; repair it or copy it to the host, where only those that windows reach count"
        )
        raise ValueError(msg)


@dataclass(frozen=True)
class _Task:
    """What is mapped, and how."""

    settings: GLCMSettings
    bins: Bins
    features: tuple[Feature, ...]
    dtype: np.dtype[Any]
    masked: bool
    shape: tuple[int, int, int]

    def check(self) -> None:
        """Refuse the one case in which a word is wanting for what is no pair."""
        full = self.wide and self.bins.levels == MAX_LEVELS and not self.settings.symmetric
        if full and "joint_entropy" in self.names:
            msg = (
                f"joint entropy of {MAX_LEVELS} levels, not symmetric, is not mapped on CUDA devices; "
                "give fewer levels or use backend 'cpu'"
            )
            raise ValueError(msg)

    @property
    def names(self) -> list[str]:
        """Names of the features."""
        return [feature.name for feature in self.features]

    @property
    def wide(self) -> bool:
        """Whether levels are so many that levels and words are wide."""
        return self.bins.levels > kernels.MOST_LEVELS

    @property
    def level_type(self) -> type[np.signedinteger[Any]]:
        """Type of the levels on the device."""
        return np.int32 if self.wide else np.int16

    @property
    def merge(self) -> bool:
        """Whether the pairs of all directions are counted in one matrix."""
        return self.settings.aggregate == "merge"

    @property
    def stages(self) -> list[type[_Stage]]:
        """What makes the maps of the levels."""
        kinds: dict[str, type[_Stage]] = {"joint_entropy": _Entropy, "mcc": _Correlation}
        return list(dict.fromkeys(kinds.get(name, _Sums) for name in self.names))

    def part(self, block: Block) -> Block:
        """Return what the windows of a block reach."""
        return with_halo(block, self.settings.radii, self.shape)

    def places(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """Return the shape of what the windows of a block reach, inside the volume or not."""
        z, y, x = (size + edge - 1 for size, edge in zip(shape, self.settings.edges, strict=True))
        return z, y, x

    def most(self, parts: Sequence[Block]) -> _Most:
        """Return the largest numbers of voxels that blocks read, of places, and of voxels they write."""
        width = self.shape[2]
        return _Most(
            max(size_of(self.part(block), width) for block in parts),
            max(math.prod(self.places(shape_of(block, width))) for block in parts),
            max(size_of(block, width) for block in parts),
        )

    def voxels(self) -> int:
        """Return how many voxels are mapped at a time where memory does not limit them."""
        voxels = _SLAB_VOXELS[self.settings.dimensions] // min(len(self.features), _SHARES)
        for stage in self.stages:
            affordable = _MOST_COMPARISONS // stage.comparisons(self)
            voxels = min(voxels, max(affordable, _LEAST_VOXELS))
        return voxels


class _Most(NamedTuple):
    """Voxels that the largest block reads, places from which its windows read, and voxels it writes."""

    read: int
    places: int
    written: int


class _Stage(Protocol):
    """From levels to maps: kernels, and arrays on the current device that they need."""

    def __init__(self, task: _Task, most: _Most) -> None: ...

    @staticmethod
    def bytes(task: _Task, most: _Most) -> int:
        """Return what the arrays take that grow with the blocks."""

    @staticmethod
    def comparisons(task: _Task) -> int:
        """Return how many comparisons of pairs, or steps like these, a voxel takes."""

    def map(self, levels: Any, first: tuple[int, int], out: Any, stream: Any) -> None:
        """Start the kernels; the maps (F, Z, Y, X) start in slice and row `first` of the levels."""


class _Entropy:
    """Joint entropy, by marches."""

    def __init__(self, task: _Task, most: _Most) -> None:
        self._task = task
        self._plane = task.names.index("joint_entropy")
        self._marches = kernels.marches(task.settings, task.wide)
        self._words = cuda.device_array(most.places * self._together(task), np.uint32)
        self._totals = cuda.device_array(most.written, np.int64 if task.merge else np.float64)
        self._terms = cuda.device_array(most.written, np.int32)
        kinds = dict.fromkeys((march.pairs, march.named) for march in self._marches)
        self._tables = {kind: cuda.to_device(kernels.lookup_table(*kind)) for kind in kinds}
        self._log_table = cuda.to_device(fixed_log2(np.arange(max(pairs for pairs, _ in kinds) + 1)))

    @staticmethod
    def _together(task: _Task) -> int:
        """Directions whose words are needed at once."""
        return len(kernels.marches(task.settings)[0].group)

    @staticmethod
    def bytes(task: _Task, most: _Most) -> int:
        return 4 * most.places * _Entropy._together(task) + 12 * most.written

    @staticmethod
    def comparisons(task: _Task) -> int:
        return 1

    def map(self, levels: Any, first: tuple[int, int], out: Any, stream: Any) -> None:
        out = out[self._plane]
        places = self._task.places(out.shape)
        last = len(self._marches) - 1
        words = self._words[: self._together(self._task) * math.prod(places)]
        for together in [range(last + 1)] if self._task.merge else [[k] for k in range(last + 1)]:
            for k in together:
                self._write_words(k, levels, first, words.reshape((-1, *places)), stream)
            for k in together:
                self._count(k, last, words, levels, first, out, stream)

    def _write_words(self, k: int, levels: Any, first: tuple[int, int], words: Any, stream: Any) -> None:
        task, settings = self._task, self._task.settings
        offset = _offset(settings, k)
        ways = kernels.first_end(offset, settings.dimensions), (*first, 0), settings.radii
        start = tuple(end + begin - radius for end, begin, radius in zip(*ways, strict=True))
        _launch(
            kernels.compiled(kernels.word_kernel, task.wide), words.shape[1:], stream, levels, start, offset,
            task.bins.levels, settings.symmetric, self._marches[k].me, words,
        )  # fmt: skip

    def _count(
        self, k: int, last: int, words: Any, levels: Any, first: tuple[int, int], out: Any, stream: Any
    ) -> None:
        march, settings = self._marches[k], self._task.settings
        totals, terms = (array[: out.size].reshape(out.shape) for array in (self._totals, self._terms))
        strip = min(max(4 * (march.planes - 1), out.size // _THREADS, 1), _LONGEST_STRIP)
        length, across = out.shape[:2] if settings.dimensions == 3 else out.shape[1::-1]
        threads = (-(-length // strip), across, out.shape[2])
        _launch(
            kernels.compiled(kernels.count_kernel, march), threads, stream, words,
            strip, self._tables[march.pairs, march.named], self._log_table, k == 0, k == last, totals, terms,
            levels, *first, settings.log_unit / LOG_ONE, out, block=march.block,
        )  # fmt: skip


class _Sums:
    """All other features but MCC, by sums over the pairs of a window."""

    def __init__(self, task: _Task, most: _Most) -> None:
        settings = task.settings
        self._radii = settings.radii
        self._kernel = kernels.compiled(feature_kernels.feature_kernel, _walk(task))
        pairs = most_pairs(settings)
        scale = scale_of(settings, pairs)
        logs = log_table(pairs, scale)
        tables = feature_kernels.steps_of(logs), logs, inverse_table(task.bins.levels, scale)
        self._tables = [cuda.to_device(table) for table in (directions(settings), *tables)]
        self._scale = scale[1:]

    @staticmethod
    def bytes(task: _Task, most: _Most) -> int:
        return 0

    @staticmethod
    def comparisons(task: _Task) -> int:
        pairs = most_pairs(task.settings)
        matrices = 1 if task.merge else len(directions(task.settings))
        return matrices * pairs * (pairs if _walk(task).counted.ranked else 1)

    def map(self, levels: Any, first: tuple[int, int], out: Any, stream: Any) -> None:
        offsets, *tables = self._tables
        _launch(
            self._kernel, out.shape[1:], stream, levels.reshape(levels.size), levels.shape, offsets,
            self._radii, *tables, *self._scale, *first, out,
        )  # fmt: skip


class _Correlation:
    """MCC, by matrices."""

    def __init__(self, task: _Task, most: _Most) -> None:
        settings = task.settings
        self._plane, self._flat = task.names.index("mcc"), task.bins.flat
        self._radii = settings.radii
        self._kernel = kernels.compiled(feature_kernels.mcc_kernel, settings.symmetric, task.merge)
        self._offsets = cuda.to_device(directions(settings))
        self._threads = self._count(task, most)
        self._scratch = [
            cuda.device_array((*shape, self._threads), kind) for shape, kind in self._shapes(task)
        ]

    @staticmethod
    def _shapes(task: _Task) -> list[tuple[tuple[int, ...], type[np.number[Any]]]]:
        """Return the shapes of a thread's arrays, those of `mcc.Scratch`, and their types."""
        pairs, edge = scratch_sizes(task.settings, task.bins.levels)
        named = 1 if task.settings.symmetric else 2
        return [
            ((2, pairs), np.int32),
            ((named, task.bins.levels), np.int32),
            ((edge, edge), np.float64),
            ((edge,), np.float64),
            ((edge,), np.float64),
        ]

    @classmethod
    def _bytes_a_thread(cls, task: _Task) -> int:
        return sum(math.prod(shape) * np.dtype(kind).itemsize for shape, kind in cls._shapes(task))

    @classmethod
    def _count(cls, task: _Task, most: _Most) -> int:
        """Return the number of threads."""
        enough = max(_MATRIX_BYTES // cls._bytes_a_thread(task), _MATRIX_BLOCK)
        return min(_MATRIX_THREADS, most.written, enough)

    @staticmethod
    def bytes(task: _Task, most: _Most) -> int:
        return _Correlation._count(task, most) * _Correlation._bytes_a_thread(task)

    @staticmethod
    def comparisons(task: _Task) -> int:
        _, edge = scratch_sizes(task.settings, task.bins.levels)
        matrices = 1 if task.merge else len(directions(task.settings))
        return int(matrices * edge**3)

    def map(self, levels: Any, first: tuple[int, int], out: Any, stream: Any) -> None:
        blocks_of_threads = -(-self._threads // _MATRIX_BLOCK)
        self._kernel[blocks_of_threads, _MATRIX_BLOCK, stream](
            levels, self._offsets, self._radii, self._flat, *first, *self._scratch, out[self._plane]
        )


def _walk(task: _Task) -> feature_kernels.Walk:
    """Return what the kernel of the features that are sums is compiled for."""
    others = [(plane, feature) for plane, feature in enumerate(task.features) if feature.name not in _APART]
    planes = [(FEATURES.index(feature), plane) for plane, feature in others]
    return feature_kernels.walk_of(planes, task.settings.symmetric, task.merge)


_APART = ("joint_entropy", "mcc")
"""Features with kernels of their own."""


def _offset(settings: GLCMSettings, k: int) -> tuple[int, int, int]:
    z, y, x = directions(settings)[k].tolist()
    return z, y, x


class _Scratch:
    """Arrays on the current device that lie between a block of intensities and its maps."""

    def __init__(self, task: _Task, parts: Sequence[Block]) -> None:
        most = task.most(parts)
        self.levels = cuda.device_array(most.read, task.level_type)
        self.edges = None if task.bins.edges is None else cuda.to_device(task.bins.edges)
        self.stages = [stage(task, most) for stage in task.stages]

    @staticmethod
    def bytes(task: _Task, parts: Sequence[Block]) -> int:
        """Return what the arrays of one take."""
        most = task.most(parts)
        levels = most.read * np.dtype(task.level_type).itemsize
        return levels + sum(stage.bytes(task, most) for stage in task.stages)


class _Slab:
    """A block on its way through the current device."""

    def __init__(self, task: _Task, parts: Sequence[Block]) -> None:
        read, _, written = task.most(parts)
        self._task = task
        written *= len(task.features)
        self._scratch = _Scratch(task, parts)
        self._stream = cuda.stream()
        self._image = _Staged(read, task.dtype)
        self._mask = _Staged(read if task.masked else 1, np.dtype(np.uint8))
        self._maps = _Staged(written, np.dtype(np.float32))
        self._block: Block | None = None

    @staticmethod
    def bytes(task: _Task, parts: Sequence[Block]) -> int:
        """Return what the arrays of one take on the device."""
        read, _, written = task.most(parts)
        sent = read * (task.dtype.itemsize + task.masked)
        return _Scratch.bytes(task, parts) + sent + 4 * written * len(task.features)

    def send(
        self, image: npt.NDArray[np.generic], mask: npt.NDArray[np.generic] | None, block: Block
    ) -> None:
        """Start to map a block; nothing here waits for the device."""
        part, shape = self._task.part(block), shape_of(block, self._task.shape[2])
        source = self._image.send(image[part], self._stream)
        inside = None if mask is None else self._mask.send(mask[part] != 0, self._stream)
        out = self._maps.device((len(self._task.features), *shape))
        _map(self._task, source, inside, start_in(part, block), self._scratch, out, self._stream)
        self._maps.start_back(out.size, self._stream)
        self._block = block

    def collect(self, finish: Callable[[Block, npt.NDArray[np.float32]], None]) -> None:
        """Wait for the block that was sent, if there is one, and hand its maps over."""
        if self._block is None:
            return
        self._stream.synchronize()
        block, self._block = self._block, None
        finish(block, self._maps.host((len(self._task.features), *shape_of(block, self._task.shape[2]))))


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
    """Start the kernels that map intensities; the maps start in slice and row `first` of them."""
    levels = scratch.levels[: source.size].reshape(source.shape)
    marks = inside is not None and task.settings.masked_window
    bins, edges = task.bins, scratch.edges
    bin_kernel = kernels.compiled(kernels.bin_kernel, marks, edges is not None)
    _launch(
        bin_kernel, source.shape, stream, source, inside if marks else source,
        source if edges is None else edges, bins.levels - 1.0, bins.low, bins.high, bins.factor, bins.span,
        levels,
    )  # fmt: skip
    for stage in scratch.stages:
        stage.map(levels, first, out, stream)
    if inside is not None and not marks:
        _launch(kernels.compiled(kernels.blank_kernel), out.shape[1:], stream, inside, *first, out)


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
    voxels = min(task.voxels(), _MOST_SLICES * height * width, _MOST_ROWS * width)
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
