"""Maps of arrays that are already on a CUDA device."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import cuda

from glcm_cuda.base.blocks import shape_of, size_of, start_in
from glcm_cuda.base.checks import is_device_array
from glcm_cuda.engines.cuda import kernels
from glcm_cuda.engines.cuda.slabs import Job, Scratch, map_block, prepare
from glcm_cuda.families.launching import compiled, start
from glcm_cuda.families.registry import feature_named
from glcm_cuda.families.stage import Task
from glcm_cuda.levels.arrays import mask_array, refuse_nonfinite_voxels, scope_of
from glcm_cuda.levels.bins import Bins, bins_between
from glcm_cuda.levels.ranges import range_by_settings
from glcm_cuda.settings import GLCMSettings

_EXTENT_THREADS = 1 << 15
"""Threads that look for the range of intensities, each in a part of the rows."""


def map_device_array(
    image: Any,
    settings: GLCMSettings,
    mask: Any,
    bins: Bins | None,
    out: Any,
    stream: Any,
    progress: Callable[[int, int], None],
) -> Any:
    """Write the entropy map of an array on a device, which is not copied to the host.

    Parameters, result and errors: see `entropy_map`.
    """
    _refuse_settings_of_the_host(settings, bins)
    shape, queue = tuple(image.shape), _stream_of(stream)
    source = _as_volume("image", image)
    inside = None if mask is None else _mask_volume(mask, shape)
    result = _result(image, out)
    bins = _checked_bins(source, inside, settings, bins, queue)
    task = Task(settings, bins, (feature_named("joint_entropy"),))
    _map_blocks(task, source, inside, _as_volume("out", result), queue, progress)
    return result


def _refuse_settings_of_the_host(settings: GLCMSettings, bins: Bins | None) -> None:
    """Raise ValueError for ranges that are not computed on a device, and for slices across another axis."""
    wrong = next((name for name in ("percentiles", "deviations") if getattr(settings, name) is not None), "")
    if settings.range_over == "crop" and settings.intensity_range is None:
        wrong = 'range_over="crop"'
    if wrong and bins is None:
        msg = f"{wrong} needs an image in host memory; set intensity_range or copy the image to the host"
        raise ValueError(msg)
    if settings.slice_axis:
        msg = f"slice_axis={settings.slice_axis} needs an image in host memory; copy the image to the host"
        raise ValueError(msg)


def _as_volume(name: str, array: Any) -> Any:
    """Return an array on a device as a (Z, Y, X) Numba device array; `name` is for messages."""
    if not is_device_array(array):
        msg = f"{name} must be on the CUDA device like the image, got {type(array).__name__}"
        raise ValueError(msg)
    view = array if hasattr(array, "__cuda_ndarray__") else cuda.as_cuda_array(array)
    if view.dtype.kind not in "biuf":
        msg = f"{name} must hold real numbers, got dtype {view.dtype}"
        raise TypeError(msg)
    if view.ndim not in (2, 3) or view.size == 0:
        msg = f"{name} must have two or three dimensions and not be empty, got shape {tuple(view.shape)}"
        raise ValueError(msg)
    if not view.is_c_contiguous():
        msg = f"{name} must be contiguous on the device; pass a contiguous copy"
        raise ValueError(msg)
    return view if view.ndim == 3 else view.reshape((1, *view.shape))


def _mask_volume(mask: Any, shape: tuple[int, ...]) -> Any:
    """Return a mask of the host or the device as a (Z, Y, X) device array."""
    if not is_device_array(mask):
        mask = cuda.to_device(np.ascontiguousarray(mask_array(mask, shape) != 0))
    if tuple(mask.shape) != shape:
        msg = f"mask must have the image's shape {shape}, got {tuple(mask.shape)}"
        raise ValueError(msg)
    return _as_volume("mask", mask)


def _result(image: Any, out: Any) -> Any:
    """Return `out`, or a new array on the device, that can receive the map of an image."""
    if out is image:
        msg = "out must not be the image itself: windows of later voxels still read it"
        raise ValueError(msg)
    shape = tuple(image.shape)
    if out is None:
        return cuda.device_array(shape, np.float32)
    dtype = _as_volume("out", out).dtype
    if tuple(out.shape) != shape or dtype != np.float32:
        msg = f"out must be float32 of shape {shape}, got {dtype} of shape {tuple(out.shape)}"
        raise ValueError(msg)
    return out


def _checked_bins(source: Any, inside: Any, settings: GLCMSettings, bins: Bins | None, stream: Any) -> Bins:
    """Return `bins` if they are given, else those of the image; refuse NaN and infinities that count."""
    masked = inside is not None
    if bins is None:
        extent_of = functools.partial(_extent, source, inside, stream=stream)
        bins = bins_between(*range_by_settings(settings, masked, extent_of), settings, source.dtype)
    else:
        refuse_nonfinite_voxels(_extent(source, inside, False, stream)[2], scope_of(masked))
    if masked and not settings.masked_window:
        _refuse_nonfinite_anywhere(_extent(source, None, True, stream)[2])
    return bins


def _refuse_nonfinite_anywhere(wrong: int) -> None:
    """Raise ValueError if an image whose windows reach beyond the mask has NaN or infinite voxels."""
    if wrong:
        msg = (
            f"with masked_window=False an image on a device must hold finite intensities, got {wrong} NaN "
            "or infinite; repair it, or copy it to the host, where only voxels that windows reach count"
        )
        raise ValueError(msg)


def _extent(source: Any, inside: Any, every: bool, stream: Any) -> tuple[float, float, int]:
    """Return lowest and highest intensity and the number of others, as `range_by_settings` needs them."""
    counts = cuda.device_array((2, _EXTENT_THREADS), np.int64)
    ends = cuda.device_array((2, _EXTENT_THREADS), np.float64)
    masked = inside is not None and not every
    start(
        compiled(kernels.extent_kernel, masked), _EXTENT_THREADS // 128, 128, stream,
        source, inside if masked else source, ends, counts,
    )  # fmt: skip
    lows, highs = ends.copy_to_host(stream=stream)
    numbers = counts.copy_to_host(stream=stream)
    if stream:
        stream.synchronize()
    finite, wrong = numbers.sum(axis=1)
    if masked and finite + wrong == 0:
        msg = "mask must have voxels inside, got none"
        raise ValueError(msg)
    return float(lows.min()), float(highs.max()), int(wrong)


def _map_blocks(
    task: Task, source: Any, inside: Any, out: Any, stream: Any, progress: Callable[[int, int], None]
) -> None:
    """Start the kernels that write the map, block by block, and report each block as it is started."""
    job = Job(task, source.dtype, inside is not None, out.shape)
    parts, ((scratch,),) = prepare(job, Scratch, [contextlib.nullcontext()], 1)
    if stream:  # it does not wait by itself for the default stream, on which mask and bins were copied
        cuda.default_stream().synchronize()
    mapped, width = 0, out.shape[2]
    for block in parts:
        part = job.part(block)
        mask = None if inside is None else inside[part]
        maps = out[block].reshape((1, *shape_of(block, width)))
        map_block(job, source[part], mask, start_in(part, block), scratch, maps, stream)
        mapped += size_of(block, width)
        progress(mapped, out.size)


def _stream_of(stream: Any) -> Any:
    """Return a Numba stream for a handle, or for an object of CuPy or PyTorch that has one; 0 for None."""
    for name in ("ptr", "cuda_stream"):
        stream = getattr(stream, name, stream)
    if isinstance(stream, (int, np.integer)):
        return cuda.external_stream(int(stream)) if stream else 0
    return stream or 0
