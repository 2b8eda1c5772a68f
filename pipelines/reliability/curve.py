"""One feature over numbers of levels, windows and ranges: where it leaves its floor and its ceiling."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from glcm_cuda import GLCMSettings
from glcm_cuda.families.feature import Feature
from glcm_cuda.families.registry import feature_named
from pipelines.reliability.bounds import bounds_of
from pipelines.reliability.measuring import bins_of, maps_at
from pipelines.reliability.perturbations import Case, Image, Perturbation
from pipelines.reliability.repeatability import Agreement, agreement
from pipelines.reliability.saturation import LevelsUsed, Saturation, levels_used, saturation
from pipelines.shell.progress import progress_bar
from pipelines.shell.settings import changed_settings

LEVELS = (8, 16, 32, 64, 128)
FACTORS = (4.0, 2.0, 1.0, 0.5, 0.25)
"""Of the width of the bins, where that is what is set."""

WINDOWS = (3, 5, 7, 9)

MOST_AT_BOUNDS = 0.05
"""Part of the voxels at floor or ceiling that a recommended setting may have."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One setting, and what the map uses of its range there.

    Parameters
    ----------
    settings : GLCMSettings
        The setting.
    used : LevelsUsed
        Grey levels in mask and windows.
    saturation : Saturation
        Of the map.
    noise : Agreement
        Of the map with that of the image with added noise.
    """

    settings: GLCMSettings
    used: LevelsUsed
    saturation: Saturation
    noise: Agreement


def curve_feature(features: Sequence[Feature], settings: GLCMSettings) -> Feature | None:
    """Return the joint entropy, or the first feature whose bounds are known; None if there is none."""
    entropy = feature_named("joint_entropy")
    if entropy in features:
        return entropy
    known = (one for one in features if bounds_of(one.name, settings, settings.levels) is not None)
    return next(known, None)


def curve(
    case: Case,
    feature: Feature,
    noise: Perturbation,
    backend: str,
) -> list[Point]:
    """Return the figures of one feature over levels, windows and ranges.

    Parameters
    ----------
    case : Case
        The case; its own setting comes first.
    feature : Feature
        Of which maps are computed, two per setting.
    noise : Perturbation
        Added noise.
    backend : str
        Engine.
    """
    tried = list(dict.fromkeys((case.settings, *_settings(case.settings))))
    noisy, points = noise.change(case), []
    with progress_bar("Levels and windows", len(tried)) as progress:
        for number, settings in enumerate(tried, 1):
            point = _point(replace(case, settings=settings), noisy.image, feature, backend)
            points.append(point)
            progress(number, len(tried))
    return points


def recommended(points: Sequence[Point]) -> Point:
    """Return the point that tells most apart, with the window of the first point.

    The window is a question of the size of what is sought, which the reader answers. Of the points with at
    most 5 % of the voxels at floor or ceiling it is the one with the largest spread against noise; where no
    point has as few, the one with the fewest.
    """
    same = [point for point in points if point.settings.window == points[0].settings.window]
    free = [point for point in same if point.saturation.at_bounds <= MOST_AT_BOUNDS]
    if free:
        return max(free, key=lambda point: np.nan_to_num(point.saturation.spread_to_noise))
    return min(same, key=lambda point: point.saturation.at_bounds)


def _settings(own: GLCMSettings) -> Iterator[GLCMSettings]:
    """Yield the settings that are tried; in three dimensions, and for uneven windows, with one window."""
    windows = WINDOWS if own.dimensions == 2 else (own.window,)
    ranges = [{}] if own.intensity_range is not None else [{"range_over": "image"}, {"range_over": "mask"}]
    bins = (
        [{"levels": levels} for levels in LEVELS]
        if own.bin_width is None
        else [{"bin_width": own.bin_width * factor} for factor in FACTORS]
    )
    for over in ranges:
        for window in windows:
            if isinstance(window, int) and window <= max(own.distances):
                continue
            for fields in bins:
                yield changed_settings(own, {**over, **fields, "window": window})


def _point(case: Case, noisy: Image, feature: Feature, backend: str) -> Point:
    """Return the figures of one setting."""
    values = maps_at(case, case.mask, [feature], backend)[0]
    other = maps_at(replace(case, image=noisy), case.mask, [feature], backend)[0]
    noise = agreement(values, other, window_voxels=math.prod(case.settings.edges))
    bounds = bounds_of(feature.name, case.settings, bins_of(case).levels)
    return Point(
        settings=case.settings,
        used=levels_used(case),
        saturation=saturation(values, bounds, noise),
        noise=noise,
    )
