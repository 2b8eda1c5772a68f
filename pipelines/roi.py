"""``radsynth roi``: co-occurrence features of a region, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipelines.maps.region import (
    AGGREGATIONS,
    NAMES,
    Region,
    inputs_record,
    region_rows,
    write_table,
)
from pipelines.shell.options import (
    Command,
    FilePath,
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
    from glcm_cuda.levels.bins import Bins
    from pipelines.images.dicom.series import Choice
    from pipelines.images.masks import MaskChoice
    from pipelines.images.preprocessing import Preprocessing
    from pipelines.images.volume import Volume

# What concerns windows has no meaning here, and the aggregation is an option of its own.
_WITHOUT = ("window", "masked_window", "dimensions", "aggregate")


@click.command(cls=Command)
@click.argument("source", metavar="IMAGE", type=FilePath())
@click.option("--mask", "mask_path", required=True, type=FilePath(), help="The region: where it is not zero.")
@mask_options
@click.option(
    "-o",
    "--output",
    required=True,
    type=FilePath(),
    help="Table to write, *.csv, with a row per aggregation; OUTPUT.json beside it says how it was made.",
)
@feature_option("all, or those of --params")
@click.option(
    "--aggregation",
    "aggregations",
    multiple=True,
    metavar="NAME",
    help=f"Of IBSI: {', '.join(f'{name} ({way.ibsi})' for name, way in AGGREGATIONS.items())}; may be given "
    "again; all: every one.  [default: that of the preset, 2d-mean for radsynth, or of --params]",
)
@click.option(
    "--names",
    type=click.Choice(NAMES),
    default="radsynth",
    show_default=True,
    help="How the columns are called: joint_entropy, original_glcm_JointEntropy or joint entropy (TU9B).",
)
@params_option
@settings_options(without=_WITHOUT)
@preprocessing_options
@reading_options
@force_option
def command(
    source: Path,
    mask_path: Path,
    inside: MaskChoice,
    output: Path,
    features: Sequence[str],
    aggregations: Sequence[str],
    names: str,
    params: Path | None,
    steps: Preprocessing,
    choice: Choice,
    force: bool,
    **options: Any,
) -> None:
    """Co-occurrence features of a region: one value each for the voxels of a mask.

    The range of grey levels is that of the region, unless --range-over image says otherwise.

    \b
    Example:
      radsynth roi breast.nii.gz --mask lesion.nii.gz -o features.csv --aggregation 3d-mean
      features.csv
      24 features of 4137 voxels, range 0 to 219, 64 levels; 3d-mean
    """
    from pipelines.images.masks import read_mask
    from pipelines.images.preprocessing import preprocess_with_mask
    from pipelines.images.reading import read_image

    parameters = None
    if params is not None:
        from pipelines.shell.parameter_file import read_parameter_file

        parameters = read_parameter_file(params, region=True)
        steps = steps.over(parameters.steps)
    settings = _settings(options, None if parameters is None else parameters.settings)
    chosen = features_from(features, "all" if parameters is None else parameters.features)
    ways = _chosen_aggregations(aggregations)
    inputs = [path for path in (source, mask_path, params, *steps.files) if path is not None]
    _check_output(output, inputs, force=force)
    volume = read_image(source, choice)
    if parameters is not None:
        settings = parameters.fitted(settings, volume)
        if inside.label is None and inside.segment is None:
            inside = replace(inside, label=parameters.label)
    mask = read_mask(mask_path, volume, inside)
    volume, mask = preprocess_with_mask(volume, mask, steps)
    if parameters is not None:
        mask = parameters.region(mask_path, mask, volume.array)
    ways = ways or (_default_aggregation(settings, pooled=parameters is not None),)
    _check_dimensions(source, volume, settings, ways)
    region = Region(volume=volume, mask=mask, settings=settings, features=chosen)
    bins, rows = region_rows(region, ways, source, mask_path)
    details = {**choice.to_dict(), **steps.to_dict(), **inside.to_dict(), **inputs_record(mask_path, params)}
    write_table(output, region, bins, rows, source=source, details=details, names=names, force=force)
    click.echo(output)
    click.echo(_summary(region, bins, ways))


def _settings(options: Mapping[str, Any], base: GLCMSettings | None) -> GLCMSettings:
    """Return the settings: with the range over the mask, as IBSI has it, unless the user says otherwise.

    There is no window; theirs is wider than every distance.
    """
    if options["range_over"] == "crop":
        msg = "--range-over crop is for maps, whose windows reach beyond the mask; give mask or image"
        raise ValueError(msg)
    settings = glcm_settings_from({**options, "window": _wide_window(options["distance"])}, base)
    if options["range_over"] is None and settings.range_over == "image":
        return replace(settings, range_over="mask")
    return settings


def _wide_window(distances: Sequence[str]) -> str | None:
    numbers = [int(part) for part in ",".join(distances).split(",") if part.strip().isdecimal()]
    return str(2 * max(numbers) + 1) if any(numbers) else None


def _chosen_aggregations(names: Sequence[str]) -> tuple[str, ...]:
    from glcm_cuda.base.checks import nearest

    wanted = [part.strip().casefold() for name in names for part in name.split(",")]
    if "all" in wanted:
        return tuple(AGGREGATIONS)
    identifiers = {way.ibsi.casefold(): name for name, way in AGGREGATIONS.items()}
    found = [identifiers.get(name, name) for name in wanted]
    for name in found:
        if name not in AGGREGATIONS:
            known = (*AGGREGATIONS, "all")
            msg = f"no aggregation {name!r}{nearest(name, known)}; they are {', '.join(known)}"
            raise ValueError(msg)
    return tuple(dict.fromkeys(found))


def _default_aggregation(settings: GLCMSettings, *, pooled: bool) -> str:
    """Return the aggregation of settings; pyradiomics pools the slices of 2D matrices."""
    depth = "3d" if settings.dimensions == 3 else "2.5d" if pooled else "2d"
    return f"{depth}-{settings.aggregate}"


def _check_output(output: Path, inputs: Sequence[Path], *, force: bool) -> None:
    from pipelines.images.provenance import sidecar_path
    from pipelines.images.writing import refuse_input_as_output, refuse_output

    if output.suffix.lower() != ".csv":
        msg = f"-o must end in .csv, got {output.name}"
        raise ValueError(msg)
    for path in (output, sidecar_path(output)):
        refuse_input_as_output(path, *inputs)
        refuse_output(path, force=force)


def _check_dimensions(source: Path, volume: Volume, settings: GLCMSettings, ways: Sequence[str]) -> None:
    deep = [name for name in ways if AGGREGATIONS[name].dimensions == 3] if volume.array.ndim == 2 else []
    if deep:
        msg = f"aggregation {deep[0]} needs a volume, got the 2D image {source}; give 2d-mean or 2d-merge"
        raise ValueError(msg)
    if volume.array.ndim == 2 and settings.slice_axis:
        msg = f"--slice-axis needs a volume, got the 2D image {source}"
        raise ValueError(msg)


def _summary(region: Region, bins: Bins, ways: Sequence[str]) -> str:
    from pipelines.reports.tables import counted

    return (
        f"{counted(len(region.features), 'feature')} of {region.voxels} voxels, range {bins.low:g} to "
        f"{bins.high:g}, {counted(bins.levels, 'level')}; {', '.join(ways)}"
    )


if __name__ == "__main__":
    command()
