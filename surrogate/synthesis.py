"""Synthetic maps: a network predicts every voxel instead of counting its co-occurrence matrix."""

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
from glcm_cuda.base.steps import step
from glcm_cuda.levels.quantize import quantize
from surrogate.dense import dense_model
from surrogate.export import onnx_predictor
from surrogate.model import glcm_settings, model_features
from surrogate.settings import Runtime

TILE = 128
"""Default edge of a tile in voxels: larger tiles do not fit into the processor's caches."""

BATCH = 2048
"""Patches predicted at a time, the fastest number on a CPU.

From 4096 on, the memory of the layers (13 kB per patch in the first one) is returned to the system after
every batch, which makes batches take half as long again."""

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
    """Return the synthetic map of an image.

    Parameters
    ----------
    image : (Y, X) or (Z, Y, X) array of real numbers
        Intensities in any unit, without NaN. They are quantised over the whole image with the settings of
        the model.
    model : keras.Model
        Model of one feature, from `load_model` or `build_model`; or its `dense_model`, which saves the time
        of building that for every image.
    tile : int
        Edge of the squares that are computed at a time, in voxels, 1 or more. It bounds the memory.
    runtime : {"keras", "onnxruntime"}
        Library that computes the network.
    progress : callable (done, total), optional
        Called after every tile with the number of voxels done.

    Returns
    -------
    float32 array of the image's shape
        Values in the unit of the model's settings. Within ``radius`` voxels of the border of a slice, the
        window is completed by reflection, since the network needs whole windows. The exact map clips the
        window instead, so the two differ there by more than the error of the network.

    Raises
    ------
    TypeError, ValueError
        If the image is not valid (see `glcm_cuda.quantize`), does not have two or three dimensions, or has
        slices smaller than the window; if the model has no settings or several features; or if `tile` is
        below 1.
    """
    names = model_features(model)
    if len(names) > 1:
        msg = f"the model predicts {', '.join(names)}; use synthesize_features, which returns all maps"
        raise ValueError(msg)
    return synthesize_features(image, model, tile=tile, runtime=runtime, progress=progress)[names[0]]


@step("network")
def synthesize_features(
    image: npt.ArrayLike,
    model: keras.Model,
    *,
    tile: int = TILE,
    runtime: Runtime = "keras",
    progress: Progress | None = None,
) -> dict[str, Map]:
    """Return the synthetic maps of all features of a model, by name; see `synthesize` for the arguments."""
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
    for done, (target, source) in enumerate(tiles, start=1):
        out[target] = predict(padded[source][..., np.newaxis].astype(np.float32))
        if progress is not None:
            progress(levels.size * done // len(tiles), levels.size)
    return {name: out[..., column].reshape(np.shape(image)) for column, name in enumerate(names)}


def synthesize_patches(
    image: npt.ArrayLike,
    model: keras.Model,
    *,
    batch: int = BATCH,
    progress: Progress | None = None,
) -> Map:
    """Return the synthetic map of the first feature, predicted patch by patch as in training.

    Slower than `synthesize`, but it works for any network that takes patches.

    Parameters
    ----------
    image, progress
        See `synthesize`.
    model : keras.Model
        Model from `load_model` or `build_model`.
    batch : int
        Approximate number of patches predicted at a time, 1 or more; at least those of a row of the image.

    Returns
    -------
    float32 array of the image's shape
        See `synthesize`.

    Raises
    ------
    TypeError, ValueError
        See `synthesize`; and if `batch` is below 1.
    """
    settings = glcm_settings(model)
    levels = _stack(quantize(image, settings), settings.edge)
    if batch < 1:
        msg = f"batch must be 1 or more, got {batch}"
        raise ValueError(msg)
    out = np.empty((levels.shape[0] * levels.shape[1], levels.shape[2]), np.float32)  # rows of all slices
    # (Z, Y, X, w, w): the window around every voxel, as a view.
    windows = sliding_window_view(
        _padded(levels, settings.radius), (settings.edge, settings.edge), axis=(1, 2)
    )
    rows_at_once = _rows_at_once(len(out), levels.shape[2], batch)
    for start in range(0, len(out), rows_at_once):
        stop = min(start + rows_at_once, len(out))
        # The last batch is filled by repeating the last row: batches of one size are compiled only once.
        rows = np.minimum(np.arange(start, start + rows_at_once), len(out) - 1)
        patches = windows[np.divmod(rows, levels.shape[1])]  # (rows, X, w, w)
        out[start:stop] = _predict(model, patches)[: stop - start]
        if progress is not None:
            progress(stop * levels.shape[2], out.size)
    return out.reshape(np.shape(image))


def _predictor(model: keras.Model, runtime: Runtime) -> Callable[[Map], Map]:
    """Return the function from (N, Y, X, 1) levels to (N, Y-w+1, X-w+1, F) values."""
    if runtime == "onnxruntime":
        return onnx_predictor(model)
    dense = model if model.input_shape[1] is None else dense_model(model)
    return lambda levels: np.asarray(dense.predict_on_batch(levels), np.float32)


def _stack(levels: npt.NDArray[np.uint8], window: int) -> npt.NDArray[np.uint8]:
    """Return the levels as (Z, Y, X); raise ValueError if the slices are too small for a window."""
    if levels.ndim not in (2, 3):
        msg = f"image must have two or three dimensions, got shape {levels.shape}"
        raise ValueError(msg)
    rows, columns = levels.shape[-2:]
    if min(rows, columns) < window:
        msg = f"image must hold a whole {window}x{window} window, got slices of {rows}x{columns} voxels"
        raise ValueError(msg)
    return levels.reshape((-1, rows, columns))


def _padded(levels: npt.NDArray[np.uint8], radius: int) -> npt.NDArray[np.uint8]:
    """Return (Z, Y+2r, X+2r) levels: every slice is extended by the radius of the window, by reflection."""
    return np.pad(levels, ((0, 0), (radius, radius), (radius, radius)), mode="reflect")


def _tiles(
    shape: tuple[int, ...], tile: int, edge: int
) -> Iterator[tuple[tuple[slice, ...], tuple[slice, ...]]]:
    """Yield, for each tile, where its values go in the map and which of the padded levels it needs.

    All tiles have one shape, so that backends compile the network only once; the last ones overlap those
    before them. A tile spans several slices if these are small.
    """
    height, width = (min(tile, length) for length in shape[1:])
    sizes = (min(shape[0], max(1, tile * tile // (height * width))), height, width)
    margins = (0, edge - 1, edge - 1)
    starts = (
        [min(start, length - size) for start in range(0, length, size)]
        for length, size in zip(shape, sizes, strict=True)
    )
    for corner in itertools.product(*starts):
        target, source = (
            tuple(
                slice(start, start + size + margin)
                for start, size, margin in zip(corner, sizes, added, strict=True)
            )
            for added in ((0, 0, 0), margins)
        )
        yield target, source


def _rows_at_once(rows: int, columns: int, batch: int) -> int:
    """Return the number of rows of voxels in a batch, such that the last batch is nearly full too."""
    return math.ceil(rows / math.ceil(rows * columns / max(batch, columns)))


def _predict(model: keras.Model, patches: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return the predictions (rows, X) of (rows, X, w, w) patches."""
    batch = patches.reshape((-1, *patches.shape[2:], 1)).astype(np.float32)
    prediction: Any = model.predict_on_batch(batch)
    return np.asarray(prediction, np.float32)[:, 0].reshape(patches.shape[:2])
