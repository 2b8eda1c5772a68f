"""``radsynth map``: exact feature maps of one image."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import (
    Command,
    FilePath,
    backend_option,
    feature_option,
    features_from,
    force_option,
    glcm_settings_from,
    mask_options,
    params_option,
    preprocessing_options,
    progress_bar,
    reading_options,
    settings_options,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from glcm_cuda import GLCMSettings
    from glcm_cuda.bins import Bins
    from glcm_cuda.features import Feature
    from glcm_cuda.maps import Backend

    from .dicom import Choice
    from .masks import MaskChoice
    from .parameter_file import ParameterFile
    from .preprocessing import Preprocessing
    from .volume import Volume

_log = logging.getLogger(__name__)

_MOST_BYTES = 1 << 30
"""Maps of several features are computed together, which costs less, as far as they fit in this memory."""


@click.command(cls=Command)
@click.argument("source", metavar="INPUT", type=FilePath())
@click.option(
    "-o",
    "--output",
    required=True,
    type=FilePath(),
    help="Map to write: .nii, .nii.gz, .nrrd or .mha; OUTPUT.json beside it says how it was made. Of several "
    "features each map has the feature's name before the suffix. From DICOM also .dcm: a Parametric Map.",
)
@feature_option("joint_entropy, or those of --params")
@click.option("--mask", "mask_path", type=FilePath(), help="Only voxels where it is not zero.")
@mask_options
@params_option
@click.option(
    "--crop",
    "--crop-to-mask",
    "crop",
    is_flag=True,
    help="Write the box that the mask's windows reach, as pyradiomics does.",
)
@settings_options()
@backend_option
@click.option("--preview", type=FilePath(), help="Draw a slice of image and (first) map to this PNG.")
@preprocessing_options
@reading_options
@force_option
def command(
    source: Path,
    output: Path,
    features: Sequence[str],
    mask_path: Path | None,
    inside: MaskChoice,
    params: Path | None,
    crop: bool,
    backend: Backend,
    preview: Path | None,
    steps: Preprocessing,
    choice: Choice,
    force: bool,
    **options: Any,
) -> None:
    """Exact maps of one image, on the image's own grid: of entropy, or of any co-occurrence feature.

    INPUT is NIfTI, NRRD, MHA or MHD, a DICOM file or folder, or a zip archive of one of these; where a folder
    holds several series or phases, `radsynth inspect` lists them.

    \b
    Example:
      radsynth map breast.nii.gz -o entropy.nii.gz --preview entropy.png
      entropy.nii.gz
      60x256x256 voxels, range 0 to 219, 64 levels, 1.01 s on cpu
    """
    from .archives import opened
    from .imaging import read_image
    from .masks import read_mask
    from .parametric_map import SUFFIX, check_sources, map_paths
    from .preprocessing import preprocess, preprocess_with_mask

    parameters = _parameters(params, mask_path)
    settings = glcm_settings_from(options, None if parameters is None else parameters.settings)
    chosen = features_from(features, "joint_entropy" if parameters is None else parameters.features)
    _check_mask_options(settings, mask_path, inside, crop=crop)
    outputs = map_paths(output, [feature.name for feature in chosen])
    steps = steps if parameters is None else steps.over(parameters.steps)
    inputs = [path for path in (source, mask_path, params, *steps.files) if path is not None]
    _check_outputs(list(outputs.values()), preview, inputs, force=force)
    with opened(source) as place:
        volume = read_image(place, choice)
        if parameters is not None and options["dimensions"] is None:
            settings = parameters.fitted(settings, volume)
        _check_dimensions(source, volume, settings)
        if parameters is not None and inside.label is None and inside.segment is None:
            inside = replace(inside, label=parameters.label)
        mask = None if mask_path is None else read_mask(mask_path, volume, inside)
        if mask is None:
            volume = preprocess(volume, steps)
        else:
            volume, mask = preprocess_with_mask(volume, mask, steps)
        if output.suffix == SUFFIX:
            check_sources(output, volume, choice)
        if parameters is not None and mask is not None:
            mask = parameters.region(mask_path, mask, volume.array)
        job = _planned(source, volume, settings, chosen, mask)
        details = choice.to_dict() | steps.to_dict()
        details |= _mask_record(mask_path, inside) | _parameter_record(params)
        written = _Written(
            outputs=outputs,
            outside=float("nan") if parameters is None else parameters.outside,
            crop=crop,
            preview=preview,
            details=details,
            force=force,
        )
        seconds, taken = _write_maps(job, written, source, backend)
    for path in dict.fromkeys(outputs.values()):
        click.echo(path)
    click.echo(_summary(job, seconds, taken))


# Checks


def _parameters(path: Path | None, mask_path: Path | None) -> ParameterFile | None:
    if path is None:
        return None
    if mask_path is None:
        msg = "--params needs --mask FILE, as pyradiomics does"
        raise ValueError(msg)
    from .parameter_file import read_parameter_file

    return read_parameter_file(path)


def _check_mask_options(
    settings: GLCMSettings, mask_path: Path | None, inside: MaskChoice, *, crop: bool
) -> None:
    if mask_path is None:
        needing = {
            "--mask-label": inside.label is not None,
            "--segment": inside.segment is not None,
            "--resample-mask": inside.resample,
            "--crop": crop,
            "--unmasked-window": not settings.masked_window,
            f"--range-over {settings.range_over}": settings.range_over != "image"
            and settings.intensity_range is None,
        }
        for option in (option for option, given in needing.items() if given):
            msg = f"{option} needs --mask FILE"
            raise ValueError(msg)


def _check_outputs(
    outputs: Sequence[Path], preview: Path | None, inputs: Sequence[Path], *, force: bool
) -> None:
    from .imaging import refuse_input_as_output
    from .parametric_map import check_map_output
    from .preview import check_preview_path

    for output in outputs:
        check_map_output(output, *inputs, force=force)
    if preview is not None:
        refuse_input_as_output(preview, *inputs)
        check_preview_path(preview, force=force)


def _check_dimensions(source: Path, volume: Volume, settings: GLCMSettings) -> None:
    needing = {"--dimensions 3": settings.dimensions == 3, "--slice-axis": settings.slice_axis != 0}
    for option in (option for option, given in needing.items() if given and volume.array.ndim == 2):
        msg = f"{option} needs a volume, got the 2D image {source}; give --dimensions 2"
        raise ValueError(msg)


# Maps


@dataclass(frozen=True, kw_only=True)
class _Job:
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
class _Written:
    """What is written, and how."""

    outputs: dict[str, Path]
    outside: float
    crop: bool
    preview: Path | None
    details: dict[str, Any]
    force: bool


def _planned(
    source: Path,
    volume: Volume,
    settings: GLCMSettings,
    features: tuple[Feature, ...],
    mask: npt.NDArray[np.bool_] | None,
) -> _Job:
    """Find the bins and the part to map; refuse what cannot be mapped."""
    from glcm_cuda.quantize import find_bins
    from glcm_cuda.scales import check_levels

    from .imaging import reached

    try:
        bins = find_bins(volume.array, settings, mask)
    except ValueError as error:
        msg = f"{source}: {error}"
        raise ValueError(msg) from None
    check_levels(features, settings, bins.levels)
    box, binning = reached(volume.array.shape, mask, settings, bins)
    return _Job(
        volume=volume, mask=mask, box=box, features=features, settings=settings, binning=binning, bins=bins
    )


def _write_maps(job: _Job, written: _Written, source: Path, backend: Backend) -> tuple[float, str]:
    """Map and write, every file or none; return the seconds of the maps, and the backend."""
    from .imaging import staged_map
    from .parametric_map import SUFFIX

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
    maps: dict[str, npt.NDArray[np.float32]], job: _Job, written: _Written, source: Path, backend: str
) -> None:
    """Write all features into one Parametric Map."""
    from .parametric_map import write_parametric_map

    record = _record(job, written, source, backend, job.features[0]) | {"features": list(maps)}
    volume = job.volume.cropped(job.box) if written.crop else job.volume
    write_parametric_map(maps, volume, written.outputs[job.features[0].name], record, force=written.force)


def _record(job: _Job, written: _Written, source: Path, backend: str, feature: Feature) -> dict[str, Any]:
    from .provenance import provenance

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


def _groups(job: _Job) -> Iterator[tuple[Feature, ...]]:
    voxels = job.volume.array[job.box].size
    at_once = max(1, _MOST_BYTES // (4 * voxels))
    for start in range(0, len(job.features), at_once):
        yield job.features[start : start + at_once]


def _taken(backend: Backend) -> str:
    from glcm_cuda.maps import available_backends

    return available_backends()[-1] if backend == "auto" else backend


def _timed_maps(
    job: _Job, features: tuple[Feature, ...], backend: Backend
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
    job: _Job, written: _Written, part: npt.NDArray[np.float32]
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


def _log_without_pairs(job: _Job, part: npt.NDArray[np.float32]) -> None:
    import numpy as np

    from .report import counted

    inside = np.isnan(part) if job.mask is None else np.isnan(part) & job.mask[job.box]
    count = int(np.count_nonzero(inside))
    if count:
        where = "" if job.mask is None else " inside the mask"
        _log.warning("%s%s without a pair in the window: NaN there", counted(count, "voxel"), where)


@contextmanager
def _drawn(job: _Job, written: _Written, part: npt.NDArray[np.float32]) -> Iterator[None]:
    """Draw the preview, if one is wanted, and keep it if the block, which writes the maps, ends well."""
    import numpy as np

    from glcm_cuda.files import replacing

    from .preview import write_preview

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


# What is told


def _mask_record(mask_path: Path | None, inside: MaskChoice) -> dict[str, Any]:
    from .provenance import source_record

    return {} if mask_path is None else source_record(mask_path, "mask") | inside.to_dict()


def _parameter_record(params: Path | None) -> dict[str, Any]:
    from .provenance import source_record

    return {} if params is None else source_record(params, "parameter_file")


def _crop_record(job: _Job, written: _Written) -> dict[str, Any]:
    """Return what lies outside the mask, and the voxels of the image that the file holds."""
    import numpy as np

    record: dict[str, Any] = {}
    if job.mask is not None:
        record["outside"] = "NaN" if np.isnan(written.outside) else written.outside
    if written.crop:
        record["crop"] = [[part.start, part.stop] for part in job.box]
    return record


def _summary(job: _Job, seconds: float, backend: str) -> str:
    shape = "x".join(str(edge) for edge in job.volume.array.shape)
    several = f"{len(job.features)} features, " if len(job.features) > 1 else ""
    return (
        f"{shape} voxels, range {job.bins.low:g} to {job.bins.high:g}, {job.bins.levels} levels, "
        f"{several}{seconds:.2f} s on {backend}"
    )


if __name__ == "__main__":
    command()
