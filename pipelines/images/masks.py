"""Masks and labels on an image's grid: label images, DICOM segmentations, contours."""

from __future__ import annotations

import csv
import logging
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from glcm_cuda.base.steps import step
from glcm_cuda.levels.arrays import refuse_not_finite
from pipelines.images.archives import opened
from pipelines.images.dicom.regions import is_region, on_grid, read_region
from pipelines.images.formats import nrrd
from pipelines.images.reading import read_layer, read_volume
from pipelines.images.resampling import nearest_on_grid
from pipelines.images.volume import Volume, geometry_differences, image_of

_TOLERANCE_VOXELS = 1e-3
"""By how much a mask may reach beyond an image for want of digits."""

_NAMED = 20
"""Most labels that a message lists."""

_log = logging.getLogger(__name__)

ALL_LABELS: Literal["all"] = "all"
"""Every label of a mask, where a parameter file would choose one."""

Label = int | tuple[int, ...] | Literal["all"]
"""A label, several, or all."""


def label_of(text: str) -> Label:
    """Return the label, the labels or all that a text means: ``"2"``, ``"1,3"`` or ``"all"``.

    Raises
    ------
    ValueError
        If it means something else.
    """
    if text.strip().casefold() == ALL_LABELS:
        return ALL_LABELS
    try:
        labels = tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        msg = f"--mask-label must be a label, several separated by commas, or all, got {text!r}"
        raise ValueError(msg) from None
    return labels if len(labels) > 1 else labels[0]


@dataclass(frozen=True, kw_only=True)
class MaskChoice:
    """Which voxels of a mask count.

    Parameters
    ----------
    label : int, tuple of int or "all", optional
        In a label image, the voxels of this value, of these, or all that are not zero. Several keep their
        values.
    segment : str, optional
        Number or name of a segment (DICOM segmentation), a structure (RTSTRUCT) or a named label.
    resample : bool
        Resample a mask that is on another grid; each voxel takes the nearest one's value.
    channel : int, optional
        Layer of a mask that has several; by default the one that holds the label or the segment.
    within : bool
        Refuse to resample a mask whose labels that count reach beyond the image.
    tolerance : float, optional
        By how much the places of image and mask may differ, as ITK takes it (`geometry_differences`).
    """

    label: Label | None = None
    segment: str | None = None
    resample: bool = False
    channel: int | None = None
    within: bool = False
    tolerance: float | None = None

    def __post_init__(self) -> None:
        if any(label < 1 for label in self.labels):
            msg = f"--mask-label must be 1 or more, got {min(self.labels)} (0 is the background)"
            raise ValueError(msg)
        if self.label is not None and self.segment is not None:
            msg = f"--mask-label and --segment are mutually exclusive, got {self.label} and {self.segment}"
            raise ValueError(msg)

    def over(self, others: MaskChoice) -> MaskChoice:
        """Return this choice where it says something, and that of a parameter file elsewhere."""
        chosen = self.label is not None or self.segment is not None
        return replace(
            others,
            label=self.label if chosen else others.label,
            segment=self.segment,
            channel=None if chosen else others.channel,
            resample=self.resample or others.resample,
            within=others.resample,
        )

    @property
    def labels(self) -> tuple[int, ...]:
        """Labels that are chosen; none for all, or where a segment is chosen."""
        if isinstance(self.label, tuple):
            return self.label
        return (self.label,) if isinstance(self.label, int) else ()

    def to_dict(self) -> dict[str, Any]:
        """Return the choice as sidecars record it."""
        return {
            "mask_label": list(self.label) if isinstance(self.label, tuple) else self.label,
            **({"mask_channel": self.channel} if self.channel else {}),
            **({} if self.segment is None else {"mask_segment": self.segment}),
            **({"mask_resampled": "nearest neighbour"} if self.resample else {}),
        }


def read_mask(
    path: str | os.PathLike[str], volume: Volume, choice: MaskChoice | None = None
) -> npt.NDArray[np.bool_]:
    """Return the chosen voxels of a mask; by default, those that are not zero.

    Parameters
    ----------
    path : path
        Label image, DICOM segmentation or RT structure set, or a zip archive of one. Unless it is resampled,
        it must have the spacing, origin and direction of `volume`.
    volume : Volume
        The image that the mask belongs to.
    choice : MaskChoice, optional
        Which label or segment; whether to resample.

    Returns
    -------
    bool array of the volume's shape

    Raises
    ------
    FileNotFoundError, ValueError
        Those of `read_image`; if the geometry differs, no voxel is inside, or a voxel is NaN.
    """
    mask: npt.NDArray[np.bool_] = read_mask_labels(path, volume, choice) != 0
    return mask


