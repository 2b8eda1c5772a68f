"""A picture of one slice: image and map side by side."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from glcm_cuda import GLCMSettings
from glcm_cuda.files import replacing
from glcm_cuda.offsets import largest_entropy

from .imaging import Volume, refuse_output


def write_preview(
    volume: Volume,
    entropy: npt.NDArray[Any],
    path: str | os.PathLike[str],
    settings: GLCMSettings,
    *,
    region: npt.NDArray[Any] | None = None,
    title: str = "entropy",
    force: bool = False,
) -> None:
    """Draw one slice of an image and of its map side by side as PNG.

    Parameters
    ----------
    volume : Volume
        The image; its spacing gives the proportions.
    entropy : array of the volume's shape
        The map, in the unit of the settings' logarithm.
    path : path
        Ends in .png.
    settings : GLCMSettings
        Names the unit and the window.
    region : array of the volume's shape, optional
        Mask or labels: the slice with most voxels that are not zero is drawn, and outlined.
        Without it the middle slice.
    title : str
        Written over the map.
    force : bool
        Replace an existing file.

    Raises
    ------
    ValueError, FileExistsError, OSError
        If the name does not end in .png, exists, or cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    check_preview_path(path, force=force)
    index, (image, values, outline) = _shown_slice(volume.array, entropy, region)
    figure = Figure(figsize=(10, 5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    aspect = volume.spacing_mm[1] / volume.spacing_mm[0]
    low, high = _display_range(image)
    left.imshow(image, cmap="gray", vmin=low, vmax=high, aspect=aspect, interpolation="nearest")
    left.set_title("image" if index is None else f"image, slice {index} (0 to {len(volume.array) - 1})")
    # One scale for all maps of the same settings, so that pictures can be compared.
    shown = right.imshow(
        np.ma.masked_invalid(values),
        cmap="viridis",
        vmin=0,
        vmax=largest_entropy(settings),
        aspect=aspect,
        interpolation="nearest",
    )
    right.set_title(title)
    right.set_facecolor("black")
    figure.colorbar(shown, ax=right, label=_unit_label(settings), shrink=0.8)
    for axes in (left, right):
        axes.set_xticks([])
        axes.set_yticks([])
    if outline is not None and outline.any() and not outline.all():
        left.contour(outline, levels=[0.5], colors="yellow", linewidths=0.7)
    with replacing(path, force=force) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def check_preview_path(path: str | os.PathLike[str], *, force: bool = False) -> None:
    """Refuse a preview's path before anything is computed: a name not ending in .png, or a file there."""
    path = Path(path)
    if path.suffix.lower() != ".png":
        msg = f"a preview's name must end in .png, got {path.name}"
        raise ValueError(msg)
    refuse_output(path, force=force)


def _unit_label(settings: GLCMSettings) -> str:
    return f"entropy ({settings.unit}), window {settings.window}, {settings.levels} levels"


def _shown_slice(
    image: npt.NDArray[Any], entropy: npt.NDArray[Any], region: npt.NDArray[Any] | None
) -> tuple[int | None, tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[np.bool_] | None]]:
    """Index of the slice drawn (None in 2D), and that slice of image, map and region."""
    inside = None if region is None else region != 0
    if image.ndim == 2:
        return None, (image, entropy, inside)
    index = image.shape[0] // 2 if inside is None else int(inside.sum(axis=(1, 2)).argmax())
    return index, (image[index], entropy[index], None if inside is None else inside[index])


def _display_range(image: npt.NDArray[Any]) -> tuple[float, float]:
    finite = image[np.isfinite(image)]
    low, high = np.percentile(finite, (0.5, 99.5)) if finite.size else (0.0, 1.0)
    return float(low), float(high)
