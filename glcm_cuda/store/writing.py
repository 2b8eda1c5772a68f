"""Writing a patch store, case by case."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from glcm_cuda.base.files import refuse_existing, replacing
from glcm_cuda.base.version import __version__
from glcm_cuda.settings import GLCMSettings
from glcm_cuda.store.layout import (
    CASE_DTYPES,
    CASE_INDEX,
    CASE_INDEX_DTYPE,
    CASES,
    CHUNK_ROWS,
    FORMAT,
    FORMAT_VERSION,
    MAX_CASES,
    SAMPLE_DTYPES,
    CaseRecord,
    CaseSource,
    row_blocks,
)
from glcm_cuda.store.patches import Samples
from glcm_cuda.store.reading import PatchStore
from glcm_cuda.store.sink import Sink, written_bytes


class StoreWriter:
    """Writes a patch store case by case; a run that was killed continues where it stopped.

    Every case is one complete file in the folder ``PATH.parts``, itself a store of one case.
    `finish` joins them. Parts of other settings, seed, samples per case, sources or software
    versions count as missing and are replaced.

    Parameters
    ----------
    path : path
        The store to write.
    settings : GLCMSettings
        Settings of the maps; two-dimensional windows.
    seed, samples_per_case : int
        What the samples were drawn with; recorded.
    force : bool
        Allow `path` to exist; it is replaced when `finish` succeeds.

    Raises
    ------
    FileExistsError
        If `path` exists and `force` is False.
    ValueError
        If the settings have ``dimensions=3``.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        settings: GLCMSettings,
        *,
        seed: int,
        samples_per_case: int,
        force: bool = False,
    ) -> None:
        if settings.dimensions != 2:
            msg = f"a patch store holds 2D windows: dimensions must be 2, got {settings.dimensions}"
            raise ValueError(msg)
        refuse_existing(path, force=force)
        self.path = Path(path)
        self.settings = settings
        self.force = force
        self._parts = self.path.with_name(self.path.name + ".parts")
        self._attributes = _attributes(settings, seed, samples_per_case)

    def has(self, source: CaseSource) -> bool:
        """Whether the case was already added, by this run or by one of the same attributes."""
        try:
            with PatchStore(self._part(source)) as part:
                same_sources = [case.source for case in part.cases] == [source.source]
                return same_sources and part.attributes == self._attributes
        except (FileNotFoundError, ValueError):
            return False

    def add(self, record: CaseRecord, samples: Samples) -> None:
        """Write the samples of one case; it is there whole when this returns, or not at all.

        Parameters
        ----------
        record : CaseRecord
            The case; its `count` is the number of samples, its `start` is not used.
        samples : Samples
            In random order, so that any run of rows is a random sample of the case.

        Raises
        ------
        TypeError, ValueError
            If the samples are not what the settings and the record say.
        OSError
            If the file cannot be written.
        """
        _check_samples(samples, record, self.settings)
        part = self._part(record)
        try:
            with replacing(part, force=True) as temporary, written_bytes(temporary, shown_as=part) as sink:
                record = dataclasses.replace(record, start=0)
                _write(sink, self._attributes, self.settings.edge, [record], iter([(0, samples)]))
        except BaseException:
            # Without a case in it the folder is of no use to the next run.
            with suppress(OSError):
                self._parts.rmdir()
            raise

    def finish(self, sources: Sequence[CaseSource]) -> Path:
        """Join the cases, in the order of `sources`, into the store, and remove the parts.

        Only a block of rows is in memory at a time.

        Raises
        ------
        ValueError
            If there is no case, too many, one twice, or one that was not added.
        FileExistsError
            If the store appeared in the meantime and `force` is False.
        OSError
            If the file cannot be written; the parts stay, so that a new run continues.
        """
        self._check_complete(sources)
        joined = self._parts / "joined.h5"
        with replacing(joined, force=True) as temporary, written_bytes(temporary, shown_as=self.path) as sink:
            records = self._records(sources)
            _write(sink, self._attributes, self.settings.edge, records, self._part_blocks(sources))
        refuse_existing(self.path, force=self.force)
        os.replace(joined, self.path)
        self._remove_parts()
        return self.path

    def _part(self, source: CaseSource) -> Path:
        """Return a file name that suits every file system, whatever the patient is called."""
        return self._parts / f"{hashlib.sha256(source.patient.encode()).hexdigest()[:32]}.h5"

    def _check_complete(self, sources: Sequence[CaseSource]) -> None:
        patients = [source.patient for source in sources]
        if not 0 < len(patients) <= MAX_CASES:
            msg = f"a patch store holds 1 to {MAX_CASES} cases, got {len(patients)}"
            raise ValueError(msg)
        if len(set(patients)) < len(patients):
            msg = "each patient must be one case, got a patient twice"
            raise ValueError(msg)
        for source in sources:
            if not self.has(source):
                msg = f"patient {source.patient} was not added to {self.path}, or with different settings"
                raise ValueError(msg)

    def _records(self, sources: Sequence[CaseSource]) -> list[CaseRecord]:
        """Return the table of cases of the whole store."""
        records: list[CaseRecord] = []
        start = 0
        for source in sources:
            with PatchStore(self._part(source)) as part:
                records.append(dataclasses.replace(part.cases[0], start=start))
                start += len(part)
        return records

    def _part_blocks(self, sources: Sequence[CaseSource]) -> Iterator[tuple[int, Samples]]:
        for index, source in enumerate(sources):
            with PatchStore(self._part(source)) as part:
                for rows in row_blocks(len(part)):
                    yield index, part.read(rows.start, rows.stop)

    def _remove_parts(self) -> None:
        """Remove what this class writes there (what killed runs left included), and nothing else."""
        for part in self._parts.glob("*.h5"):
            part.unlink()
        with suppress(OSError):
            self._parts.rmdir()


