"""Exact maps of one image."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.shell.progress import progress_bar

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from glcm_cuda import GLCMSettings
    from glcm_cuda.engines.choice import Backend
    from glcm_cuda.families.feature import Feature
    from glcm_cuda.levels.bins import Bins
    from pipelines.images.volume import Volume

_log = logging.getLogger(__name__)

_MOST_BYTES = 1 << 30
"""Maps of several features are computed together, which costs less, as far as they fit in this memory."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is mapped: an image, or the part of it that the windows around a mask reach.

    `settings` are those asked for; with `binning` the part gets the same levels as the whole.
    """

    volume: Volume
    mask: npt.NDArray[np.bool_] | None
    box: tuple[slice, ...]
    features: tuple[Feature, ...]
    settings: GLCMSettings
    binning: GLCMSettings
    bins: Bins


@dataclass(frozen=True, kw_only=True)
class Written:
    """What is written, and how."""

    outputs: dict[str, Path]
    outside: float
    crop: bool
    preview: Path | None
    details: dict[str, Any]
    force: bool


def planned(
    source: Path,
    volume: Volume,
    settings: GLCMSettings,
    features: tuple[Feature, ...],
    mask: npt.NDArray[np.bool_] | None,
) -> Job:
    """Find the bins and the part to map; refuse what cannot be mapped."""
    from glcm_cuda.families.registry import check_features
    from glcm_cuda.levels.quantize import find_bins
    from pipelines.images.reading import reached

    try:
        bins = find_bins(volume.array, settings, mask)
    except ValueError as error:
        msg = f"{source}: {error}"
        raise ValueError(msg) from None
    check_features(features, settings, bins)
    box, binning = reached(volume.array.shape, mask, settings, bins)
    return Job(
        volume=volume, mask=mask, box=box, features=features, settings=settings, binning=binning, bins=bins
    )


def write_maps(job: Job, written: Written, source: Path, backend: Backend) -> tuple[float, str]:
    """Map and write, every file or none; return the seconds of the maps, and the backend."""
    from pipelines.images.parametric_map import SUFFIX
    from pipelines.images.writing import staged_map

    seconds, taken = 0.0, _taken(backend)
    together: dict[str, npt.NDArray[np.float32]] = {}
    with ExitStack() as stack:
        for group in _groups(job):
            maps, more = _timed_maps(job, group, backend)
            seconds += more
            if group[0] is job.features[0]:
                _log_without_pairs(job, maps[group[0].name])
                stack.enter_context(_drawn(job, written, maps[group[0].name]))
            for feature in group:
                volume, values = _placed(job, written, maps.pop(feature.name))
                path = written.outputs[feature.name]
                if path.suffix == SUFFIX:
                    together[feature.name] = values
                    continue
                record = _record(job, written, source, taken, feature)
                stack.enter_context(staged_map(values, volume, path, provenance=record, force=written.force))
        if together:
            _write_together(together, job, written, source, taken)
    return seconds, taken


def _write_together(
    maps: dict[str, npt.NDArray[np.float32]], job: Job, written: Written, source: Path, backend: str
) -> None:
    """Write all features into one Parametric Map."""
    from pipelines.images.parametric_map import write_parametric_map

    record = _record(job, written, source, backend, job.features[0]) | {"features": list(maps)}
    volume = job.volume.cropped(job.box) if written.crop else job.volume
    write_parametric_map(maps, volume, written.outputs[job.features[0].name], record, force=written.force)


def _record(job: Job, written: Written, source: Path, backend: str, feature: Feature) -> dict[str, Any]:
    from pipelines.images.provenance import provenance

    return provenance(
        source=source,
        settings=job.settings,
        intensity_range=(job.bins.low, job.bins.high),
        backend=backend,
        feature=feature.name,
        bins={"levels": job.bins.levels, "low": job.bins.low, "high": job.bins.high},
        **written.details,
        **_crop_record(job, written),
    )


def _groups(job: Job) -> Iterator[tuple[Feature, ...]]:
    voxels = job.volume.array[job.box].size
    at_once = max(1, _MOST_BYTES // (4 * voxels))
    for start in range(0, len(job.features), at_once):
        yield job.features[start : start + at_once]


def _taken(backend: Backend) -> str:
    from glcm_cuda.engines.choice import available_backends

    return available_backends()[-1] if backend == "auto" else backend


def _timed_maps(
    job: Job, features: tuple[Feature, ...], backend: Backend
) -> tuple[dict[str, npt.NDArray[np.float32]], float]:
    """Maps of the part, and the seconds that they took (compiling included)."""
    from glcm_cuda import feature_maps

    names = [feature.name for feature in features]
    mask = None if job.mask is None else job.mask[job.box]
    start = time.perf_counter()
    with progress_bar("map") as progress:
        maps = feature_maps(
            job.volume.array[job.box], names, job.binning, mask=mask, backend=backend, progress=progress
        )
    return maps, time.perf_counter() - start


def _placed(
    job: Job, written: Written, part: npt.NDArray[np.float32]
) -> tuple[Volume, npt.NDArray[np.float32]]:
    """Return the grid of a file, and the map on it."""
    import numpy as np

    inside = None if job.mask is None else job.mask[job.box]
    if inside is not None and not np.isnan(written.outside):
        part[~inside] = written.outside
    if written.crop:
        return job.volume.cropped(job.box), part
    if part.shape == job.volume.array.shape:
        return job.volume, part
    whole = np.full(job.volume.array.shape, written.outside, np.float32)
    whole[job.box] = part
    return job.volume, whole


def _log_without_pairs(job: Job, part: npt.NDArray[np.float32]) -> None:
    import numpy as np

    from pipelines.reports.tables import counted

    inside = np.isnan(part) if job.mask is None else np.isnan(part) & job.mask[job.box]
    count = int(np.count_nonzero(inside))
    if count:
        where = "" if job.mask is None else " inside the mask"
        _log.warning("%s%s without a pair in the window: NaN there", counted(count, "voxel"), where)


@contextmanager
def _drawn(job: Job, written: Written, part: npt.NDArray[np.float32]) -> Iterator[None]:
    """Draw the preview, if one is wanted, and keep it if the block, which writes the maps, ends well."""
    import numpy as np

    from glcm_cuda.base.files import replacing
    from pipelines.images.preview import write_preview

    if written.preview is None:
        yield
        return
    whole = np.full(job.volume.array.shape, np.nan, np.float32)
    whole[job.box] = part
    with replacing(written.preview, force=written.force) as temporary:
        write_preview(
            job.volume,
            whole,
            temporary,
            job.settings,
            region=job.mask,
            feature=job.features[0].name,
            levels=job.bins.levels,
        )
        del whole
        yield


def _crop_record(job: Job, written: Written) -> dict[str, Any]:
    """Return what lies outside the mask, and the voxels of the image that the file holds."""
    import numpy as np

    record: dict[str, Any] = {}
    if job.mask is not None:
        record["outside"] = "NaN" if np.isnan(written.outside) else written.outside
    if written.crop:
        record["crop"] = [[part.start, part.stop] for part in job.box]
    return record
