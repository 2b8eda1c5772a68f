"""``radsynth inspect``: what a file, folder or archive holds, before anything is computed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click

from pipelines.images.archives import opened
from pipelines.images.dicom.headers import Contents, Found, contents_of, files_below, hashed
from pipelines.images.dicom.phases import (
    Phase,
    phases_of,
    plane_name,
    spacing_of,
    uneven,
    without_copies,
)
from pipelines.images.dicom.series import series_frames
from pipelines.images.dicom.tilt import tilt_degrees, tilt_text
from pipelines.images.reading import read_image
from pipelines.images.volume import Volume
from pipelines.images.output_paths import MAP_SUFFIXES
from pipelines.reports.tables import counted
from pipelines.shell.options import Command

_OTHER_FORMATS = (*MAP_SUFFIXES, ".mhd")


@click.command(cls=Command)
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--keep-ids", is_flag=True, help="Show the patients' IDs instead of hashes of them.")
def command(path: Path, keep_ids: bool) -> None:
    """Print what PATH holds: patients, series, phases, geometry, problems.

    PATH is a file, a folder with folders in it, or a zip archive. Of DICOM only headers are read. The numbers
    are those that --series and --phase of other commands take. Nothing is written. Names and dates are never
    shown.

    \b
    Example:
      radsynth inspect study.zip
      patient 5f6c0a2b7f1e
        1 DCE 3D FGRE (MR, 180 images)
            256x256x60 voxels, 0.703x0.703x2 mm, sagittal
            phase 1: ContentTime +0 s, 60 slices
            phase 2: ContentTime +407 s, 60 slices
    """
    if not path.exists():
        msg = f"{path} does not exist"
        raise FileNotFoundError(msg)
    with opened(path) as place:
        for line in report(place, keep_ids=keep_ids):
            click.echo(line.replace(str(place), path.name) if place != path else line)


def report(path: Path, *, keep_ids: bool = False) -> list[str]:
    """Return what a file or folder holds, a line each.

    Raises
    ------
    ValueError
        If it holds no image at all.
    """
    if path.is_file() and not _is_dicom(path):
        return [_image_line(path.name, read_image(path))]
    contents = contents_of(path)
    lines = [*_dicom_lines(contents, keep_ids=keep_ids)]
    images = [image for image in files_below(path) if image.name.endswith(_OTHER_FORMATS)]
    lines += [_line(path, image) for image in images]
    lines += [f"problem: {problem}" for problem in contents.problems]
    if not lines:
        msg = f"{path} holds no image: neither DICOM nor {', '.join(_OTHER_FORMATS)}"
        raise ValueError(msg)
    return lines


def _dicom_lines(contents: Contents, *, keep_ids: bool) -> Iterator[str]:
    patients = list(dict.fromkeys(one.patient for one in contents.series))
    for patient in patients:
        yield f"patient {patient if keep_ids else hashed(patient)}"
        for found in contents.series:
            if found.patient == patient:
                yield f"  {found.summary()}"
                yield from (f"      {line}" for line in _series_lines(found))
    kinds = Counter(str(header.get("Modality", "unknown")) for _, header in contents.others)
    if kinds:
        listed = ", ".join(f"{kind} {number}" for kind, number in sorted(kinds.items()))
        yield f"not images of a scanner: {listed}"


def _series_lines(found: Found) -> Iterator[str]:
    """Geometry, phases and problems of a series."""
    members, copies = without_copies(found.members)
    try:
        phases = phases_of(Path("series"), series_frames(members))
    except ValueError as error:
        yield f"problem: {error}".replace("series: ", "").replace("series holds", "holds")
        return
    yield _geometry(phases[0])
    for phase in phases:
        if phase.name:
            yield f"phase {phase.number}: {phase.name}, {counted(len(phase.members), 'slice')}"
        how = uneven(phase)
        if how is not None:
            yield f"problem: uneven slices, {how}"
        tilt = tilt_degrees(phase.positions_mm, phase.normal)
        if tilt:
            yield f"problem: {tilt_text(tilt)}"
    yield from (f"problem: {copy}" for copy in copies)


def _geometry(phase: Phase) -> str:
    header = phase.members[0][1]
    size = f"{header.Columns}x{header.Rows}x{len(phase.members)} voxels"
    rows, columns = spacing_of(header) or (float("nan"), float("nan"))
    spacing = f"{columns:.3g}x{rows:.3g}"
    if len(phase.members) > 1:
        gaps = phase.along_mm[1:] - phase.along_mm[:-1]
        spacing += f"x{sorted(gaps)[len(gaps) // 2]:.3g}"
    return f"{size}, {spacing} mm, {plane_name(header)}"


def _line(folder: Path, path: Path) -> str:
    try:
        return _image_line(str(path.relative_to(folder)), read_image(path))
    except ValueError as error:
        return f"problem: {error}"


def _image_line(name: str, volume: Volume) -> str:
    size = "x".join(str(edge) for edge in volume.array.shape[::-1])
    spacing = "x".join(f"{edge:.3g}" for edge in volume.spacing_mm)
    return f"{name}: {size} voxels of {volume.array.dtype}, {spacing} mm"


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


if __name__ == "__main__":
    command()
