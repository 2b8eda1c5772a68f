"""Maps of whole images: the door through which arrays come in."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from typing import Any, Protocol, overload

import numpy as np
import numpy.typing as npt

from glcm_cuda.base.checks import is_device_array
from glcm_cuda.engines.choice import Backend, resolve_backend
from glcm_cuda.families.feature import Feature
from glcm_cuda.families.registry import feature_named, features_named
from glcm_cuda.families.stage import Task
from glcm_cuda.levels.bins import Bins
from glcm_cuda.levels.quantize import bins_for, bins_of_levels, mask_array, real_array, stacked
from glcm_cuda.settings import GLCMSettings

Progress = Callable[[int, int], None]
_ENTROPY = (feature_named("joint_entropy"),)
_ENGINES = {"cpu": "glcm_cuda.engines.cpu", "cuda": "glcm_cuda.engines.cuda.engine"}


class DeviceArray(Protocol):
    """An array on a CUDA device: of Numba, CuPy, PyTorch or JAX."""

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
        Non-zero inside. A pair counts if both its voxels are inside.
    bins : Bins, optional
        Where the bins of the grey levels lie. By default they are found in `image` (`find_bins`); those
        of a whole image give a part of it the same levels.
    backend : {"auto", "cpu", "cuda"}
        "auto" takes the CUDA devices if there are any; the log says which was taken. The result has
        the same bits either way.
    progress : callable (done, total), optional
        Called with the number of voxels done after every block.
    out : float32 array of the image's shape, optional
        Takes the map, on the device if the image lies there. Writable, in C order, without gaps.
    stream : optional
        For an image on a device: the CUDA stream that reads it and that writes the map, as a handle or
        as an object of Numba, CuPy or PyTorch. By default the default stream.

    Returns
    -------
    float32 array of the image's shape
        `out` if it was given. In the unit of ``settings.log_base`` (bits). Windows are clipped at the
        border of the image. NaN outside the mask and where a window holds no pair.

    Raises
    ------
    TypeError, ValueError
        If the image, the mask or `out` is unfit (see `quantize`), or has not two or three dimensions.
    RuntimeError
        If ``backend="cuda"`` and no CUDA device can be used, or its memory is too small.

    Notes
    -----
    An array that lies on a CUDA device (of CuPy, PyTorch, JAX or Numba: whatever has
    ``__cuda_array_interface__``, without gaps) is mapped there, on the current device, and nothing but
    its range of intensities is copied to the host. The map is then an array of Numba's on the device,
    which the others take without a copy (``torch.as_tensor(map, device="cuda")``,
    ``cupy.asarray(map)``), or `out`. Work on the stream may still be going on when the call returns.

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
        return _device_map(image, settings, mask, bins, backend, progress, out, stream)
    if stream is not None:
        msg = "stream is for images on a CUDA device, got one in the host's memory"
        raise ValueError(msg)
    if out is None:
        out = np.empty(np.shape(image), np.float32)
    elif not isinstance(out, np.ndarray) or out.dtype != np.float32 or out.shape != np.shape(image):
        got = f"{out.dtype} of shape {out.shape}" if isinstance(out, np.ndarray) else type(out).__name__
        msg = f"out must be a float32 NumPy array of shape {np.shape(image)}, got {got}"
        raise ValueError(msg)
    elif not (out.flags.c_contiguous and out.flags.writeable):
        got = "one with gaps or in another order" if out.flags.writeable else "a read-only one"
        msg = f"out must be a writable array in C order without gaps, got {got}"
        raise ValueError(msg)
    _map(image, _ENTROPY, settings, mask, bins, backend, progress, stacked(out)[np.newaxis])
    return out


def feature_maps(
    image: npt.ArrayLike,
    features: str | Iterable[str] = ("joint_entropy",),
    settings: GLCMSettings | None = None,
    *,
    mask: npt.ArrayLike | None = None,
    bins: Bins | None = None,
    backend: Backend = "auto",
    progress: Progress | None = None,
) -> dict[str, npt.NDArray[np.float32]]:
    """Maps of features of the co-occurrence matrix, by name.

    Parameters
    ----------
    image, settings, mask, bins, backend, progress
        See `entropy_map`; the image lies in the host's memory.
    features : str or iterable of str
        Names of features (`features.NAMES`), or synonyms of pyradiomics, IBSI and Haralick; ``"all"``.

    Returns
    -------
    dict of str to float32 array of the image's shape
        By their own names, in the order of `features`. NaN outside the mask and where a window holds no
        pair.

    Raises
    ------
    TypeError, ValueError, RuntimeError
        If a feature is unknown or allows fewer levels, and as `entropy_map`.

    Notes
    -----
    Joint entropy is the map that `entropy_map` gives, with the same bits.

    References
    ----------
    docs/definition.md, section 6.

    Examples
    --------
    >>> maps = feature_maps([[0, 1], [0, 1]], ["JointEntropy", "contrast"], backend="cpu")
    >>> {name: float(values[0, 0]) for name, values in maps.items()}
    {'joint_entropy': 1.0, 'contrast': 2976.75}
    """
    chosen = features_named(features)
    array = real_array(image)
    out = np.empty((len(chosen), *stacked(array).shape), np.float32)
    _map(array, chosen, settings or GLCMSettings(), mask, bins, backend, progress, out)
    return {feature.name: out[i].reshape(array.shape) for i, feature in enumerate(chosen)}


def _map(
    image: npt.ArrayLike,
    features: tuple[Feature, ...],
    settings: GLCMSettings,
    mask: npt.ArrayLike | None,
    bins: Bins | None,
    backend: Backend,
    progress: Progress | None,
    out: npt.NDArray[np.float32],
) -> None:
    """Fill `out` (F, Z, Y, X) with the features of an image in the host's memory."""
    array = real_array(image)
    stack = stacked(array)
    if settings.slice_axis and array.ndim != 3:
        msg = f"slice_axis={settings.slice_axis} needs a volume, got shape {array.shape}"
        raise ValueError(msg)
    inside = None if mask is None else mask_array(mask, array.shape).reshape(stack.shape)
    task = Task(settings, bins_for(stack, settings, inside, bins), features)
    _fill(out, stack, inside, task, backend, progress)


