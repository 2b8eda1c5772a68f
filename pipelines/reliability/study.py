"""A stability run: image and mask in, tables, figures and a page out."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from glcm_cuda import GLCMSettings
from glcm_cuda.base.files import refuse_existing
from glcm_cuda.engines.choice import resolve_backend
from glcm_cuda.families.feature import Feature
from glcm_cuda.levels.arrays import count_nonfinite, refuse_nonfinite_voxels
from pipelines.images.archives import opened
from pipelines.images.provenance import source_record
from pipelines.images.reading import read_image
from pipelines.images.volume import Volume, geometry_differences
from pipelines.maps.exact import check_dimensions
from pipelines.maps.inputs import Inputs, Mask
from pipelines.reliability.analysis import Analysis, analyse
from pipelines.reliability.measuring import Measurer, excluded_by, seconds_of_changes, seconds_per_voxel
from pipelines.reliability.perturbations import CHOSEN, Case, Image, Perturbation, perturbations_of, retest
from pipelines.reliability.repeatability import FEWEST_VOXELS
from pipelines.reliability.report import Outcome, write_report
from pipelines.reliability.verdict import Thresholds
from pipelines.reports.tables import counted, replacing_folder
from pipelines.shell.outputs import refuse_foreign_folder, refuse_inputs

_log = logging.getLogger(__name__)

MAPS, REPORT = "maps", "report"
"""Folders of a run: maps that are kept for the next one, and what it writes for people."""

_UNEVEN = 2.0
"""Ratio of the spacings in one window from which it is called uneven."""


@dataclass(frozen=True, kw_only=True)
class StudySettings:
    """What is computed.

    Parameters
    ----------
    glcm : GLCMSettings
        Of the maps.
    features : tuple of Feature
        Those that are judged.
    kinds : tuple of str
        Perturbations, of `perturbations.CHOSEN`; a retest is one wherever it is given.
    seed : int
        Of all that is drawn.
    repeats : int
        How often noise and shift are drawn.
    thresholds : Thresholds
        Of the verdict.
    backend : {"auto", "cpu", "cuda"}
        Engine; it does not change the result.
    fit_dimensions : bool
        See `pipelines.maps.exact.MapSettings`.
    """

    glcm: GLCMSettings
    features: tuple[Feature, ...]
    kinds: tuple[str, ...] = CHOSEN
    seed: int = 0
    repeats: int = 1
    thresholds: Thresholds = field(default_factory=Thresholds)
    backend: Any = "auto"
    fit_dimensions: bool = True


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What a run found: its page, a line, and the word of the verdict by feature."""

    page: Path
    summary: str
    verdicts: dict[str, str]


def run_stability(
    inputs: Inputs, second: Inputs | None, settings: StudySettings, output: Path, *, force: bool
) -> Judged:
    """Judge the maps of one image, and write tables, figures and a page.

    Parameters
    ----------
    inputs : Inputs
        Image and mask.
    second : Inputs, optional
        A second scan, registered to the first by the user, and its mask.
    settings : StudySettings
        What is computed.
    output : Path
        Folder with the maps (kept, so that a run goes on where an earlier one stopped) and the report, which
        is written as a whole or not at all.
    force : bool
        Replace an earlier report. Maps are never computed twice.

    Returns
    -------
    Judged
        The page, a line, and the verdicts.

    Raises
    ------
    TypeError, ValueError, OSError
        If an input or a setting is unfit, the mask has fewer than 30 voxels, the second scan lies on another
        grid, or the report exists.
    """
    refuse_foreign_folder(output, (MAPS, REPORT), force=force)
    refuse_existing(output / REPORT, force=force)
    refuse_inputs([output / REPORT, output / MAPS], [*inputs.files, *(second.files if second else ())])
    settings = replace(settings, backend=resolve_backend(settings.backend))
    case, volume = _case_of(inputs, settings)
    perturbations = perturbations_of(case, settings.kinds, seed=settings.seed, repeats=settings.repeats)
    if second is not None:
        perturbations.append(_second_scan(second, case, volume))
    record = {**source_record(inputs.image, "image"), **inputs.record()}
    measurer = Measurer(
        features=settings.features, backend=settings.backend, folder=output / MAPS, inputs=record
    )
    cases = {"": case} | _in_planes(case)
    _announce(cases, perturbations, measurer)
    analyses = {}
    for name, one in cases.items():
        of_case = perturbations if not name else _again(one, settings, second, perturbations)
        analyses[name] = analyse(
            one, of_case, measurer, settings.thresholds, seed=settings.seed, with_curve=not name
        )
    outcome = Outcome(
        analysis=analyses[""],
        planes=analyses.get("2d"),
        thresholds=settings.thresholds,
        record=record | {"seed": settings.seed, "repeats": settings.repeats, "backend": settings.backend},
        choice=inputs.mask_choice,
    )
    with replacing_folder(output / REPORT, marker="report.html", force=force) as folder:
        page = write_report(outcome, folder)
    return Judged(
        page=output / REPORT / page.name,
        summary=_summary(outcome.analysis),
        verdicts={name: one.word for name, one in outcome.analysis.verdicts.items()},
    )


