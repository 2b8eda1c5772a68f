"""The layout of a patch store: names, types, chunks and format version."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import h5py
import numpy as np

FORMAT = "radsynth-patches"
FORMAT_VERSION = 1
CHUNK_ROWS = 2000
MAX_CASES = 1 << 16

_BLOCK_ROWS = 10 * CHUNK_ROWS
SAMPLE_DTYPES = {
    "patches": np.uint8,
    "entropy": np.float32,
    "slice": np.int32,
    "row": np.int32,
    "column": np.int32,
    "label": np.uint8,
}

CASE_INDEX = "case"
CASE_INDEX_DTYPE = np.uint16
CASES = "cases"
TEXT = h5py.string_dtype()
CASE_DTYPES = {
    "patient": TEXT,
    "group": TEXT,
    "image": TEXT,
    "sha256": TEXT,
    "labels_sha256": TEXT,
    "phantom": np.bool_,
    "modality": TEXT,
    "tissues": TEXT,
    "intensity_range": np.float64,
    "shape": np.int32,
    "start": np.int64,
    "count": np.int64,
}

LATER_COLUMNS = ("phantom", "modality", "tissues")
"""Columns that older stores lack: what they say is then unknown, and `is_phantom_name` tells phantoms."""


def is_phantom_name(patient: str) -> bool:
    """Whether a patient's name marks a phantom: the rule for stores and cohorts without that column."""
    return patient.startswith("phantom")


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
    phantom : bool
        Whether the image is synthetic, not of a patient.
    """

    patient: str
    group: str
    image: str
    sha256: str
    labels_sha256: str = ""
    phantom: bool = False

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
    tissues : str
        Names of the tissue labels, as the cohort has them (1=fatty;2=glandular); empty where it has none.
    shape : (Z, Y, X)
        Shape of the image.
    start, count : int
        The case's samples are the rows ``start`` to ``start + count`` of the store.
    """

    intensity_range: tuple[float, float]
    modality: str = ""
    tissues: str = ""
    shape: tuple[int, int, int]
    start: int = 0
    count: int


def row_blocks(count: int) -> Iterator[slice]:
    """Yield slices that cover `count` rows, each of a size that fits in memory."""
    for start in range(0, count, _BLOCK_ROWS):
        yield slice(start, min(start + _BLOCK_ROWS, count))