def entropy_of_levels(
    levels: npt.NDArray[np.unsignedinteger],
    settings: GLCMSettings | None = None,
    *,
    mask: npt.ArrayLike | None = None,
    backend: Backend = "auto",
    progress: Progress | None = None,
) -> npt.NDArray[np.float32]:
    """Entropy around every voxel of an image that is already quantised.

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
        If an element is not a level.
    """
    settings = settings or GLCMSettings()
    array = real_array(levels)
    if array.dtype not in (np.uint8, np.uint16):
        msg = f"levels must be uint8 or uint16, got {array.dtype}; see quantize"
        raise TypeError(msg)
    if int(array.max()) >= settings.levels:
        msg = f"levels must be below {settings.levels}, got {array.max()}"
        raise ValueError(msg)
    stack = stacked(array)
    inside = None if mask is None else mask_array(mask, array.shape).reshape(stack.shape)
    out = np.empty(array.shape, np.float32)
    task = Task(settings, bins_of_levels(settings.levels), _ENTROPY)
    _fill(stacked(out)[np.newaxis], stack, inside, task, backend, progress)
    return out


def _fill(
    out: npt.NDArray[np.float32],
    array: npt.NDArray[np.generic],
    inside: npt.NDArray[np.generic] | None,
    task: Task,
    backend: Backend,
    progress: Progress | None,
) -> None:
    """Fill `out` (F, Z, Y, X) from a volume, whose slices may lie across any axis."""
    engine = importlib.import_module(_ENGINES[resolve_backend(backend)])
    done = 0

    def advance(voxels: int) -> None:
        nonlocal done
        done += voxels
        if progress is not None:
            progress(done, array.size)

    axis = task.settings.slice_axis
    if inside is not None:
        inside = np.moveaxis(inside, axis, 0)
    # The engines want the rows of their maps without gaps.
    maps = out if axis == 0 else np.empty_like(np.moveaxis(out, axis + 1, 1), order="C")
    engine.map_volume(np.moveaxis(array, axis, 0), inside, task, maps, advance)
    if axis != 0:
        out[:] = np.moveaxis(maps, 1, axis + 1)


def _device_map(
    image: Any,
    settings: GLCMSettings,
    mask: Any,
    bins: Bins | None,
    backend: Backend,
    progress: Progress | None,
    out: Any,
    stream: Any,
) -> Any:
    if resolve_backend(backend) != "cuda":
        msg = f"the image lies on a CUDA device, which backend {backend!r} does not use; copy it to the host"
        raise ValueError(msg)
    from glcm_cuda.engines.cuda.device_arrays import map_device_array

    return map_device_array(image, settings, mask, bins, out, stream, progress or (lambda done, total: None))
