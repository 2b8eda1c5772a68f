"""The paper's algorithm, kept as the baseline of the benchmark: a full co-occurrence matrix per window.

For every voxel and direction the G x G matrix is cleared, filled from the pairs in the window and
scanned. The maps equal those of `glcm_cuda.entropy_map`, but take longer.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from glcm_cuda import GLCMSettings, quantize
from glcm_cuda.families.offsets import directions
from pipelines.evaluation.baseline import dense_cpu

SCRATCH_BYTES = 1 << 31
"""Device memory for the matrices: room for 131,072 voxels at a time with 64 levels."""


def dense_entropy_map(
    image: npt.ArrayLike,
    settings: GLCMSettings | None = None,
    *,
    backend: Literal["cpu", "cuda"] = "cpu",
    scratch_bytes: int = SCRATCH_BYTES,
) -> npt.NDArray[np.float32]:
    """Entropy around every voxel, by a dense co-occurrence matrix for each.

    Parameters
    ----------
    image : (Y, X) or (Z, Y, X) array of real numbers
        Intensities in any unit, finite.
    settings : GLCMSettings, optional
        2D windows, symmetric, mean of the directions, bits; others are refused.
    backend : {"cpu", "cuda"}
        CPU: rows in parallel, one matrix per thread. CUDA: one thread per voxel, its matrix in
        global memory.
    scratch_bytes : int
        Device memory for the matrices; voxels are processed in chunks that fit it.

    Returns
    -------
    float32 array of the image's shape
        Bits; NaN where the window holds no pair.

    Raises
    ------
    ValueError
        If the settings are not supported, or the image is unfit (see `glcm_cuda.quantize`).

    References
    ----------
    Parekh and Jacobs, Radiomic synthesis using deep convolutional neural networks, section 1.

    Examples
    --------
    >>> dense_entropy_map([[0, 1], [0, 1]]).round(3).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    settings = settings or GLCMSettings()
    check_settings(settings)
    levels = quantize(image, settings)
    if levels.ndim not in (2, 3):
        msg = f"image must have two or three dimensions, got shape {levels.shape}"
        raise ValueError(msg)
    stack = levels.reshape((-1, *levels.shape[-2:]))
    offsets = directions(settings)
    out = np.empty(stack.shape, np.float32)
    if backend == "cuda":
        from pipelines.evaluation.baseline import dense_cuda  # numba.cuda may be missing

        dense_cuda.map_levels(stack, settings.radius, offsets, settings.levels, scratch_bytes, out)
    else:
        dense_cpu.map_levels(stack, settings.radius, offsets, settings.levels, out)
    return out.reshape(levels.shape)


def check_settings(settings: GLCMSettings) -> None:
    """Raise ValueError for settings that the dense algorithm was not written for."""
    expected = {"dimensions": 2, "symmetric": True, "aggregate": "mean", "log_base": 2}
    got = {name: getattr(settings, name) for name in expected}
    if got != expected:
        msg = f"the dense baseline computes only {expected}, got {got}"
        raise ValueError(msg)
