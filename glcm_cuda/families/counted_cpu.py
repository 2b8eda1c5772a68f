"""Stages on the CPU of families that count windows one after another; see `counting`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from glcm_cuda.base.threads import run_in_parts
from glcm_cuda.families.counting import CountedStage
from glcm_cuda.families.stage import Source

_MATRICES = 4096
"""Matrices whose sums are kept before the formulas are evaluated: few enough for the caches, and enough for
NumPy's functions to be worth their call."""

_STEPS_PER_PAIR = 4
"""Steps of a window that take about as long as the entropy of one pair."""


class CPUCountedStage(CountedStage):
    """Base of these stages; a subclass says how its family counts."""

    slowness = 16

    count_rows: ClassVar[Callable[[], Any]]
    """Returns the compiled function (levels, z, y, plan, integers, reals, sums) that counts the windows of
    rows; `sums` is (matrices, fields, rows, X)."""

    @property
    def entering(self) -> int:
        """Steps of a window, all of which are repeated when it moves on."""
        return max(1, self._counting.steps // _STEPS_PER_PAIR)

    def map(self, source: Source, origin: tuple[int, int], out: npt.NDArray[np.float32]) -> None:
        """Write the maps; see `CPUStage.map`."""
        (counting, plan), count_rows = self._within(source.levels.shape), type(self).count_rows()
        _, depth, height, width = out.shape
        rows = max(1, _MATRICES // counting.matrices // width)
        bands = -(-height // rows)
        fields = len(self.counted.sums._fields)

        def map_some(start: int, stop: int) -> None:
            integers = np.full(counting.memory.integers, -1, np.int32)
            reals = np.empty(counting.memory.reals)
            buffer = np.empty((counting.matrices, fields, rows, width))
            for band in range(start, stop):
                z, top = band // bands, band % bands * rows
                maps = out[:, z, top : top + rows]
                sums = buffer[:, :, : maps.shape[1]]
                count_rows(source.levels, origin[0] + z, origin[1] + top, plan, integers, reals, sums)
                self._evaluate(sums, maps)

        run_in_parts(map_some, depth * bands)

    def _evaluate(self, sums: npt.NDArray[np.float64], maps: npt.NDArray[np.float32]) -> None:
        """Write the means of the chosen features over the matrices; `maps` is (F, rows, X)."""
        present = sums[:, 0] > 0
        every = bool(present.all())
        terms = present.sum(axis=0, dtype=np.float64)
        values = self.counted.sums(*sums.swapaxes(0, 1))
        with np.errstate(divide="ignore", invalid="ignore"):  # without a matrix there is 0 / 0, which is NaN
            for plane, feature in self._chosen:
                found = self.counted.formulas[feature.formula](values)
                found = found if every else np.where(present, found, 0.0)
                total = found[0] if len(found) == 1 else found.sum(axis=0)
                np.divide(total, terms, out=maps[plane], casting="same_kind")