def _attributes(settings: GLCMSettings, seed: int, samples_per_case: int) -> dict[str, Any]:
    """Return the attributes of a store. No date: equal runs give equal content."""
    versions = {"python": platform.python_version(), "glcm_cuda": __version__}
    versions |= {package: metadata.version(package) for package in ("numpy", "numba", "h5py")}
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "settings": settings.to_json(),
        "unit": settings.unit,
        "seed": seed,
        "samples_per_case": samples_per_case,
        "versions": json.dumps(versions),
    }


def _write(
    sink: Sink,
    attributes: dict[str, Any],
    window: int,
    records: Sequence[CaseRecord],
    blocks: Iterator[tuple[int, Samples]],
) -> None:
    """Write a store from blocks of samples, each with the index of its case."""
    with h5py.File(sink, "w") as file:
        file.attrs.update(attributes)
        _write_cases(file.create_group(CASES), records)
        _create_columns(file, sum(record.count for record in records), window)
        start = 0
        for index, samples in blocks:
            rows = slice(start, start + len(samples.entropy))
            for name, values in samples._asdict().items():
                file[name][rows] = values
            file[CASE_INDEX][rows] = index
            start = rows.stop
            if sink.error is not None:
                return


def _create_columns(file: h5py.File, count: int, window: int) -> None:
    for name, dtype in {**SAMPLE_DTYPES, CASE_INDEX: CASE_INDEX_DTYPE}.items():
        row = (window, window) if name == "patches" else ()
        file.create_dataset(
            name,
            shape=(count, *row),
            dtype=dtype,
            chunks=(min(CHUNK_ROWS, count), *row),
            compression="gzip",
            compression_opts=1,
            shuffle=True,
        )


def _write_cases(group: h5py.Group, records: Sequence[CaseRecord]) -> None:
    for name, dtype in CASE_DTYPES.items():
        group.create_dataset(name, data=[getattr(record, name) for record in records], dtype=dtype)


def _check_samples(samples: Samples, record: CaseRecord, settings: GLCMSettings) -> None:
    _check_columns(samples, record.count, settings.edge)
    highest = samples.patches.max()
    if highest >= settings.levels:
        msg = f"levels must be below {settings.levels}, got {highest}"
        raise ValueError(msg)
    if not np.isfinite(samples.entropy).all():
        msg = "entropy must be finite, got NaN or infinity"
        raise ValueError(msg)


def _check_columns(samples: Samples, count: int, window: int) -> None:
    if count < 1:
        msg = f"a case must have at least one sample, got {count}"
        raise ValueError(msg)
    for name, values in samples._asdict().items():
        shape = (count, window, window) if name == "patches" else (count,)
        if values.shape != shape:
            msg = f"{name} must have shape {shape}, got {values.shape}"
            raise ValueError(msg)
        if values.dtype != SAMPLE_DTYPES[name]:
            msg = f"{name} must be {np.dtype(SAMPLE_DTYPES[name])}, got {values.dtype}"
            raise TypeError(msg)
