"""``radsynth roi``: features of a region, or of those of a study, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipelines.maps.aggregations import AGGREGATIONS
from pipelines.shell.options import (
    Command,
    FilePath,
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
from pipelines.shell.settings import settings_options

if TYPE_CHECKING:
    from pipelines.images.dicom.series import Choice
    from pipelines.images.masks import MaskChoice
    from pipelines.images.preprocessing import Preprocessing

# What concerns windows has no meaning here, and the aggregation is an option of its own.
_WITHOUT = ("window", "masked_window", "dimensions", "aggregate")


@click.command(cls=Command)
@click.argument("sources", metavar="IMAGE...", nargs=-1, required=True, type=FilePath())
@click.option(
    "--mask",
    "mask_path",
    type=FilePath(),
    help="Mask: the region is its non-zero voxels. Needed for one image; a study has its own masks.",
)
@mask_options
@click.option(
    "-o",
    "--output",
    required=True,
    type=FilePath(),
    help="CSV to write, with one row per aggregation. OUTPUT.json records how it was made.",
)
@feature_option("all, or those of --params")
@click.option(
    "--aggregation",
    "aggregations",
    multiple=True,
    metavar="NAME",
    help=f"IBSI aggregation: {', '.join(AGGREGATIONS)}, an identifier such as ITBB or KOBO, or all. Repeat "
    "the option for several.  [default: from the preset (2d-mean for radsynth) or from --params]",
)
@click.option(
    "--names",
    type=click.Choice(["radsynth", "pyradiomics", "ibsi"]),
    default="radsynth",
    show_default=True,
    help="Column names: joint_entropy, original_glcm_JointEntropy or joint entropy (TU9B). Features that "
    "pyradiomics or IBSI lacks keep their own.",
)
@params_option
@filter_option
@settings_options(without=_WITHOUT)
@preprocessing_options
@reading_options
@force_option
def command(
    sources: Sequence[Path],
    mask_path: Path | None,
    mask_choice: MaskChoice,
    output: Path,
    features: Sequence[str],
    aggregations: Sequence[str],
    names: str,
    params: Path | None,
    filters: Sequence[str],
    steps: Preprocessing,
    choice: Choice,
    force: bool,
    **options: Any,
) -> None:
    """Compute features of a region of interest: one value per feature.

    They are those of maps and, for regions only, IBSI's intensity histogram (family ih), distance zones
    (gldzm), and statistics and dependences in full (stat, ngldm). Grey levels cover the intensity range of
    the region, unless --range-over image is given.

    For a study, IMAGE is a cohort's CSV, several images, or a folder of images, and masks are the column mask
    or labels of the CSV, or label images beside the images. The table has a row for each case and label. The
    same command continues where a run stopped. Cases that fail are listed in OUTPUT.failed.csv, exit code 3.

    \b
    Example:
      radsynth roi breast.nii.gz --mask lesion.nii.gz -o features.csv --aggregation 3d-mean
      features.csv
      137 features of 4137 voxels, range 0 to 219, 64 levels; 3d-mean
    """
    from pipelines.cohorts.sources import cases_of, is_study
    from pipelines.maps.filtering import filterings_of
    from pipelines.maps.inputs import Inputs
    from pipelines.maps.region import (
        RegionSettings,
        TableTarget,
        aggregations_named,
        region_settings,
        write_table,
    )
    from pipelines.maps.study import Study, region_study
    from pipelines.shell.parameter_file import read_parameter_file

    several = is_study(sources, alone=mask_path is not None)
    if not several and mask_path is None:
        msg = "Missing option '--mask'"
        raise click.UsageError(msg)
    inputs = Inputs(image=sources[0], choice=choice, mask=mask_path, mask_choice=mask_choice, steps=steps)
    if several:
        single = {"--mask": mask_path, "--subtract": steps.subtract}
        refuse_options_of_one_image(single, choice.of_one_volume)
        inputs = inputs.with_parameters(None if params is None else read_parameter_file(params, region=True))
    else:
        inputs = inputs.following(params, region=True)
    textures = features or inputs.features != ()  # a parameter file may ask for shape alone
    settings = RegionSettings(
        glcm=region_settings(options, inputs.settings),
        features=features_from(features, inputs.features or "all", region=True) if textures else (),
        shapes=() if features else inputs.shapes,
        aggregations=aggregations_named(aggregations),
        filters=filterings_of(filters, inputs, partial(region_settings, options)),
    )
    if several:
        study = Study(cases=cases_of(sources), common=inputs)
        echo_outcome(output, region_study(study, settings, output, names, force=force))
        return
    summary = write_table(inputs, settings, TableTarget(output=output, names=names, force=force))
    click.echo(output)
    click.echo(summary)


if __name__ == "__main__":
    command()
