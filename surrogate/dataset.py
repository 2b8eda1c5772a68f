"""Minibatches for training, streamed from a patch store."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from glcm_cuda.store.layout import CaseRecord
from glcm_cuda.store.reading import PatchStore
from surrogate.augmentation import augmented
from surrogate.exact import ENTROPY, exact_values, known_values

BLOCK_BYTES = 1 << 26
"""Bytes of grey levels in memory at a time: reading large blocks keeps the training from waiting."""

_GOLDEN = (math.sqrt(5) - 1) / 2
"""Its multiples modulo 1 are all different and spread evenly."""

_BISECTIONS = 60
"""Halvings of the interval from 0 to 1, enough for the digits of float64."""

Rows = tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]
"""Patches (n, w, w) and their entropies (n,)."""


@dataclass(frozen=True)
class Scale:
    """The scale of a network's output during training: (value - offset) / unit.

    Parameters
    ----------
    offset, unit : (F,) float32 array
        Offset and unit of each feature, in the order of the features.
    """

    offset: npt.NDArray[np.float32]
    unit: npt.NDArray[np.float32]

    @classmethod
    def of(cls, values: npt.NDArray[np.float32], features: Sequence[str]) -> Scale:
        """Return the scale with means and standard deviations of (N, F) values as offsets and units.

        Features differ by orders of magnitude, and without it the largest would outweigh all others in the
        cost. Entropy alone keeps its own unit, which the cost is then given in.
        """
        deviation = values.std(axis=0)
        keeps_unit = (tuple(features) == ENTROPY) | (deviation == 0)
        return cls(values.mean(axis=0), np.where(keeps_unit, 1, deviation).astype(np.float32))

    def scaled(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return (N, F) values on this scale."""
        scaled: npt.NDArray[np.float32] = (values - self.offset) / self.unit
        return scaled


