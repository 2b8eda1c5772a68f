"""Regions in DICOM: segmentations, and contours of RT structure sets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.images.dicom.attributes import count_of, items_of, malformed, text_of
from pipelines.images.dicom.contours import closed_contours, filled_contours, in_voxels
from pipelines.images.dicom.headers import dataset_of, header_of
from pipelines.images.dicom.multiframe import decoded, frame_geometry, frames_of, stated_distance
from pipelines.images.dicom.planes import normal_of, orientation_of, position_of, size_of
from pipelines.images.dicom.tilt import EVEN_MM, aside_mm
from pipelines.images.volume import Volume, geometry_differences

_SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
_LABEL_MAP = _SEGMENTATIONS[1]
_STRUCTURES = "1.2.840.10008.5.1.4.1.1.481.3"

_HALF = 0.5
"""A voxel of a fractional segmentation is inside from this fraction of the largest value on."""

_OFF_GRID = 0.1
"""How far a segmentation may be from the grid of the image, in voxels: coordinates are often rounded."""

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Segment:
    """A segment of a segmentation or a structure of a structure set, with its number and name."""

    number: int
    label: str

    def __str__(self) -> str:
        return f"{self.number} {self.label or '(no name)'}"


def is_region(path: Path) -> bool:
    """Whether a file is a DICOM segmentation or an RT structure set."""
    header = header_of(path) if path.is_file() else None
    return header is not None and is_region_header(header)


def is_region_header(header: Any) -> bool:
    """Whether a header is that of a DICOM segmentation or an RT structure set."""
    return text_of(header, "SOPClassUID") in (*_SEGMENTATIONS, _STRUCTURES)


def segments_of(path: Path) -> list[Segment]:
    """Return the segments or structures of a file, in its order."""
    return segments_in(path, header_of(path))


def segments_in(path: Path, header: Any) -> list[Segment]:
    """Return the segments or structures that a header lists, in its order; some have no name."""
    if text_of(header, "SOPClassUID") == _STRUCTURES:
        sequence, number, name = "StructureSetROISequence", "ROINumber", "ROIName"
    else:
        sequence, number, name = "SegmentSequence", "SegmentNumber", "SegmentLabel"
    return [
        Segment(_number_of(path, item, number), text_of(item, name))
        for item in items_of(path, header, sequence)
    ]


def series_referred_to(path: Path, header: Any) -> list[str]:
    """Return the UIDs of the series that a segmentation or structure set refers to."""
    return list(dict.fromkeys(_series(path, header)))


def read_region(path: Path, volume: Volume, segment: str | None = None) -> Volume:
    """Return the voxels of a segment or structure.

    Parameters
    ----------
    path : path
        DICOM segmentation (binary, fractional or label map) or RT structure set. In a fractional one, voxels
        of at least half the largest value are inside. For contours, see `contours.filled_contours`.
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
    dataset = dataset_of(path)
    _refuse_other_image(path, dataset, volume)
    _refuse_gaps(path, volume)
    chosen = _chosen(path, segments_in(path, dataset), segment)
    if text_of(dataset, "SOPClassUID") == _STRUCTURES:
        return replace(volume, array=_inside_contours(path, dataset, chosen, volume))
    return _segment_volume(path, dataset, chosen, volume)


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
    (offset,) = in_voxels(np.array([region.origin_mm]), volume)
    same = replace(region, origin_mm=volume.origin_mm, array=region.array[:1])
    first = replace(volume, array=volume.array[:1])
    differences = geometry_differences(same, first)
    start = round(float(offset[2]))
    if not differences and np.abs(offset - (0, 0, start)).max() > _OFF_GRID:
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


def _number_of(path: Path, item: Any, keyword: str) -> int:
    number = count_of(path, item, keyword, -1)
    if number < 0:
        raise malformed(path, keyword, "a whole number", "none")
    return number


