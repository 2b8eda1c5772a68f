"""The CUDA stages of the co-occurrence family: kernels, and the device arrays they need."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import cuda

from glcm_cuda.families import launching
from glcm_cuda.families.glcm.cuda import entropy_kernels, feature_kernels
from glcm_cuda.families.glcm.definition import LOG_ONE, fixed_log2
from glcm_cuda.families.glcm.features import FEATURES
from glcm_cuda.families.glcm.mcc import scratch_sizes
from glcm_cuda.families.glcm.scales import inverse_table, log_table, most_pairs, scale_of
from glcm_cuda.families.launching import launch
from glcm_cuda.families.offsets import directions
from glcm_cuda.families.stage import Most, Task
from glcm_cuda.settings import GLCMSettings

_MATRIX_THREADS, _MATRIX_BYTES = 1 << 16, 1 << 28
"""Threads that have matrices for MCC, and bytes of them that are enough for fewer threads."""

_MATRIX_BLOCK = 64
"""Threads of a block of these."""

_THREADS = 1 << 18
"""Threads that are worth more than longer strips, whose first planes are work without a result."""

_LONGEST_STRIP = 64


class EntropyStage:
    """Joint entropy, by marches."""

    def __init__(self, task: Task, most: Most) -> None:
        self._task = task
        self._plane = task.names.index("joint_entropy")
        self._marches = entropy_kernels.marches(task.settings, task.wide)
        self._words = cuda.device_array(most.places * self._together(task), np.uint32)
        self._totals = cuda.device_array(most.written, np.int64 if task.merge else np.float64)
        self._terms = cuda.device_array(most.written, np.int32)
        kinds = dict.fromkeys((march.pairs, march.named) for march in self._marches)
        self._tables = {kind: cuda.to_device(entropy_kernels.lookup_table(*kind)) for kind in kinds}
        self._log_table = cuda.to_device(fixed_log2(np.arange(max(pairs for pairs, _ in kinds) + 1)))

    @staticmethod
    def _together(task: Task) -> int:
        """Directions whose words are needed at once."""
        return len(entropy_kernels.marches(task.settings)[0].group)

    @staticmethod
    def bytes(task: Task, most: Most) -> int:
        return 4 * most.places * EntropyStage._together(task) + 12 * most.written

    @staticmethod
    def comparisons(task: Task) -> int:
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
        ways = entropy_kernels.first_end(offset, settings.dimensions), (*first, 0), settings.radii
        start = tuple(end + begin - radius for end, begin, radius in zip(*ways, strict=True))
        launch(
            launching.compiled(entropy_kernels.word_kernel, task.wide), words.shape[1:], stream, levels, start, offset,
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
        launch(
            launching.compiled(entropy_kernels.count_kernel, march), threads, stream, words,
            strip, self._tables[march.pairs, march.named], self._log_table, k == 0, k == last, totals, terms,
            levels, *first, settings.log_unit / LOG_ONE, out, block=march.block,
        )  # fmt: skip


class SumsStage:
    """All other features but MCC, by sums over the pairs of a window."""

    def __init__(self, task: Task, most: Most) -> None:
        settings = task.settings
        self._radii = settings.radii
        self._kernel = launching.compiled(feature_kernels.feature_kernel, _walk(task))
        pairs = most_pairs(settings)
        scale = scale_of(settings, pairs)
        logs = log_table(pairs, scale)
        tables = feature_kernels.steps_of(logs), logs, inverse_table(task.bins.levels, scale)
        self._tables = [cuda.to_device(table) for table in (directions(settings), *tables)]
        self._scale = scale[1:]

    @staticmethod
    def bytes(task: Task, most: Most) -> int:
        return 0

    @staticmethod
    def comparisons(task: Task) -> int:
        pairs = most_pairs(task.settings)
        matrices = 1 if task.merge else len(directions(task.settings))
        return matrices * pairs * (pairs if _walk(task).counted.ranked else 1)

    def map(self, levels: Any, first: tuple[int, int], out: Any, stream: Any) -> None:
        offsets, *tables = self._tables
        launch(
            self._kernel, out.shape[1:], stream, levels.reshape(levels.size), levels.shape, offsets,
            self._radii, *tables, *self._scale, *first, out,
        )  # fmt: skip


class CorrelationStage:
    """MCC, by matrices."""

    def __init__(self, task: Task, most: Most) -> None:
        settings = task.settings
        self._plane, self._flat = task.names.index("mcc"), task.bins.flat
        self._radii = settings.radii
        self._kernel = launching.compiled(feature_kernels.mcc_kernel, settings.symmetric, task.merge)
        self._offsets = cuda.to_device(directions(settings))
        self._threads = self._count(task, most)
        self._scratch = [
            cuda.device_array((*shape, self._threads), kind) for shape, kind in self._shapes(task)
        ]

    @staticmethod
    def _shapes(task: Task) -> list[tuple[tuple[int, ...], type[np.number[Any]]]]:
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
    def _bytes_a_thread(cls, task: Task) -> int:
        return sum(math.prod(shape) * np.dtype(kind).itemsize for shape, kind in cls._shapes(task))

    @classmethod
    def _count(cls, task: Task, most: Most) -> int:
        """Return the number of threads."""
        enough = max(_MATRIX_BYTES // cls._bytes_a_thread(task), _MATRIX_BLOCK)
        return min(_MATRIX_THREADS, most.written, enough)

    @staticmethod
    def bytes(task: Task, most: Most) -> int:
        return CorrelationStage._count(task, most) * CorrelationStage._bytes_a_thread(task)

    @staticmethod
    def comparisons(task: Task) -> int:
        _, edge = scratch_sizes(task.settings, task.bins.levels)
        matrices = 1 if task.merge else len(directions(task.settings))
        return int(matrices * edge**3)

    def map(self, levels: Any, first: tuple[int, int], out: Any, stream: Any) -> None:
        blocks_of_threads = -(-self._threads // _MATRIX_BLOCK)
        self._kernel[blocks_of_threads, _MATRIX_BLOCK, stream](
            levels, self._offsets, self._radii, self._flat, *first, *self._scratch, out[self._plane]
        )


def _walk(task: Task) -> feature_kernels.Walk:
    """Return what the kernel of the features that are sums is compiled for."""
    others = [(plane, feature) for plane, feature in enumerate(task.features) if feature.name not in _APART]
    planes = [(FEATURES.index(feature), plane) for plane, feature in others]
    return feature_kernels.walk_of(planes, task.settings.symmetric, task.merge)


_APART = ("joint_entropy", "mcc")
"""Features with kernels of their own."""


def _offset(settings: GLCMSettings, k: int) -> tuple[int, int, int]:
    z, y, x = directions(settings)[k].tolist()
    return z, y, x
