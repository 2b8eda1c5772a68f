"""Masks and labels on an image's grid: label images, DICOM segmentations, contours."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from glcm_cuda.base.steps import step
from glcm_cuda.levels.arrays import refuse_not_finite
from pipelines.images.archives import opened
from pipelines.images.dicom.regions import is_region, on_grid, read_region
from pipelines.images.formats import nrrd
from pipelines.images.reading import read_layer, read_volume
from pipelines.images.resampling import nearest_on_grid
from pipelines.images.volume import Volume, geometry_differences

_NAMED = 20
"""Most labels that a message lists."""


@dataclass(frozen=True, kw_only=True)
class MaskChoice:
    """Which voxels of a mask count.

    Parameters
    ----------
    label : int, optional
        In a label image, the voxels of this value.
    segment : str, optional
        Number or name of a segment (DICOM segmentation), a structure (RTSTRUCT) or a named label.
    resample : bool
        Resample a mask that is on another grid; each voxel takes the nearest one's value.
    """

    label: int | None = None
    segment: str | None = None
    resample: bool = False

    def __post_init__(self) -> None:
        if self.label is not None and self.label < 1:
            msg = f"--mask-label must be 1 or more, got {self.label} (0 is the background)"
            raise ValueError(msg)
        if self.label is not None and self.segment is not None:
            msg = f"--mask-label and --segment are mutually exclusive, got {self.label} and {self.segment}"
            raise ValueError(msg)

    def to_dict(self) -> dict[str, Any]:
        """Return the choice as sidecars record it."""
        return {
            "mask_label": self.label,
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
    choice = choice or MaskChoice()
    path = Path(path)
    _refuse_missing("mask", path)
    with opened(path) as place:
        if not is_region(place):
            return _label_mask(path, place, volume, choice)
        if choice.label is not None:
            msg = f"mask {path} has segments, not labels; give --segment instead of --mask-label"
            raise ValueError(msg)
        region = read_region(place, volume, choice.segment)
    if choice.resample:
        mask: npt.NDArray[np.bool_] = nearest_on_grid(f"mask {path}", region, volume) != 0
        return mask
    return on_grid(f"mask {path}", region, volume)


def _label_mask(path: Path, place: Path, volume: Volume, choice: MaskChoice) -> npt.NDArray[Any]:
    segment = None
    if place.is_file() and nrrd.is_nrrd(place) and nrrd.layers_of(place) > 1:
        segment = _segment_in_layers(path, place, choice)
        label: int | None = segment.value
    else:
        label = choice.label if choice.segment is None else _label_of(place, choice.segment)
    array = _read_on_grid("mask", path, volume, resample=choice.resample, segment=segment)
    refuse_not_finite(f"mask {path}", array)
    if label is None:
        if not array.any():
            msg = f"mask {path} must have non-zero voxels, got none"
            raise ValueError(msg)
        return array
    mask: npt.NDArray[np.bool_] = array == label
    if not mask.any():
        present = ", ".join(f"{value:g}" for value in np.unique(array[array != 0])[:_NAMED]) or "none"
        msg = f"mask {path} has no voxel of label {label}; labels present: {present}"
        raise ValueError(msg)
    return mask


def _segment_in_layers(path: Path, place: Path, choice: MaskChoice) -> nrrd.NamedSegment:
    """Return the one segment that is chosen of a segmentation whose segments may overlap."""
    segments = nrrd.segments_of(place)
    wanted = choice.segment
    matching = [
        one
        for one in segments
        if (choice.label is None or one.value == choice.label)
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
    array = _read_on_grid("labels", path, volume)
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
    resample: bool = False,
    segment: nrrd.NamedSegment | None = None,
) -> npt.NDArray[Any]:
    _refuse_missing(name, Path(path))
    with opened(Path(path)) as place:
        other = read_volume(place) if segment is None else read_layer(place, segment.layer)
    differences = geometry_differences(other, volume)
    if differences and resample:
        _refuse_two_forms(f"{name} {path}", volume)
        return nearest_on_grid(f"{name} {path}", other, volume)
    if differences:
        msg = (
            f"{name} {path} must lie on the image's grid, got {'; '.join(differences)}; "
            "resample it to the image"
        )
        raise ValueError(msg)
    return other.array


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
