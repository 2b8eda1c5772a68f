"""``radsynth phantom``: a synthetic cohort of breast volumes with tissue labels."""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.shell.options import Command, FilePath, force_option
from pipelines.shell.progress import progress_bar


@click.command(cls=Command, needs=("scipy",))
@click.option("-o", "--output", required=True, type=FilePath(), help="Output folder for the cohort.")
@click.option(
    "--size",
    type=click.IntRange(64, 2048),
    default=512,
    show_default=True,
    help="Rows and columns of each slice.",
)
@click.option(
    "--slices",
    type=click.IntRange(1, 100),
    default=8,
    show_default=True,
    help="Slices per patient, 3 mm each.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Random seed; each seed gives other patients.",
)
@force_option
def command(output: Path, size: int, slices: int, seed: int, force: bool) -> None:
    """Make a synthetic cohort: 10 benign, 10 malignant and 4 normal breast volumes with tissue labels.

    This is a phantom, not patients. Use it to try out and test the other commands.

    \b
    Example:
      radsynth phantom -o phantom --size 128 --slices 3
      phantom/cohort.csv
      24 phantom patients (10 benign, 10 malignant, 4 normal), 3x128x128 voxels, seed 0
    """
    from pipelines.cohorts.phantoms import cohort_summary, write_phantom

    with progress_bar("phantom") as progress:
        write_phantom(output, size=size, slices=slices, seed=seed, force=force, progress=progress)
    click.echo(output / "cohort.csv")
    click.echo(cohort_summary(size=size, slices=slices, seed=seed))


if __name__ == "__main__":
    command()
