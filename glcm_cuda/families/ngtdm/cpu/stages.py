"""The stage of the family of grey-tone differences on the CPU."""

from __future__ import annotations

import functools
from typing import Any

from numba import njit

from glcm_cuda.base.cache import can_cache, versioned
from glcm_cuda.families.counted_cpu import CPUCountedStage
from glcm_cuda.families.ngtdm.cpu.boxes import FRAMES, add_boxes, boxes_of
from glcm_cuda.families.ngtdm.differences import counted_by, counting_with, scratch_of
from glcm_cuda.families.stage import CPUStage

_count_differences = counting_with(add_boxes)


@functools.cache
def _compiled() -> Any:
    """Return the loop over the windows of rows, compiled or read from Numba's cache."""

    @njit(nogil=True, cache=can_cache(), error_model="numpy")
    @versioned(__name__)
    def count_rows(levels, z, y, plan, integers, reals, sums):  # type: ignore[no-untyped-def]
        scratch = scratch_of(integers, reals, plan)
        for row in range(sums.shape[2]):
            for x in range(sums.shape[3]):
                _count_differences(levels, (z, y + row, x), plan, scratch, sums[:, :, row, x])

    return count_rows


class DifferencesStage(CPUCountedStage):
    """All features of grey-tone differences."""

    counted = counted_by(boxes_of, FRAMES)
    count_rows = staticmethod(_compiled)


STAGES: dict[str, type[CPUStage]] = {"differences": DifferencesStage}
"""The one stage of the family."""
