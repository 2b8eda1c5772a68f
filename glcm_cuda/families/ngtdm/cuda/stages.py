"""The stage of the family of grey-tone differences on CUDA devices."""

from __future__ import annotations

from glcm_cuda.families.counted_cuda import CUDACountedStage
from glcm_cuda.families.ngtdm.cuda.kernels import count_kernel, mean_kernel, neighbour_jumps
from glcm_cuda.families.ngtdm.differences import counted_by
from glcm_cuda.families.stage import CUDAStage


class DifferencesStage(CUDACountedStage):
    """All features of grey-tone differences."""

    counted = counted_by(neighbour_jumps, 0)
    count_kernel = staticmethod(count_kernel)
    mean_kernel = staticmethod(mean_kernel)


STAGES: dict[str, type[CUDAStage]] = {"differences": DifferencesStage}
"""The one stage of the family."""
