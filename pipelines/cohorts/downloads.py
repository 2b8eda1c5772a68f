"""Public series of the Imaging Data Commons: query, download, licences."""

from __future__ import annotations

import csv
import logging
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from glcm_cuda.base.checks import nearest
from glcm_cuda.base.extras import library
from glcm_cuda.base.files import replacing
from pipelines.reports.tables import counted
from pipelines.shell.outputs import refuse_foreign_folder
from pipelines.shell.progress import progress_bar

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
"""Series that are listed one by one."""


def query(
    collection: str,
    description: str | None = None,
    modality: str | None = None,
    licence: str | None = None,
    patients: Sequence[str] = (),
    limit: int | None = None,
) -> pd.DataFrame:
    """Return the series of a collection that match, one row each, sorted by patient.

    Parameters
    ----------
    collection : str
        Name of a collection, as ispy2.
    description : str, optional
        Regular expression, searched in the series description in upper or lower case.
    modality : str, optional
        As MR.
    licence : str, optional
        Beginning of the licence's short name, as ``CC BY``.
    patients : sequence of str
        Only these; all if empty.
    limit : int, optional
        Series at most, the first by patient.

    Returns
    -------
    DataFrame
        The columns of the manifest without `folder`; sizes in megabytes.

    Raises
    ------
    ImportError
        If idc-index is not installed.
    ValueError
        If there is no such collection, `description` is not a regular expression, or no series matches.
    """
    index = _index()
    only = [("collection_id", "==", collection)]
    series = pd.read_parquet(index, columns=[*_COLUMNS.values()], filters=only)
    if series.empty:
        known = pd.read_parquet(index, columns=["collection_id"]).collection_id.unique()
        hint = nearest(collection, sorted(known))
        msg = f"the Imaging Data Commons has no collection {collection!r}{hint}; it has {len(known)} others"
        raise ValueError(msg)
    series = series.rename(columns={there: here for here, there in _COLUMNS.items()})
    matches = pd.Series(data=True, index=series.index)
    if description is not None:
        matches &= series.description.fillna("").str.contains(_pattern(description), regex=True)
    if modality is not None:
        matches &= series.modality.str.casefold() == modality.casefold()
    if licence is not None:
        matches &= series.licence.fillna("").str.casefold().str.startswith(licence.casefold())
    if patients:
        matches &= series.patient.isin(patients)
    if not matches.any():
        msg = f"none of the {len(series)} series of {collection} match; relax the filters"
        raise ValueError(msg)
    ordered = series[matches].sort_values(["patient", "study", "description", "series"], ignore_index=True)
    return ordered if limit is None else ordered.head(limit)


def fetch(series: pd.DataFrame, folder: Path) -> None:
    """Fetch series into ``folder/collection/patient/series``; those that exist are kept.

    Parameters
    ----------
    series : DataFrame
        Of `query`.
    folder : path
        Empty, new, or of an earlier download.

    Raises
    ------
    FileExistsError, NotADirectoryError
        If the folder is a file, or holds other things.
    ValueError
        If series could not be fetched; the others and the list of all are written.
    OSError
        If the disk has too little space.
    """
    refuse_foreign_folder(folder, (_MANIFEST, _LICENCES, *series.collection.unique()), force=False)
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [row for row in _rows(series) if not series_folder(row, folder).is_dir()]
    if len(wanted) < len(series):
        _log.info("%d of %d series are already there and are kept", len(series) - len(wanted), len(series))
    _check_space(wanted, folder)
    _write_lists(series, folder)
    failures = {}
    with progress_bar("Download", len(wanted)) as progress:
        for done, row in enumerate(wanted, start=1):
            error = _fetched(row, folder)
            if error is not None:
                failures[row["series"]] = error
            progress(done, len(wanted))
    shutil.rmtree(folder / _UNFINISHED, ignore_errors=True)
    if failures:
        first, error = next(iter(failures.items()))
        msg = (
            f"{len(failures)} of {len(wanted)} series could not be downloaded (first: {first}: {error}); "
            "the others are complete; run again to resume"
        )
        raise ValueError(msg)


def _check_space(wanted: Sequence[dict[str, Any]], folder: Path) -> None:
    needed, free = sum(row["megabytes"] for row in wanted), shutil.disk_usage(folder).free / 1e6
    if needed > free:
        msg = (
            f"{folder}: the download needs {needed:,.0f} MB and {free:,.0f} MB are free; free some space or "
            "select fewer series"
        )
        raise OSError(msg)


def series_folder(row: dict[str, Any], folder: Path) -> Path:
    """Return the folder of a series."""
    return folder / str(row["collection"]) / str(row["patient"]) / str(row["series"])


def download_series(series: str, folder: Path) -> None:
    """Fetch the files of a series into a folder with idc-index."""
    from idc_index import IDCClient

    IDCClient.client().download_from_selection(
        downloadDir=str(folder), seriesInstanceUID=[series], dirTemplate="", show_progress_bar=False
    )


def _fetched(row: dict[str, Any], folder: Path) -> str | None:
    """Fetch a series into a temporary folder and move it when it is complete; return what went wrong."""
    temporary, final = folder / _UNFINISHED / str(row["series"]), series_folder(row, folder)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        download_series(str(row["series"]), temporary)
    except Exception as error:  # idc-index raises all kinds of errors; the other series still come
        return (str(error).strip() or type(error).__name__).splitlines()[0]
    number = sum(path.is_file() for path in temporary.rglob("*"))
    if number != row["images"]:
        return f"{number} of {row['images']} files arrived; check the network connection"
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary.rename(final)
    return None


def _index() -> str:
    return str(library("idc_index_data", "download").IDC_INDEX_PARQUET_FILEPATH)


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text, re.IGNORECASE)
    except re.error as error:
        msg = f"--description must be a regular expression, got {text!r} ({error})"
        raise ValueError(msg) from None


def _rows(series: pd.DataFrame) -> list[dict[str, Any]]:
    return [dict(zip(series.columns, row, strict=True)) for row in series.itertuples(index=False)]


def series_lines(series: pd.DataFrame) -> list[str]:
    """Return the series in words: one line for each of the first, the total, and the licences."""
    lines = [
        f"{row['patient']}  {row['modality']}  {row['description']}  {row['images']} images  "
        f"{row['megabytes']:.1f} MB  {row['licence']}"
        for row in _rows(series.head(_SHOWN))
    ]
    if len(series) > _SHOWN:
        lines.append(f"... and {len(series) - _SHOWN} more")
    patients = counted(series.patient.nunique(), "patient")
    lines.append(f"{len(series)} series of {patients}, {series.megabytes.sum():,.0f} MB")
    return lines + _licence_lines(series)


def _licence_lines(series: pd.DataFrame) -> list[str]:
    counts = Counter((row["collection"], row["licence"], row["doi"]) for row in _rows(series))
    return [
        f"{collection}: {licence}; cite https://doi.org/{doi} ({count} series)"
        for (collection, licence, doi), count in sorted(counts.items(), key=str)
    ]


def _write_lists(series: pd.DataFrame, folder: Path) -> None:
    """Write the manifest, with the folder of each series, and the licences."""
    with (
        replacing(folder / _MANIFEST, force=True) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.DictWriter(file, [*_COLUMNS, "folder"])
        writer.writeheader()
        for row in _rows(series):
            writer.writerow({**row, "folder": series_folder(row, folder).relative_to(folder).as_posix()})
    with replacing(folder / _LICENCES, force=True) as temporary:
        temporary.write_text("\n".join(_licence_lines(series)) + "\n", encoding="utf-8")
