"""What a file, folder or archive holds, in lines: series, phases, geometry, problems."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines.images.archives import opened
from pipelines.images.dicom.attributes import text_of
from pipelines.images.dicom.headers import Contents, Found, contents_of, files_below, hashed, is_dicom
from pipelines.images.dicom.phases import Phase, phases_of, uneven, without_copies
from pipelines.images.dicom.planes import plane_name, size_of, spacing_of
from pipelines.images.dicom.regions import is_region_header, segments_in, series_referred_to
from pipelines.images.dicom.series import refuse_mixed_scales, series_frames
from pipelines.images.dicom.tilt import tilt_degrees, tilt_text
from pipelines.images.dicom.voxels import rescale_of
from pipelines.images.output_paths import MAP_SUFFIXES
from pipelines.images.reading import read_image
from pipelines.images.volume import Volume
from pipelines.reports.tables import counted

_OTHER_FORMATS = (*MAP_SUFFIXES, ".nhdr", ".mhd")


def report(path: Path, *, keep_ids: bool = False) -> list[str]:
    """Return what a file, a folder or a zip archive holds, in lines.

    Parameters
    ----------
    path : Path
        With all folders in it; of DICOM files only the headers are read.
    keep_ids : bool
        Show the IDs of patients, not hashes of them.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    ValueError
        If it holds no image at all.
    """
    if not path.exists():
        msg = f"{path} does not exist"
        raise FileNotFoundError(msg)
    with opened(path) as place:
        lines = _lines(place, keep_ids=keep_ids)
        return lines if place == path else [line.replace(str(place), path.name) for line in lines]


def _lines(path: Path, *, keep_ids: bool) -> list[str]:
    if path.is_file() and not is_dicom(path):
        return [_image_line(path.name, read_image(path))]
    contents = contents_of(path)
    lines = [*_dicom_lines(contents, keep_ids=keep_ids)]
    images = [image for image in files_below(path) if image.name.endswith(_OTHER_FORMATS)]
    lines += [_line(path, image) for image in images]
    lines += dict.fromkeys(_problem_lines(contents))
    if not lines:
        msg = f"{path} holds no image: neither DICOM nor {', '.join(_OTHER_FORMATS)}"
        raise ValueError(msg)
    ignored = contents.ignored_text()
    return [*lines, *([f"ignored: {ignored}"] if ignored else [])]


def _problem_lines(contents: Contents) -> Iterator[str]:
    """Files that cannot be read, and those that may be lost slices by their names."""
    problems = {problem.path: problem for one in contents.series for problem in contents.problems_of(one)}
    yield from (f"problem: {problem}" for problem in (*contents.problems, *problems.values()))


def _dicom_lines(contents: Contents, *, keep_ids: bool) -> Iterator[str]:
    patients = list(dict.fromkeys(one.patient for one in contents.series))
    for patient in patients:
        yield f"patient {patient if keep_ids else hashed(patient)}"
        for series in contents.series:
            if series.patient == patient:
                yield f"  {series.summary()}"
                yield from (f"      {line}" for line in _series_lines(series))
    modalities = Counter(text_of(header, "Modality") or "unknown" for _, header in contents.others)
    if modalities:
        listed = ", ".join(f"{number} {modality}" for modality, number in sorted(modalities.items()))
        yield f"other objects: {listed}"
    for path, header in contents.others:
        if is_region_header(header):
            yield f"  {_region_line(path, header, contents)}"


def _region_line(path: Path, header: Any, contents: Contents) -> str:
    """Segments or structures of a file, and the series that they belong to."""
    modality = text_of(header, "Modality") or "object"
    try:
        segments, uids = segments_in(path, header), series_referred_to(path, header)
    except ValueError as error:
        return f"problem: {error}"
    frame = text_of(header, "FrameOfReferenceUID")
    series = [one for one in contents.series if one.uid in uids]
    if not uids and frame:
        series = [one for one in contents.series if text_of(one.first, "FrameOfReferenceUID") == frame]
    numbers = ", ".join(f"series {one.number}" for one in series) or "a series that is not here"
    listed = ", ".join(map(str, segments)) or "no segment"
    return f"{modality} {path.name}: {listed} (of {numbers if uids or series else 'no stated series'})"


def _series_lines(series: Found) -> Iterator[str]:
    """Geometry, phases and problems of a series."""
    members, copies = without_copies(series.members)
    source = Path("series")
    try:
        slices = series_frames(source, members)
        phases = phases_of(source, slices)
        for path, header in slices:
            rescale_of(path, header)  # refuses what is malformed
        for phase in phases:
            refuse_mixed_scales(source, phase)
    except ValueError as error:
        yield f"problem: {error}".replace("series: ", "").replace("series holds", "holds")
        return
    yield _geometry(phases[0])
    for phase in phases:
        if phase.name:
            yield f"phase {phase.number}: {phase.name}, {counted(len(phase.members), 'slice')}"
        gap = uneven(phase)
        if gap is not None:
            yield f"problem: uneven slices, {gap}"
        tilt = tilt_degrees(phase.positions_mm, phase.normal)
        if tilt:
            yield f"problem: {tilt_text(tilt)}"
    yield from (f"problem: {copy}" for copy in copies)


def _geometry(phase: Phase) -> str:
    path, header = phase.members[0]
    height, width = size_of(path, header)
    size = f"{width}x{height}x{len(phase.members)} voxels"
    rows, columns = spacing_of(path, header) or (float("nan"), float("nan"))
    spacing = f"{columns:.3g}x{rows:.3g}"
    if len(phase.members) > 1:
        gaps = phase.along_mm[1:] - phase.along_mm[:-1]
        spacing += f"x{sorted(gaps)[len(gaps) // 2]:.3g}"
    return f"{size}, {spacing} mm, {plane_name(phase.orientation)}"


def _line(folder: Path, path: Path) -> str:
    try:
        return _image_line(str(path.relative_to(folder)), read_image(path))
    except ValueError as error:
        return f"problem: {error}"


def _image_line(name: str, volume: Volume) -> str:
    size = "x".join(str(edge) for edge in volume.array.shape[::-1])
    spacing = "x".join(f"{edge:.3g}" for edge in volume.spacing_mm)
    return f"{name}: {size} voxels of {volume.array.dtype}, {spacing} mm"