def _chosen(path: Path, segments: Sequence[Segment], wanted: str | None) -> Segment:
    matching = [one for one in segments if wanted is None or _matches(one, wanted)]
    if len(matching) == 1:
        return matching[0]
    listed = ", ".join(map(str, segments)) or "none"
    got = "no --segment" if wanted is None else f"--segment {wanted}, which matches {len(matching)}"
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
        ("series", set(_series(path, dataset)), text_of(image, "SeriesInstanceUID")),
        (
            "frame of reference",
            set(_frames_of_reference(path, dataset)),
            text_of(image, "FrameOfReferenceUID"),
        ),
    ):
        if found and expected and expected not in found:
            msg = f"{path} refers to another {what} than that of the image; name the mask of this image"
            raise ValueError(msg)


def _refuse_gaps(path: Path, volume: Volume) -> None:
    """Refuse a region of an image whose slices are not where its grid says, as --allow-gaps leaves them."""
    if len(volume.sources) != len(volume.array):
        return
    positions = [position_of(source, header_of(source)) for source in volume.sources]
    normal = np.reshape(volume.direction, (3, 3))[:, 2]
    for index, position in enumerate(positions):
        if position is None:
            return
        off = float((position - volume.origin_mm) @ normal) - index * volume.spacing_mm[2]
        if abs(off) > _HALF * volume.spacing_mm[2]:
            msg = (
                f"{path} gives a region by its place, but slices of the image are missing and from slice "
                f"{index} on the others are off theirs; complete the series, or give a label image"
            )
            raise ValueError(msg)


def _series(path: Path, dataset: Any) -> Iterator[str]:
    items = list(items_of(path, dataset, "ReferencedSeriesSequence"))
    for frame in items_of(path, dataset, "ReferencedFrameOfReferenceSequence"):
        for study in items_of(path, frame, "RTReferencedStudySequence"):
            items += items_of(path, study, "RTReferencedSeriesSequence")
    yield from filter(None, (text_of(item, "SeriesInstanceUID") for item in items))


def _frames_of_reference(path: Path, dataset: Any) -> Iterator[str]:
    holders = [dataset, *items_of(path, dataset, "ReferencedFrameOfReferenceSequence")]
    yield from filter(None, (text_of(holder, "FrameOfReferenceUID") for holder in holders))


def _segment_volume(path: Path, dataset: Any, segment: Segment, image: Volume) -> Volume:
    """Return the frames of a segment as a volume, with empty slices in the gaps."""
    frames = [header for _, header in frames_of(path, dataset)]
    mask = _segment_mask(path, dataset, segment)
    chosen = [index for index in range(len(frames)) if mask[index].any()]
    if not chosen:
        msg = f"{path}: segment {segment} has no voxel"
        raise ValueError(msg)
    orientation = _common_orientation(path, frames)
    positions = np.array([frame.ImagePositionPatient for frame in frames], float)
    normal = normal_of(orientation)
    along = positions @ normal
    first = chosen[int(np.argmin(along[chosen]))]
    spacing, direction = frame_geometry(path, frames[first], positions[[first]])
    worst = float(aside_mm(positions[[first, *chosen]], normal).max())
    if worst > EVEN_MM:
        msg = (
            f"{path}: frames of {segment.label or segment} must lie above each other, got one {worst:.2f} mm "
            "aside (a tilted gantry?); give the region as RTSTRUCT, or as a label image on the upright grid"
        )
        raise ValueError(msg)
    distance = _distance(path, frames[first], positions, normal, image)
    places = np.round((along[chosen] - along[first]) / distance).astype(int)
    array = np.zeros((int(places.max()) + 1, *mask.shape[1:]), np.bool_)
    for place, index in zip(places, chosen, strict=True):
        array[place] |= mask[index]
    origin = tuple(positions[first].tolist())
    return Volume(array, (*spacing[:2], distance), origin, direction, (path,))


