"""Exact maps of a cohort, and the patch store made from them."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from glcm_cuda import intensity_range, quantize
from glcm_cuda.base.files import refuse_existing
from glcm_cuda.engines.choice import resolve_backend
from glcm_cuda.levels.bins import find_bins
from glcm_cuda.maps import entropy_of_levels
from glcm_cuda.store.layout import CaseRecord, CaseSource
from glcm_cuda.store.patches import Samples, sample_voxels, take_samples
from glcm_cuda.store.reading import PatchStore
from glcm_cuda.store.writing import StoreWriter
from pipelines.cohorts.attempts import naming
from pipelines.cohorts.cohort import Case, case_files, read_cohort
from pipelines.cohorts.runner import each_case, failed_beside
from pipelines.cohorts.tissues import tissues_text
from pipelines.images.dicom.series import Choice
from pipelines.images.masks import read_labels
from pipelines.images.output_paths import check_map_path
from pipelines.images.provenance import provenance, sha256_of, sidecar_path
from pipelines.images.reading import read_image
from pipelines.images.volume import Volume
from pipelines.images.writing import write_map
from pipelines.maps.store_plan import Plan
from pipelines.reports.tables import counted
from pipelines.shell.outputs import refuse_inputs
from pipelines.shell.progress import progress_bar

_log = logging.getLogger(__name__)

VERIFIED_SAMPLES = 1000


@dataclass(frozen=True, kw_only=True)
class ExactCase:
    """The exact map of one case and the samples taken from it.

    Parameters
    ----------
    volume : Volume
        The image.
    intensity_range : (float, float)
        Edges of the lowest and the highest bin, in the image's unit.
    entropy : float32 array of the image's shape
        The map.
    samples : Samples
        In random order.
    """

    volume: Volume
    intensity_range: tuple[float, float]
    entropy: npt.NDArray[np.float32]
    samples: Samples


def exact_case(case: Case, plan: Plan) -> ExactCase:
    """Map one case and take its samples: a pure function of the case and the plan.

    Parameters
    ----------
    case : Case
        A row of the cohort.
    plan : Plan
        Settings, seed, samples per case.

    Returns
    -------
    ExactCase
        Independent of the other cases.

    Raises
    ------
    FileNotFoundError, TypeError, ValueError
        If the image or its labels are unfit.
    """
    settings = plan.settings
    volume = read_image(case.image, case.choice)
    labels = None if case.labels is None else _stack(read_labels(case.labels, volume))
    bins = find_bins(volume.array, settings)
    levels = _stack(quantize(volume.array, settings, bins=bins))
    rng = _generator(plan.seed, case.patient)
    voxels = sample_voxels(labels, levels.shape, settings.radius, plan.samples_per_case, rng)
    entropy = entropy_of_levels(levels, settings, backend=plan.backend)
    return ExactCase(
        volume=volume,
        intensity_range=(bins.low, bins.high),
        entropy=entropy.reshape(volume.array.shape),
        samples=take_samples(levels, entropy, labels, voxels, settings.radius),
    )


def cohort_range(cases: Sequence[Case]) -> tuple[float, float]:
    """Return the lowest and the highest intensity of all images of a cohort.

    Raises
    ------
    FileNotFoundError, TypeError, ValueError
        If an image is unfit (the message names the patient), or all are of one intensity.
    """
    lows, highs = [], []
    with progress_bar("Cohort range", len(cases)) as progress:
        for done, case in enumerate(cases, start=1):
            with naming(case.patient):
                low, high = intensity_range(read_image(case.image, case.choice).array)
            lows.append(low)
            highs.append(high)
            progress(done, len(cases))
    if min(lows) == max(highs):
        msg = f"a cohort must have more than one intensity, got only {lows[0]:g}"
        raise ValueError(msg)
    return min(lows), max(highs)


def write_ground_truth(
    cohort: Path, path: Path, plan: Plan, *, range_over_cohort: bool, maps: Path | None, force: bool
) -> str:
    """Write the patch store of a cohort's CSV.

    Parameters
    ----------
    cohort : path
        CSV of the cohort.
    path, plan, maps, force
        See `write_store`.
    range_over_cohort : bool
        Use one range of intensities for all images, instead of each image's own.

    Returns
    -------
    str
        That of `write_store`.

    Raises
    ------
    TypeError, ValueError, OSError
        Those of `read_cohort`, `cohort_range` and `write_store`.
    """
    cases = read_cohort(cohort)
    if range_over_cohort:
        refuse_existing(path, force=force)
        low, high = cohort_range(cases)
        _log.info("intensity range of the cohort: %g to %g", low, high)
        plan = replace(plan, settings=replace(plan.settings, intensity_range=(low, high)))
    return write_store(cases, path, plan, maps=maps, force=force)


def write_store(
    cases: Sequence[Case],
    path: Path,
    plan: Plan,
    *,
    maps: Path | None = None,
    force: bool = False,
) -> str:
    """Write the patch store of a cohort and verify a sample of it.

    An interrupted run continues where it stopped.

    Parameters
    ----------
    cases : sequence of Case
        The cohort.
    path : Path
        The store.
    plan : Plan
        Settings, seed, samples per case.
    maps : Path, optional
        Folder for the whole maps, ``<patient>_entropy_exact.nii.gz``.
    force : bool
        Replace the store and maps that exist.

    Returns
    -------
    str
        One line: how many cases and samples were written, and how many verified.

    Raises
    ------
    CasesFailedError
        At the end, if cases failed: they are listed in ``<path>.failed.csv``, and the store is not written.
    TypeError, ValueError, OSError
        If an output exists or cannot be written.
    """
    writer = StoreWriter(
        path, plan.settings, seed=plan.seed, samples_per_case=plan.samples_per_case, force=force
    )
    plan = replace(plan, backend=resolve_backend(plan.backend))
    if maps is not None:
        refuse_inputs([map_path(maps, case.patient) for case in cases], case_files(cases))
    if maps is not None and not force:
        _refuse_other_maps(cases, maps, plan)
    sources: list[CaseSource] = []
    each_case(
        "Exact maps",
        cases,
        lambda case: sources.append(_add(writer, case, plan, maps)),
        failed_beside(path),
    )
    writer.finish(sources)
    with PatchStore(path) as store:
        verified = store.verify(VERIFIED_SAMPLES, plan.seed)
        window, levels = store.settings.edge, store.settings.levels
        return (
            f"{counted(len(store.cases), 'case')}, {counted(len(store), 'sample')} of "
            f"{window}x{window} voxels at {levels} levels; {verified} recomputed and found equal"
        )


def map_path(maps: Path, patient: str) -> Path:
    """Return the path of a patient's exact map."""
    return maps / f"{patient}_entropy_exact.nii.gz"