class PatchDataset(keras.utils.PyDataset):  # type: ignore[misc]
    """Minibatches of the rows of some patients of a patch store; each row occurs once per epoch.

    Each minibatch has the same share of the rows of every case (to within one row), so that no minibatch is
    dominated by one patient, group or scanner. An epoch has ``ceil(rows / batch)`` minibatches of equal size
    (to within one row, and at most `batch`).

    The store keeps the rows of a case in random order, so they can be read in sequence: an epoch starts at a
    random row of each case, and each minibatch continues where the one before ended, from the end of the case
    back to its beginning. Blocks of about `BLOCK_BYTES` are read at a time, whatever the size of the store.

    Parameters
    ----------
    store : path
        The patch store. Its rows are read from the first minibatch on.
    patients : iterable of str
        Patients whose rows are used.
    batch : int
        Largest number of patches in a minibatch.
    seed : int or None
        Seed of the random starts; with None, every epoch starts at the first row of each case.
    augment : float
        Share of each minibatch that is replaced by `augmentation.augmented` patches and their exact values.
    features : sequence of str
        Names of the values. A store holds joint entropies; the engine computes all others when needed.

    Attributes
    ----------
    scale : Scale or None
        Scale of the values; None for the features' own units.

    Raises
    ------
    FileNotFoundError, ValueError
        If the store cannot be read, or does not contain a patient.
    """

    def __init__(
        self,
        store: str | os.PathLike[str],
        patients: Iterable[str],
        batch: int,
        seed: int | None = None,
        augment: float = 0.0,
        features: Sequence[str] = ENTROPY,
    ) -> None:
        super().__init__()
        self.path = Path(store)
        self.seed = seed
        self.augment = augment
        self.features = tuple(features)
        self.scale: Scale | None = None
        self.epoch = 0
        with PatchStore(self.path) as opened:
            self.cases = _cases_of(opened.cases, list(patients))
            self.glcm = opened.settings
        self.rows = sum(case.count for case in self.cases)
        self.batches = math.ceil(self.rows / batch)
        self._block_batches = max(1, BLOCK_BYTES // (batch * self.glcm.edge**2))
        self._store: PatchStore | None = None
        self._block: tuple[tuple[int, int], list[list[Rows]]] | None = None

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return minibatch `index`: (n, w, w, 1) grey levels and (n, F) values, both float32."""
        if not 0 <= index < len(self):
            msg = f"minibatch must be from 0 to {len(self) - 1}, got {index}"
            raise IndexError(msg)
        block, batch = divmod(index, self._block_batches)
        key = (self.epoch, block)
        if self._block is None or self._block[0] != key:
            self._block = None  # frees the old block before the new one is read
            self._block = (key, self._read_block(block))
        parts = [case[batch] for case in self._block[1]]
        levels = np.concatenate([levels for levels, _ in parts])
        entropy = np.concatenate([entropy for _, entropy in parts])
        if self.augment:
            self._augment(levels, entropy, index)
        values = known_values(levels, entropy, self.glcm, self.features)
        values = values if self.scale is None else self.scale.scaled(values)
        return levels[..., None].astype(np.float32), values

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the open store, which a copy in another process opens for itself."""
        return {**self.__dict__, "_store": None, "_block": None}

    def on_epoch_end(self) -> None:
        """Start the next epoch, with other first rows."""
        self.epoch += 1

    def close(self) -> None:
        """Close the store; the next minibatch opens it again."""
        if self._store is not None:
            self._store.close()
        self._store = self._block = None

    def _augment(self, levels: npt.NDArray[np.uint8], entropy: npt.NDArray[np.float32], index: int) -> None:
        """Replace a random share of the minibatch, in place.

        `levels` (n, w, w) and `entropy` (n,) are those of minibatch `index`; the choice depends on epoch and
        minibatch.
        """
        rng = np.random.default_rng([self.seed or 0, self.epoch, index])
        chosen = rng.permutation(len(levels))[: round(self.augment * len(levels))]
        levels[chosen] = augmented(levels[chosen], self.glcm.levels, rng)
        if self.features == ENTROPY:
            entropy[chosen] = exact_values(levels[chosen], self.glcm, ENTROPY)[:, 0]

    def _read_block(self, number: int) -> list[list[Rows]]:
        """Return the rows of a block by case, then by minibatch."""
        first = number * self._block_batches
        edges = self._edges(range(first, min(first + self._block_batches, len(self)) + 1))
        return [
            self._read_case(case, start, case_edges)
            for case, start, case_edges in zip(self.cases, self._first_rows(), edges, strict=True)
        ]

    def _first_rows(self) -> list[int]:
        """Return the row of each case that the epoch starts at."""
        if self.seed is None:
            return [0] * len(self.cases)
        counts = [case.count for case in self.cases]
        first: list[int] = np.random.default_rng([self.seed, self.epoch]).integers(0, counts).tolist()
        return first

    def _edges(self, boundaries: Sequence[int]) -> list[list[int]]:
        """Return the number of rows of each case before each of some minibatches, by case.

        All rows are merged in the order of the key ``(i + phase) / n``, for row i of a case of n rows, with a
        different phase for each case; minibatches are equal parts of this order. The key at which a minibatch
        begins is found by bisection, since the order itself may be too long for the memory.
        """
        counts = np.array([case.count for case in self.cases], np.float64)
        phases = np.arange(1.0, len(counts) + 1) * _GOLDEN % 1
        wanted = np.array([boundary * self.rows // self.batches for boundary in boundaries])
        # `high` stays a key with at least the wanted number of rows before it, and becomes the smallest one.
        low, high = np.zeros(len(wanted)), np.ones(len(wanted))
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            enough = _rows_before(middle, counts, phases).sum(axis=0) >= wanted
            low, high = np.where(enough, low, middle), np.where(enough, middle, high)
        edges: list[list[int]] = _rows_before(high, counts, phases).tolist()
        return edges

    def _read_case(self, case: CaseRecord, start: int, edges: list[int]) -> list[Rows]:
        """Return the rows of the case between each edge and the next, counted from row `start`."""
        rows = (start + np.arange(edges[0], edges[-1])) % case.count
        # Beyond the last row the case continues at its first one: a separate run of consecutive rows.
        runs = np.split(rows, np.flatnonzero(np.diff(rows) < 0) + 1)
        read = [self._read_rows(case, run) for run in runs]
        levels = np.concatenate([levels for levels, _ in read])
        entropy = np.concatenate([entropy for _, entropy in read])
        cuts = [edge - edges[0] for edge in edges[1:-1]]
        return list(zip(np.split(levels, cuts), np.split(entropy, cuts), strict=True))

    def _read_rows(self, case: CaseRecord, run: npt.NDArray[np.int64]) -> Rows:
        """Read consecutive rows of the case, possibly none."""
        if self._store is None:
            self._store = PatchStore(self.path)
        start = case.start + int(run[0]) if len(run) else case.start
        samples = self._store.read(start, start + len(run))
        return samples.patches, samples.entropy


def _cases_of(cases: list[CaseRecord], patients: list[str]) -> list[CaseRecord]:
    unknown = sorted(set(patients) - {case.patient for case in cases})
    if unknown:
        msg = f"the store does not contain the patients {', '.join(unknown)}"
        raise ValueError(msg)
    if not patients:
        msg = "at least one patient is needed, got none"
        raise ValueError(msg)
    return [case for case in cases if case.patient in patients]


def _rows_before(
    key: npt.NDArray[Any], counts: npt.NDArray[Any], phases: npt.NDArray[Any]
) -> npt.NDArray[np.int64]:
    """Return, (cases, keys), how many rows of each case have at most this key."""
    before: npt.NDArray[np.int64] = np.floor(counts[:, None] * key + 1 - phases[:, None]).astype(np.int64)
    return before
