"""Keep, doubtful or drop: a verdict for each map, by thresholds that are stated."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from pipelines.reliability.perturbations import OF_SETTINGS
from pipelines.reliability.redundancy import MonotoneFit
from pipelines.reliability.repeatability import Agreement
from pipelines.reliability.saturation import Saturation

KEEP, DOUBTFUL, DROP = "keep", "doubtful", "drop"
_WORSE = {KEEP: 0, DOUBTFUL: 1, DROP: 2}


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Limits of the verdict, from 0 to 1.

    Parameters
    ----------
    keep : float
        A map is kept if the lower bound of its ICC is at least this under every change of the acquisition
        (noise, shift, resampling, mask, retest).
    drop : float
        It is dropped if its ICC itself is below this under one of them. Bounds are far below the ICC where
        all voxels moved by the same, since two measurements tell little of how much such offsets vary.
    rank : float
        Rank correlation under every change of the settings below which a map is doubtful. Many features
        change their scale with the settings by definition, which absolute agreement would hold against them.
    at_bounds : float
        Part of the voxels at floor or ceiling above which a map is doubtful.
    local_sd : float
        Correlation with a monotone function of the local standard deviation from which a map is doubtful: it
        is local standard deviation under another name.
    same : float
        Absolute rank correlation from which maps say the same.

    Notes
    -----
    0.75 and 0.5 are the limits of good and moderate reliability of Koo and Li 2016.
    """

    keep: float = 0.75
    drop: float = 0.5
    rank: float = 0.75
    at_bounds: float = 0.25
    local_sd: float = 0.95
    same: float = 0.9

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 <= value <= 1:
                msg = f"threshold {name} must be from 0 to 1, got {value:g}"
                raise ValueError(msg)
        if self.drop > self.keep:
            msg = f"threshold drop must not be above keep, got {self.drop:g} and {self.keep:g}"
            raise ValueError(msg)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What to do with a map, and why.

    Parameters
    ----------
    word : {"keep", "doubtful", "drop"}
        The verdict.
    lowest : float
        Smallest lower bound of the ICC under changes of the acquisition; NaN if there is none.
    reasons : tuple of str
        Why it is not kept.
    cluster : int
        Number of its cluster; 0 where it was not compared.
    representative : str
        The map that stands for the cluster.
    """

    word: str
    lowest: float
    reasons: tuple[str, ...] = ()
    cluster: int = 0
    representative: str = ""


def verdict(
    agreements: Mapping[tuple[str, str], Agreement],
    saturation: Saturation,
    monotone: MonotoneFit | None,
    thresholds: Thresholds,
) -> Verdict:
    """Return the verdict of one map, its cluster left open.

    Parameters
    ----------
    agreements : mapping of (kind, name) to Agreement
        With the map under each perturbation.
    saturation : Saturation
        Of the map.
    monotone : MonotoneFit, optional
        On the local standard deviation.
    thresholds : Thresholds
        Limits.
    """
    acquired = {name: one for (kind, name), one in agreements.items() if kind not in OF_SETTINGS}
    changed = {name: one for (kind, name), one in agreements.items() if kind in OF_SETTINGS}
    findings = [
        *_of_acquisition(acquired, thresholds),
        *_of_settings(changed, thresholds),
        *_of_saturation(saturation, thresholds),
        *_of_deviation(monotone, thresholds),
    ]
    lows = [one.low for one in acquired.values() if not math.isnan(one.low)]
    return Verdict(
        word=max((word for word, _ in findings), key=_WORSE.__getitem__, default=KEEP),
        lowest=min(lows, default=math.nan),
        reasons=tuple(dict.fromkeys(reason for _, reason in findings)),
    )


Findings = Iterable[tuple[str, str]]


def _of_acquisition(agreements: Mapping[str, Agreement], thresholds: Thresholds) -> Findings:
    if not agreements:
        yield DOUBTFUL, "no change of the acquisition was computed"
    for name, one in agreements.items():
        if one.reason:
            yield (DROP if one.constant else DOUBTFUL), f"{name}: {one.reason}"
        elif one.low < thresholds.keep:
            word = DROP if one.icc < thresholds.drop else DOUBTFUL
            yield word, f"{name}: ICC {one.icc:.2f}, from {one.low:.2f}"


def _of_settings(agreements: Mapping[str, Agreement], thresholds: Thresholds) -> Findings:
    for name, one in agreements.items():
        if one.rank < thresholds.rank:  # NaN where there is no figure: a setting that the feature excludes
            yield DOUBTFUL, f"{name}: rank correlation {one.rank:.2f}"


def _of_saturation(saturation: Saturation, thresholds: Thresholds) -> Findings:
    if saturation.at_bounds > thresholds.at_bounds:
        yield DOUBTFUL, f"{100 * saturation.at_bounds:.0f} % of the voxels at floor or ceiling"


def _of_deviation(monotone: MonotoneFit | None, thresholds: Thresholds) -> Findings:
    if monotone is not None and monotone.r >= thresholds.local_sd:
        yield DOUBTFUL, f"local standard deviation under another name (r {monotone.r:.2f})"


def with_clusters(verdicts: Mapping[str, Verdict], clusters: Mapping[str, int]) -> dict[str, Verdict]:
    """Return the verdicts with their clusters, each represented by its best map.

    The best has the best verdict, and of those the largest of the smallest lower bounds.
    """
    best: dict[int, str] = {}
    for name, cluster in clusters.items():
        if cluster not in best or _rank(verdicts[name]) < _rank(verdicts[best[cluster]]):
            best[cluster] = name
    return {
        name: replace(one, cluster=clusters[name], representative=best[clusters[name]])
        if name in clusters
        else replace(one, representative=name)
        for name, one in verdicts.items()
    }


def _rank(one: Verdict) -> tuple[int, float]:
    return _WORSE[one.word], -one.lowest if not math.isnan(one.lowest) else math.inf


def survivors(verdicts: Mapping[str, Verdict]) -> list[str]:
    """Return the maps that are kept and stand for their cluster."""
    return [name for name, one in verdicts.items() if one.word == KEEP and one.representative == name]
