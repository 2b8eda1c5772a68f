"""Maps of arrays that already lie on a CUDA device."""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numba import cuda

from glcm_cuda.base.blocks import shape_of, size_of, start_in
from glcm_cuda.base.checks import is_device_array
from glcm_cuda.engines.cuda import kernels
from glcm_cuda.engines.cuda.slabs import Job, Scratch, map_block, prepare
from glcm_cuda.families.launching import compiled
from glcm_cuda.families.registry import feature_named
from glcm_cuda.families.stage import Task
from glcm_cuda.levels.bins import Bins
from glcm_cuda.levels.quantize import (
    bins_between,
    mask_array,
    refuse_voxels_not_finite,
    ruled_range,
    where_of,
)
from glcm_cuda.settings import GLCMSettings

_EXTENT_THREADS = 1 << 15
"""Threads that look for the extent of intensities, each through a part of them."""


def map_device_array(
    image: Any,
    settings: GLCMSettings,
    mask: Any,
    bins: Bins | None,
    out: Any,
    stream: Any,
    progress: Callable[[int, int], None],
) -> Any:
    """Map an array that lies on a device, without a copy to the host; see `entropy_map`."""
    _refuse_what_needs_the_host(settings, bins)
    with quiet():
        queue = _queue(stream)
        source, inside = _on_device("image", image), None
        if mask is not None:
            if not is_device_array(mask):
                mask = cuda.to_device(np.ascontiguousarray(mask_array(mask, tuple(image.shape)) != 0))
            if tuple(mask.shape) != tuple(image.shape):
                msg = f"mask must have the image's shape {tuple(image.shape)}, got {tuple(mask.shape)}"
                raise ValueError(msg)
            inside = _on_device("mask", mask)
        if out is image:
            msg = "out must not be the image, of which windows of voxels to come need what is there"
            raise ValueError(msg)
        result = cuda.device_array(tuple(image.shape), np.float32) if out is None else out
        target = _on_device("out", result)
        if tuple(result.shape) != tuple(image.shape) or target.dtype != np.float32:
            got = f"{target.dtype} of shape {tuple(result.shape)}"
            msg = f"out must be float32 of shape {tuple(image.shape)}, got {got}"
            raise ValueError(msg)
        if bins is None:
            extent_of = functools.partial(_extent, source, inside, stream=queue)
            bounds = ruled_range(settings, mask is not None, extent_of)
            bins = bins_between(*bounds, settings, source.dtype)
        else:
            refuse_voxels_not_finite(_extent(source, inside, False, queue)[2], where_of(mask is not None))
        if inside is not None and not settings.masked_window:
            _refuse_not_finite(_extent(source, None, True, queue)[2])
        entropy = (feature_named("joint_entropy"),)
        job = Job(Task(settings, bins, entropy), source.dtype, inside is not None, target.shape)
        parts, ((scratch,),) = prepare(job, Scratch, [contextlib.nullcontext()], 1)
        if queue:  # which need not wait for the default stream, on which tables and mask came
            cuda.default_stream().synchronize()
        mapped = 0
        for block in parts:
            part = job.part(block)
            mask_part = None if inside is None else inside[part]
            maps = target[block].reshape((1, *shape_of(block, target.shape[2])))
            map_block(job, source[part], mask_part, start_in(part, block), scratch, maps, queue)
            mapped += size_of(block, target.shape[2])
            progress(mapped, target.size)
        return result


def _refuse_what_needs_the_host(settings: GLCMSettings, bins: Bins | None) -> None:
    """Refuse ranges that are not found on a device, and slices that do not lie one after another there."""
    wrong = next((name for name in ("percentiles", "deviations") if getattr(settings, name) is not None), "")
    if settings.range_over == "crop" and settings.intensity_range is None:
        wrong = 'range_over="crop"'
    if wrong and bins is None:
        msg = f"{wrong} needs an image in the host's memory; give intensity_range or copy it to the host"
        raise ValueError(msg)
    if settings.slice_axis:
        msg = f"slice_axis={settings.slice_axis} needs an image in the host's memory; copy it to the host"
        raise ValueError(msg)


def _refuse_not_finite(wrong: int) -> None:
    if wrong:
        msg = (
            f"with masked_window=False an image on a device must hold finite intensities, got {wrong} NaN or "
            "infinite; repair it or copy it to the host, where only those that windows reach count"
        )
        raise ValueError(msg)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without Numba's advice on small grids: that a small image fills no device is no fault."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Grid size")
        yield


def _on_device(name: str, array: Any) -> Any:
    """Return an array on a device as a (Z, Y, X) array of Numba's."""
    if not is_device_array(array):
        msg = f"{name} must lie on the CUDA device, as the image does, got {type(array).__name__}"
        raise ValueError(msg)
    view = array if hasattr(array, "__cuda_ndarray__") else cuda.as_cuda_array(array)
    if view.dtype.kind not in "biuf":
        msg = f"{name} must hold real numbers, got dtype {view.dtype}"
        raise TypeError(msg)
    if view.ndim not in (2, 3) or view.size == 0:
        msg = f"{name} must have two or three dimensions and not be empty, got shape {tuple(view.shape)}"
        raise ValueError(msg)
    if not view.is_c_contiguous():
        msg = f"{name} lies on the device with gaps; pass a contiguous copy"
        raise ValueError(msg)
    return view if view.ndim == 3 else view.reshape((1, *view.shape))


def _queue(stream: Any) -> Any:
    """Return a stream of Numba's for a handle, or an object of CuPy's or PyTorch's that has one."""
    for name in ("ptr", "cuda_stream"):
        stream = getattr(stream, name, stream)
    if isinstance(stream, (int, np.integer)):
        return cuda.external_stream(int(stream)) if stream else 0
    return stream or 0


def _extent(source: Any, inside: Any, every: bool, stream: Any) -> tuple[float, float, int]:
    """Return what `ruled_range` asks for, of an array on a device."""
    counts = cuda.device_array((2, _EXTENT_THREADS), np.int64)
    ends = cuda.device_array((2, _EXTENT_THREADS), np.float64)
    masked = inside is not None and not every
    compiled(kernels.extent_kernel, masked)[_EXTENT_THREADS // 128, 128, stream](
        source, inside if masked else source, ends, counts
    )
    found, numbers = ends.copy_to_host(stream=stream), counts.copy_to_host(stream=stream)
    if stream:
        stream.synchronize()
    (lows, highs), (finite, wrong) = found, numbers.sum(axis=1)
    if masked and finite + wrong == 0:
        msg = "mask must have voxels inside, got none"
        raise ValueError(msg)
    return float(lows.min()), float(highs.max()), int(wrong)
