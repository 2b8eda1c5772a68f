"""An image and its mask as an extractor takes them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK

from pipelines.images.formats import nrrd
from pipelines.images.masks import MaskChoice, placed_labels
from pipelines.images.reading import read_layer
from pipelines.images.volume import Volume, image_of
from radsynth.kinds.finding import kind_of


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """An image and its mask.

    Parameters
    ----------
    image : Volume
        The image.
    mask : Volume
        Labels, uint32, as they were given.
    label : int
        The one that counts.
    corrected : Volume, optional
        The mask on the image's grid, if it was on another.
    """

    image: Volume
    mask: Volume
    label: int
    corrected: Volume | None = None

    @property
    def inside(self) -> npt.NDArray[np.bool_]:
        """The voxels that count, on the image's grid."""
        labels = (self.corrected or self.mask).array
        found: npt.NDArray[np.bool_] = labels == self.label
        return found

    def images(self) -> tuple[SimpleITK.Image, SimpleITK.Image]:
        """Return image and mask as images of SimpleITK on one grid."""
        labels = (self.corrected or self.mask).array
        return image_of(self.image), image_of(replace(self.image, array=labels))


def read_subject(image: Any, mask: Any, settings: Mapping[str, Any]) -> Subject:
    """Return an image and its mask, from any kind of image.

    Parameters
    ----------
    image, mask
        A path, or an image of SimpleITK or another kind with a place. A mask may have several channels.
    settings : mapping
        Of the extractor; ``label``, ``label_channel``, ``correctMask`` and ``geometryTolerance`` are used.

    Raises
    ------
    TypeError, ValueError, OSError
        If one cannot be read, the label is not there, or the mask is on another grid.
    """
    _check(settings)
    volume = _volume(image, "imageFilepath")
    labels = _labels(mask, int(settings.get("label_channel") or 0))
    label = settings.get("label", 1)
    if not (labels.array == label).any():
        present = np.unique(labels.array[labels.array != 0]).tolist()
        msg = f"Label ({label}) not present in mask; labels present: {present or 'none'}"
        raise ValueError(msg)
    subject = Subject(image=volume, mask=labels, label=int(label))
    choice = MaskChoice(
        label=subject.label,
        resample=bool(settings.get("correctMask", False)),
        within=True,
        tolerance=settings.get("geometryTolerance"),
    )
    array = placed_labels("mask", labels, volume, choice, "correctMask, or a larger geometryTolerance")
    return subject if array is labels.array else replace(subject, corrected=replace(volume, array=array))


def _check(settings: Mapping[str, Any]) -> None:
    """Refuse settings of image and mask that are of the wrong kind."""
    for name, kind, words in (
        ("label", Integral, "a whole number"),
        ("label_channel", Integral, "a whole number"),
        ("geometryTolerance", Real, "a number"),
    ):
        value = settings.get(name)
        if value is not None and not isinstance(value, kind):
            msg = f"{name} must be {words}, got {value!r}"
            raise TypeError(msg)


def _volume(image: Any, name: str) -> Volume:
    kind = kind_of(image, name)
    if not kind.is_placed(image):
        msg = f"{name} must be a path or an image with a place, as of SimpleITK, got {kind.name}"
        raise TypeError(msg)
    return kind.volumes(image, name, None)[0]


def _labels(mask: Any, channel: int) -> Volume:
    """Return a mask, or a channel of it, as whole numbers."""
    if isinstance(mask, (str, os.PathLike)) and _has_layers(Path(mask)):
        volume = read_layer(Path(mask), channel)
    elif isinstance(mask, SimpleITK.Image) and mask.GetNumberOfComponentsPerPixel() > 1:
        count = mask.GetNumberOfComponentsPerPixel()
        if not 0 <= channel < count:
            msg = f"label_channel must be from 0 to {count - 1} for this mask, got {channel}"
            raise ValueError(msg)
        volume = _volume(SimpleITK.VectorIndexSelectionCast(mask, channel), "maskFilepath")
    else:
        volume = _volume(mask, "maskFilepath")
    return replace(volume, array=volume.array.astype(np.uint32))


def _has_layers(path: Path) -> bool:
    return path.is_file() and nrrd.is_nrrd(path) and nrrd.layers_of(path) > 1
