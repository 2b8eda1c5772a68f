"""Patch stores: HDF5 files of training samples with their exact entropy. Only this file knows the layout.

The layout is described in docs/store_format.md.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn, Self, TypeVar

import h5py
import numpy as np
import numpy.typing as npt

from . import __version__
from .files import refuse_existing, replacing
from .patches import Samples
from .settings import GLCMSettings

FORMAT = "radsynth-patches"
FORMAT_VERSION = 1
CHUNK_ROWS = 2000
MAX_CASES = 1 << 16

_BLOCK_ROWS = 10 * CHUNK_ROWS
_SAMPLE_DTYPES = {
    "patches": np.uint8,
    "entropy": np.float32,
    "slice": np.int32,
    "row": np.int32,
    "column": np.int32,
    "label": np.uint8,
}
_Decoded = TypeVar("_Decoded")
_CASE_INDEX = "case"
_CASES = "cases"
_TEXT = h5py.string_dtype()
_CASE_DTYPES = {
    "patient": _TEXT,
    "group": _TEXT,
    "image": _TEXT,
    "sha256": _TEXT,
    "labels_sha256": _TEXT,
    "modality": _TEXT,
    "intensity_range": np.float64,
    "shape": np.int32,
    "start": np.int64,
    "count": np.int64,
}
_LATER = ("modality",)
"""Columns that stores of before do not have; they are then unknown."""


@dataclass(frozen=True, kw_only=True)
class CaseSource:
    """Where the samples of a case come from.

    Parameters
    ----------
    patient, group : str
        As in the cohort.
    image : str
        Name of the image's file or folder, without its path.
    sha256, labels_sha256 : str
        Checksums of the image and of its tissue labels; the latter is empty if there are none.
    """

    patient: str
    group: str
    image: str
    sha256: str
    labels_sha256: str = ""

    @property
    def source(self) -> CaseSource:
        """The source alone, of a record too."""
        names = [field.name for field in dataclasses.fields(CaseSource)]
        return CaseSource(**{name: getattr(self, name) for name in names})


@dataclass(frozen=True, kw_only=True)
class CaseRecord(CaseSource):
    """One row of the table of cases.

    Parameters
    ----------
    intensity_range : (float, float)
        Edges of the lowest and the highest bin that were used, in the image's unit.
    modality : str
        Of DICOM images, as MR; empty where it is not known.
    shape : (Z, Y, X)
        Shape of the image.
    start, count : int
        The case's samples are the rows ``start`` to ``start + count`` of the store.
    """

    intensity_range: tuple[float, float]
    modality: str = ""
    shape: tuple[int, int, int]
    start: int = 0
    count: int


class PatchStore:
    """A patch store, open for reading; a context manager.

    Parameters
    ----------
    path : path
        A file that `StoreWriter` finished.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or it is truncated, damaged, no patch store or of another format
        version.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not self.path.exists():
            msg = f"patch store {path} does not exist; write it with groundtruth"
            raise FileNotFoundError(msg)
        self._file = _open(self.path)
        try:
            _check_format(self._file, self.path)
            self.attributes: dict[str, Any] = {
                name: _plain(value) for name, value in self._file.attrs.items()
            }
            self.settings = self._decoded(
                "settings", lambda: GLCMSettings.from_json(self.attributes["settings"])
            )
            self.cases = self._decoded("table of cases", lambda: _read_cases(self._file[_CASES]))
            # Kept open, since HDF5 forgets a data set's decompressed chunks when it is closed.
            self._columns = {name: self._file[name] for name in (*_SAMPLE_DTYPES, _CASE_INDEX)}
            self._check_structure()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._columns["entropy"])

    def close(self) -> None:
        """Close the file; nothing can be read afterwards."""
        self._file.close()

    @property
    def patients(self) -> list[str]:
        """Patients in the order of their cases."""
        return [case.patient for case in self.cases]

    def read(self, start: int, stop: int) -> Samples:
        """Return the rows `start` to `stop` (excluded), ``0 <= start <= stop <= len(store)``.

        Raises
        ------
        ValueError
            If there are no such rows, or an entropy among them is not finite.
        """
        self._check_range(start, stop)
        samples = self._take(slice(start, stop))
        self._check_finite(samples.entropy, start)
        return samples

    def read_entropy(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Return the entropies alone of the same rows, with the same checks: a tenth of the reading."""
        self._check_range(start, stop)
        entropy: npt.NDArray[np.float32] = self._columns["entropy"][start:stop]
        self._check_finite(entropy, start)
        return entropy

    def verify(self, count: int = 1000, seed: int = 0) -> int:
        """Check that the store is consistent and that stored values are the exact ones.

        Case numbers and grey levels are checked in full; the entropy of randomly chosen
        patches is computed anew with the CPU backend and must have the same bits.

        Parameters
        ----------
        count : int
            Patches to recompute; all of them if the store holds fewer.
        seed : int
            Chooses the patches.

        Returns
        -------
        int
            Number of patches recomputed.

        Raises
        ------
        ValueError
            If anything differs.
        """
        self._verify_rows()
        count = min(count, len(self))
        rows = np.sort(np.random.default_rng(seed).choice(len(self), count, replace=False))
        self._verify_entropy(rows)
        return count

    def _take(self, rows: slice | npt.NDArray[np.int64]) -> Samples:
        return Samples(*(self._columns[name][rows] for name in Samples._fields))

    def _decoded(self, what: str, decode: Callable[[], _Decoded]) -> _Decoded:
        try:
            return decode()
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            self._fail(f"its {what} cannot be read ({error})", error)

    def _check_range(self, start: int, stop: int) -> None:
        if not 0 <= start <= stop <= len(self):
            msg = f"rows must be a range within 0 to {len(self)}, got {start} to {stop}"
            raise ValueError(msg)

    def _check_finite(self, entropy: npt.NDArray[np.float32], start: int) -> None:
        bad = np.flatnonzero(~np.isfinite(entropy))
        if len(bad):
            row = start + bad[0]
            msg = f"patch store {self.path} holds NaN or infinite entropies (row {row}); rerun groundtruth"
            raise ValueError(msg)

    def _check_structure(self) -> None:
        lengths = {name: len(column) for name, column in self._columns.items()}
        if len(set(lengths.values())) > 1:
            self._fail(f"datasets must have one length, got {lengths}")
        starts = np.cumsum([0, *(case.count for case in self.cases)])
        if [case.start for case in self.cases] != starts[:-1].tolist() or starts[-1] != len(self):
            self._fail(f"cases must follow each other and fill the {len(self)} rows; their table does not")

    def _verify_rows(self) -> None:
        expected = np.repeat(np.arange(len(self.cases)), [case.count for case in self.cases])
        for rows in _blocks(len(self)):
            if not np.array_equal(self._columns[_CASE_INDEX][rows], expected[rows]):
                self._fail(f"rows {rows.start} to {rows.stop} must belong to the cases of the table")
            highest = self._columns["patches"][rows].max(initial=0)
            if highest >= self.settings.levels:
                self._fail(
                    f"levels must be below {self.settings.levels}, got {highest} after row {rows.start}"
                )

    def _verify_entropy(self, rows: npt.NDArray[np.int64]) -> None:
        from .maps import entropy_of_levels

        samples = self._take(rows)
        radius = self.settings.radius
        exact = entropy_of_levels(samples.patches, self.settings, backend="cpu")[:, radius, radius]
        wrong = np.flatnonzero(exact != samples.entropy)
        if len(wrong):
            first = wrong[0]
            self._fail(
                f"{len(wrong)} of {len(rows)} recomputed values differ, the first at row {rows[first]}: "
                f"stored {samples.entropy[first]}, exact {exact[first]}"
            )

    def _fail(self, what: str, cause: Exception | None = None) -> NoReturn:
        msg = f"patch store {self.path} is damaged: {what}; rerun groundtruth"
        raise ValueError(msg) from cause


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
            msg = f"a patch store holds 2D windows, dimensions must be 2, got {settings.dimensions}"
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
            with replacing(part, force=True) as temporary, _written(temporary, shown_as=part) as sink:
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
        with replacing(joined, force=True) as temporary, _written(temporary, shown_as=self.path) as sink:
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
            msg = "every patient must be one case, got a patient twice"
            raise ValueError(msg)
        for source in sources:
            if not self.has(source):
                msg = f"patient {source.patient} was not added to {self.path}, or with other settings"
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
                for rows in _blocks(len(part)):
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
    sink: _Sink,
    attributes: dict[str, Any],
    window: int,
    records: Sequence[CaseRecord],
    blocks: Iterator[tuple[int, Samples]],
) -> None:
    """Write a store from blocks of samples, each with the index of its case."""
    with h5py.File(sink, "w") as file:
        file.attrs.update(attributes)
        _write_cases(file.create_group(_CASES), records)
        _create_columns(file, sum(record.count for record in records), window)
        start = 0
        for index, samples in blocks:
            rows = slice(start, start + len(samples.entropy))
            for name, values in samples._asdict().items():
                file[name][rows] = values
            file[_CASE_INDEX][rows] = index
            start = rows.stop
            if sink.error is not None:
                return


def _create_columns(file: h5py.File, count: int, window: int) -> None:
    for name, dtype in {**_SAMPLE_DTYPES, _CASE_INDEX: np.uint16}.items():
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
    for name, dtype in _CASE_DTYPES.items():
        group.create_dataset(name, data=[getattr(record, name) for record in records], dtype=dtype)


def _read_cases(group: h5py.Group) -> list[CaseRecord]:
    columns = {
        name: (group[name].asstr()[:] if dtype is _TEXT else group[name][:]).tolist()
        for name, dtype in _CASE_DTYPES.items()
        if name in group
    }
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    for row in rows:
        row |= {"intensity_range": tuple(row["intensity_range"]), "shape": tuple(row["shape"])}
    return [CaseRecord(**row) for row in rows]


def _open(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except PermissionError:
        raise
    except OSError as error:
        msg = (
            f"patch store {path} is not a whole HDF5 file (truncated, or of another kind); rerun groundtruth"
        )
        raise ValueError(msg) from error


def _check_format(file: h5py.File, path: Path) -> None:
    if _plain(file.attrs.get("format")) != FORMAT:
        msg = f"{path} is an HDF5 file but not a patch store; write one with groundtruth"
        raise ValueError(msg)
    version = _plain(file.attrs.get("format_version"))
    if version != FORMAT_VERSION:
        msg = f"patch store {path} has format {version}, expected {FORMAT_VERSION}; rerun groundtruth"
        raise ValueError(msg)
    columns = [f"{_CASES}/{name}" for name in _CASE_DTYPES if name not in _LATER]
    wanted = [*_SAMPLE_DTYPES, _CASE_INDEX, *columns]
    missing = [name for name in wanted if name not in file]
    if "settings" not in file.attrs:
        missing.append("the attribute settings")
    if missing:
        msg = f"patch store {path} lacks {', '.join(missing)}; rerun groundtruth"
        raise ValueError(msg)


def _plain(value: Any) -> Any:
    """Python's own number or string of an attribute."""
    return value.item() if isinstance(value, np.generic) else value


def _blocks(count: int) -> Iterator[slice]:
    for start in range(0, count, _BLOCK_ROWS):
        yield slice(start, min(start + _BLOCK_ROWS, count))


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
        if values.dtype != _SAMPLE_DTYPES[name]:
            msg = f"{name} must be {np.dtype(_SAMPLE_DTYPES[name])}, got {values.dtype}"
            raise TypeError(msg)


class _Sink(io.RawIOBase):
    """A file for HDF5 to write into that outlives a full disk.

    When HDF5 cannot write what it has buffered it tries again at exit, and crashes the interpreter.
    So from the first error on everything is accepted and dropped, and the error is kept.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.error: OSError | None = None
        self._file = path.open("w+b", buffering=0)

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        """Read; what was dropped reads as zeros, never as what the buffer happened to hold."""
        view = memoryview(buffer)
        got = self._file.readinto(view)
        view[got:] = bytes(len(view) - got)
        return len(view)

    def write(self, data: Any) -> int:
        view = memoryview(data)
        self._try(lambda: self._write_all(view))
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        self._try(lambda: self._file.truncate(size))
        return self.tell() if size is None else size

    def close(self) -> None:
        super().close()
        self._file.close()

    def _write_all(self, view: memoryview) -> None:
        while view:
            view = view[self._file.write(view) :]

    def _try(self, action: Callable[[], object]) -> None:
        if self.error is None:
            try:
                action()
            except OSError as error:
                self.error = error


@contextmanager
def _written(path: Path, *, shown_as: Path) -> Iterator[_Sink]:
    """Yield a sink for `path`; raise OSError afterwards if not all could be written."""
    with _Sink(path) as sink:
        try:
            yield sink
        except (OSError, RuntimeError):
            # HDF5 stumbling over what was dropped; the first error tells why.
            if sink.error is None:
                raise
    if sink.error is not None:
        raise OSError(sink.error.errno, sink.error.strerror, str(shown_as)) from sink.error
