"""Reading patch stores: HDF5 files of training samples with their exact entropy.

The layout is described in docs/store_format.md.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, Self, TypeVar

import h5py
import numpy as np
import numpy.typing as npt

from glcm_cuda.maps import entropy_of_levels
from glcm_cuda.settings import GLCMSettings
from glcm_cuda.store.layout import (
    CASE_DTYPES,
    CASE_INDEX,
    CASE_INDEX_DTYPE,
    CASES,
    FORMAT,
    FORMAT_VERSION,
    LATER_COLUMNS,
    MAX_CASES,
    SAMPLE_DTYPES,
    TEXT,
    CaseRecord,
    is_phantom_name,
    row_blocks,
)
from glcm_cuda.store.patches import Samples

_Decoded = TypeVar("_Decoded")

_CASE_COLUMNS = {f"{CASES}/{name}": dtype for name, dtype in CASE_DTYPES.items()}
_LARGEST_CHUNK_BYTES = 1 << 27
"""HDF5 takes memory for a whole chunk; `StoreWriter` makes chunks of some megabytes."""

_LARGEST_RATIO = 1100
"""Somewhat more than gzip can compress: a store that states more values than that does not hold them."""


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
            msg = f"patch store {path} does not exist; create it with `radsynth groundtruth`"
            raise FileNotFoundError(msg)
        self._file = _open(self.path)
        try:
            with _reading(self.path):
                _check_format(self._file, self.path)
                self.attributes: dict[str, Any] = {
                    name: _plain(value) for name, value in self._file.attrs.items()
                }
            self.settings = self._decoded(
                "settings", lambda: GLCMSettings.from_json(self.attributes["settings"])
            )
            self.cases = self._decoded("table of cases", lambda: _read_cases(self._file[CASES]))
            # Kept open, since HDF5 forgets a data set's decompressed chunks when it is closed.
            self._columns = {name: self._file[name] for name in (*SAMPLE_DTYPES, CASE_INDEX)}
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

    @property
    def is_phantom(self) -> bool:
        """Whether all cases are phantoms."""
        return all(case.phantom for case in self.cases)

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
        with _reading(self.path):
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
        with _reading(self.path):
            return Samples(*(self._columns[name][rows] for name in Samples._fields))

    def _decoded(self, what: str, decode: Callable[[], _Decoded]) -> _Decoded:
        try:
            return decode()
        except (ValueError, TypeError, LookupError, AttributeError, OSError, OverflowError) as error:
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
        edge = self.settings.edge
        for name, column in self._columns.items():
            if column.shape[1:] != ((edge, edge) if name == "patches" else ()):
                self._fail(f"{name} has shape {column.shape}, but the windows are {edge}x{edge}")
        lengths = {name: len(column) for name, column in self._columns.items()}
        if len(set(lengths.values())) > 1:
            self._fail(f"datasets must have equal lengths, got {lengths}")
        starts = np.cumsum([0, *(case.count for case in self.cases)])
        if [case.start for case in self.cases] != starts[:-1].tolist() or starts[-1] != len(self):
            self._fail(f"the table of cases must cover the {len(self)} rows without gaps or overlaps")

    def _verify_rows(self) -> None:
        expected = np.repeat(np.arange(len(self.cases)), [case.count for case in self.cases])
        for rows in row_blocks(len(self)):
            with _reading(self.path):
                cases, patches = self._columns[CASE_INDEX][rows], self._columns["patches"][rows]
            if not np.array_equal(cases, expected[rows]):
                self._fail(f"rows {rows.start} to {rows.stop} do not match the table of cases")
            highest = patches.max(initial=0)
            if highest >= self.settings.levels:
                self._fail(
                    f"levels must be below {self.settings.levels}, got {highest} after row {rows.start}"
                )

    def _verify_entropy(self, rows: npt.NDArray[np.int64]) -> None:
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


def _read_cases(group: h5py.Group) -> list[CaseRecord]:
    columns = {
        name: (group[name].asstr()[:] if dtype is TEXT else group[name][:]).tolist()
        for name, dtype in CASE_DTYPES.items()
        if name in group
    }
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    for row in rows:
        row.setdefault("phantom", is_phantom_name(row["patient"]))
        row |= {"intensity_range": tuple(row["intensity_range"]), "shape": tuple(row["shape"])}
    return [CaseRecord(**row) for row in rows]


def _open(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except PermissionError:
        raise
    except OSError as error:
        msg = (
            f"patch store {path} is not a complete HDF5 file (truncated, or a different kind of file); rerun "
            "groundtruth"
        )
        raise ValueError(msg) from error


def _check_format(file: h5py.File, path: Path) -> None:
    if _plain(file.attrs.get("format")) != FORMAT:
        msg = f"{path} is an HDF5 file but not a patch store; create one with `radsynth groundtruth`"
        raise ValueError(msg)
    version = _plain(file.attrs.get("format_version"))
    if version != FORMAT_VERSION:
        msg = f"patch store {path} has format {version}, expected {FORMAT_VERSION}; rerun groundtruth"
        raise ValueError(msg)
    if file.get(CASES, getlink=True) is not None:
        _refuse_wrong_object(file, path, CASES)  # before anything is looked for in it
    columns = [f"{CASES}/{name}" for name in CASE_DTYPES if name not in LATER_COLUMNS]
    wanted = [*SAMPLE_DTYPES, CASE_INDEX, *columns]
    missing = [name for name in wanted if file.get(name, getlink=True) is None]
    if "settings" not in file.attrs:
        missing.append("the attribute settings")
    if missing:
        msg = f"patch store {path} lacks {', '.join(missing)}; rerun groundtruth"
        raise ValueError(msg)
    later = [f"{CASES}/{name}" for name in LATER_COLUMNS]
    for name in [*wanted, *(name for name in later if file.get(name, getlink=True) is not None)]:
        _refuse_wrong_object(file, path, name)


def _refuse_wrong_object(file: h5py.File, path: Path, name: str) -> None:
    wrong = _wrong_object(file, name)
    if wrong:
        msg = f"patch store {path} is damaged or not from groundtruth: {name} {wrong}; rerun groundtruth"
        raise ValueError(msg)


def _wrong_object(file: h5py.File, name: str) -> str:
    """Return what makes an object one that groundtruth does not write; empty if nothing does.

    A store holds its own bytes: links to other files and data sets that read them are refused.
    """
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        return "is a link to another place"
    found = file[name]
    if name == CASES:
        return "" if isinstance(found, h5py.Group) else "is not a group"
    if not isinstance(found, h5py.Dataset):
        return "is not a dataset"
    if found.is_virtual or found.external:
        return "keeps its values in another file"
    return _wrong_values(found, name)


def _wrong_values(column: h5py.Dataset, name: str) -> str:
    """Return what is wrong with the type or size of a data set, before memory is taken for it."""
    dtype = {**SAMPLE_DTYPES, CASE_INDEX: CASE_INDEX_DTYPE, **_CASE_COLUMNS}[name]
    if dtype is TEXT:
        right = h5py.check_string_dtype(column.dtype) is not None
    else:
        right = column.dtype.newbyteorder("=") == dtype
    if not right or not column.shape:
        return f"has values of type {column.dtype} and shape {column.shape}"
    if name in _CASE_COLUMNS and len(column) > MAX_CASES:
        return f"has {len(column)} cases, the limit is {MAX_CASES}"
    item = column.dtype.itemsize
    if column.chunks is not None and math.prod(column.chunks) * item > _LARGEST_CHUNK_BYTES:
        return f"has chunks of {math.prod(column.chunks) * item} bytes, the limit is {_LARGEST_CHUNK_BYTES}"
    stored = column.id.get_storage_size()
    if column.size * item > _LARGEST_RATIO * stored:
        return f"claims {column.size * item} bytes of values but holds {stored}"
    return ""


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn a failure of HDF5 into one line."""
    try:
        yield
    except (OSError, RuntimeError, KeyError) as error:  # its text is about HDF5's internals
        msg = f"patch store {path} is damaged: its values cannot be read; copy it again or rerun groundtruth"
        raise ValueError(msg) from error


def _plain(value: Any) -> Any:
    """Python's own number or string of an attribute."""
    return value.item() if isinstance(value, np.generic) else value