def _add(writer: StoreWriter, case: Case, plan: Plan, maps: Path | None) -> CaseSource:
    """Add the samples of a case to the store, and write its map if asked for, unless they exist."""
    source = _source(case)
    stored = writer.has(source)
    mapped = maps is None or _is_map_of(map_path(maps, case.patient), source, case.choice, plan)
    if not (stored and mapped):
        exact = exact_case(case, plan)
        if not stored:
            _store(writer, source, exact, case)
        if maps is not None and not mapped:
            _write_map(exact, case, map_path(maps, case.patient), plan)
    return source


def _store(writer: StoreWriter, source: CaseSource, exact: ExactCase, case: Case) -> None:

    record = CaseRecord(
        **vars(source),
        intensity_range=exact.intensity_range,
        modality=exact.volume.modality,
        tissues=tissues_text(case.tissues),
        shape=_stack(exact.entropy).shape,
        count=len(exact.samples.entropy),
    )
    writer.add(record, exact.samples)


def _write_map(exact: ExactCase, case: Case, path: Path, plan: Plan) -> None:

    origin = provenance(
        source=case.image,
        settings=plan.settings,
        intensity_range=exact.intensity_range,
        backend=plan.backend,
        patient=case.patient,
        **case.choice.to_dict(),
    )
    write_map(exact.entropy, exact.volume, path, provenance=origin, force=True)


def _refuse_other_maps(cases: Sequence[Case], maps: Path, plan: Plan) -> None:
    """Refuse maps that exist, except those that an interrupted run of the same plan left."""
    for case in cases:
        path = map_path(maps, case.patient)
        if path.exists() and not _is_map_of(path, _source(case), case.choice, plan):
            check_map_path(path)


def _is_map_of(path: Path, source: CaseSource, choice: Choice, plan: Plan) -> bool:
    """Whether the map exists and was made from the same image with the same settings."""
    try:
        origin = json.loads(sidecar_path(path).read_text(encoding="utf-8"))
        return bool(
            path.exists()
            and origin["source_sha256"] == source.sha256
            and Choice(series=origin.get("series"), phase=origin.get("phase")) == choice
            and origin["settings"] == json.loads(plan.settings.to_json())
        )
    except (FileNotFoundError, ValueError, LookupError, TypeError):
        return False


def _source(case: Case) -> CaseSource:

    return CaseSource(
        patient=case.patient,
        group=case.group,
        image=case.chosen_image,
        sha256=sha256_of(case.image),
        labels_sha256="" if case.labels is None else sha256_of(case.labels),
        phantom=case.phantom,
    )


def _stack(array: npt.NDArray[Any]) -> Any:
    """Return the image as (Z, Y, X), a single slice included."""
    return array.reshape((-1, *array.shape[-2:]))


def _generator(seed: int, patient: str) -> np.random.Generator:
    """Return the random generator of a patient, which does not depend on the other patients."""
    digest = hashlib.sha256(patient.encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], "big")])
