"""Features of a whole region, written as a table."""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from glcm_cuda import GLCMSettings
from glcm_cuda.base.checks import nearest
from glcm_cuda.base.files import replacing
from glcm_cuda.families.feature import Feature
from glcm_cuda.levels.bins import Bins
from glcm_cuda.levels.quantize import bounding_box, find_bins
from glcm_cuda.roi import roi_features
from pipelines.images.output_paths import check_table_output
from pipelines.images.provenance import made_by, sidecar_path, source_record, write_sidecar
from pipelines.images.reading import read_image
from pipelines.images.volume import Volume
from pipelines.maps.aggregations import AGGREGATIONS
from pipelines.maps.inputs import Inputs, Mask
from pipelines.reports.names import feature_names
from pipelines.reports.tables import counted
from pipelines.shell.settings import glcm_settings_from

_log = logging.getLogger(__name__)

_COLUMNS = (
    "image", "mask", "label", "aggregation", "aggregation_ibsi", "voxels", "levels", "range_low",
    "range_high",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class RegionSettings:
    """What is computed of a region.

    Parameters
    ----------
    glcm : GLCMSettings
        All but dimensions and aggregation, which `aggregations` give.
    features : tuple of Feature
        In the order of their columns.
    aggregations : tuple of str
        Of `AGGREGATIONS`, one per row; if empty, the one that `glcm` asks for.
    """

    glcm: GLCMSettings
    features: tuple[Feature, ...]
    aggregations: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TableTarget:
    """Where a table is written.

    Parameters
    ----------
    output : Path
        The table, .csv.
    names : {"radsynth", "pyradiomics", "ibsi"}
        How its columns are called.
    force : bool
        Replace files that exist.
    """

    output: Path
    names: str = "radsynth"
    force: bool = False


def write_table(inputs: Inputs, settings: RegionSettings, target: TableTarget) -> str:
    """Compute the features of a region and write them, with how they were made: both files or none.

    Parameters
    ----------
    inputs : Inputs
        Image, mask and what is done to both first.
    settings : RegionSettings
        What is computed.
    target : TableTarget
        Where the table goes.

    Returns
    -------
    str
        A line about the table.

    Raises
    ------
    TypeError, ValueError, OSError
        If an input, a setting or the output is unfit, or no feature is defined.
    """
    check_table_output(target.output, *inputs.files, force=target.force)
    region = _read_region(inputs, settings)
    rows = region.rows()
    record = region.record(rows)
    with (
        replacing(sidecar_path(target.output), force=target.force) as sidecar,
        replacing(target.output, force=target.force) as temporary,
    ):
        write_sidecar(sidecar, record)
        _write_rows(temporary, region, rows, target.names)
    return region.summary()


def region_settings(options: Mapping[str, Any], base: GLCMSettings | None) -> GLCMSettings:
    """Return the settings that options describe: the range is over the mask unless the user says otherwise.

    A region has no window; theirs is wider than every distance.

    Parameters
    ----------
    options, base
        See `glcm_settings_from`.

    Raises
    ------
    TypeError, ValueError
        Those of `glcm_settings_from`; if the range is that of a crop.

    References
    ----------
    IBSI reference manual, discretisation.
    """
    if options["range_over"] == "crop":
        msg = "--range-over crop applies to maps, whose windows reach beyond the mask; give mask or image"
        raise ValueError(msg)
    settings = glcm_settings_from({**options, "window": _wide_window(options["distance"])}, base)
    if options["range_over"] is None and settings.range_over == "image":
        return replace(settings, range_over="mask")
    return settings


def _wide_window(distances: Sequence[str]) -> str | None:
    numbers = [int(part) for part in ",".join(distances).split(",") if part.strip().isdecimal()]
    return str(2 * max(numbers) + 1) if any(numbers) else None


def aggregations_named(names: Sequence[str]) -> tuple[str, ...]:
    """Return the aggregations that are named, each once.

    Parameters
    ----------
    names : sequence of str
        Names or identifiers of the IBSI, in any case, several with commas between; "all" for every one.

    Raises
    ------
    ValueError
        If there is no such aggregation.
    """
    wanted = [part.strip().casefold() for name in names for part in name.split(",")]
    if "all" in wanted:
        return tuple(AGGREGATIONS)
    identifiers = {aggregation.ibsi.casefold(): name for name, aggregation in AGGREGATIONS.items()}
    chosen = [identifiers.get(name, name) for name in wanted]
    for name in chosen:
        if name not in AGGREGATIONS:
            known = (*AGGREGATIONS, "all")
            msg = f"no aggregation {name!r}{nearest(name, known)}; the aggregations are {', '.join(known)}"
            raise ValueError(msg)
    return tuple(dict.fromkeys(chosen))


def _default_aggregation(settings: GLCMSettings, *, pool_slices: bool) -> str:
    """Return the aggregation that settings ask for; in 2D with or without the slices pooled."""
    depth = "3d" if settings.dimensions == 3 else "2.5d" if pool_slices else "2d"
    return f"{depth}-{settings.aggregate}"


def column_name(feature: Feature, names: str) -> str:
    """Return what the column of a feature is called: by "radsynth", "pyradiomics" or "ibsi"."""
    if names == "pyradiomics":
        return f"original_glcm_{feature.pyradiomics}"
    if names == "ibsi" and feature.ibsi:
        name, identifier = feature.ibsi[0]
        return f"{name} ({identifier})"
    return feature.name


@dataclass(frozen=True)
class _Row:
    aggregation: str
    settings: GLCMSettings
    values: dict[str, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Region:
    """An image whose bins are known, and the voxels of it that count."""

    inputs: Inputs
    mask_path: Path
    volume: Volume
    mask: Mask
    settings: GLCMSettings
    features: tuple[Feature, ...]
    aggregations: tuple[str, ...]
    bins: Bins

    @property
    def voxels(self) -> int:
        """Voxels inside the mask."""
        return int(self.mask.sum())

    def rows(self) -> list[_Row]:
        """Return the features of every aggregation; refuse a region for which none is defined."""
        if self.voxels == 1:
            msg = f"mask {self.mask_path} has one voxel and so no pair of voxels; no feature is defined"
            raise ValueError(msg)
        rows = [self._row(name) for name in self.aggregations]
        empty = [row.aggregation for row in rows if all(map(math.isnan, row.values.values()))]
        if len(empty) == len(rows):
            msg = (
                f"mask {self.mask_path} has no pair of voxels at distance {self.settings.distance} for "
                f"{', '.join(empty)}; no feature is defined"
            )
            raise ValueError(msg)
        for name in empty:
            _log.warning("the region has no pair of voxels for %s: its features are NaN", name)
        return rows

    def _row(self, name: str) -> _Row:
        aggregation = AGGREGATIONS[name]
        settings = aggregation.settings(self.settings)
        box = bounding_box(self.mask, 0)  # beyond it there is no pair inside the mask
        values = roi_features(
            self.volume.array[box],
            [feature.name for feature in self.features],
            settings,
            mask=self.mask[box],
            pool_slices=aggregation.pool_slices,
            bins=self.bins,
        )
        return _Row(name, settings, values)

    def record(self, rows: Sequence[_Row]) -> dict[str, Any]:
        """Return how the table was made."""
        return {
            "kind": "GLCM features of a region",
            "features": [feature_names(feature.name) for feature in self.features],
            **source_record(self.inputs.image),
            # First the options, then the files: the order of keys that these sidecars have.
            **self.inputs.choice.to_dict(),
            **self.inputs.steps.to_dict(),
            **self.inputs.mask_choice.to_dict(),
            **self.inputs.record(),
            "voxels": self.voxels,
            "settings": self.settings.to_dict(),
            "bins": {"levels": self.bins.levels, "low": self.bins.low, "high": self.bins.high},
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

    def summary(self) -> str:
        """Return a line about the table."""
        return (
            f"{counted(len(self.features), 'feature')} of {self.voxels} voxels, range {self.bins.low:g} to "
            f"{self.bins.high:g}, {counted(self.bins.levels, 'level')}; {', '.join(self.aggregations)}"
        )


def _read_region(inputs: Inputs, settings: RegionSettings) -> _Region:
    volume = read_image(inputs.image, inputs.choice)
    glcm = inputs.fitted(settings.glcm, volume)
    volume, mask = inputs.prepared(volume)
    if inputs.mask is None or mask is None:
        msg = f"a region needs a mask, got none for {inputs.image}"
        raise ValueError(msg)
    pooled = inputs.parameters is not None  # pyradiomics pools the slices of 2D matrices
    aggregations = settings.aggregations or (_default_aggregation(glcm, pool_slices=pooled),)
    _check_dimensions(inputs.image, volume, glcm, aggregations)
    try:
        bins = find_bins(volume.array, glcm, mask)
    except ValueError as error:
        msg = f"{inputs.image}: {error}"
        raise ValueError(msg) from None
    return _Region(
        inputs=inputs,
        mask_path=inputs.mask,
        volume=volume,
        mask=mask,
        settings=glcm,
        features=settings.features,
        aggregations=aggregations,
        bins=bins,
    )


def _check_dimensions(
    source: Path, volume: Volume, settings: GLCMSettings, aggregations: Sequence[str]
) -> None:
    if volume.array.ndim != 2:
        return
    deep = [name for name in aggregations if AGGREGATIONS[name].dimensions == 3]
    if deep:
        msg = f"aggregation {deep[0]} needs a volume, got the 2D image {source}; give 2d-mean or 2d-merge"
        raise ValueError(msg)
    if settings.slice_axis:
        msg = f"--slice-axis needs a volume, got the 2D image {source}"
        raise ValueError(msg)


def _write_rows(path: Path, region: _Region, rows: Sequence[_Row], names: str) -> None:
    bins, label = region.bins, region.inputs.mask_choice.label
    common = [region.inputs.image.name, region.mask_path.name, "" if label is None else label]
    used = [region.voxels, bins.levels, repr(bins.low), repr(bins.high)]
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow([*_COLUMNS, *(column_name(feature, names) for feature in region.features)])
        for row in rows:
            aggregation = [row.aggregation, AGGREGATIONS[row.aggregation].ibsi]
            table.writerow([*common, *aggregation, *used, *map(repr, row.values.values())])
