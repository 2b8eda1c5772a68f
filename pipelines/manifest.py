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
    """Make the CSV that lists a cohort's images."""


@command.command(cls=Command)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The cohort's CSV.")
@click.option("--series", help="Only series (or files) whose description (or name) has this in it.")
@click.option("--phase", type=int, help="Only this phase of series that have several, from 1.")
@click.option("--keep-ids", is_flag=True, help="Name patients by their IDs instead of hashes of them.")
@force_option
def scan(
    folder: Path, output: Path, series: str | None, phase: int | None, keep_ids: bool, force: bool
) -> None:
    """Write the CSV of a cohort from what FOLDER holds: DICOM, or NIfTI, NRRD and MHA as BIDS names them.

    One row for each volume: patient, group, image, labels, series, phase, and what else is known. What reads
    a cohort wants one row for each patient: choose with --series and --phase, or delete rows. Label images
    that stand beside an image under its name (..._dseg, _mask, _seg, _label) go with it.

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
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The standard, as JSON.")
@force_option
def standard(cohort: Path, output: Path, force: bool) -> None:
    """Learn the intensity standard of COHORT's images, for --standardize of other commands.

    The mean landmarks of their histograms (Nyul, Udupa and Zhang 2000): MR intensities have no unit, and this
    puts those of one protocol on one scale.

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
    """Write the images of COHORT after the steps, and the CSV of a cohort of them.

    So a network learns, maps and is evaluated on the same images. Labels go along by the nearest voxel. Each
    image has the steps beside it as JSON. Images that are there already, of the same image and steps, are
    kept; a case that fails does not stop the rest.

    \b
    Example:
      radsynth cohort preprocess cohort.csv -o n4 --n4 --resample 1,1,0
      radsynth groundtruth n4/cohort.csv -o store.h5
    """
    from pipelines.cohorts.preparation import preprocess_cohort

    click.echo(preprocess_cohort(cohort, output, steps, force=force))


if __name__ == "__main__":
    command()
