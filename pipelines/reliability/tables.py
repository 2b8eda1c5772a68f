"""The tables of a stability run, as rows of CSV files."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from glcm_cuda import GLCMSettings
from pipelines.reliability.analysis import Analysis
from pipelines.reliability.curve import Point
from pipelines.reliability.repeatability import Agreement

Row = dict[str, Any]


def stability_rows(analysis: Analysis) -> Iterator[Row]:
    """Yield a row per feature and perturbation, with figures or a reason."""
    for feature in analysis.features:
        for one in analysis.perturbations:
            nothing = Agreement(voxels=0, reason=one.unfit)
            found = analysis.agreements[feature.name].get((one.kind, one.name), nothing)
            yield {
                "feature": feature.name,
                "kind": one.kind,
                "perturbation": one.name,
                "dimensions": analysis.case.settings.dimensions,
                "voxels": found.voxels,
                "icc": found.icc,
                "icc_low": found.low,
                "icc_high": found.high,
                "concordance": found.concordance,
                "rank_correlation": found.rank,
                "within_voxel_sd": found.within_sd,
                "within_voxel_cv": found.within_cv,
                "reason": found.reason,
            }


def verdict_rows(analysis: Analysis, planes: Analysis | None) -> Iterator[Row]:
    """Yield a row per feature: the verdict and what it rests on; beside it that of windows in planes."""
    of_features = _redundancy_by_feature(analysis)
    for feature in analysis.features:
        one, saturation = analysis.verdicts[feature.name], analysis.saturation[feature.name]
        row: Row = {
            "feature": feature.name,
            "verdict": one.word,
            "lowest_icc_low": one.lowest,
            "cluster": one.cluster or "",
            "representative": one.representative,
            "at_floor": saturation.at_floor,
            "at_ceiling": saturation.at_ceiling,
            "commonest_value": saturation.commonest,
            "spread": saturation.spread,
            "spread_to_noise": saturation.spread_to_noise,
            **of_features.get(feature.name, dict.fromkeys(_REDUNDANCY, math.nan)),
            "reasons": "; ".join(one.reasons),
        }
        if planes is not None:
            flat = planes.verdicts[feature.name]
            row |= {"verdict_2d": flat.word, "lowest_icc_low_2d": flat.lowest}
        yield row


_REDUNDANCY = (
    "rank_local_mean", "rank_local_standard_deviation", "rank_local_gradient", "rank_distance_to_the_edge",
    "local_sd_r", "local_sd_residual",
)  # fmt: skip


def _redundancy_by_feature(analysis: Analysis) -> dict[str, Row]:
    compared = analysis.redundancy
    rows: dict[str, Row] = {}
    for number, name in enumerate(compared.features):
        ranks = {f"rank_{key.replace(' ', '_')}": compared.simple[key][number] for key in compared.simple}
        fit = compared.monotone[number]
        rows[name] = {**{key: float(value) for key, value in ranks.items()}}
        rows[name] |= {"local_sd_r": fit.r, "local_sd_residual": fit.residual}
    return rows


def correlation_rows(analysis: Analysis) -> Iterator[Row]:
    """Yield the matrix of rank correlations between maps."""
    compared = analysis.redundancy
    for name, values in zip(compared.features, compared.correlation, strict=True):
        yield {"feature": name} | dict(zip(compared.features, map(float, values), strict=True))


def curve_rows(points: Sequence[Point]) -> Iterator[Row]:
    """Yield a row per setting that was tried, the run's own first."""
    for point in points:
        saturation = point.saturation
        yield {
            "range_over": point.settings.range_over,
            "bins": bins_told(point.settings),
            "window": point.settings.window,
            "levels_in_mask": point.used.in_mask,
            "of_levels": point.used.of_levels,
            "levels_in_window": point.used.in_window,
            "at_floor": saturation.at_floor,
            "at_ceiling": saturation.at_ceiling,
            "spread": saturation.spread,
            "spread_to_noise": saturation.spread_to_noise,
            "icc_under_noise": point.noise.icc,
            "reason": point.noise.reason,
        }


def bins_told(settings: GLCMSettings) -> str:
    """Return the number of levels, or the width of bins."""
    return f"{settings.levels} levels" if settings.bin_width is None else f"width {settings.bin_width:g}"


def figure(value: float, digits: int = 2) -> str:
    """Return a number as pages print it; a dash where there is none."""
    return "–" if np.isnan(value) else f"{value:.{digits}f}"
