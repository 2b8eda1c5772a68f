"""Masks of any kind, on the grid of an image."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from glcm_cuda.levels.arrays import refuse_not_finite
from pipelines.images.masks import MaskChoice, chosen_labels, placed_labels, read_mask_labels
from pipelines.images.volume import Volume
from pipelines.maps.inputs import labels_in, listed
from radsynth.kinds.finding import kind_of
from radsynth.kinds.kind import Kind
from radsynth.kinds.numpy import NumPyKind

_log = logging.getLogger(__name__)

_ADVICE = "give the mask in the image's kind"


def masks_of(
    mask: Any, image: Any, kind: Kind, volumes: tuple[Volume, ...], choice: MaskChoice
) -> list[npt.NDArray[np.bool_]]:
    """Return the voxels of a mask that count, for each channel of an image.

    Labels are taken together unless one is chosen; the log says which.

    Parameters
    ----------
    mask
        See `radsynth.map`.
    choice : MaskChoice
        Which of its voxels.
    image, kind, volumes
        The image that the mask belongs to, its kind, and its channels.

    Raises
    ------
    TypeError, ValueError, OSError
        Those of `labels_of`.
    """
    found = labels_of(mask, image, kind, volumes, choice)
    present = labels_in(found[0])
    if len(present) > 1:
        _log.warning("mask: labels %s are taken together; label=... chooses one", listed(present))
    return [labels != 0 for labels in found]


def labels_of(
    mask: Any, image: Any, kind: Kind, volumes: tuple[Volume, ...], choice: MaskChoice
) -> list[npt.NDArray[Any]]:
    """Return the labels of a mask on the grid of an image, for each of its channels; 0 outside.

    Parameters are those of `masks_of`.

    Returns
    -------
    list of arrays of the volumes' shape
        True and False if one label was chosen.

    Raises
    ------
    TypeError
        If the mask is of a kind that cannot belong to the image.
    ValueError, OSError
        If it has another geometry or shape, no voxel inside, or cannot be read.
    """
    own = kind_of(mask, "mask")
    _check_kinds(mask, own, image, kind)
    if isinstance(mask, (str, os.PathLike)):
        found = read_mask_labels(Path(mask), volumes[0], choice)
        return [found] * len(volumes)
    parts = own.volumes(mask, "mask", None)
    if len(parts) not in (1, len(volumes)):
        msg = f"mask must have 1 channel or the image's {len(volumes)}, got {len(parts)}"
        raise ValueError(msg)
    placed = own.is_placed(mask) and kind.is_placed(image)
    chosen = [
        chosen_labels("mask", _on_grid(part, volumes[0], choice, placed=placed), choice.label)
        for part in parts
    ]
    return chosen * len(volumes) if len(chosen) < len(volumes) else chosen


def _check_kinds(mask: Any, own: Kind, image: Any, kind: Kind) -> None:
    """Refuse a mask whose axes or place could not be told from those of the image."""
    if own is kind or (own.is_placed(mask) and kind.is_placed(image)):
        return
    if isinstance(own, NumPyKind) and kind.takes_arrays:
        return
    msg = f"mask must be of the image's kind, {kind.name}, got {own.name}; {_ADVICE}"
    raise TypeError(msg)


def _on_grid(mask: Volume, volume: Volume, choice: MaskChoice, *, placed: bool) -> npt.NDArray[Any]:
    refuse_not_finite("mask", mask.array)
    if placed:
        return placed_labels("mask", mask, volume, choice, "or set correctMask in params")
    if mask.array.shape != volume.array.shape:
        got, wanted = mask.array.shape, volume.array.shape
        msg = f"mask must have the image's shape, {wanted} along z, y and x, got {got}"
        raise ValueError(msg)
    return mask.array
