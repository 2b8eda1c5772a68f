"""Exact maps of a cohort, and the patch store made from them."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.cohorts.attempts import Attempts, naming
from pipelines.cohorts.cohort import case_files
from pipelines.images.dicom.series import Choice
from pipelines.reports.tables import counted
from pipelines.shell.outputs import refuse_inputs
from pipelines.shell.progress import progress_bar

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from glcm_cuda.engines.choice import Backend
    from glcm_cuda.settings import GLCMSettings
    from glcm_cuda.store.layout import CaseSource
    from glcm_cuda.store.patches import Samples
    from glcm_cuda.store.writing import StoreWriter
    from pipelines.cohorts.cohort import Case
    from pipelines.images.volume import Volume

_log = logging.getLogger(__name__)

SAMPLES_PER_CASE = 20_000
VERIFIED_SAMPLES = 1000

MOST_LEVELS = 256


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is done with every case; beside the case all that its result depends on.

    Parameters
    ----------
    settings : GLCMSettings
        Settings of the maps: two-dimensional windows, a number of levels and a range that needs no mask.
    seed, samples_per_case : int
        Choose the samples.
    backend : {"auto", "cpu", "cuda"}
        Engine; it does not change the result.
    """

    settings: GLCMSettings
    seed: int = 0
    samples_per_case: int = SAMPLES_PER_CASE
    backend: Backend = "auto"

    def __post_init__(self) -> None:
        self._check_settings()
        if self.seed < 0:
            msg = f"seed must not be negative, got {self.seed}"
            raise ValueError(msg)
        if self.samples_per_case < 1:
            msg = f"samples per case must be at least 1, got {self.samples_per_case}"
            raise ValueError(msg)

    def _check_settings(self) -> None:
        """Refuse what a network that sees patches of levels, and no mask, cannot learn from."""
        settings = self.settings
        if settings.dimensions != 2:
            msg = f"a patch store holds 2D windows, dimensions must be 2, got {settings.dimensions}"
            raise ValueError(msg)
        if settings.range_over != "image":
            msg = (
                f'range_over must be "image" in a patch store, got "{settings.range_over}": a network '
                "is given no mask; give a fixed range or --range-over cohort instead"
            )
            raise ValueError(msg)
        if settings.bin_width is not None:
            msg = (
                "a patch store has one number of levels for all cases, got "
                f"bin_width={settings.bin_width:g}; give levels instead"
            )
            raise ValueError(msg)
        if settings.levels > MOST_LEVELS:
            msg = f"a patch store holds at most {MOST_LEVELS} levels, got {settings.levels}"
            raise ValueError(msg)
        if settings.slice_axis != 0:
            msg = f"a patch store holds windows across z, slice_axis must be 0, got {settings.slice_axis}"
            raise ValueError(msg)


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
        The same whatever other cases are done, before or beside it.

    Raises
    ------
    FileNotFoundError, TypeError, ValueError
        If the image or its labels are unfit.
    """
    from glcm_cuda import intensity_range, quantize
    from glcm_cuda.maps import entropy_of_levels
    from glcm_cuda.store.patches import sample_voxels, take_samples
    from pipelines.images.masks import read_labels
    from pipelines.images.reading import read_image

    settings = plan.settings
    volume = read_image(case.image, case.choice)
    labels = None if case.labels is None else _stack(read_labels(case.labels, volume))
    levels = _stack(quantize(volume.array, settings))
    rng = _generator(plan.seed, case.patient)
    voxels = sample_voxels(labels, levels.shape, settings.radius, plan.samples_per_case, rng)
    entropy = entropy_of_levels(levels, settings, backend=plan.backend)
    return ExactCase(
        volume=volume,
        intensity_range=intensity_range(volume.array, settings),
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
    from glcm_cuda import intensity_range
    from pipelines.images.reading import read_image

    lows, highs = [], []
    with progress_bar("Range of the cohort", len(cases)) as progress:
        for done, case in enumerate(cases, start=1):
            with naming(case.patient):
                low, high = intensity_range(read_image(case.image, case.choice).array)
            lows.append(low)
            highs.append(high)
            progress(done, len(cases))
    if min(lows) == max(highs):
        msg = f"a cohort must have more than one intensity, got {lows[0]:g} alone"
        raise ValueError(msg)
    return min(lows), max(highs)


def write_store(
    cases: Sequence[Case],
    path: Path,
    plan: Plan,
    *,
    maps: Path | None = None,
    force: bool = False,
) -> str:
    """Write the patch store of a cohort and verify a sample of it.

    A run that was killed continues where it stopped.

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
        One line: how much was written and verified.

    Raises
    ------
    TypeError, ValueError, OSError
        If an input is unfit, an output exists or cannot be written.
    """
    from glcm_cuda.store.reading import PatchStore
    from glcm_cuda.store.writing import StoreWriter

    writer = StoreWriter(
        path, plan.settings, seed=plan.seed, samples_per_case=plan.samples_per_case, force=force
    )
    plan = _with_backend(plan)
    if maps is not None:
        refuse_inputs([map_path(maps, case.patient) for case in cases], case_files(cases))
    if maps is not None and not force:
        _refuse_other_maps(cases, maps, plan)
    sources: list[CaseSource] = []
    attempts = Attempts(len(cases))
    with progress_bar("Exact maps", len(cases)) as progress:
        for done, case in enumerate(cases, start=1):
            with attempts.of(case.patient):
                sources.append(_add(writer, case, plan, maps))
            progress(done, len(cases))
    attempts.finish()
    writer.finish(sources)
    with PatchStore(path) as store:
        verified = store.verify(VERIFIED_SAMPLES, plan.seed)
        window, levels = store.settings.edge, store.settings.levels
        return (
            f"{counted(len(store.cases), 'case')}, {counted(len(store), 'sample')} of "
            f"{window}x{window} voxels at {levels} levels; {verified} recomputed and found equal"
        )


def map_path(maps: Path, patient: str) -> Path:
    """Return where the exact map of a patient is written."""
    return maps / f"{patient}_entropy_exact.nii.gz"


def _add(writer: StoreWriter, case: Case, plan: Plan, maps: Path | None) -> CaseSource:
    """Make sure that the samples of a case, and its map if wanted, are there."""
    source = _source(case)
    stored = writer.has(source)
    mapped = maps is None or _is_map_of(map_path(maps, case.patient), source, case.choice, plan)
    if not (stored and mapped):
        exact = exact_case(case, plan)
        if not stored:
            _store(writer, source, exact)
        if maps is not None and not mapped:
            _write_map(exact, case, map_path(maps, case.patient), plan)
    return source


def _store(writer: StoreWriter, source: CaseSource, exact: ExactCase) -> None:
    from glcm_cuda.store.layout import CaseRecord

    record = CaseRecord(
        **vars(source),
        intensity_range=exact.intensity_range,
        modality=exact.volume.modality,
        shape=_stack(exact.entropy).shape,
        count=len(exact.samples.entropy),
    )
    writer.add(record, exact.samples)


def _write_map(exact: ExactCase, case: Case, path: Path, plan: Plan) -> None:
    from pipelines.images.provenance import provenance
    from pipelines.images.writing import write_map

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
    """Refuse maps that exist, unless a run that was killed left the very maps that are wanted."""
    from pipelines.images.output_paths import check_map_path

    for case in cases:
        path = map_path(maps, case.patient)
        if path.exists() and not _is_map_of(path, _source(case), case.choice, plan):
            check_map_path(path)


def _is_map_of(path: Path, source: CaseSource, choice: Choice, plan: Plan) -> bool:
    """Whether the map is there, of the same image and with the same settings."""
    from pipelines.images.provenance import sidecar_path

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


def _with_backend(plan: Plan) -> Plan:
    """Choose the backend once, so that the log says it once."""
    from glcm_cuda.engines.choice import available_backends

    if plan.backend != "auto":
        return plan
    taken: Backend = "cuda" if "cuda" in available_backends() else "cpu"
    _log.info("backend auto took %s", taken)
    return replace(plan, backend=taken)


def _source(case: Case) -> CaseSource:
    from glcm_cuda.store.layout import CaseSource
    from pipelines.images.provenance import sha256_of

    return CaseSource(
        patient=case.patient,
        group=case.group,
        image=case.chosen_image,
        sha256=sha256_of(case.image),
        labels_sha256="" if case.labels is None else sha256_of(case.labels),
    )


def _stack(array: npt.NDArray[Any]) -> Any:
    """Return the image as (Z, Y, X), a single slice included."""
    return array.reshape((-1, *array.shape[-2:]))


def _generator(seed: int, patient: str) -> np.random.Generator:
    """Chance of one patient: the same whatever was done before, in this run or another."""
    import numpy as np

    digest = hashlib.sha256(patient.encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], "big")])