@step("reading")
def read_mask_labels(
    path: str | os.PathLike[str], volume: Volume, choice: MaskChoice | None = None
) -> npt.NDArray[Any]:
    """Return the chosen voxels of a mask with their labels; 0 elsewhere.

    Parameters and errors are those of `read_mask`.

    Returns
    -------
    array of real numbers or bool, of the volume's shape
        The values of a label image, unless one of them was chosen; true in the mask otherwise.
    """
    return read_mask_file(path, volume, choice or MaskChoice()).labels


@dataclass(frozen=True, eq=False)
class MaskFile:
    """A mask as it was read, and its labels that are chosen on the grid of an image."""

    original: Volume
    labels: npt.NDArray[Any]

    def where(self, choice: MaskChoice, label: int | None) -> npt.NDArray[np.bool_]:
        """Return the voxels of the original that have a label or, without one, that are chosen."""
        labels = choice.labels if label is None else (label,)
        found: npt.NDArray[np.bool_] = (
            np.isin(self.original.array, labels) if labels else self.original.array != 0
        )
        return found


def read_mask_file(path: str | os.PathLike[str], volume: Volume, choice: MaskChoice) -> MaskFile:
    """Return a mask as it was read, too; parameters, labels and errors are those of `read_mask_labels`."""
    path = Path(path)
    _refuse_missing("mask", path)
    with opened(path) as place:
        if not is_region(place):
            return _label_mask(path, place, volume, choice)
        if choice.labels:
            msg = f"mask {path} has segments, not labels; give --segment instead of --mask-label"
            raise ValueError(msg)
        region = read_region(place, volume, choice.segment)
    if choice.resample:
        return MaskFile(region, nearest_on_grid(f"mask {path}", region, volume) != 0)
    return MaskFile(region, on_grid(f"mask {path}", region, volume))


def _label_mask(path: Path, place: Path, volume: Volume, choice: MaskChoice) -> MaskFile:
    label, layer = choice.label, None
    if place.is_file() and nrrd.is_nrrd(place) and nrrd.layers_of(place) > 1:
        if choice.channel is None:
            segment = _segment_in_layers(path, place, choice)
            label, layer = segment.value, segment.layer
        else:
            layer = choice.channel
            _log.info("mask %s has several layers: layer %d is taken (label_channel)", path, layer)
    elif choice.segment is not None:
        label = _label_of(place, choice.segment)
    read = _read_on_grid("mask", path, volume, choice=choice, layer=layer)
    refuse_not_finite(f"mask {path}", read.labels)
    return replace(read, labels=chosen_labels(f"mask {path}", read.labels, label))


def chosen_labels(name: str, array: npt.NDArray[Any], label: Label | None) -> npt.NDArray[Any]:
    """Return where an array has a label, or the array with other labels than those that are chosen set to 0.

    Raises
    ------
    ValueError
        If one of the labels, or without a choice every label, is missing; `name` is what the message calls
        the mask.
    """
    if label is None or label == ALL_LABELS:
        if not array.any():
            msg = f"{name} must have non-zero voxels, got none"
            raise ValueError(msg)
        return array
    labels = (label,) if isinstance(label, int) else label
    for one in labels:
        if not (array == one).any():
            present = ", ".join(f"{value:g}" for value in np.unique(array[array != 0])[:_NAMED]) or "none"
            msg = f"{name} has no voxel of label {one}; labels present: {present}"
            raise ValueError(msg)
    inside: npt.NDArray[np.bool_] = np.isin(array, labels)
    return inside if isinstance(label, int) else np.where(inside, array, 0)


def _segment_in_layers(path: Path, place: Path, choice: MaskChoice) -> nrrd.NamedSegment:
    """Return the one segment that is chosen of a segmentation whose segments may overlap."""
    segments = nrrd.segments_of(place)
    wanted = choice.segment
    matching = [
        one
        for one in segments
        if (not choice.labels or one.value in choice.labels)
        and (wanted is None or one.name.casefold() == wanted.casefold())
    ]
    if wanted is not None and wanted.isdecimal() and not matching:
        matching = [one for one in segments if one.value == int(wanted)]
    if len(matching) == 1:
        return matching[0]
    listed = ", ".join(f"{one.name} (label {one.value} in layer {one.layer})" for one in segments)
    got = f"--segment {wanted}" if wanted is not None else "no --segment"
    got = f"--mask-label {choice.label}" if choice.label is not None else got
    msg = (
        f"mask {path} has segments in layers, which may overlap: {listed or 'none is named'}; choose one by "
        f"name with --segment, got {got}, which means {len(matching)}"
    )
    raise ValueError(msg)


