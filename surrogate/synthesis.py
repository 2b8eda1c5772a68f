"""Synthetic maps: the network in place of the co-occurrence matrix."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from glcm_cuda.quantize import quantize

from .model import glcm_settings

BATCH = 2048
"""Patches predicted at a time, the fastest on a CPU: from 4096 on the layers' memory (13 kB a patch in the
first) goes back to the system after every batch and half as much time again is lost."""

Progress = Callable[[int, int], None]


def synthesize(
    image: npt.ArrayLike,
    model: keras.Model,
    *,
    batch: int = BATCH,
    progress: Progress | None = None,
) -> npt.NDArray[np.float32]:
    """Return the synthetic entropy map of an image, slice by slice.

    Parameters
    ----------
    image : (Y, X) or (Z, Y, X) array of real numbers
        Intensities in any unit, without NaN; quantised over the whole image by the settings that the
        model carries.
    model : keras.Model
        Of `load_model` or `build_model`.
    batch : int
        Patches predicted at a time, about; at least a row of the image.
    progress : callable (done, total), optional
        Called with the number of voxels done after every batch.

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
        slices are smaller than the window; if the model has no settings, or `batch` is below 1.
    """
    settings = glcm_settings(model)
    levels = _stack(quantize(image, settings), settings.edge)
    if batch < 1:
        msg = f"batch must be 1 or more, got {batch}"
        raise ValueError(msg)
    out = np.empty((levels.shape[0] * levels.shape[1], levels.shape[2]), np.float32)
    windows = _windows(levels, settings.radius)
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


def _windows(levels: npt.NDArray[np.uint8], radius: int) -> npt.NDArray[np.uint8]:
    """(Z, Y, X, w, w) view of the window around every voxel, reflected at the slice's border."""
    padded = np.pad(levels, ((0, 0), (radius, radius), (radius, radius)), mode="reflect")
    return sliding_window_view(padded, (2 * radius + 1, 2 * radius + 1), axis=(1, 2))


def _rows_at_once(rows: int, columns: int, batch: int) -> int:
    """Rows of voxels in a batch, such that the last batch is nearly full too."""
    return math.ceil(rows / math.ceil(rows * columns / max(batch, columns)))


def _predict(model: keras.Model, patches: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return the prediction of (rows, columns, w, w) patches as (rows, columns)."""
    batch = patches.reshape((-1, *patches.shape[2:], 1)).astype(np.float32)
    prediction: Any = model.predict_on_batch(batch)
    return np.asarray(prediction, np.float32).reshape(patches.shape[:2])
