"""Synthetic maps of a run compared with exact ones, patient by patient and tissue by tissue."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from glcm_cuda import GLCMSettings, feature_maps
from glcm_cuda.engines.choice import Backend, available_backends
from glcm_cuda.families.registry import feature_named
from glcm_cuda.store.patches import MAX_LABEL
from pipelines.cohorts.attempts import Attempts
from pipelines.cohorts.runs import Entry, Run, read_index, read_run
from pipelines.cohorts.tissues import ALL, tissue_name
from pipelines.images.masks import read_labels
from pipelines.images.reading import read_image
from pipelines.images.volume import Volume
from pipelines.reports.names import unit_of
from surrogate.agreement import Agreement, Moments, agreement, pool, summarize

POINTS_PER_PATIENT = 500
_GROUPS = ("normal", "benign", "malignant")


@dataclass(frozen=True)
class Compared:
    """One patient: the moments of the maps by tissue, and sampled (exact, synthetic) values to plot.

    `labels` are those of the tissues.
    """

    entry: Entry
    labels: dict[str, int]
    moments: dict[str, Moments]
    points: dict[str, tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]


@dataclass(frozen=True)
class Maps:
    """The arrays of one patient, each (Z, Y, X)."""

    image: npt.NDArray[Any]
    exact: npt.NDArray[np.float32]
    synthetic: npt.NDArray[np.float32]
    labels: npt.NDArray[np.uint8] | None
    aspect: float


@dataclass(frozen=True)
class Evaluation:
    """Agreement by (group, tissue), and the patients it was pooled from.

    `backend` is what computes the exact maps.
    """

    run: Run
    feature: str
    backend: Backend
    patients: list[Compared]
    pooled: list[Compared]
    table: dict[tuple[str, str], Agreement]

    @property
    def unit(self) -> str | None:
        """Unit of the feature."""
        return unit_of(self.feature, self.run.settings)

    @property
    def held_out(self) -> bool:
        """Whether the pooled patients were held out."""
        return all(patient.entry.held_out for patient in self.pooled)

    @property
    def phantom_images(self) -> bool:
        """Whether any image is a phantom."""
        return any(patient.entry.case.phantom for patient in self.patients)

    @property
    def is_phantom(self) -> bool:
        """Whether any image is a phantom, or the networks were trained on phantoms."""
        return self.phantom_images or bool(self.run.description.get("phantom"))

    @property
    def groups(self) -> list[str]:
        """Groups in the paper's order, then others, then all."""
        groups = {patient.entry.case.group for patient in self.pooled} - {ALL}
        return [*(group for group in _GROUPS if group in groups), *sorted(groups.difference(_GROUPS)), ALL]

    @property
    def tissues(self) -> list[str]:
        """Tissues in the order of their labels, then all."""
        return self.tissues_in_order({tissue for patient in self.pooled for tissue in patient.moments})

    def tissues_in_order(self, tissues: Iterable[str]) -> list[str]:
        """Return tissues in the order of the labels that any patient has for them, `ALL` last."""
        labels = {ALL: MAX_LABEL + 1}
        for patient in self.patients:
            for tissue, label in patient.labels.items():
                labels[tissue] = min(label, labels.get(tissue, label))
        return sorted(tissues, key=lambda tissue: (labels[tissue], tissue))


def evaluate(
    run_dir: Path, feature: str | None = None, *, progress: Callable[[int, int], None] | None = None
) -> Evaluation:
    """Return the agreement of a run's synthetic maps with exact ones.

    Parameters
    ----------
    run_dir : path
        Folder with run.json, folds.csv and synthetic/index.csv.
    feature : str, optional
        Which of the run's features, by any of its names; the first by default.
    progress : callable (done, total), optional
        Called after every patient.

    Raises
    ------
    FileNotFoundError, ValueError
        If a file is missing or unreadable, or a synthetic map does not fit its image.

    Notes
    -----
    The held-out patients are pooled, or all patients if none was held out (docs/evaluation.md).
    """
    run = read_run(run_dir)
    feature = run.features[0] if feature is None else feature_named(feature).name
    if feature not in run.features:
        msg = f"--feature must be one of those of {run_dir} ({', '.join(run.features)}), got {feature}"
        raise ValueError(msg)
    entries = read_index(run_dir, run, feature)
    # Not "auto", which would log its choice for every patient.
    backend: Backend = "cuda" if "cuda" in available_backends() else "cpu"
    patients = []
    attempts = Attempts(len(entries), " could be compared")
    for number, entry in enumerate(entries):
        with attempts.of(entry.case.patient):
            patients.append(compare(entry, run.settings, feature, backend, seed=number))
        if progress is not None:
            progress(number + 1, len(entries))
    attempts.finish()
    pooled = [patient for patient in patients if patient.entry.held_out] or patients
    return Evaluation(run, feature, backend, patients, pooled, _pooled_table(pooled))


