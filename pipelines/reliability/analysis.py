"""What one case says of its maps: every map under every perturbation, and the verdict."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from glcm_cuda.families.feature import Feature
from pipelines.reliability.bounds import bounds_of
from pipelines.reliability.curve import Point, curve, curve_feature
from pipelines.reliability.measuring import MapsAtVoxels, Measurer, bins_of, excluded_by
from pipelines.reliability.perturbations import Case, Perturbation
from pipelines.reliability.redundancy import Redundancy, clusters, redundancy
from pipelines.reliability.repeatability import Agreement, agreement
from pipelines.reliability.saturation import LevelsUsed, Saturation, levels_used, saturation
from pipelines.reliability.verdict import DROP, Thresholds, Verdict, verdict, with_clusters

_log = logging.getLogger(__name__)

Agreements = dict[tuple[str, str], Agreement]
"""By kind and name of the perturbation."""

_UNPERTURBED = Perturbation(kind="none", name="unperturbed")


@dataclass(frozen=True, kw_only=True, eq=False)
class Analysis:
    """What one case says of its maps.

    Parameters
    ----------
    case : Case
        The case.
    features : tuple of Feature
        Those of the maps.
    maps : (F, N) float32 array
        The unperturbed maps at the voxels of the mask.
    perturbations : tuple of Perturbation
        In the order in which they were asked for. Those that could not be made say why (`unfit`).
    agreements : dict of str to Agreements
        By feature.
    saturation : dict of str to Saturation
        By feature.
    used : LevelsUsed
        Grey levels in mask and windows.
    redundancy : Redundancy
        Between the maps.
    verdicts : dict of str to Verdict
        By feature.
    paths : dict of str to Path
        Files of the perturbed maps, by the name of the perturbation.
    curve : list of Point
        Over levels and windows; empty where it was not asked for or has no feature.
    curve_feature : Feature, optional
        The feature of the curve.
    """

    case: Case
    features: tuple[Feature, ...]
    maps: MapsAtVoxels
    perturbations: tuple[Perturbation, ...]
    agreements: dict[str, Agreements]
    saturation: dict[str, Saturation]
    used: LevelsUsed
    redundancy: Redundancy
    verdicts: dict[str, Verdict]
    paths: dict[str, Path]
    curve: list[Point]
    curve_feature: Feature | None


def analyse(
    case: Case,
    perturbations: Sequence[Perturbation],
    measurer: Measurer,
    thresholds: Thresholds,
    *,
    seed: int,
    with_curve: bool = True,
) -> Analysis:
    """Compute the maps of a case under every perturbation, and judge them.

    Parameters
    ----------
    case : Case
        The case.
    perturbations : sequence of Perturbation
        Those that cannot be made are passed on with their reason.
    measurer : Measurer
        Computes the maps, and keeps them.
    thresholds : Thresholds
        Of the verdict.
    seed : int
        Of the sample in which maps are compared with each other.
    with_curve : bool
        Whether one feature is mapped over levels and windows, too.

    Raises
    ------
    ValueError
        If the unperturbed case is unfit.
    """
    excluded = excluded_by(measurer.features, case)
    base = measurer.maps(case, case.mask, _details(_UNPERTURBED), "unperturbed")
    made, agreements, paths = [], {feature.name: Agreements() for feature in measurer.features}, {}
    for number, one in enumerate(perturbations, 1):
        label = f"{one.name} ({number} of {len(perturbations)})"
        one, found = _perturbed(case, base, one, measurer, label)
        made.append(one)
        for name, value in found.items():
            agreements[name][one.kind, one.name] = value
        if found:
            paths[one.name] = measurer.path_of(one.change(case), _details(one))
    names = [feature.name for feature in measurer.features]
    levels = bins_of(case).levels
    noise = next((one for one in made if one.kind == "noise" and not one.unfit), None)
    at_noise = {} if noise is None else {name: agreements[name][noise.kind, noise.name] for name in names}
    saturations = {
        name: saturation(values, bounds_of(name, case.settings, levels), at_noise.get(name))
        for name, values in zip(names, base, strict=True)
    }
    compared = redundancy(dict(zip(names, base, strict=True)), case, seed=seed)
    of_curve = curve_feature(measurer.features, case.settings) if with_curve and noise is not None else None
    return Analysis(
        case=case,
        features=measurer.features,
        maps=base,
        perturbations=tuple(made),
        agreements=agreements,
        saturation=saturations,
        used=levels_used(case, seed=seed),
        redundancy=compared,
        verdicts=_verdicts(agreements, saturations, compared, thresholds, excluded),
        paths=paths,
        curve=[] if of_curve is None or noise is None else curve(case, of_curve, noise, measurer.backend),
        curve_feature=of_curve,
    )


def _details(one: Perturbation) -> dict[str, object]:
    return {"perturbation": one.name, **one.details}


def _perturbed(
    case: Case, base: MapsAtVoxels, one: Perturbation, measurer: Measurer, label: str
) -> tuple[Perturbation, dict[str, Agreement]]:
    """Return the agreement of each map with the perturbed one; none, and the reason, if that is unfit."""
    if one.unfit:
        _log.warning("%s: left out: %s", label, one.unfit)
        return one, {}
    start = time.perf_counter()
    changed = one.change(case)
    try:
        excluded = excluded_by(measurer.features, changed)
        kept = measurer.is_kept(changed, _details(one))
        maps = measurer.maps(changed, case.mask, _details(one), label)
    except ValueError as error:
        _log.warning("%s: left out: %s", label, error)
        return Perturbation(kind=one.kind, name=one.name, details=one.details, unfit=str(error)), {}
    window = math.prod(case.settings.edges)
    found = {
        feature.name: Agreement(voxels=0, reason=excluded[feature.name])
        if feature.name in excluded
        else agreement(before, after, window_voxels=window)
        for feature, before, after in zip(measurer.features, base, maps, strict=True)
    }
    how = "kept from an earlier run" if kept else f"{time.perf_counter() - start:.1f} s"
    _log.info("%s: %s", label, how)
    return one, found


def _verdicts(
    agreements: dict[str, Agreements],
    saturations: dict[str, Saturation],
    compared: Redundancy,
    thresholds: Thresholds,
    excluded: dict[str, str],
) -> dict[str, Verdict]:
    fits = dict(zip(compared.features, compared.monotone, strict=True))
    found = {
        name: Verdict(word=DROP, lowest=math.nan, reasons=(excluded[name],))
        if name in excluded
        else verdict(one, saturations[name], fits.get(name), thresholds)
        for name, one in agreements.items()
    }
    return with_clusters(found, clusters(compared, thresholds.same))
