"""``radsynth download``: public series of the Imaging Data Commons, with their licences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from pipelines.shell.options import Command


@click.command(cls=Command, needs=("idc_index",))
@click.option("--collection", required=True, help="Name of the collection, e.g. ispy2.")
@click.option("--description", metavar="REGEX", help="Only series whose description matches this expression.")
@click.option("--modality", help="Only this modality, e.g. MR.")
@click.option("--license", "licence", help="Only licences that start with this, e.g. 'CC BY'.")
@click.option("--patient", "patients", multiple=True, help="Only this patient; can be repeated.")
@click.option("--limit", type=click.IntRange(1), help="Maximum number of series, taken in order of patient.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Folder for the download; without it, series are only listed.",
)
def command(
    collection: str,
    description: str | None,
    modality: str | None,
    licence: str | None,
    patients: Sequence[str],
    limit: int | None,
    output: Path | None,
) -> None:
    """List public DICOM series of the NCI Imaging Data Commons; with -o, download them.

    The list comes from the index inside the package idc-index and needs no network. Licences and DOIs are
    printed before the download and saved next to the images: cite them. Series that are already there are
    kept, so the same command resumes an interrupted download. Open collections of breast MR (CC BY 4.0):
    advanced_mri_breast_lesions, ispy2.

    \b
    Example:
      radsynth download --collection ispy2 --description "PE2" --limit 3
      radsynth download --collection ispy2 --description "PE2" --limit 3 -o ispy2
      radsynth cohort scan ispy2 -o cohort.csv
    """
    from pipelines.cohorts.downloads import fetch, query, series_lines

    series = query(collection, description, modality, licence, patients, limit)
    for line in series_lines(series):
        click.echo(line)
    if output is not None:
        fetch(series, output)
        click.echo(output)


if __name__ == "__main__":
    command()
