"""``radsynth map``: exact feature maps of one image, or of every image of a study."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipelines.shell.options import (
    Command,
    FilePath,
    backend_option,
    echo_outcome,
    feature_option,
    features_from,
    filter_option,
    force_option,
    mask_options,
    params_option,
    preprocessing_options,
    reading_options,
    refuse_options_of_one_image,
)
from pipelines.shell.settings import glcm_settings_from, settings_options

if TYPE_CHECKING:
    from glcm_cuda.engines.choice import Backend
    from pipelines.images.dicom.series import Choice
    from pipelines.images.masks import MaskChoice
    from pipelines.images.preprocessing import Preprocessing


@click.command(cls=Command)
@click.argument("sources", metavar="INPUT...", nargs=-1, required=True, type=FilePath())
@click.option(
    "-o",
    "--output",
    required=True,
    type=FilePath(),
    help="Map to write: .nii, .nii.gz, .nrrd or .mha, or for DICOM input also .dcm (a Parametric Map). With "
    "several features, each file name gets the feature's name. OUTPUT.json records how the map was made. For "
    "several images, a folder.",
)
@feature_option("joint_entropy, or those of --params")
@click.option("--mask", "mask_path", type=FilePath(), help="Mask: the map is limited to its non-zero voxels.")
@mask_options
@click.option(
    "--outside",
    type=float,
    metavar="VALUE",
    help="Value outside the mask.  [default: nan, or initValue of --params]",
)
@params_option
@click.option(
    "--crop",
    "--crop-to-mask",
    "crop",
    is_flag=True,
    help="Write only the box that windows around the mask reach, as pyradiomics does.",
)
@filter_option
@settings_options()
@backend_option
@click.option(
    "--preview", type=FilePath(), help="PNG to write, with one slice of the image and of the (first) map."
)
@preprocessing_options
@reading_options
@force_option
def command(
    sources: Sequence[Path],
    output: Path,
    features: Sequence[str],
    mask_path: Path | None,
    mask_choice: MaskChoice,
    outside: float | None,
    params: Path | None,
    filters: Sequence[str],
    crop: bool,
    backend: Backend,
    preview: Path | None,
    steps: Preprocessing,
    choice: Choice,
    force: bool,
    **options: Any,
) -> None:
    """Compute exact maps of images: of entropy, or of any of 93 texture features.

    INPUT is NIfTI, NRRD, MHA or MHD, a DICOM file or folder, or a zip archive of one of these. If it contains
    several series or phases, `radsynth inspect` lists them. Maps have the grid of the image.

    For a study, INPUT is a cohort's CSV, several images, or (if OUTPUT is no map) a folder of images. Each
    map is OUTPUT/CASE_IMAGE_FAMILY_FEATURE.nii.gz, in the mask or the labels of the cohort if there are any.
    The same command continues where a run stopped. OUTPUT/failed.csv lists cases that failed, exit code 3.

    \b
    Example:
      radsynth map breast.nii.gz -o entropy.nii.gz --preview entropy.png
      entropy.nii.gz
      60x256x256 voxels, range 0 to 219, 64 levels, 1.01 s on cpu
    """
    from pipelines.cohorts.sources import cases_of, is_study
    from pipelines.images.output_paths import MAP_SUFFIXES, PARAMETRIC_MAP_SUFFIX
    from pipelines.maps.exact import MapSettings, MapTarget, write_maps
    from pipelines.maps.filtering import filterings_of
    from pipelines.maps.inputs import Inputs
    from pipelines.maps.study import Study, map_study
    from pipelines.shell.parameter_file import read_parameter_file

    several = is_study(sources, alone=output.name.endswith((*MAP_SUFFIXES, PARAMETRIC_MAP_SUFFIX)))
    inputs = Inputs(
        image=sources[0],
        choice=choice,
        mask=mask_path,
        mask_choice=mask_choice,
        steps=steps,
        outside_mask=outside,
    )
    if several:
        single = {"--mask": mask_path, "--preview": preview, "--subtract": steps.subtract}
        refuse_options_of_one_image(single, choice.of_one_volume)
        inputs = inputs.with_parameters(None if params is None else read_parameter_file(params))
    else:
        inputs = inputs.following(params)
    settings = MapSettings(
        glcm=glcm_settings_from(options, inputs.settings),
        features=features_from(features, inputs.features or "joint_entropy"),
        filters=filterings_of(filters, inputs, partial(glcm_settings_from, options)),
        backend=backend,
        fit_dimensions=options["dimensions"] is None,
    )
    if several:
        study = Study(cases=cases_of(sources), common=inputs)
        outcome = map_study(study, settings, output, crop=crop, force=force)
        echo_outcome(output, outcome)
        return
    target = MapTarget(output=output, preview=preview, crop=crop, force=force)
    written = write_maps(inputs, settings, target)
    for path in written.paths:
        click.echo(path)
    click.echo(written.summary)


if __name__ == "__main__":
    command()