def read_labels(path: str | os.PathLike[str], volume: Volume) -> npt.NDArray[np.uint8]:
    """Return tissue labels (0 for none) on the volume's grid.

    Parameters and errors are those of `read_mask`; also a ValueError if a label is not a whole number from
    0 to 255.

    Returns
    -------
    uint8 array of the volume's shape
    """
    array = _read_on_grid("labels", path, volume, choice=MaskChoice()).labels
    labels: npt.NDArray[np.uint8] = np.clip(np.nan_to_num(array, nan=-1.0), 0, 255).astype(np.uint8)
    wrong = labels != array
    if wrong.any():
        msg = f"labels {path} must be whole numbers from 0 to 255, got {array[wrong].flat[0]}"
        raise ValueError(msg)
    if not labels.any():
        msg = f"labels {path} must have non-zero voxels, got none"
        raise ValueError(msg)
    return labels


def _read_on_grid(
    name: str,
    path: str | os.PathLike[str],
    volume: Volume,
    *,
    choice: MaskChoice,
    layer: int | None = None,
) -> MaskFile:
    _refuse_missing(name, Path(path))
    with opened(Path(path)) as place:
        other = read_volume(place) if layer is None else read_layer(place, layer)
    advice = "--resample-mask; in a parameter file correctMask, but not beside resampledPixelSpacing"
    return MaskFile(other, placed_labels(f"{name} {path}", other, volume, choice, advice))


def placed_labels(
    name: str, labels: Volume, volume: Volume, choice: MaskChoice, advice: str
) -> npt.NDArray[Any]:
    """Return labels on the grid of an image, resampled if that is chosen and they lie on another.

    Raises
    ------
    ValueError
        If they lie on another grid and cannot be resampled; `name` is what the message calls them, `advice`
        what it says of how to resample them.
    """
    differences = geometry_differences(labels, volume, choice.tolerance)
    if not differences:
        return labels.array
    if not choice.resample:
        msg = (
            f"{name} must lie on the image's grid, got {'; '.join(differences)}; resample it to the image "
            f"({advice})"
        )
        raise ValueError(msg)
    _refuse_two_forms(name, volume)
    if choice.within:
        _refuse_beyond(name, labels, volume, choice)
    return nearest_on_grid(name, labels, volume)


def _refuse_beyond(name: str, labels: Volume, volume: Volume, choice: MaskChoice) -> None:
    """Refuse labels of which a part lies outside the image, as pyradiomics does."""
    counted = np.isin(labels.array, choice.labels) if choice.labels else labels.array != 0
    places = np.argwhere(counted)[:, ::-1]
    if not len(places):
        return
    image, mask = image_of(volume), image_of(replace(labels, array=counted.astype(np.uint8)))
    ends = [
        image.TransformPhysicalPointToContinuousIndex(
            mask.TransformContinuousIndexToPhysicalPoint(corner.tolist())
        )
        for corner in (places.min(axis=0) - 0.5, places.max(axis=0) + 0.5)
    ]
    low, high = np.min(ends, axis=0), np.max(ends, axis=0)
    last = np.array(image.GetSize()) - 0.5
    if (low < -0.5 - _TOLERANCE_VOXELS).any() or (high > last + _TOLERANCE_VOXELS).any():
        msg = f"{name} reaches beyond the image, so that correctMask cannot resample it whole; crop the mask"
        raise ValueError(msg)


def _refuse_two_forms(name: str, volume: Volume) -> None:
    """Refuse to resample to an image with two places: the tool that drew the mask took one or the other."""
    if volume.forms is not None and volume.forms.distance_mm(volume.array.shape) > min(volume.spacing_mm):
        msg = (
            f"{name} cannot be resampled: the image's sform and qform place it differently; resample it to "
            "the image with the tool that drew it, or make both forms of the image equal"
        )
        raise ValueError(msg)


def _refuse_missing(name: str, path: Path) -> None:
    if not path.exists():
        msg = f"{name} {path} does not exist"
        raise FileNotFoundError(msg)


def _label_of(path: Path, wanted: str) -> int:
    """Return the value of a named label, as 3D Slicer's .seg.nrrd or a BIDS table beside the image has it."""
    names = _slicer_names(path) or _bids_names(path)
    values = [value for name, value in names.items() if name.casefold() == wanted.casefold()]
    if wanted.isdecimal() and int(wanted) in names.values():
        return int(wanted)
    if len(values) == 1:
        return values[0]
    listed = ", ".join(f"{value} {name}" for name, value in names.items()) or "none"
    msg = (
        f"mask {path.name} contains the labels {listed}, got --segment {wanted}; give one of them, or "
        "--mask-label"
    )
    raise ValueError(msg)


def _slicer_names(path: Path) -> dict[str, int]:
    if not (path.is_file() and nrrd.is_nrrd(path)):
        return {}
    return {one.name: one.value for one in nrrd.segments_of(path)}


def _bids_names(path: Path) -> dict[str, int]:
    table = path.with_name(f"{path.name.split('.', maxsplit=1)[0]}.tsv")
    if not table.is_file():
        return {}
    with table.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t")
        return {row["name"]: int(row["index"]) for row in rows if row.get("name") and row.get("index")}
