"""The CUDA kernel that turns `emphases.Sums` into features; runs, zones and dependences share it."""

from __future__ import annotations

from collections.abc import Callable

from numba import cuda

from glcm_cuda.base.cache import versioned
from glcm_cuda.families.counted_cuda import Planes, voxel_at, writing
from glcm_cuda.families.emphases import FORMULAS
from glcm_cuda.families.tallies import sums_at

_write_features = writing(FORMULAS, sums_at)


def mean_kernel(planes: Planes) -> Callable[..., None]:
    """Return the kernel that writes features; see `counted_cuda.CUDACountedStage` for its arguments."""

    @versioned(__name__)
    def write(sums, first, voxels, out):  # type: ignore[no-untyped-def]
        voxel = cuda.grid(1)
        if voxel < voxels:
            z, y, x = voxel_at(first + voxel, out.shape[2], out.shape[3])
            _write_features(sums, voxel, planes, out, z, y, x)

    return write
