"""``radsynth synthesize``: synthetic maps of one image, or of a cohort with a run's models."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from glcm_cuda.base.checks import check_choice
from pipelines.images.dicom.series import Choice
from pipelines.maps.synthetic import (
    Made,
    Model,
    Synthesis,
    announce_without_card,
    keras_backend,
    load,
    write_maps,
)
from pipelines.maps.synthetic_cohort import synthesize_cohort
from pipelines.reports.tables import counted
from pipelines.shell.options import Command, force_option, reading_options
from pipelines.shell.progress import progress_bar
from surrogate.settings import Runtime

if TYPE_CHECKING:
    from pipelines.images.volume import Volume


@click.command(cls=Command)
@click.argument("source", metavar="INPUT", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="Map, from DICOM also .dcm; of a cohort a folder.",
)
@click.option(
    "--model",
    "model_path",
    required=True,
    type=click.Path(path_type=Path),
    help="A .keras file; for a cohort the folder of a training run.",
)
@click.option(
    "--tile",
    type=int,
    default=128,
    show_default=True,
    help="Edge of the squares that are computed at a time, in voxels; bounds the memory.",
)
@click.option(
    "--runtime",
    metavar="keras|onnxruntime",
    default="keras",
    show_default=True,
    help="What computes the network.",
)
@click.option(
    "--error-map",
    type=click.Path(path_type=Path),
    help="Write how far off each voxel may be: 95 % of the model's errors were no larger.",
)
@click.option(
    "--fallback",
    metavar="exact",
    help="exact: where the check of a map fails, write the exact map instead.",
)
@click.option("--preview", type=click.Path(path_type=Path), help="Draw a slice of image and map to this PNG.")
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
    choice: Choice,
    force: bool,
) -> None:
    """Synthetic map of an image, or of every patient of a cohort.

    INPUT is an image (NIfTI, NRRD, MHA, DICOM file or folder, a zip archive of one of these) with --model
    FILE.keras, or a cohort's CSV with --model RUN: then every patient is mapped with the model of the fold
    that held them out, and OUTPUT/index.csv lists the maps. Maps that are there already, of the same image
    and the same model, are kept. A model of several features gives a map of each, with the feature's name
    before the suffix of OUTPUT.

    Every map is checked: 2,000 random voxels against the exact engine, and against the model's card. What
    is worse than the card says is warned of, and stands beside the map (docs/honesty.md).

    \b
    Example:
      radsynth synthesize breast.nii.gz -o synthetic.nii.gz --model runs/demo/training/fold0.keras
      synthetic.nii.gz
      60x256x256 voxels, 64 levels, 21.4 s on tensorflow
      check of 2000 voxels: r 0.9786, bias -0.0123, largest error 0.871 bits
    """
    if tile < 1:
        msg = f"--tile must be 1 or more, got {tile}"
        raise ValueError(msg)
    if fallback not in (None, "exact"):
        msg = f"--fallback must be exact, got {fallback}"
        raise ValueError(msg)
    check_choice("--runtime", runtime, get_args(Runtime))
    how = Synthesis(tile, runtime, fallback is not None, error_map)
    if source.suffix.lower() == ".csv":
        for option, value in (("--preview", preview), ("--error-map", error_map)):
            if value is not None:
                msg = f"{option} goes with a single image, got a cohort"
                raise ValueError(msg)
        if choice.to_dict():
            msg = (
                "options that choose from DICOM go with one image; a cohort has columns series and phase, "
                f"got {', '.join(choice.to_dict())}"
            )
            raise ValueError(msg)
        click.echo(synthesize_cohort(source, output, model_path, how, force=force))
    else:
        written, summary = _synthesize_image(source, output, model_path, how, preview, choice, force=force)
        for path in written:
            click.echo(path)
        click.echo(summary)


def _synthesize_image(
    source: Path,
    output: Path,
    model_path: Path,
    how: Synthesis,
    preview: Path | None,
    choice: Choice,
    *,
    force: bool,
) -> tuple[list[Path], str]:
    """Write the maps of one image; return their paths and what is to be said of them."""
    from pipelines.images.archives import opened
    from pipelines.images.parametric_map import SUFFIX, check_sources, map_paths
    from pipelines.images.preview import check_preview_path, write_preview
    from pipelines.images.reading import read_image

    if model_path.is_dir():
        msg = f"one image needs one model, a .keras file; {model_path} is a folder, give a file of it"
        raise ValueError(msg)
    model = load(model_path)
    if how.error_map is not None and model.card is None:
        msg = f"--error-map needs the model card beside {model_path}; train writes it"
        raise ValueError(msg)
    outputs = map_paths(output, model.features)
    errors = {} if how.error_map is None else map_paths(how.error_map, model.features)
    _check_outputs(outputs, errors, source, force=force)
    if preview is not None:
        check_preview_path(preview, force=force)
    start = time.perf_counter()
    with opened(source) as place, progress_bar("Synthetic map") as progress:
        volume = read_image(place, choice)
        if output.suffix == SUFFIX:
            check_sources(output, volume, choice)
        maps = write_maps(
            source, volume, outputs, model, how, choice, errors=errors, force=force, progress=progress
        )
    seconds = time.perf_counter() - start
    announce_without_card(model)
    if preview is not None:
        first = model.features[0]
        title = _title(first, replaced=maps[first].replaced)
        write_preview(
            volume, maps[first].values, preview, model.settings, title=title, feature=first, force=force
        )
    engine = keras_backend() if how.runtime == "keras" else how.runtime
    return list(dict.fromkeys(outputs.values())), _summary(
        volume, maps, model, f"{seconds:.1f} s on {engine}"
    )


def _check_outputs(
    outputs: Mapping[str, Path], errors: Mapping[str, Path], source: Path, *, force: bool
) -> None:
    from pipelines.images.parametric_map import SUFFIX, check_map_output

    both = set(outputs.values()) & set(errors.values())
    if both:
        msg = f"--error-map and -o must be two files, got {both.pop()} for both"
        raise ValueError(msg)
    for output in (*outputs.values(), *errors.values()):
        check_map_output(output, source, force=force)
    if any(error.suffix == SUFFIX for error in errors.values()):
        msg = "--error-map must be no Parametric Map; write .nii.gz, .nrrd or .mha"
        raise ValueError(msg)


def _title(feature: str, *, replaced: bool) -> str:
    from pipelines.reports.names import feature_title

    name = feature_title(feature)
    return f"{name}, exact in place of synthetic" if replaced else f"synthetic {name}"


def _summary(volume: Volume, maps: Mapping[str, Made], model: Model, took: str) -> str:
    shape = "x".join(str(edge) for edge in volume.array.shape)
    several = f"{len(maps)} features, " if len(maps) > 1 else ""
    lines = [f"{shape} voxels, {model.settings.levels} levels, {several}{took}"]
    return "\n".join(lines + [_verdict(name, made, model) for name, made in maps.items()])


def _verdict(feature: str, made: Made, model: Model) -> str:
    from pipelines.reports.names import unit_of

    check = made.check
    unit = unit_of(feature, model.settings)
    return (
        f"{f'{feature}: ' if len(model.features) > 1 else ''}"
        f"{'exact map written instead, check' if made.replaced else 'check'} of "
        f"{counted(check.voxels, 'voxel')}: r {check.pearson:.4f}, bias {check.bias:+.4f}, "
        f"largest error {check.largest:.3f}{f' {unit}' if unit else ''}"
    )


if __name__ == "__main__":
    command()