def compare(entry: Entry, settings: GLCMSettings, feature: str, backend: Backend, *, seed: int) -> Compared:
    """Return the moments of one patient's maps by tissue.

    Voxels closer to the border than the window's radius are left out: there the exact window is clipped
    and the network's is reflected, so the two windows differ. With labels, the background (label 0) is
    left out too. `seed` chooses the sampled values.
    """
    maps = read_maps(entry, settings, feature, backend)
    inner = _inner(settings)
    exact, synthetic = maps.exact[inner], maps.synthetic[inner]
    if exact.size == 0:
        msg = (
            f"{entry.case.image} has no voxel whose {settings.window}-voxel window fits into the image, "
            f"got size {maps.exact.shape[::-1]}; nothing to compare"
        )
        raise ValueError(msg)
    _check_finite(entry.synthetic, synthetic)
    labels, masks = _tissues(None if maps.labels is None else maps.labels[inner], entry.case.tissues)
    values = {tissue: (exact[mask], synthetic[mask]) for tissue, mask in masks.items()}
    moments = {tissue: summarize(*pair) for tissue, pair in values.items()}
    if not moments:
        msg = f"{entry.case.labels} has no labels more than {settings.radius} voxels from the border"
        raise ValueError(msg)
    rng = np.random.default_rng([0, seed])
    points = {tissue: _sampled(*pair, rng) for tissue, pair in values.items()}
    return Compared(entry, labels, moments | {ALL: pool(list(moments.values()))}, points)


def read_maps(entry: Entry, settings: GLCMSettings, feature: str, backend: Backend) -> Maps:
    """Return image, exact map, synthetic map and labels of one patient as stacks of slices."""
    volume = read_image(entry.case.image, entry.case.choice)
    synthetic = read_image(entry.synthetic)
    _check_grid(entry, volume, synthetic)
    labels = None if entry.case.labels is None else read_labels(entry.case.labels, volume)
    shape = (-1, *volume.array.shape[-2:])
    return Maps(
        image=volume.array.reshape(shape),
        exact=feature_maps(volume.array, feature, settings, backend=backend)[feature].reshape(shape),
        synthetic=synthetic.array.reshape(shape).astype("float32", copy=False),
        labels=None if labels is None else labels.reshape(shape),
        aspect=volume.spacing_mm[1] / volume.spacing_mm[0],
    )


def _check_grid(entry: Entry, volume: Volume, synthetic: Volume) -> None:
    """Refuse a map on another grid; NIfTI stores the geometry as float32, hence the tolerance."""
    if synthetic.array.shape != volume.array.shape:
        msg = (
            f"{entry.synthetic} must have the size of its image {volume.array.shape[::-1]}, "
            f"got {synthetic.array.shape[::-1]}; run `radsynth synthesize` again"
        )
        raise ValueError(msg)
    for field in ("spacing_mm", "origin_mm", "direction"):
        got, expected = getattr(synthetic, field), getattr(volume, field)
        if not np.allclose(got, expected, rtol=0, atol=1e-2):
            name = field.removesuffix("_mm")
            msg = (
                f"{entry.synthetic} must have the {name} of its image {expected}, got {got}; run "
                "`radsynth synthesize` again"
            )
            raise ValueError(msg)


def _check_finite(path: Path, synthetic: npt.NDArray[np.float32]) -> None:
    bad = np.count_nonzero(~np.isfinite(synthetic))
    if bad:
        msg = f"{path} must hold finite values, got {bad} NaN or infinite voxels; synthesize it again"
        raise ValueError(msg)


def _inner(settings: GLCMSettings) -> tuple[slice, slice, slice]:
    radius = settings.radius
    inner = slice(radius, -radius)
    return (inner if settings.dimensions == 3 else slice(None), inner, inner)


def _tissues(
    labels: npt.NDArray[np.uint8] | None, names: Mapping[int, str]
) -> tuple[dict[str, int], dict[str, Any]]:
    """Return label and mask of each tissue that is there; without labels the whole image is one, `ALL`."""
    if labels is None:
        return {}, {ALL: ...}
    present = {tissue_name(int(label), names): int(label) for label in np.unique(labels) if label}
    return present, {tissue: labels == label for tissue, label in present.items()}


def _sampled(
    exact: npt.NDArray[np.float32], synthetic: npt.NDArray[np.float32], rng: np.random.Generator
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    exact, synthetic = exact.reshape(-1), synthetic.reshape(-1)
    chosen = rng.choice(exact.size, min(exact.size, POINTS_PER_PATIENT), replace=False, shuffle=False)
    return exact[chosen], synthetic[chosen]


def _pooled_table(patients: Sequence[Compared]) -> dict[tuple[str, str], Agreement]:
    """Return the agreement of every (group, tissue) with voxels, `ALL` groups and tissues included.

    The correlation over all groups is that within them.
    """
    cells: dict[tuple[str, str], list[tuple[Moments, str]]] = {}
    for patient in patients:
        own = patient.entry.case.group
        for tissue, moments in patient.moments.items():
            for group in {own, ALL}:
                cells.setdefault((group, tissue), []).append((moments, own))
    return {key: agreement(*map(list, zip(*members, strict=True))) for key, members in cells.items()}
