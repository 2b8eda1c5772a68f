"""Texture maps of whole images: the functions that take arrays and return maps."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterable
from numbers import Real
from typing import Any, Protocol, overload

import numpy as np
import numpy.typing as npt

from glcm_cuda.base.checks import is_device_array
from glcm_cuda.engines.choice import Backend, resolve_backend
from glcm_cuda.families.registry import feature_named, requested
from glcm_cuda.families.stage import Task
from glcm_cuda.levels.arrays import real_array
from glcm_cuda.levels.bins import Bins, bins_of_levels
from glcm_cuda.levels.volume import MaskedVolume, as_volume
from glcm_cuda.settings import GLCMSettings

Progress = Callable[[int, int], None]
"""Called as ``progress(done, total)``, both in voxels."""

_ENTROPY = (feature_named("joint_entropy"),)
_ENGINES = {"cpu": "glcm_cuda.engines.cpu", "cuda": "glcm_cuda.engines.cuda.engine"}


class DeviceArray(Protocol):
    """An array on a CUDA device, of Numba, CuPy, PyTorch or JAX."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]: ...


@overload
def entropy_map(
    image: npt.ArrayLike,
    settings: GLCMSettings | None = None,
    *,
    mask: npt.ArrayLike | None = None,
    bins: Bins | None = None,
    backend: Backend = "auto",
    progress: Progress | None = None,
    out: npt.NDArray[np.float32] | None = None,
) -> npt.NDArray[np.float32]: ...


@overload
def entropy_map(
    image: DeviceArray,
    settings: GLCMSettings | None = None,
    *,
    mask: npt.ArrayLike | DeviceArray | None = None,
    bins: Bins | None = None,
    backend: Backend = "auto",
    progress: Progress | None = None,
    out: DeviceArray | None = None,
    stream: Any = None,
) -> DeviceArray: ...


