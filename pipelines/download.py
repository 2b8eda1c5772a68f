"""``radsynth download``: public series of the Imaging Data Commons, with their licences."""

from __future__ import annotations

import csv
import logging
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from glcm_cuda.checks import nearest
from glcm_cuda.files import replacing

from .options import Command, progress_bar
from .outputs import refuse_foreign_folder
from .report import counted

if TYPE_CHECKING:
    import pandas as pd

_log = logging.getLogger(__name__)

_COLUMNS = {
    "collection": "collection_id",
    "patient": "PatientID",
    "study": "StudyInstanceUID",
    "series": "SeriesInstanceUID",
    "modality": "Modality",
    "description": "SeriesDescription",
    "images": "instanceCount",
    "megabytes": "series_size_MB",
    "licence": "license_short_name",
    "doi": "source_DOI",
}
_MANIFEST = "download.csv"
_LICENCES = "LICENCES.txt"
_UNFINISHED = ".unfinished"
_SHOWN = 20


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
    found = query(collection, description, modality, licence, patients, limit)
    _print(found)
    if output is None:
        return
    refuse_foreign_folder(output, (_MANIFEST, _LICENCES, collection), force=False)
    fetch(found, output)
    click.echo(output)


def query(
    collection: str,
    description: str | None = None,
    modality: str | None = None,
    licence: str | None = None,
    patients: Sequence[str] = (),
    limit: int | None = None,
) -> pd.DataFrame:
    """Return the series of a collection that fit, one row each, by patient.

    Raises
    ------
    ImportError
        If idc-index is not installed.
    ValueError
        If there is no such collection, `description` is no regular expression, or no series fits.
    """
    import pandas as pd

    index = _index()
    only = [("collection_id", "==", collection)]
    found = pd.read_parquet(index, columns=[*_COLUMNS.values()], filters=only)
    if found.empty:
        known = pd.read_parquet(index, columns=["collection_id"]).collection_id.unique()
        hint = nearest(collection, sorted(known))
        msg = f"the Imaging Data Commons has no collection {collection!r}{hint}; it has {len(known)}"
        raise ValueError(msg)
    found = found.rename(columns={there: here for here, there in _COLUMNS.items()})
    fits = pd.Series(data=True, index=found.index)
    if description is not None:
        fits &= found.description.fillna("").str.contains(_pattern(description), regex=True)
    if modality is not None:
        fits &= found.modality.str.casefold() == modality.casefold()
    if licence is not None:
        fits &= found.licence.fillna("").str.casefold().str.startswith(licence.casefold())
    if patients:
        fits &= found.patient.isin(patients)
    if not fits.any():
        msg = f"none of the {len(found)} series of {collection} fits; ask for less"
        raise ValueError(msg)
    ordered = found[fits].sort_values(["patient", "study", "description", "series"], ignore_index=True)
    return ordered if limit is None else ordered.head(limit)


def fetch(found: pd.DataFrame, folder: Path) -> None:
    """Fetch series into ``folder/collection/patient/series``; those that are there are kept.

    Raises
    ------
    ValueError
        If series could not be fetched: the others are there, and a list of all.
    OSError
        If there is no room.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [row for row in _rows(found) if not place_of(row, folder).is_dir()]
    if len(wanted) < len(found):
        _log.info("%d of %d series there already and kept", len(found) - len(wanted), len(found))
    needed, free = sum(row["megabytes"] for row in wanted), shutil.disk_usage(folder).free / 1e6
    if needed > free:
        msg = f"{folder}: {needed:,.0f} MB are to come and {free:,.0f} MB are free; make room or ask for less"
        raise OSError(msg)
    _write_lists(found, folder)
    failures = {}
    with progress_bar("Download", len(wanted)) as progress:
        for done, row in enumerate(wanted, start=1):
            error = _fetched(row, folder)
            if error is not None:
                failures[row["series"]] = error
            progress(done, len(wanted))
    shutil.rmtree(folder / _UNFINISHED, ignore_errors=True)
    if failures:
        series, error = next(iter(failures.items()))
        msg = (
            f"{len(failures)} of {len(wanted)} series could not be fetched (first: {series}: {error}); the "
            "others are there, run again to continue"
        )
        raise ValueError(msg)


def place_of(row: dict[str, Any], folder: Path) -> Path:
    """Return the folder of a series."""
    return folder / str(row["collection"]) / str(row["patient"]) / str(row["series"])


def download_series(series: str, folder: Path) -> None:
    """Let idc-index fetch the files of a series into a folder."""
    from idc_index import IDCClient

    IDCClient.client().download_from_selection(
        downloadDir=str(folder), seriesInstanceUID=[series], dirTemplate="", show_progress_bar=False
    )


def _fetched(row: dict[str, Any], folder: Path) -> str | None:
    """Fetch a series aside and move it to its place when it is whole; return what went wrong."""
    aside, place = folder / _UNFINISHED / str(row["series"]), place_of(row, folder)
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        download_series(str(row["series"]), aside)
    except Exception as error:  # whatever the network or its tool makes of it, the rest goes on
        return (str(error).strip() or type(error).__name__).splitlines()[0]
    number = sum(path.is_file() for path in aside.rglob("*"))
    if number != row["images"]:
        return f"{number} of {row['images']} files came; is there a network?"
    place.parent.mkdir(parents=True, exist_ok=True)
    aside.rename(place)
    return None


def _index() -> str:
    try:
        import idc_index_data
    except ImportError:
        msg = "download needs idc-index: pip install 'radsynth[idc]'"
        raise ImportError(msg) from None
    return str(idc_index_data.IDC_INDEX_PARQUET_FILEPATH)


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text, re.IGNORECASE)
    except re.error as error:
        msg = f"--description must be a regular expression, got {text!r} ({error})"
        raise ValueError(msg) from None


def _rows(found: pd.DataFrame) -> list[dict[str, Any]]:
    return [dict(zip(found.columns, row, strict=True)) for row in found.itertuples(index=False)]


def _print(found: pd.DataFrame) -> None:
    for row in _rows(found.head(_SHOWN)):
        click.echo(
            f"{row['patient']}  {row['modality']}  {row['description']}  {row['images']} images  "
            f"{row['megabytes']:.1f} MB  {row['licence']}"
        )
    if len(found) > _SHOWN:
        click.echo(f"... and {len(found) - _SHOWN} more")
    click.echo(
        f"{len(found)} series of {counted(found.patient.nunique(), 'patient')}, "
        f"{found.megabytes.sum():,.0f} MB"
    )
    for line in _licence_lines(found):
        click.echo(line)


def _licence_lines(found: pd.DataFrame) -> list[str]:
    counts = Counter((row["collection"], row["licence"], row["doi"]) for row in _rows(found))
    return [
        f"{collection}: {licence}; cite https://doi.org/{doi} ({count} series)"
        for (collection, licence, doi), count in sorted(counts.items(), key=str)
    ]


def _write_lists(found: pd.DataFrame, folder: Path) -> None:
    """Write what is fetched from where, and under which licence."""
    with (
        replacing(folder / _MANIFEST, force=True) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.DictWriter(file, [*_COLUMNS, "folder"])
        writer.writeheader()
        for row in _rows(found):
            writer.writerow({**row, "folder": place_of(row, folder).relative_to(folder).as_posix()})
    with replacing(folder / _LICENCES, force=True) as temporary:
        temporary.write_text("\n".join(_licence_lines(found)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    command()
