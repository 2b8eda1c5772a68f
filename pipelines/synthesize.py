"""``radsynth synthesize``: synthetic maps of one image, or of a cohort with a run's models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipelines.shell.options import (
    Command,
    FilePath,
    force_option,
    mask_options,
    reading_options,
    refuse_options_of_one_image,
)

if TYPE_CHECKING:
    from pipelines.images.dicom.series import Choice
    from pipelines.images.masks import MaskChoice


@click.command(cls=Command, needs=("keras", "scipy"))
@click.argument("source", metavar="INPUT", type=FilePath())
@click.option(
    "-o",
    "--output",
    required=True,
    type=FilePath(),
    help="Map to write (for DICOM input also .dcm); for a cohort, a folder.",
)
@click.option(
    "--model",
    "model_path",
    required=True,
    type=FilePath(),
    help="Trained model, a .keras file; for a cohort, the folder of a training run.",
)
@click.option(
    "--tile",
    type=int,
    default=128,
    show_default=True,
    help="Edge length in voxels of the tiles that are computed at a time; smaller needs less memory.",
)
@click.option(
    "--runtime",
    metavar="keras|onnxruntime",
    default="keras",
    show_default=True,
    help="Runtime that evaluates the network.",
)
@click.option(
    "--error-map",
    type=FilePath(),
    help="Error map to write: the bound that 95 % of the model's errors did not exceed, per voxel.",
)
@click.option(
    "--fallback",
    metavar="exact",
    help="exact: if a map fails its check, write the exact map instead.",
)
@click.option(
    "--preview",
    type=FilePath(),
    help="PNG to write, with one slice of the image and of the map.",
)
@click.option(
    "--mask", "mask_path", type=FilePath(), help="Mask: where the map is checked. It covers the whole image."
)
@mask_options
@reading_options
@force_option
def command(
    source: Path,
    output: Path,
    model_path: Path,
    tile: int,
    runtime: Any,
    error_map: Path | None,
    fallback: str | None,
    preview: Path | None,
    mask_path: Path | None,
    mask_choice: MaskChoice,
    choice: Choice,
    force: bool,
) -> None:
    """Make synthetic maps of an image, or of every patient of a cohort, with a trained model.

    INPUT is an image (NIfTI, NRRD, MHA, MHD, a DICOM file or folder, or a zip archive of one of these) with
    --model FILE.keras, or a cohort's CSV with --model RUN. Each patient of a cohort is mapped with the model
    of the fold that held them out, and OUTPUT/index.csv lists the maps; existing maps of the same image and
    model are kept. A model of several features writes one map per feature, with the feature's name in the
    file name.

    Every map is checked: 2,000 random voxels, in the mask or in the tissues of the cohort if there are any,
    else outside the flat background, are compared with the exact engine. A map that is worse than the model
    card states, or explains less than half of the variance there, fails (docs/honesty.md).

    \b
    Example:
      radsynth synthesize breast.nii.gz -o synthetic.nii.gz --model runs/demo/training/fold0.keras
      synthetic.nii.gz
      60x256x256 voxels, 64 levels, 21.4 s on tensorflow
      check of 2000 voxels in texture: r 0.9586, R2 0.9176, bias -0.0123, largest error 0.871 bits
    """
    from pipelines.maps.inputs import Inputs
    from pipelines.maps.synthetic import CHECK_FAILED, Synthesis
    from pipelines.maps.synthetic_cohort import synthesize_cohort
    from pipelines.maps.synthetic_image import SyntheticTarget, synthesize_image

    if fallback not in (None, "exact"):
        msg = f"--fallback must be exact, got {fallback}"
        raise ValueError(msg)
    synthesis = Synthesis(tile, runtime, fallback is not None)
    if source.suffix.lower() == ".csv":
        single = {"--preview": preview, "--error-map": error_map, "--mask": mask_path}
        refuse_options_of_one_image(single, choice)
        click.echo(synthesize_cohort(source, output, model_path, synthesis, force=force))
        return
    inputs = Inputs(image=source, choice=choice, mask=mask_path, mask_choice=mask_choice)
    target = SyntheticTarget(output=output, error_map=error_map, preview=preview, force=force)
    written = synthesize_image(inputs, model_path, synthesis, target)
    for path in written.paths:
        click.echo(path)
    click.echo(written.summary)
    for path in written.failed:
        click.echo(f"{CHECK_FAILED}: {path}; do not use it, or give --fallback exact for the exact map")


if __name__ == "__main__":
    command()
