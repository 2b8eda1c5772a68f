"""CUDA kernels of the size-zone family; see `counted_cuda.CUDACountedStage` for their arguments."""

from __future__ import annotations

from collections.abc import Callable

from numba import cuda

from glcm_cuda.base.cache import versioned
from glcm_cuda.families.counted_cuda import Planes, voxel_at, writing
from glcm_cuda.families.emphases import FORMULAS
from glcm_cuda.families.glszm.zones import count_zones
from glcm_cuda.families.tallies import sums_at

_write_features = writing(FORMULAS, sums_at)


def count_kernel() -> Callable[..., None]:
    """Return the kernel that counts windows."""

    @versioned(__name__)
    def count(  # type: ignore[no-untyped-def]
        levels, origin_z, origin_y, height, first, voxels, plan, integers, reals, sums
    ):
        thread = cuda.grid(1)
        if thread >= integers.shape[1]:
            return
        for voxel in range(thread, voxels, integers.shape[1]):
            z, y, x = voxel_at(first + voxel, height, levels.shape[2])
            centre = origin_z + z, origin_y + y, x
            count_zones(levels, centre, plan, integers[:, thread], reals[:, thread], sums[:, :, voxel])

    return count


def mean_kernel(planes: Planes) -> Callable[..., None]:
    """Return the kernel that writes features."""

    @versioned(__name__)
    def write(sums, first, voxels, out):  # type: ignore[no-untyped-def]
        voxel = cuda.grid(1)
        if voxel < voxels:
            z, y, x = voxel_at(first + voxel, out.shape[2], out.shape[3])
            _write_features(sums, voxel, planes, out, z, y, x)

    return write
