"""``radsynth channels``: images and maps as the channels of nnU-Net."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipelines.shell.options import (
    Command,
    FilePath,
    backend_option,
    echo_outcome,
    force_option,
    mask_options,
    preprocessing_options,
    reading_options,
    refuse_options_of_one_image,
)

if TYPE_CHECKING:
    from glcm_cuda.engines.choice import Backend
    from pipelines.images.dicom.series import Choice
    from pipelines.images.masks import MaskChoice
    from pipelines.images.preprocessing import Preprocessing


@click.command(cls=Command)
@click.argument("cohort", type=FilePath())
@click.option("-o", "--output", required=True, type=FilePath(), help="Folder DatasetNNN_Name to write.")
@click.option(
    "--params",
    required=True,
    multiple=True,
    type=FilePath(),
    metavar="YAML",
    help="pyradiomics parameter file of maps. Repeat the option for several; channels keep their order.",
)
@click.option(
    "--channel",
    "names",
    multiple=True,
    metavar="NAME[,NAME...]",
    help="Only these maps, in this order: wavelet-LLL_glcm_Imc1.  [default: all, in the order of the files]",
)
@click.option(
    "--image-channel",
    default="image",
    show_default=True,
    metavar="NAME",
    help="Name of channel 0, by which nnU-Net chooses its normalisation: CT, noNorm, any other for z-scores.",
)
@click.option(
    "--fill",
    type=float,
    default=0.0,
    show_default=True,
    help="Value of maps outside the mask, and where they have none.",
)
@backend_option
@mask_options
@preprocessing_options
@reading_options
@force_option
def command(
    cohort: Path,
    output: Path,
    params: Sequence[Path],
    names: Sequence[str],
    image_channel: str,
    fill: float,
    backend: Backend,
    mask_choice: MaskChoice,
    steps: Preprocessing,
    choice: Choice,
    force: bool,
) -> None:
    """Write the images of COHORT and their maps as a dataset of nnU-Net.

    imagesTr/CASE_0000.nii.gz is the image after --resample, --clip and the like, _0001 and on are its maps,
    labelsTr/CASE.nii.gz the labels on the same grid; cases without labels go to imagesTs. Maps are computed
    in the cohort's column mask, or else in the labels, and then tell the network where the labels are.
    channels.csv says which channel is which. The same command continues where a run stopped. Cases that fail
    are listed in failed.csv, exit code 3.

    \b
    Example:
      radsynth channels cohort.csv --params log.yaml -o Dataset101_Liver --resample 1,1,2.5
      Dataset101_Liver
      24 cases: 24 done
    """
    from pipelines.cohorts.cohort import read_cohort
    from pipelines.maps.channels import ChannelSettings, channels_of, write_channels
    from pipelines.maps.inputs import Inputs
    from pipelines.maps.study import Study
    from pipelines.shell.parameter_file import read_parameter_file

    refuse_options_of_one_image({"--subtract": steps.subtract}, choice.of_one_volume)
    wanted = [part.strip() for name in names for part in name.split(",")]
    settings = ChannelSettings(
        channels=channels_of([read_parameter_file(path) for path in params], wanted),
        image_channel=image_channel,
        fill=fill,
        backend=backend,
    )
    common = Inputs(image=cohort, choice=choice, mask_choice=mask_choice, steps=steps)
    study = Study(cases=read_cohort(cohort), common=common)
    echo_outcome(output, write_channels(study, settings, output, force=force))


if __name__ == "__main__":
    command()
