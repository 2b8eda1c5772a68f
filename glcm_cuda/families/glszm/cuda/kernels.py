"""The CUDA kernel that counts windows of the size-zone family; see `counted_cuda.CUDACountedStage`."""

from __future__ import annotations

from collections.abc import Callable

from numba import cuda

from glcm_cuda.base.cache import versioned
from glcm_cuda.families.counted_cuda import voxel_at
from glcm_cuda.families.glszm.zones import count_zones


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
