"""CUDA kernels of grey-tone differences; see `counted_cuda.CUDACountedStage` for their arguments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from numba import cuda

from glcm_cuda.base.cache import versioned
from glcm_cuda.families.counted_cuda import Planes, voxel_at, writing
from glcm_cuda.families.inlining import inlined
from glcm_cuda.families.ngtdm.differences import counting_with, scratch_of
from glcm_cuda.families.ngtdm.values import FORMULAS, values_at
from glcm_cuda.families.offsets import directions
from glcm_cuda.families.windows import Frame, jumps
from glcm_cuda.settings import GLCMSettings


def neighbour_jumps(settings: GLCMSettings, frame: Frame) -> npt.NDArray[np.uint64]:
    """Return the steps forwards to half of a voxel's neighbours in a window's array."""
    return jumps(directions(replace(settings, directions="all")), frame)


@inlined()
def visit_neighbours(window, voxels, jumps, frame, around):  # type: ignore[no-untyped-def]
    """Write the sums over every voxel and its neighbours; see `differences.counting_with`.

    One thread has no use for the box sums of the CPU, which pay off in vectors.
    """
    values = window.values
    for at in range(np.uint64(voxels)):
        place = np.uint64(window.places[at])
        levels, counts = int(values[place]), 1
        for k in range(np.uint64(len(jumps))):
            before, after = values[place - jumps[k]], values[place + jumps[k]]
            levels += max(before, 0) + max(after, 0)
            counts += int(before >= 0) + int(after >= 0)
        around.levels[at] = levels
        around.counts[at] = counts


_count_differences = counting_with(visit_neighbours)
_write_features = writing(FORMULAS, values_at)


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
            scratch = scratch_of(integers[:, thread], reals[:, thread], plan)
            _count_differences(levels, centre, plan, scratch, sums[:, :, voxel])

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
