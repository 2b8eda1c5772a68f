"""``radsynth download``: public series of the Imaging Data Commons, with their licences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from pipelines.shell.options import Command


@click.command(cls=Command)
@click.option("--collection", required=True, help="Name of a collection there, as ispy2.")
@click.option("--description", metavar="REGEX", help="Only series whose description has this in it.")
@click.option("--modality", help="Only this modality, as MR.")
@click.option("--license", "licence", help="Only licences that begin so, as 'CC BY'.")
@click.option("--patient", "patients", multiple=True, help="Only this patient; may be given again.")
@click.option("--limit", type=click.IntRange(1), help="Only so many series, the first by patient.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Folder to fetch to; without it, list only."
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
    """List, and with -o fetch, public DICOM series of the NCI Imaging Data Commons.

    The list comes from the index that the package idc-index carries and needs no network. Licences and DOIs
    are printed before anything is fetched, and kept beside the images: cite them. A series that is there
    already is kept, so the same command continues an interrupted download. Open collections of breast MR
    (CC BY 4.0): advanced_mri_breast_lesions, ispy2.

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
