"""Public series of the Imaging Data Commons: query, download, licences."""

from __future__ import annotations

import csv
import logging
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glcm_cuda.base.checks import nearest
from glcm_cuda.base.files import replacing
from pipelines.shell.progress import progress_bar

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
MANIFEST = "download.csv"
LICENCES = "LICENCES.txt"
_UNFINISHED = ".unfinished"


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
    wanted = [row for row in series_rows(found) if not place_of(row, folder).is_dir()]
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


def series_rows(found: pd.DataFrame) -> list[dict[str, Any]]:
    return [dict(zip(found.columns, row, strict=True)) for row in found.itertuples(index=False)]


def licence_lines(found: pd.DataFrame) -> list[str]:
    counts = Counter((row["collection"], row["licence"], row["doi"]) for row in series_rows(found))
    return [
        f"{collection}: {licence}; cite https://doi.org/{doi} ({count} series)"
        for (collection, licence, doi), count in sorted(counts.items(), key=str)
    ]


def _write_lists(found: pd.DataFrame, folder: Path) -> None:
    """Write what is fetched from where, and under which licence."""
    with (
        replacing(folder / MANIFEST, force=True) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.DictWriter(file, [*_COLUMNS, "folder"])
        writer.writeheader()
        for row in series_rows(found):
            writer.writerow({**row, "folder": place_of(row, folder).relative_to(folder).as_posix()})
    with replacing(folder / LICENCES, force=True) as temporary:
        temporary.write_text("\n".join(licence_lines(found)) + "\n", encoding="utf-8")
