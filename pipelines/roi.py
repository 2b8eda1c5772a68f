"""``radsynth roi``: co-occurrence features of a region, as a table."""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from .options import (
    Command,
    FilePath,
    feature_option,
    features_from,
    force_option,
    glcm_settings_from,
    mask_options,
    params_option,
    preprocessing_options,
    reading_options,
    settings_options,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from glcm_cuda import GLCMSettings
    from glcm_cuda.bins import Bins
    from glcm_cuda.features import Feature

    from .dicom import Choice
    from .masks import MaskChoice
    from .preprocessing import Preprocessing
    from .volume import Volume

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Aggregation:
    """One of IBSI's ways from the matrices of slices and directions to one value.

    Parameters
    ----------
    ibsi : str
        Its identifier.
    dimensions, aggregate
        See `GLCMSettings`.
    pool_slices : bool
        See `glcm_cuda.roi.roi_features`.
    """

    ibsi: str
    dimensions: int
    aggregate: Literal["mean", "merge"]
    pool_slices: bool = False

    def settings(self, settings: GLCMSettings) -> GLCMSettings:
        """Return the settings with this aggregation."""
        axis = settings.slice_axis if self.dimensions == 2 else 0
        return replace(settings, dimensions=self.dimensions, aggregate=self.aggregate, slice_axis=axis)


AGGREGATIONS = {
    "2d-mean": Aggregation("BTW3", 2, "mean"),
    "2d-merge": Aggregation("SUJT", 2, "merge"),
    "2.5d-mean": Aggregation("JJUI", 2, "mean", pool_slices=True),
    "2.5d-merge": Aggregation("ZW7Z", 2, "merge", pool_slices=True),
    "3d-mean": Aggregation("ITBB", 3, "mean"),
    "3d-merge": Aggregation("IAZD", 3, "merge"),
}
NAMES = ("radsynth", "pyradiomics", "ibsi")

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
    from .imaging import read_image
    from .masks import read_mask
    from .preprocessing import preprocess_with_mask

    parameters = None
    if params is not None:
        from .parameter_file import read_parameter_file

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
    bins, rows = _computed(region, ways, source, mask_path)
    details = {**choice.to_dict(), **steps.to_dict(), **inside.to_dict(), **_inputs_record(mask_path, params)}
    _write(output, region, bins, rows, source=source, details=details, names=names, force=force)
    click.echo(output)
    click.echo(_summary(region, bins, ways))


@dataclass(frozen=True, kw_only=True)
class Region:
    """What is computed: features of the voxels inside a mask, with some settings."""

    volume: Volume
    mask: npt.NDArray[np.bool_]
    settings: GLCMSettings
    features: tuple[Feature, ...]

    @property
    def voxels(self) -> int:
        """Voxels inside the mask."""
        return int(self.mask.sum())


# Checks


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
    from glcm_cuda.checks import nearest

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
    from .imaging import refuse_input_as_output, refuse_output
    from .provenance import sidecar_path

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


# Values


@dataclass(frozen=True)
class _Row:
    aggregation: str
    settings: GLCMSettings
    values: dict[str, float]


def _computed(region: Region, ways: Sequence[str], source: Path, mask_path: Path) -> tuple[Bins, list[_Row]]:
    from glcm_cuda.quantize import find_bins

    try:
        bins = find_bins(region.volume.array, region.settings, region.mask)
    except ValueError as error:
        msg = f"{source}: {error}"
        raise ValueError(msg) from None
    if region.voxels == 1:
        msg = f"mask {mask_path} holds one voxel, which makes no pair; no feature is defined"
        raise ValueError(msg)
    rows = [_row(region, name, bins) for name in ways]
    empty = [row.aggregation for row in rows if all(map(math.isnan, row.values.values()))]
    if len(empty) == len(rows):
        msg = (
            f"mask {mask_path} holds no pair of voxels at distance {region.settings.distance} for "
            f"{', '.join(empty)}; no feature is defined"
        )
        raise ValueError(msg)
    for name in empty:
        _log.warning("the region holds no pair of voxels for %s: its features are nan", name)
    return bins, rows


def _row(region: Region, name: str, bins: Bins) -> _Row:
    from glcm_cuda.roi import roi_features

    from .imaging import reached

    way = AGGREGATIONS[name]
    settings = way.settings(region.settings)
    box, binning = reached(region.volume.array.shape, region.mask, settings, bins)
    values = roi_features(
        region.volume.array[box],
        [feature.name for feature in region.features],
        binning,
        mask=region.mask[box],
        pool_slices=way.pool_slices,
    )
    return _Row(name, settings, values)


# What is written


def _inputs_record(mask_path: Path, params: Path | None) -> dict[str, Any]:
    from .provenance import source_record

    parameters = {} if params is None else source_record(params, "parameter_file")
    return {**source_record(mask_path, "mask"), **parameters}


def column_name(feature: Feature, names: str) -> str:
    """Return what the column of a feature is called, in one of the `NAMES`."""
    if names == "pyradiomics":
        return f"original_glcm_{feature.pyradiomics}"
    if names == "ibsi" and feature.ibsi:
        name, identifier = feature.ibsi[0]
        return f"{name} ({identifier})"
    return feature.name


def _write(
    output: Path,
    region: Region,
    bins: Bins,
    rows: Sequence[_Row],
    *,
    source: Path,
    details: dict[str, Any],
    names: str,
    force: bool,
) -> None:
    """Write the table and what tells how it was made: both or none."""
    from glcm_cuda.files import replacing

    from .provenance import feature_names, made_by, sidecar_path, source_record, write_sidecar

    record = {
        "kind": "GLCM features of a region",
        "features": [feature_names(feature.name) for feature in region.features],
        **source_record(source),
        **details,
        "voxels": region.voxels,
        "settings": region.settings.to_dict(),
        "bins": {"levels": bins.levels, "low": bins.low, "high": bins.high},
        "aggregations": {
            row.aggregation: {
                "ibsi": AGGREGATIONS[row.aggregation].ibsi,
                "pool_slices": AGGREGATIONS[row.aggregation].pool_slices,
                "settings": row.settings.to_dict(),
            }
            for row in rows
        },
        **made_by(),
    }
    common = [source.name, details["mask"], "" if details["mask_label"] is None else details["mask_label"]]
    used = [region.voxels, bins.levels, repr(bins.low), repr(bins.high)]
    with (
        replacing(sidecar_path(output), force=force) as sidecar,
        replacing(output, force=force) as temporary,
    ):
        write_sidecar(sidecar, record)
        with temporary.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow([*_COLUMNS, *(column_name(feature, names) for feature in region.features)])
            for row in rows:
                way = [row.aggregation, AGGREGATIONS[row.aggregation].ibsi]
                table.writerow([*common, *way, *used, *map(repr, row.values.values())])


_COLUMNS = (
    "image", "mask", "label", "aggregation", "aggregation_ibsi", "voxels", "levels", "range_low",
    "range_high",
)  # fmt: skip


def _summary(region: Region, bins: Bins, ways: Sequence[str]) -> str:
    from .report import counted

    return (
        f"{counted(len(region.features), 'feature')} of {region.voxels} voxels, range {bins.low:g} to "
        f"{bins.high:g}, {counted(bins.levels, 'level')}; {', '.join(ways)}"
    )


if __name__ == "__main__":
    command()
