"""Synthetic maps: the network in place of the co-occurrence matrix."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, get_args

import keras
import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from glcm_cuda.base.checks import check_choice
from glcm_cuda.levels.quantize import quantize
from surrogate.dense import dense_model
from surrogate.model import glcm_settings, model_features
from surrogate.settings import Runtime

TILE = 128
"""Voxels along the edge of what is computed at a time: larger tiles leave the processor's caches."""

BATCH = 2048
"""Patches predicted at a time, the fastest on a CPU: from 4096 on the layers' memory (13 kB a patch in the
first) goes back to the system after every batch and half as much time again is lost."""

Progress = Callable[[int, int], None]
Map = npt.NDArray[np.float32]


def synthesize(
    image: npt.ArrayLike,
    model: keras.Model,
    *,
    tile: int = TILE,
    runtime: Runtime = "keras",
    progress: Progress | None = None,
) -> Map:
    """Return the synthetic map of an image, whole slices at a time.

    Parameters
    ----------
    image : (Y, X) or (Z, Y, X) array of real numbers
        Intensities in any unit, without NaN; quantised over the whole image by the settings that the
        model carries.
    model : keras.Model
        Of `load_model` or `build_model`, with one feature; or what `dense_model` made of it, which saves the
        time of making that for every image.
    tile : int
        Voxels along the edge of the squares that are computed at a time, 1 or more: they bound the memory.
    runtime : {"keras", "onnxruntime"}
        What computes the network.
    progress : callable (done, total), optional
        Called with the number of voxels done after every tile.

    Returns
    -------
    float32 array of the image's shape
        In the unit of the model's settings. Within ``radius`` voxels of the border of a slice the
        window is filled up by reflection, since the network knows whole windows only; the exact map
        clips the window there, so these voxels are approximations of another kind.

    Raises
    ------
    TypeError, ValueError
        If the image is unfit (see `glcm_cuda.quantize`), has not two or three dimensions, or its
        slices are smaller than the window; if the model has no settings or several features, or `tile` is
        below 1.
    """
    names = model_features(model)
    if len(names) > 1:
        msg = f"the model gives {', '.join(names)}; synthesize_features returns them all"
        raise ValueError(msg)
    return synthesize_features(image, model, tile=tile, runtime=runtime, progress=progress)[names[0]]


def synthesize_features(
    image: npt.ArrayLike,
    model: keras.Model,
    *,
    tile: int = TILE,
    runtime: Runtime = "keras",
    progress: Progress | None = None,
) -> dict[str, Map]:
    """Return the synthetic maps of all features of a model, by their names; otherwise as `synthesize`."""
    settings = glcm_settings(model)
    levels = _stack(quantize(image, settings), settings.edge)
    if tile < 1:
        msg = f"tile must be 1 or more, got {tile}"
        raise ValueError(msg)
    check_choice("runtime", runtime, get_args(Runtime))
    predict = _predictor(model, runtime)
    padded = _padded(levels, settings.radius)
    names = model_features(model)
    out = np.empty((*levels.shape, len(names)), np.float32)
    tiles = list(_tiles(levels.shape, tile, settings.edge))
    for done, (inner, outer) in enumerate(tiles, start=1):
        out[inner] = predict(padded[outer][..., np.newaxis].astype(np.float32))
        if progress is not None:
            progress(levels.size * done // len(tiles), levels.size)
    return {name: out[..., place].reshape(np.shape(image)) for place, name in enumerate(names)}


def synthesize_patches(
    image: npt.ArrayLike,
    model: keras.Model,
    *,
    batch: int = BATCH,
    progress: Progress | None = None,
) -> Map:
    """Return what `synthesize` does, patch by patch as the network was trained; of the first feature.

    Slower, and for any network of patches. `batch` is the number of patches predicted at a time, about;
    at least a row of the image. Otherwise as `synthesize`.
    """
    settings = glcm_settings(model)
    levels = _stack(quantize(image, settings), settings.edge)
    if batch < 1:
        msg = f"batch must be 1 or more, got {batch}"
        raise ValueError(msg)
    out = np.empty((levels.shape[0] * levels.shape[1], levels.shape[2]), np.float32)
    windows = sliding_window_view(
        _padded(levels, settings.radius), (settings.edge, settings.edge), axis=(1, 2)
    )
    rows_at_once = _rows_at_once(len(out), levels.shape[2], batch)
    for start in range(0, len(out), rows_at_once):
        stop = min(start + rows_at_once, len(out))
        # Every batch has one size, the last one repeats its last row: no backend compiles twice.
        rows = np.minimum(np.arange(start, start + rows_at_once), len(out) - 1)
        patches = windows[np.divmod(rows, levels.shape[1])]
        out[start:stop] = _predict(model, patches)[: stop - start]
        if progress is not None:
            progress(stop * levels.shape[2], out.size)
    return out.reshape(np.shape(image))


def _predictor(model: keras.Model, runtime: Runtime) -> Callable[[Map], Map]:
    if runtime == "onnxruntime":
        from surrogate.export import onnx_predictor

        return onnx_predictor(model)
    dense = model if model.input_shape[1] is None else dense_model(model)
    return lambda levels: np.asarray(dense.predict_on_batch(levels), np.float32)


def _stack(levels: npt.NDArray[np.uint8], window: int) -> npt.NDArray[np.uint8]:
    """Return the levels as (Z, Y, X), refusing what no whole window fits into."""
    if levels.ndim not in (2, 3):
        msg = f"image must have two or three dimensions, got shape {levels.shape}"
        raise ValueError(msg)
    rows, columns = levels.shape[-2:]
    if min(rows, columns) < window:
        msg = f"image must hold a whole {window}x{window} window, got slices of {rows}x{columns} voxels"
        raise ValueError(msg)
    return levels.reshape((-1, rows, columns))


def _padded(levels: npt.NDArray[np.uint8], radius: int) -> npt.NDArray[np.uint8]:
    """Levels with the windows' margin around every slice, by reflection."""
    return np.pad(levels, ((0, 0), (radius, radius), (radius, radius)), mode="reflect")


def _tiles(
    shape: tuple[int, ...], tile: int, edge: int
) -> Iterator[tuple[tuple[slice, ...], tuple[slice, ...]]]:
    """Where each tile's values go, and the levels that it takes with its windows' margin.

    All have one shape, so that no backend compiles twice: the last ones overlap those before. Small
    slices are taken several at a time.
    """
    height, width = (min(tile, length) for length in shape[1:])
    sizes = (min(shape[0], max(1, tile * tile // (height * width))), height, width)
    margins = (0, edge - 1, edge - 1)
    starts = (
        [min(start, length - size) for start in range(0, length, size)]
        for length, size in zip(shape, sizes, strict=True)
    )
    for corner in itertools.product(*starts):
        inner, outer = (
            tuple(
                slice(start, start + size + more)
                for start, size, more in zip(corner, sizes, extra, strict=True)
            )
            for extra in ((0, 0, 0), margins)
        )
        yield inner, outer


def _rows_at_once(rows: int, columns: int, batch: int) -> int:
    """Rows of voxels in a batch, such that the last batch is nearly full too."""
    return math.ceil(rows / math.ceil(rows * columns / max(batch, columns)))


def _predict(model: keras.Model, patches: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return the prediction of (rows, columns, w, w) patches as (rows, columns)."""
    batch = patches.reshape((-1, *patches.shape[2:], 1)).astype(np.float32)
    prediction: Any = model.predict_on_batch(batch)
    return np.asarray(prediction, np.float32)[:, 0].reshape(patches.shape[:2])
