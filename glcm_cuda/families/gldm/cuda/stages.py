"""The stage of the dependence family on CUDA devices."""

from __future__ import annotations

from glcm_cuda.families.counted_cuda import CUDACountedStage
from glcm_cuda.families.emphases_cuda import mean_kernel
from glcm_cuda.families.gldm.cuda.kernels import count_kernel
from glcm_cuda.families.gldm.dependences import DEPENDENCES
from glcm_cuda.families.stage import CUDAStage


class MatrixStage(CUDACountedStage):
    """All features of dependences."""

    counted = DEPENDENCES
    count_kernel = staticmethod(count_kernel)
    mean_kernel = staticmethod(mean_kernel)


STAGES: dict[str, type[CUDAStage]] = {"matrix": MatrixStage}
"""The one stage of the family."""