def _common_orientation(path: Path, frames: Sequence[Any]) -> npt.NDArray[np.float64]:
    orientations = [orientation_of(path, frame) for frame in frames]
    first = orientations[0]
    if first is None:
        msg = f"{path} must have ImageOrientationPatient, got none; give the region as a label image"
        raise ValueError(msg)
    if any(other is None or not np.allclose(other, first, atol=1e-3) for other in orientations):
        msg = f"{path}: frames must have one orientation, got several; give each part as a file of its own"
        raise ValueError(msg)
    return first


def _distance(
    path: Path,
    frame: Any,
    positions: npt.NDArray[np.float64],
    normal: npt.NDArray[np.float64],
    image: Volume,
) -> float:
    """Return the distance of slices that all frames fit: the image's, the stated one, or the smallest gap.

    Segmentations often leave empty frames out, so that the gaps between the others say little.

    Raises
    ------
    ValueError
        If frames fit none of them.
    """
    along = np.unique(np.round(positions @ normal, 3))
    gaps = np.diff(along)
    slices = in_voxels(positions, image)[:, 2]
    on_slices = np.abs(slices - np.round(slices)).max() <= _OFF_GRID
    candidates = [image.spacing_mm[2]] if on_slices else []
    candidates += [stated_distance(path, frame) or 0.0, *([float(gaps.min())] if gaps.size else [])]
    for distance in candidates:
        if distance > 0:
            steps = (along - along[0]) / distance
            if np.abs(steps - np.round(steps)).max() <= _OFF_GRID:
                return distance
    if not gaps.size:
        return float(image.spacing_mm[2])
    places = np.round(along - along[0], 2).tolist()
    msg = (
        f"{path}: frames must be whole slices apart, got positions {places} mm along their normal; give the "
        "region as a label image"
    )
    raise ValueError(msg)


def _segment_mask(path: Path, dataset: Any, segment: Segment) -> Mask:
    """Return where a segment is in each frame, (frames, Y, X); frames of other segments are empty."""
    pixels = decoded(path, dataset).reshape((-1, *size_of(path, dataset)))
    if text_of(dataset, "SOPClassUID") == _LABEL_MAP:
        found: Mask = pixels == segment.number
        return found
    largest = 1
    if text_of(dataset, "SegmentationType") == "FRACTIONAL":
        largest = count_of(path, dataset, "MaximumFractionalValue", 255)
    groups = items_of(path, dataset, "PerFrameFunctionalGroupsSequence")
    numbers = np.array([_number(path, dataset, group) for group in groups])
    mask: Mask = (pixels >= _HALF * largest) & (numbers == segment.number)[:, None, None]
    return mask


def _number(path: Path, dataset: Any, group: Any) -> int:
    holders = [group, *items_of(path, dataset, "SharedFunctionalGroupsSequence")[:1]]
    for holder in holders:
        for item in items_of(path, holder, "SegmentIdentificationSequence")[:1]:
            return _number_of(path, item, "ReferencedSegmentNumber")
    raise malformed(path, "SegmentIdentificationSequence", "in each frame or shared", "none")


def _inside_contours(path: Path, dataset: Any, structure: Segment, volume: Volume) -> Mask:
    """Return the voxels of the image whose centre is inside the contours of a structure."""
    name = structure.label or str(structure)
    drawn = [
        contour
        for item in items_of(path, dataset, "ROIContourSequence")
        if _number_of(path, item, "ReferencedROINumber") == structure.number
        for contour in items_of(path, item, "ContourSequence")
    ]
    contours = closed_contours(path, name, drawn)
    if not contours:
        types = sorted({text_of(contour, "ContourGeometricType") or "none" for contour in drawn})
        got = f", only {', '.join(types)}" if types else ""
        msg = f"{path}: structure {structure} has no contour with an area{got}"
        raise ValueError(msg)
    mask = filled_contours(path, name, contours, volume)
    if not mask.any():
        msg = f"{path}: structure {structure} has no voxel's centre inside"
        raise ValueError(msg)
    return mask