def entropy_map(
    image: Any,
    settings: GLCMSettings | None = None,
    *,
    mask: Any = None,
    bins: Bins | None = None,
    backend: Backend = "auto",
    progress: Progress | None = None,
    out: Any = None,
    stream: Any = None,
) -> Any:
    """Entropy of the co-occurrence matrix around every voxel.

    Parameters
    ----------
    image : (Y, X) or (Z, Y, X) array of real numbers
        Intensities in any unit. NaN and infinities are refused, except outside `mask`.
    settings : GLCMSettings, optional
        By default the preset ``radsynth``: 64 levels, 5x5 window, distance 1, four directions,
        symmetric, mean, bits.
    mask : array of the image's shape, optional
        Non-zero inside. A pair counts if both its voxels are inside (unless ``masked_window=False``).
    bins : Bins, optional
        Bins of the grey levels. By default they are found in `image` (`find_bins`); the bins of a whole
        image give a part of it the same levels.
    backend : {"auto", "cpu", "cuda"}
        "auto" uses the CUDA devices if there are any; the log says which backend it chose. The result has
        the same bits either way.
    progress : callable (done, total), optional
        Called after every block with the number of voxels done and their total number.
    out : float32 array of the image's shape, optional
        Receives the map; on the device if the image is there, and then without gaps. It must be writable.
    stream : optional
        For an image on a device: the CUDA stream on which it is read and the map is written, as a handle or
        as an object of Numba, CuPy or PyTorch. By default the default stream.

    Returns
    -------
    float32 array of the image's shape
        `out` if it was given. In the unit that ``settings.log_base`` says, bits by default. Windows are
        clipped at the border of the image. NaN outside the mask and where a window holds no pair.

    Raises
    ------
    TypeError, ValueError
        If the image, the mask or `out` is unfit (see `quantize`), or the image is not 2D or 3D.
    RuntimeError
        If ``backend="cuda"`` and no CUDA device can be used, or a device has too little memory.

    Notes
    -----
    An array on a CUDA device (of CuPy, PyTorch, JAX or Numba: any contiguous array that has
    ``__cuda_array_interface__``) is mapped there, on the current device; only its range of intensities is
    copied to the host. The result is then `out`, or a Numba device array, which the other libraries accept
    without a copy (``torch.as_tensor(map, device="cuda")``, ``cupy.asarray(map)``). Work on the stream may
    still be running when the call returns.

    References
    ----------
    docs/definition.md; Haralick, Shanmugam and Dinstein 1973, feature 9.

    Examples
    --------
    >>> entropy_map([[0, 1], [0, 1]], backend="cpu").round(3).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    settings = settings or GLCMSettings()
    if is_device_array(image):
        _refuse_host_backend(backend)
        from glcm_cuda.engines.cuda.device_arrays import map_device_array

        return map_device_array(image, settings, mask, bins, out, stream, progress or _ignore)
    if stream is not None:
        msg = "stream requires an image on a CUDA device, got one in host memory"
        raise ValueError(msg)
    array = real_array(image)
    if out is None:
        out = np.empty(array.shape, np.float32)
    else:
        _check_out(out, array.shape)
    volume = _volume_of(array, mask, settings)
    task = Task(settings, volume.bins(settings, bins), _ENTROPY)
    _fill(as_volume(out)[np.newaxis], volume, task, backend, progress)
    return out


def feature_maps(
    image: npt.ArrayLike,
    features: str | Iterable[str] = ("joint_entropy",),
    settings: GLCMSettings | None = None,
    *,
    mask: npt.ArrayLike | None = None,
    bins: Bins | None = None,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    backend: Backend = "auto",
    progress: Progress | None = None,
) -> dict[str, npt.NDArray[np.float32]]:
    """Maps of texture features of any family, by name.

    Parameters
    ----------
    image, settings, mask, bins, backend, progress
        See `entropy_map`; the image must be in the host's memory.
    features : str or iterable of str
        Names of features (`registry.NAMES`), or their names in pyradiomics (``"JointEntropy"``,
        ``"original_glcm_JointEntropy"``), IBSI (``"TU9B"``) or Haralick's paper; the name of a family for all
        its features; or ``"all"``. A name that families share needs the family's in front:
        ``"gldm_GrayLevelVariance"``.
    spacing : (float, float, float)
        Distance of neighbouring voxels along z, y and x, in mm. It matters to total energy alone.

    Returns
    -------
    dict of str to float32 array of the image's shape
        Keys are the names that were given, in their order; the features' own names where a family or all
        were asked for. NaN outside the mask and where the definition gives no value, such as in windows
        without a pair.

    Raises
    ------
    TypeError, ValueError, RuntimeError
        If a feature is unknown or does not allow so many levels, and as in `entropy_map`.

    Notes
    -----
    The map of joint entropy has the same bits as that of `entropy_map`.

    References
    ----------
    docs/definition.md, sections 6 and 10.

    Examples
    --------
    >>> maps = feature_maps([[0, 1], [0, 1]], ["JointEntropy", "contrast"], backend="cpu")
    >>> {name: float(values[0, 0]) for name, values in maps.items()}
    {'JointEntropy': 1.0, 'contrast': 2976.75}
    """
    settings, wanted = settings or GLCMSettings(), requested(features)
    chosen, spacing = tuple(dict.fromkeys(wanted.values())), _checked_spacing(spacing)
    array = real_array(image)
    volume = _volume_of(array, mask, settings)
    out = np.empty((len(chosen), *volume.image.shape), np.float32)
    _fill(out, volume, Task(settings, volume.bins(settings, bins), chosen, spacing), backend, progress)
    maps = dict(zip(chosen, out.reshape((len(chosen), *array.shape)), strict=True))
    return {name: maps[feature] for name, feature in wanted.items()}


def entropy_of_levels(
    levels: npt.NDArray[np.unsignedinteger],
    settings: GLCMSettings | None = None,
    *,
    mask: npt.ArrayLike | None = None,
    backend: Backend = "auto",
    progress: Progress | None = None,
) -> npt.NDArray[np.float32]:
    """Entropy of the co-occurrence matrix around every voxel of an image that is already quantised.

    Parameters
    ----------
    levels : (Y, X) or (Z, Y, X) uint8 or uint16 array
        Grey levels in ``[0, settings.levels)``.
    settings, mask, backend, progress
        See `entropy_map`.

    Returns
    -------
    float32 array of the same shape
        See `entropy_map`.

    Raises
    ------
    TypeError, ValueError
        If the array or the mask is unfit, or an element is not a level.
    """
    settings = settings or GLCMSettings()
    array = real_array(levels)
    if array.dtype not in (np.uint8, np.uint16):
        msg = f"levels must be uint8 or uint16, got {array.dtype}; quantize the image first"
        raise TypeError(msg)
    if int(array.max()) >= settings.levels:
        msg = f"levels must be below {settings.levels}, got {array.max()}"
        raise ValueError(msg)
    out = np.empty(array.shape, np.float32)
    task = Task(settings, bins_of_levels(settings.levels), _ENTROPY)
    _fill(as_volume(out)[np.newaxis], MaskedVolume.of(array, mask), task, backend, progress)
    return out


def _checked_spacing(spacing: object) -> tuple[float, float, float]:
    """Return the distances of neighbouring voxels as floats; refuse other than three positive numbers."""
    numbers = tuple(spacing) if isinstance(spacing, Iterable) else ()
    are_numbers = all(isinstance(number, Real) and 0 < float(number) < math.inf for number in numbers)
    if len(numbers) != 3 or not are_numbers:
        msg = (
            f"spacing must be three finite positive numbers, along z, y and x in mm, got {str(spacing)[:60]}"
        )
        raise ValueError(msg)
    z, y, x = map(float, numbers)
    return z, y, x


def _refuse_host_backend(backend: str) -> None:
    """Raise ValueError if an image on a CUDA device would not be mapped there."""
    if resolve_backend(backend) != "cuda":
        msg = f"the image is on a CUDA device, which backend {backend!r} cannot read; copy it to the host"
        raise ValueError(msg)


def _check_out(out: object, shape: tuple[int, ...]) -> None:
    """Raise ValueError if `out` cannot receive the map of an image in the host's memory."""
    if not isinstance(out, np.ndarray) or out.dtype != np.float32 or out.shape != shape:
        got = f"{out.dtype} of shape {out.shape}" if isinstance(out, np.ndarray) else type(out).__name__
        msg = f"out must be a float32 NumPy array of shape {shape}, got {got}"
        raise ValueError(msg)
    if not out.flags.writeable:
        msg = "out must be writable, got a read-only array"
        raise ValueError(msg)


