"""Regions in DICOM: segmentations, and contours of RT structure sets."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom

from pipelines.images.dicom.headers import header_of
from pipelines.images.dicom.multiframe import decoded, frames_of, geometry_of
from pipelines.images.dicom.phases import normal_of
from pipelines.images.dicom.tilt import EVEN_MM, aside_mm
from pipelines.images.volume import Volume, geometry_differences

_SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
_LABEL_MAP = _SEGMENTATIONS[1]
_STRUCTURES = "1.2.840.10008.5.1.4.1.1.481.3"

_HALF = 0.5
"""A voxel of a fractional segmentation is inside from this fraction of the largest value on."""

_OFF_PLANE = 0.1
"""How far a contour may be from the plane of its slice, in slices: coordinates are often rounded."""

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Segment:
    """A segment of a segmentation or a structure of a structure set, with its number and name."""

    number: int
    label: str


def is_region(path: Path) -> bool:
    """Whether a file is a DICOM segmentation or an RT structure set."""
    header = header_of(path) if path.is_file() else None
    return header is not None and str(header.get("SOPClassUID")) in (*_SEGMENTATIONS, _STRUCTURES)


def segments_of(path: Path) -> list[Segment]:
    """Return the segments or structures of a file, in its order."""
    return _segments(_read(path))


def read_region(path: Path, volume: Volume, segment: str | None = None) -> Volume:
    """Return the voxels of a segment or structure.

    Parameters
    ----------
    path : path
        DICOM segmentation (binary, fractional or label map) or RT structure set. In a fractional one, voxels
        of at least half the largest value are inside. For contours, voxels are inside if their centre is;
        a contour inside another one of the same structure and slice is a hole.
    volume : Volume
        The image. Contours are filled on its grid, since they have none of their own.
    segment : str, optional
        Number, or name in any case, if there are several.

    Returns
    -------
    Volume
        bool array. A segmentation stays on its own grid, with empty slices where it leaves some out.

    Raises
    ------
    ValueError
        If the file refers to another series or frame of reference than the image's, if `segment` is missing
        or matches none, or if no voxel is inside.
    """
    if volume.array.ndim != 3:
        msg = f"{path} belongs to slices of DICOM, got a two-dimensional image"
        raise ValueError(msg)
    dataset = _read(path)
    _refuse_other_image(path, dataset, volume)
    chosen = _chosen(path, _segments(dataset), segment)
    if dataset.SOPClassUID == _STRUCTURES:
        return replace(volume, array=_inside_contours(path, dataset, chosen, volume))
    return _segment_volume(path, dataset, chosen)


def on_grid(name: str, region: Volume, volume: Volume) -> Mask:
    """Return a region, which may leave out slices, on the grid of an image.

    Parameters
    ----------
    name : str
        What messages call the region.

    Raises
    ------
    ValueError
        If the voxels of the two do not coincide, or voxels of the region are outside the image.
    """
    shape = volume.array.shape
    if len(region.array) == 1:  # a single slice gives no distance of slices
        region = replace(region, spacing_mm=(*region.spacing_mm[:2], *volume.spacing_mm[2:]))
    (offset,) = _in_voxels(np.array([region.origin_mm]), volume)
    same = replace(region, origin_mm=volume.origin_mm, array=region.array[:1])
    first = replace(volume, array=volume.array[:1])
    differences = geometry_differences(same, first)
    start = round(float(offset[2]))
    if not differences and np.abs(offset - (0, 0, start)).max() > _OFF_PLANE:
        differences = [f"an origin {tuple(np.round(offset, 2).tolist())} voxels from the image's"]
    if differences:
        msg = (
            f"{name} must lie on the image's grid, got {'; '.join(differences)}; give --resample-mask to "
            "resample it to the image"
        )
        raise ValueError(msg)
    mask = np.zeros(shape, np.bool_)
    outside = region.array.copy()
    here = [index for index in range(len(region.array)) if 0 <= index + start < len(mask)]
    for index in here:
        mask[index + start] = region.array[index]
        outside[index] = False
    if outside.any():
        msg = f"{name} has {int(outside.sum())} voxels outside the image; is it the mask of this image?"
        raise ValueError(msg)
    return mask


def _read(path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd values in attributes that are not used
        try:
            return pydicom.dcmread(path)
        except (EOFError, ValueError, OSError):
            msg = f"{path} is truncated or damaged: it cannot be read; copy or export it again"
            raise ValueError(msg) from None


def _segments(dataset: Any) -> list[Segment]:
    if dataset.SOPClassUID == _STRUCTURES:
        return [Segment(int(item.ROINumber), str(item.ROIName)) for item in dataset.StructureSetROISequence]
    return [Segment(int(item.SegmentNumber), str(item.SegmentLabel)) for item in dataset.SegmentSequence]


def _chosen(path: Path, segments: Sequence[Segment], wanted: str | None) -> Segment:
    matching = [one for one in segments if wanted is None or _matches(one, wanted)]
    if len(matching) == 1:
        return matching[0]
    listed = ", ".join(f"{one.number} {one.label}" for one in segments) or "none"
    got = "no --segment" if wanted is None else f"--segment {wanted}, which means {len(matching)}"
    msg = f"{path} has the segments {listed}; give --segment with a number or a name, got {got}"
    raise ValueError(msg)


def _matches(segment: Segment, wanted: str) -> bool:
    if wanted.isdecimal():
        return segment.number == int(wanted)
    return segment.label.casefold() == wanted.casefold()


def _refuse_other_image(path: Path, dataset: Any, volume: Volume) -> None:
    """Refuse a region of another image; unless the image was DICOM, nothing can be checked."""
    if not volume.sources:
        return
    image = header_of(volume.sources[0])
    for what, found, expected in (
        ("series", set(_series(dataset)), image.get("SeriesInstanceUID")),
        ("frame of reference", set(_frames_of_reference(dataset)), image.get("FrameOfReferenceUID")),
    ):
        if found and expected is not None and str(expected) not in found:
            msg = f"{path} refers to another {what} than that of the image; name the mask of this image"
            raise ValueError(msg)


def _series(dataset: Any) -> Iterator[str]:
    for item in dataset.get("ReferencedSeriesSequence") or ():
        yield str(item.SeriesInstanceUID)
    for frame in dataset.get("ReferencedFrameOfReferenceSequence") or ():
        for study in frame.get("RTReferencedStudySequence") or ():
            for item in study.get("RTReferencedSeriesSequence") or ():
                yield str(item.SeriesInstanceUID)


def _frames_of_reference(dataset: Any) -> Iterator[str]:
    if dataset.get("FrameOfReferenceUID"):
        yield str(dataset.FrameOfReferenceUID)
    for frame in dataset.get("ReferencedFrameOfReferenceSequence") or ():
        yield str(frame.FrameOfReferenceUID)


def _segment_volume(path: Path, dataset: Any, segment: Segment) -> Volume:
    """Return the frames of a segment as a volume, with empty slices in the gaps."""
    frames = [header for _, header in frames_of(path, dataset)]
    inside = _inside(path, dataset, segment)
    chosen = [index for index in range(len(frames)) if inside[index].any()]
    if not chosen:
        msg = f"{path}: segment {segment.number} {segment.label} has no voxel"
        raise ValueError(msg)
    positions = np.array([frame.ImagePositionPatient for frame in frames], float)
    normal = normal_of(frames[0].ImageOrientationPatient)
    along = positions @ normal
    gaps = np.diff(np.unique(np.round(along, 3)))
    first = chosen[int(np.argmin(along[chosen]))]
    spacing, direction = geometry_of(path, positions[[first]])
    worst = float(aside_mm(positions[[first, *chosen]], normal).max())
    if worst > EVEN_MM:
        msg = (
            f"{path}: frames of {segment.label} must lie above each other, got one {worst:.2f} mm aside (a "
            "tilted gantry?); give the region as RTSTRUCT, or as a label image on the upright grid"
        )
        raise ValueError(msg)
    distance = float(gaps.min()) if gaps.size else spacing[2]
    places = np.round((along[chosen] - along[first]) / distance).astype(int)
    array = np.zeros((int(places.max()) + 1, *inside.shape[1:]), np.bool_)
    for place, index in zip(places, chosen, strict=True):
        array[place] |= inside[index]
    origin = tuple(positions[first].tolist())
    return Volume(array, (*spacing[:2], distance), origin, direction, (path,))


def _inside(path: Path, dataset: Any, segment: Segment) -> Mask:
    """Return where a segment is in each frame, (frames, Y, X); frames of other segments are empty."""
    pixels = decoded(path, dataset).reshape((-1, int(dataset.Rows), int(dataset.Columns)))
    if dataset.SOPClassUID == _LABEL_MAP:
        found: Mask = pixels == segment.number
        return found
    largest = 1
    if dataset.SegmentationType == "FRACTIONAL":
        largest = int(dataset.MaximumFractionalValue)
    numbers = np.array([_number(dataset, group) for group in dataset.PerFrameFunctionalGroupsSequence])
    inside: Mask = (pixels >= _HALF * largest) & (numbers == segment.number)[:, None, None]
    return inside


def _number(dataset: Any, group: Any) -> int:
    shared = dataset.SharedFunctionalGroupsSequence[0]
    items = group.get("SegmentIdentificationSequence") or shared.SegmentIdentificationSequence
    return int(items[0].ReferencedSegmentNumber)


def _inside_contours(path: Path, dataset: Any, structure: Segment, volume: Volume) -> Mask:
    """Return the voxels of the image whose centre is inside the contours of a structure.

    Matplotlib tests every centre; libraries that draw contours on pixels round the corners first.
    """
    contours = _contours(dataset, structure)
    if not contours:
        msg = f"{path}: structure {structure.number} {structure.label} has no contour"
        raise ValueError(msg)
    mask = np.zeros(volume.array.shape, np.bool_)
    slices = mask.reshape((-1, *mask.shape[-2:]))
    for points in contours:
        corners = _in_voxels(points, volume)
        place = round(float(corners[0, 2]))
        if np.abs(corners[:, 2] - place).max() > _OFF_PLANE or not 0 <= place < len(slices):
            msg = (
                f"{path}: a contour of {structure.label} lies in no slice of the image; name the structure "
                "set of this image"
            )
            raise ValueError(msg)
        slices[place] ^= _filled(corners[:, :2], slices.shape[1:])
    if not mask.any():
        msg = f"{path}: structure {structure.number} {structure.label} has no voxel's centre inside"
        raise ValueError(msg)
    return mask


def _contours(dataset: Any, structure: Segment) -> list[npt.NDArray[np.float64]]:
    """Return the corners of each closed contour, (corners, 3), in mm."""
    found = []
    for item in dataset.get("ROIContourSequence") or ():
        if int(item.ReferencedROINumber) != structure.number:
            continue
        for contour in item.get("ContourSequence") or ():
            points = np.array(contour.get("ContourData") or (), float).reshape((-1, 3))
            if contour.get("ContourGeometricType") == "CLOSED_PLANAR" and len(points) > 2:
                found.append(points)
    return found


def _in_voxels(points: npt.NDArray[np.float64], volume: Volume) -> npt.NDArray[np.float64]:
    cosines = np.reshape(volume.direction, (3, 3))
    found: npt.NDArray[np.float64] = (points - volume.origin_mm) @ cosines / np.array(volume.spacing_mm)
    return found


def _filled(corners: npt.NDArray[np.float64], shape: tuple[int, ...]) -> Mask:
    from matplotlib.path import Path as Polygon  # slow to load, and most masks have no contours

    rows, columns = np.indices(shape)
    centres = np.stack([columns.ravel(), rows.ravel()], axis=1)
    filled: Mask = Polygon(corners, closed=False).contains_points(centres).reshape(shape)
    return filled