def _case_of(inputs: Inputs, settings: StudySettings) -> tuple[Case, Volume]:
    """Return an image and its mask as a case, and the image on its grid."""
    with opened(inputs.image) as place:
        volume = read_image(place, inputs.choice)
        glcm = inputs.fitted(settings.glcm, volume) if settings.fit_dimensions else settings.glcm
        check_dimensions(inputs.image, volume, glcm)
        ready = inputs.prepared(volume)
    volume, mask = ready.image, ready.mask
    if mask is None:
        msg = f"stability needs a mask, got none for {inputs.image}; give --mask FILE"
        raise ValueError(msg)
    voxels = int(np.count_nonzero(mask))
    if voxels < FEWEST_VOXELS:
        msg = f"mask {inputs.mask} has {voxels} voxels, stability needs at least {FEWEST_VOXELS}"
        raise ValueError(msg)
    image = _finite(volume.array, mask)
    return Case(image=image, mask=mask, spacing_mm=volume.zyx_spacing_mm, settings=glcm), volume


def _finite(image: Image, mask: Mask) -> Image:
    """Return the image with the mask's median where it is not finite outside the mask, for splines."""
    if image.dtype.kind != "f":
        return image
    refuse_nonfinite_voxels(count_nonfinite(image, mask), " inside the mask")
    return np.where(np.isfinite(image), image, np.median(image[mask])).astype(image.dtype)


def _second_scan(second: Inputs, case: Case, volume: Volume) -> Perturbation:
    """Return the second scan as a perturbation; refuse one on another grid."""
    other_settings = StudySettings(glcm=case.settings, features=(), fit_dimensions=False)
    other, its_volume = _case_of(second, other_settings)
    differences = geometry_differences(its_volume, volume)
    if differences:
        msg = (
            f"--retest {second.image} must lie on the image's grid, got {'; '.join(differences)}; register "
            "and resample it to the image"
        )
        raise ValueError(msg)
    common = int(np.count_nonzero(case.mask & other.mask))
    if common < FEWEST_VOXELS:
        msg = (
            f"the masks of image and --retest have {common} voxels in common, stability needs at least "
            f"{FEWEST_VOXELS}; is the second scan registered?"
        )
        raise ValueError(msg)
    return retest(other.image, other.mask, {**source_record(second.image, "image"), **second.record()})


def _in_planes(case: Case) -> dict[str, Case]:
    """Return the case with windows in planes, if its windows span spacings that differ more than twofold."""
    if case.settings.dimensions == 2:
        return {}
    ratio = max(case.spacing_mm) / min(case.spacing_mm)
    if ratio <= _UNEVEN:
        return {}
    spacing = " x ".join(f"{edge:.3g}" for edge in reversed(case.spacing_mm))
    _log.warning(
        "voxels of %s mm: a window in three dimensions spans spacings that differ %.1f-fold; the figures of "
        "windows in two dimensions stand beside",
        spacing, ratio,
    )  # fmt: skip
    edge = case.settings.edges[2]
    return {"2d": replace(case, settings=replace(case.settings, dimensions=2, window=edge))}


def _again(
    case: Case, settings: StudySettings, second: Inputs | None, perturbations: list[Perturbation]
) -> list[Perturbation]:
    """Return the perturbations for a case of other settings, which some of them change."""
    made = perturbations_of(case, settings.kinds, seed=settings.seed, repeats=settings.repeats)
    return made if second is None else [*made, perturbations[-1]]


def _announce(cases: dict[str, Case], perturbations: list[Perturbation], measurer: Measurer) -> None:
    """Log what is computed, and how long it will take at the rate of a small crop."""
    seconds = 0.0
    for case in cases.values():
        excluded = excluded_by(measurer.features, case)
        features = [feature for feature in measurer.features if feature.name not in excluded]
        rate = seconds_per_voxel(case, features, measurer.backend) if features else 0.0
        seconds += rate * np.count_nonzero(case.mask) * (1 + len(perturbations))
        seconds += seconds_of_changes(case, perturbations)
    _log.info(
        "%s of %s, %s: about %s at the rate of a small crop, less what an earlier run has finished",
        counted((1 + len(perturbations)) * len(cases), "run"),
        counted(len(measurer.features), "map"),
        counted(int(np.count_nonzero(cases[""].mask)), "voxel"),
        f"{seconds / 60:.1f} minutes" if seconds > 90 else f"{seconds:.1f} s",
    )


def _summary(analysis: Analysis) -> str:
    words = [one.word for one in analysis.verdicts.values()]
    counts = ", ".join(f"{words.count(word)} {word}" for word in ("keep", "doubtful", "drop"))
    made = sum(not one.unfit for one in analysis.perturbations)
    voxels = int(np.count_nonzero(analysis.case.mask))
    maps, changes = counted(len(words), "map"), counted(made, "perturbation")
    return f"{maps}, {counted(voxels, 'voxel')}, {changes}: {counts}"
