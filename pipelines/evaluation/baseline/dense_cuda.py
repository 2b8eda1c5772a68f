"""The dense baseline on a CUDA device: one thread per voxel, its matrix in global memory."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import cuda

from glcm_cuda.families.launching import start
from pipelines.evaluation.baseline.dense_cpu import voxel_entropy

_THREADS_PER_BLOCK = 128


def map_levels(
    stack: npt.NDArray[np.uint8],
    radius: int,
    offsets: npt.NDArray[np.int32],
    number_of_levels: int,
    scratch_bytes: int,
    out: npt.NDArray[np.float32],
) -> None:
    """Write the entropy around every voxel of a (Z, Y, X) stack of levels into `out`.

    Voxels are processed in chunks whose int32 matrices fit `scratch_bytes` of device memory.
    """
    matrix_bytes = number_of_levels**2 * np.dtype(np.int32).itemsize
    chunk = min(max(1, scratch_bytes // matrix_bytes), stack.size)
    # The voxel is the last axis, so that neighbouring threads touch neighbouring addresses.
    counts = cuda.device_array((number_of_levels, number_of_levels, chunk), np.int32)
    device_stack, device_offsets = cuda.to_device(stack), cuda.to_device(offsets)
    device_out = cuda.device_array(stack.shape, np.float32)
    blocks = -(-chunk // _THREADS_PER_BLOCK)
    for first in range(0, stack.size, chunk):
        start(
            chunk_kernel, blocks, _THREADS_PER_BLOCK, 0,
            device_stack, first, radius, device_offsets, counts, device_out,
        )  # fmt: skip
    device_out.copy_to_host(out)


@cuda.jit
def chunk_kernel(stack, start, radius, offsets, counts, out):  # type: ignore[no-untyped-def]
    """Entropy of the voxels from `start` on, as many as `counts` (G, G, voxels) has matrices."""
    slot = cuda.grid(1)
    voxel = start + slot
    if slot >= counts.shape[2] or voxel >= stack.size:
        return
    width = stack.shape[2]
    line = voxel // width
    z, row, column = line // stack.shape[1], line % stack.shape[1], voxel % width
    out[z, row, column] = voxel_entropy(stack, z, row, column, radius, offsets, counts[:, :, slot])
