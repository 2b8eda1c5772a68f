"""``radsynth inspect``: what a file, folder or archive holds, before anything is computed."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from pipelines.shell.options import Command, FilePath


@click.command(cls=Command)
@click.argument("path", type=FilePath())
@click.option("--keep-ids", is_flag=True, help="Show patient IDs instead of their hashes.")
def command(path: Path, keep_ids: bool) -> None:
    """List what PATH contains: patients, series, phases, geometry, problems.

    PATH is a file, a folder (subfolders included) or a zip archive. Only the headers of DICOM files are read,
    and nothing is written. The numbers shown are the ones that --series and --phase of other commands take.
    Names and dates are never shown.

    \b
    Example:
      radsynth inspect study.zip
      patient 5f6c0a2b7f1e
        1 DCE 3D FGRE (MR, 180 images)
            256x256x60 voxels, 0.703x0.703x2 mm, sagittal
            phase 1: ContentTime +0 s, 60 slices
            phase 2: ContentTime +407 s, 60 slices
    """
    from pipelines.images.contents import report

    for line in report(path, keep_ids=keep_ids):
        click.echo(_printable(line))


def _printable(line: str) -> str:
    """Return a line with what the terminal cannot show, such as another alphabet, as escapes."""
    encoding = sys.stdout.encoding or "utf-8"
    return line.encode(encoding, "backslashreplace").decode(encoding)


if __name__ == "__main__":
    command()
