"""Previews: a picture of one slice of an image, and beside it the map drawn over the image."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from glcm_cuda import GLCMSettings
from glcm_cuda.base.files import replacing
from glcm_cuda.base.steps import step
from glcm_cuda.families.offsets import largest_entropy
from pipelines.images.output_paths import check_preview_path
from pipelines.images.volume import Volume
from pipelines.reports.names import feature_title, unit_of, with_unit


@step("preview")
def write_preview(
    volume: Volume,
    values: npt.NDArray[Any],
    path: str | os.PathLike[str],
    settings: GLCMSettings,
    *,
    region: npt.NDArray[Any] | None = None,
    title: str | None = None,
    banner: str | None = None,
    feature: str = "joint_entropy",
    levels: int | None = None,
    force: bool = False,
) -> None:
    """Draw a slice of an image, and beside it the map over that slice, as PNG.

    Parameters
    ----------
    volume : Volume
        The image; its spacing sets the proportions.
    values : array of the volume's shape
        The map.
    path : path
        Ends in .png.
    settings : GLCMSettings
        Give the unit, the window and the axis across the slices.
    region : array of the volume's shape, optional
        Mask or labels. The slice with the most voxels that are not zero is drawn, with their outline;
        without a region, the middle slice.
    title : str, optional
        Title of the map; by default the name of the feature.
    banner : str, optional
        Warning across the map, such as that it should not be used.
    feature : str
        Feature of the map. Maps of joint entropy with the same settings have the same colour scale, so that
        pictures can be compared; others are scaled to their values.
    levels : int, optional
        Number of grey levels, if the settings give a bin width instead.
    force : bool
        Replace an existing file.

    Raises
    ------
    ValueError, FileExistsError, OSError
        If the name does not end in .png, exists, or cannot be written.
    """
    check_preview_path(path, force=force)
    levels = levels or settings.levels
    index, (image, drawn, outline) = _shown_slice(volume.array, values, region, settings.slice_axis)
    figure = Figure(figsize=(10, 5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    aspect = _aspect(volume, settings.slice_axis)
    low, high = _display_range(image)
    for axes in (left, right):  # under the map the image shows where the map has no value
        axes.imshow(image, cmap="gray", vmin=low, vmax=high, aspect=aspect, interpolation="nearest")
    slices = volume.array.shape[settings.slice_axis]
    left.set_title("image" if index is None else f"image, slice {index} (0 to {slices - 1})")
    bottom, top = _map_range(feature, settings, levels, drawn)
    shown = right.imshow(
        np.ma.masked_invalid(drawn),
        cmap="viridis",
        vmin=bottom,
        vmax=top,
        aspect=aspect,
        interpolation="nearest",
    )
    right.set_title(feature_title(feature) if title is None else title)
    if banner is not None:
        _draw_banner(right, banner)
    figure.colorbar(shown, ax=right, label=_label(feature, settings, levels), shrink=0.8)
    for axes in (left, right):
        axes.set_xticks([])
        axes.set_yticks([])
    if outline is not None and outline.any() and not outline.all():
        left.contour(outline, levels=[0.5], colors="yellow", linewidths=0.7)
    with replacing(path, force=force) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def _draw_banner(axes: Axes, text: str) -> None:
    """Write a warning across a picture, so that it goes wherever the picture goes."""
    axes.text(
        0.5,
        0.5,
        text,
        transform=axes.transAxes,
        rotation=30,
        ha="center",
        va="center",
        fontsize=30,
        fontweight="bold",
        color="white",
        bbox={"boxstyle": "square,pad=0.3", "facecolor": "#B00020", "edgecolor": "white", "alpha": 0.9},
    )


def _label(feature: str, settings: GLCMSettings, levels: int) -> str:
    named = with_unit(feature_title(feature), unit_of(feature, settings))
    return f"{named}, window {settings.window}, {levels} levels"


def _map_range(
    feature: str, settings: GLCMSettings, levels: int, values: npt.NDArray[Any]
) -> tuple[float, float]:
    if feature != "joint_entropy":
        return _display_range(values)
    return 0.0, largest_entropy(replace(settings, levels=max(levels, 2), bin_width=None))


def _aspect(volume: Volume, axis: int) -> float:
    """Return the height of a voxel over its width in a slice."""
    height, width = (
        np.delete(volume.spacing_mm[::-1], axis) if volume.array.ndim == 3 else volume.spacing_mm[::-1]
    )
    return float(height / width)


def _shown_slice(
    image: npt.NDArray[Any], values: npt.NDArray[Any], region: npt.NDArray[Any] | None, axis: int
) -> tuple[int | None, tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[np.bool_] | None]]:
    """Return the index of the slice to draw (None in 2D), and that slice of image, map and region."""
    mask = None if region is None else region != 0
    if image.ndim == 2:
        return None, (image, values, mask)
    image, values = np.moveaxis(image, axis, 0), np.moveaxis(values, axis, 0)
    mask = None if mask is None else np.moveaxis(mask, axis, 0)
    index = len(image) // 2 if mask is None else int(mask.sum(axis=(1, 2)).argmax())
    return index, (image[index], values[index], None if mask is None else mask[index])


def _display_range(image: npt.NDArray[Any]) -> tuple[float, float]:
    finite = image[np.isfinite(image)]
    low, high = np.percentile(finite, (0.5, 99.5)) if finite.size else (0.0, 1.0)
    return float(low), float(high)
