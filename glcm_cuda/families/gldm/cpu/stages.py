"""The stage of the dependence family on the CPU."""

from __future__ import annotations

import functools
from typing import Any

from numba import njit

from glcm_cuda.base.cache import can_cache, versioned
from glcm_cuda.families.counted_cpu import CPUCountedStage
from glcm_cuda.families.gldm.dependences import DEPENDENCES, count_dependences
from glcm_cuda.families.stage import CPUStage


@functools.cache
def _compiled() -> Any:
    """Return the loop over the windows of rows, compiled or read from Numba's cache."""

    @njit(nogil=True, cache=can_cache(), error_model="numpy")
    @versioned(__name__)
    def count_rows(levels, z, y, plan, integers, reals, sums):  # type: ignore[no-untyped-def]
        for row in range(sums.shape[2]):
            for x in range(sums.shape[3]):
                count_dependences(levels, (z, y + row, x), plan, integers, reals, sums[:, :, row, x])

    return count_rows


class MatrixStage(CPUCountedStage):
    """All features of dependences."""

    counted = DEPENDENCES
    count_rows = staticmethod(_compiled)


STAGES: dict[str, type[CPUStage]] = {"matrix": MatrixStage}
"""The one stage of the family."""