def _volume_of(
    array: npt.NDArray[np.generic], mask: npt.ArrayLike | None, settings: GLCMSettings
) -> MaskedVolume:
    """Return an image and its mask as a volume; refuse a single slice if `slice_axis` is set."""
    if settings.slice_axis and array.ndim == 2:
        msg = f"slice_axis={settings.slice_axis} needs a volume, got shape {array.shape}"
        raise ValueError(msg)
    return MaskedVolume.of(array, mask)


def _fill(
    out: npt.NDArray[np.float32],
    volume: MaskedVolume,
    task: Task,
    backend: Backend,
    progress: Progress | None,
) -> None:
    """Fill `out` (F, Z, Y, X) with the task's features of a volume, whatever axis its slices lie across."""
    engine = importlib.import_module(_ENGINES[resolve_backend(backend)])
    done = 0

    def advance(voxels: int) -> None:
        nonlocal done
        done += voxels
        if progress is not None:
            progress(done, volume.image.size)

    axis = task.settings.slice_axis
    image = np.moveaxis(volume.image, axis, 0)
    mask = None if volume.mask is None else np.moveaxis(volume.mask, axis, 0)
    # The engines need maps without gaps, slice after slice.
    in_place = axis == 0 and out.flags.c_contiguous
    maps = out if in_place else np.empty_like(np.moveaxis(out, axis + 1, 1), order="C")
    engine.map_volume(image, mask, task, maps, advance)
    if not in_place:
        out[:] = np.moveaxis(maps, 1, axis + 1)


def _ignore(done: int, total: int) -> None:
    """Report no progress."""
