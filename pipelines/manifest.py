"""``radsynth cohort``: the CSV of a cohort, the standard of its intensities, its images prepared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipelines.shell.errors import OneLineErrors
from pipelines.shell.options import Command, force_option, preprocessing_options

if TYPE_CHECKING:
    from pipelines.images.preprocessing import Preprocessing


class _Group(OneLineErrors, click.Group):
    """Commands with errors in one line."""


@click.group(cls=_Group)
def command() -> None:
    """List the images of a cohort, and preprocess them."""


@command.command(cls=Command)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The cohort's CSV.")
@click.option("--series", help="Only series (or files) whose description (or name) contains this text.")
@click.option("--phase", type=int, help="Only this phase of series with several, counted from 1.")
@click.option("--keep-ids", is_flag=True, help="Name patients by their IDs, not by hashes of them.")
@force_option
def scan(
    folder: Path, output: Path, series: str | None, phase: int | None, keep_ids: bool, force: bool
) -> None:
    """List the images in FOLDER as the CSV of a cohort: DICOM, or NIfTI, NRRD and MHA with BIDS names.

    The CSV has one row per volume: patient, group, image, labels, series, phase, and whatever else is known.
    Other commands need one row per patient: select volumes with --series and --phase, or delete rows. A
    label image next to its image (same name with _dseg, _mask, _seg or _label) is listed with it.

    \b
    Example:
      radsynth cohort scan studies -o cohort.csv --series "DCE" --phase 2
      cohort.csv
      24 volumes of 24 patients
    """
    from pipelines.cohorts.listing import list_cohort

    summary = list_cohort(folder, output, series, phase, keep_ids=keep_ids, force=force)
    click.echo(output)
    click.echo(summary)


@command.command(cls=Command)
@click.argument("cohort", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="JSON file for the standard."
)
@force_option
def standard(cohort: Path, output: Path, force: bool) -> None:
    """Learn an intensity standard from the images of COHORT, for --standardize in other commands.

    The standard is the mean of the histogram landmarks (Nyul, Udupa and Zhang 2000). MR intensities have no
    unit; the standard puts images of the same protocol on one scale.

    \b
    Example:
      radsynth cohort standard cohort.csv -o t1.json
      radsynth map breast.nii.gz -o entropy.nii.gz --standardize t1.json
    """
    from pipelines.cohorts.preparation import write_cohort_standard

    write_cohort_standard(cohort, output, force=force)
    click.echo(output)


@command.command(cls=Command)
@click.argument("cohort", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder.")
@preprocessing_options
@force_option
def preprocess(cohort: Path, output: Path, steps: Preprocessing, force: bool) -> None:
    """Write the preprocessed images of COHORT, and a cohort CSV that lists them.

    Training, maps and evaluation can then use the same images. Labels are resampled to the nearest voxel.
    The steps are saved as JSON next to each image. Images from an earlier run are kept if their source and
    steps are the same. If one case fails, the others still run.

    \b
    Example:
      radsynth cohort preprocess cohort.csv -o n4 --n4 --resample 1,1,0
      radsynth groundtruth n4/cohort.csv -o store.h5
    """
    from pipelines.cohorts.preparation import preprocess_cohort

    click.echo(preprocess_cohort(cohort, output, steps, force=force))


if __name__ == "__main__":
    command()
