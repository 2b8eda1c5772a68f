"""Stages of the co-occurrence family on CUDA devices: kernels of every feature and their memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import cuda

from glcm_cuda.families.counted_cuda import CUDACountedStage
from glcm_cuda.families.fixed_point import LOG_ONE, log_steps, log_table
from glcm_cuda.families.glcm.cuda import entropy_kernels, feature_kernels, mcc_kernels
from glcm_cuda.families.glcm.mcc import MCC
from glcm_cuda.families.glcm.scales import check_levels, inverse_table, logs_of_ends, most_pairs, scale_of
from glcm_cuda.families.kept import device_table
from glcm_cuda.families.launching import compiled, launch
from glcm_cuda.families.offsets import directions
from glcm_cuda.families.stage import Chosen, CUDAStage, Extent, LevelStage, Source, Task
from glcm_cuda.settings import MAX_LEVELS, GLCMSettings

_THREADS = 1 << 18
"""Threads of the counting kernel that suffice to fill a device: with more, strips get longer instead. The
first planes of a strip are work without results."""

_LONGEST_STRIP = 64
"""Most voxels of a strip."""


@dataclass(frozen=True)
class _EntropyScratch:
    """Arrays and tables on a device; see `entropy_kernels.count_kernel`."""

    words: Any  # of the pairs of the directions that are counted together
    totals: Any  # sums over the directions so far, and their numbers
    terms: Any
    tables: dict[tuple[int, bool], Any]  # lookup tables, by number of pairs and whether windows are named
    log_table: Any


class EntropyStage(LevelStage):
    """Joint entropy: threads march along columns of windows; see `entropy_kernels`."""

    def __init__(self, task: Task, chosen: Chosen) -> None:
        super().__init__(task, chosen)
        self._marches = entropy_kernels.marches(task.settings, task.bins.wide)
        self._together = len(self._marches[0].group)  # directions whose words are needed at the same time

    def check(self) -> None:
        """Raise ValueError for the one setting that leaves no word free for non-pairs."""
        if self._task.bins.levels == MAX_LEVELS and not self._task.settings.symmetric:
            msg = (
                f"joint entropy with {MAX_LEVELS} levels and symmetric=False is not supported on CUDA "
                "devices; use fewer levels or backend 'cpu'"
            )
            raise ValueError(msg)

    def comparisons(self) -> int:
        """See `CUDAStage`. Windows share their comparisons, which are therefore few."""
        return 1

    def bytes(self, most: Extent) -> int:
        """See `CUDAStage`. A word for every place and direction, a total and a count for every voxel."""
        return 4 * most.places * self._together + 12 * most.written

    def scratch(self, most: Extent) -> _EntropyScratch:
        """See `CUDAStage`."""
        keys = dict.fromkeys((march.pairs, march.named) for march in self._marches)
        return _EntropyScratch(
            words=cuda.device_array(most.places * self._together, np.uint32),
            totals=cuda.device_array(most.written, np.int64 if self._task.merge else np.float64),
            terms=cuda.device_array(most.written, np.int32),
            tables={key: device_table(entropy_kernels.lookup_table, *key) for key in keys},
            log_table=device_table(log_table, max(pairs for pairs, _ in keys)),
        )

    def map(
        self, source: Source, origin: tuple[int, int], scratch: _EntropyScratch, out: Any, stream: Any
    ) -> None:
        """See `CUDAStage`."""
        ((plane, _),) = self._chosen
        out = out[plane]
        places = self._task.places(out.shape)
        words = scratch.words[: self._together * math.prod(places)]
        # The words of a group of directions are written before they are counted; the next group reuses the
        # array.
        numbers = range(len(self._marches))
        for group in [numbers] if self._task.merge else [[k] for k in numbers]:
            for k in group:
                self._write_words(k, source.levels, origin, words.reshape((-1, *places)), stream)
            for k in group:
                self._count(k, source.levels, origin, scratch, words, out, stream)

    def _write_words(self, k: int, levels: Any, origin: tuple[int, int], words: Any, stream: Any) -> None:
        """Start the kernel that writes the words of direction k."""
        task, settings = self._task, self._task.settings
        offset = _offset(settings, k)
        # The first place is `radii` before the block, and the pair's first voxel `first_end` from there.
        ways = entropy_kernels.first_end(offset, settings.dimensions), (*origin, 0), settings.radii
        start = tuple(end + begin - radius for end, begin, radius in zip(*ways, strict=True))
        launch(
            compiled(entropy_kernels.word_kernel, task.bins.wide), words.shape[1:], stream,
            levels, start, offset, task.bins.levels, settings.symmetric, self._marches[k].me, words,
        )  # fmt: skip

    def _count(
        self, k: int, levels: Any, origin: tuple[int, int], scratch: Any, words: Any, out: Any, stream: Any
    ) -> None:
        """Start the kernel that counts direction k."""
        march, settings = self._marches[k], self._task.settings
        totals, terms = scratch.totals[: out.size], scratch.terms[: out.size]
        strip = min(max(4 * (march.planes - 1), out.size // _THREADS, 1), _LONGEST_STRIP)
        length, across = out.shape[:2] if settings.dimensions == 3 else out.shape[1::-1]
        threads = (-(-length // strip), across, out.shape[2])
        launch(
            compiled(entropy_kernels.count_kernel, march), threads, stream,
            words, strip, scratch.tables[march.pairs, march.named], scratch.log_table,
            k == 0, k == len(self._marches) - 1, totals, terms,
            levels, *origin, settings.log_unit / LOG_ONE, out, block=march.block,
        )  # fmt: skip


class SumsStage(LevelStage):
    """The features computed from sums over pairs, all except joint entropy and MCC; see `feature_kernels`."""

    def __init__(self, task: Task, chosen: Chosen) -> None:
        super().__init__(task, chosen)
        self._walk = feature_kernels.walk_of(chosen, task.settings.symmetric, task.merge)
        self._scale = scale_of(task.settings, most_pairs(task.settings))

    def check(self) -> None:
        """Raise ValueError if the sums could overflow with this many levels."""
        check_levels((feature for _, feature in self._chosen), self._task)

    def comparisons(self) -> int:
        """See `CUDAStage`. With ranks, every pair is compared with all earlier ones."""
        pairs = most_pairs(self._task.settings)
        matrices = 1 if self._task.merge else len(directions(self._task.settings))
        return matrices * pairs * (pairs if self._walk.counted.ranked else 1)

    def bytes(self, most: Extent) -> int:
        """See `CUDAStage`. None: all sums stay in registers."""
        return 0

    def scratch(self, most: Extent) -> list[Any]:
        """Return the directions and tables that `feature_kernels.feature_kernel` takes."""
        settings = self._task.settings
        logs = logs_of_ends(most_pairs(settings), self._scale)
        inverses = inverse_table(self._task.bins.levels, self._scale)
        tables = directions(settings), log_steps(logs), logs, inverses
        return [cuda.to_device(table) for table in tables]

    def map(self, source: Source, origin: tuple[int, int], scratch: list[Any], out: Any, stream: Any) -> None:
        """See `CUDAStage`."""
        levels = source.levels
        offsets, *tables = scratch
        launch(
            compiled(feature_kernels.feature_kernel, self._walk), out.shape[1:], stream,
            levels.reshape(levels.size), levels.shape, offsets, self._task.settings.radii, *tables,
            *self._scale[1:], *origin, out,
        )  # fmt: skip


class MCCStage(CUDACountedStage):
    """The maximal correlation coefficient: threads, each with its own matrix, go from voxel to voxel."""

    counted = MCC
    count_kernel = staticmethod(mcc_kernels.count_kernel)
    mean_kernel = staticmethod(mcc_kernels.mean_kernel)


def _offset(settings: GLCMSettings, k: int) -> tuple[int, int, int]:
    """Return the offset of direction k as ints."""
    z, y, x = directions(settings)[k].tolist()
    return z, y, x


STAGES: dict[str, type[CUDAStage]] = {"entropy": EntropyStage, "sums": SumsStage, "mcc": MCCStage}
