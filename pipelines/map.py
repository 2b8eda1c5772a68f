"""``radsynth map``: exact feature maps of one image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipelines.maps.exact import Job, Written, planned, write_maps
from pipelines.shell.options import (
    Command,
    FilePath,
    backend_option,
    feature_option,
    features_from,
    force_option,
    mask_options,
    params_option,
    preprocessing_options,
    reading_options,
)
from pipelines.shell.settings import glcm_settings_from, settings_options

if TYPE_CHECKING:
    from glcm_cuda import GLCMSettings
    from glcm_cuda.engines.choice import Backend
    from pipelines.images.dicom.series import Choice
    from pipelines.images.masks import MaskChoice
    from pipelines.images.preprocessing import Preprocessing
    from pipelines.images.volume import Volume
    from pipelines.shell.parameter_file import ParameterFile


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
    from pipelines.images.archives import opened
    from pipelines.images.masks import read_mask
    from pipelines.images.parametric_map import SUFFIX, check_sources, map_paths
    from pipelines.images.preprocessing import preprocess, preprocess_with_mask
    from pipelines.images.reading import read_image

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
        job = planned(source, volume, settings, chosen, mask)
        details = choice.to_dict() | steps.to_dict()
        details |= _mask_record(mask_path, inside) | _parameter_record(params)
        written = Written(
            outputs=outputs,
            outside=float("nan") if parameters is None else parameters.outside,
            crop=crop,
            preview=preview,
            details=details,
            force=force,
        )
        seconds, taken = write_maps(job, written, source, backend)
    for path in dict.fromkeys(outputs.values()):
        click.echo(path)
    click.echo(_summary(job, seconds, taken))


def _parameters(path: Path | None, mask_path: Path | None) -> ParameterFile | None:
    if path is None:
        return None
    if mask_path is None:
        msg = "--params needs --mask FILE, as pyradiomics does"
        raise ValueError(msg)
    from pipelines.shell.parameter_file import read_parameter_file

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
    from pipelines.images.parametric_map import check_map_output
    from pipelines.images.preview import check_preview_path
    from pipelines.images.writing import refuse_input_as_output

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


def _mask_record(mask_path: Path | None, inside: MaskChoice) -> dict[str, Any]:
    from pipelines.images.provenance import source_record

    return {} if mask_path is None else source_record(mask_path, "mask") | inside.to_dict()


def _parameter_record(params: Path | None) -> dict[str, Any]:
    from pipelines.images.provenance import source_record

    return {} if params is None else source_record(params, "parameter_file")


def _summary(job: Job, seconds: float, backend: str) -> str:
    shape = "x".join(str(edge) for edge in job.volume.array.shape)
    several = f"{len(job.features)} features, " if len(job.features) > 1 else ""
    return (
        f"{shape} voxels, range {job.bins.low:g} to {job.bins.high:g}, {job.bins.levels} levels, "
        f"{several}{seconds:.2f} s on {backend}"
    )


if __name__ == "__main__":
    command()
