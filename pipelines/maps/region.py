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
from glcm_cuda.levels.arrays import bounding_box
from glcm_cuda.levels.bins import Bins, find_bins
from glcm_cuda.roi import roi_features
from pipelines.images.output_paths import check_table_output
from pipelines.images.provenance import made_by, shown_name, sidecar_path, source_record, write_sidecar
from pipelines.images.reading import read_image
from pipelines.images.volume import Volume
from pipelines.maps.aggregations import AGGREGATIONS
from pipelines.maps.inputs import Inputs, Mask, listed
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

    Each label of a mask is a region of its own, unless one is chosen.

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
    table = _read_table(inputs, settings)
    rows = table.rows()
    with (
        replacing(sidecar_path(target.output), force=target.force) as sidecar,
        replacing(target.output, force=target.force) as temporary,
    ):
        write_sidecar(sidecar, table.record())
        _write_rows(temporary, table, rows, target.names)
    return table.summary()


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
    identifiers: dict[str, str] = {}
    for name, aggregation in AGGREGATIONS.items():
        for identifier in aggregation.identifiers:  # of those that share one, the first: the mean
            identifiers.setdefault(identifier.casefold(), name)
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
    """Return what a feature's column is called by "radsynth", "pyradiomics" or "ibsi", if they know it."""
    if names == "pyradiomics" and feature.pyradiomics:
        return f"original_{feature.full_name}"
    if names == "ibsi" and feature.ibsi:
        name, identifier = feature.ibsi[0]
        return f"{name} ({identifier})"
    return feature.name


@dataclass(frozen=True, kw_only=True, eq=False)
class _Region:
    """The voxels of an image that count, and their bins.

    `label` is that of the voxels where a mask has several, else None.
    """

    mask: Mask
    label: int | None
    bins: Bins

    @property
    def voxels(self) -> int:
        """Voxels inside the mask."""
        return int(self.mask.sum())

    def __str__(self) -> str:
        return "the region" if self.label is None else f"label {self.label}"

    def record(self) -> dict[str, Any]:
        """Return what a sidecar says of the region."""
        bins = {"levels": self.bins.levels, "low": self.bins.low, "high": self.bins.high}
        return {"voxels": self.voxels, "bins": bins}


@dataclass(frozen=True)
class _Row:
    region: _Region
    aggregation: str
    values: dict[str, float]

    @property
    def undefined(self) -> list[str]:
        """Names of features that have no value for the region and the aggregation."""
        return [name for name, value in self.values.items() if math.isnan(value)]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Table:
    """An image, its regions, and what is computed of them."""

    inputs: Inputs
    volume: Volume
    regions: tuple[_Region, ...]
    settings: GLCMSettings
    features: tuple[Feature, ...]
    aggregations: tuple[str, ...]

    def rows(self) -> list[_Row]:
        """Return the features of every region and aggregation; refuse a mask for which none is defined."""
        rows = [self._row(region, name) for region in self.regions for name in self.aggregations]
        if all(len(row.undefined) == len(self.features) for row in rows):
            raise ValueError(self._no_pair())
        for name in self.aggregations:
            self._tell_undefined([row for row in rows if row.aggregation == name and row.undefined])
        return rows

    def _tell_undefined(self, rows: Sequence[_Row]) -> None:
        """Say in one line which regions lack features for an aggregation."""
        if not rows:
            return
        names = {name for row in rows for name in row.undefined}
        families = dict.fromkeys(feature.family for feature in self.features if feature.name in names)
        labels = [row.region.label for row in rows if row.region.label is not None]
        _log.warning(
            "no value of %d of %s (%s) for %s in %s: NaN",
            len(names),
            counted(len(self.features), "feature"),
            ", ".join(families),
            rows[0].aggregation,
            rows[0].region if len(rows) == 1 else f"labels {listed(labels)}",
        )

    def _no_pair(self) -> str:
        if [region.voxels for region in self.regions] == [1]:
            return f"mask {self.inputs.mask} has one voxel and so no pair of voxels; no feature is defined"
        return (
            f"mask {self.inputs.mask} has no pair of voxels at distance {self.settings.distance} for "
            f"{', '.join(self.aggregations)}; no feature is defined"
        )

    def _row(self, region: _Region, name: str) -> _Row:
        aggregation = AGGREGATIONS[name]
        box = bounding_box(region.mask, 0)  # beyond it there is no pair inside the mask
        values = roi_features(
            self.volume.array[box],
            [feature.name for feature in self.features],
            aggregation.settings(self.settings),
            mask=region.mask[box],
            pool_slices=aggregation.pool_slices,
            bins=region.bins,
            spacing=self.volume.zyx_spacing_mm,
        )
        return _Row(region, name, values)

    def record(self) -> dict[str, Any]:
        """Return how the table was made."""
        first, *others = self.regions
        labels = {"labels": {str(region.label): region.record() for region in self.regions}}
        return {
            "kind": "features of a region",
            "features": [feature_names(feature.name) for feature in self.features],
            **source_record(self.inputs.image),
            **self.inputs.record(),
            **(labels if others else first.record()),
            "settings": self.settings.to_dict(),
            "aggregations": {name: self._aggregation_record(name) for name in self.aggregations},
            **made_by(),
        }

    @property
    def families(self) -> list[str]:
        """Families of the features."""
        return list(dict.fromkeys(feature.family for feature in self.features))

    def _aggregation_record(self, name: str) -> dict[str, Any]:
        aggregation = AGGREGATIONS[name]
        return {
            "ibsi": {family: aggregation.ibsi(family) for family in self.families},
            "pool_slices": aggregation.pool_slices,
            "settings": aggregation.settings(self.settings).to_dict(),
        }

    def summary(self) -> str:
        """Return a line about the table."""
        features, voxels = counted(len(self.features), "feature"), sum(one.voxels for one in self.regions)
        first, *others = self.regions
        if others:
            labels = listed([region.label for region in self.regions if region.label is not None])
            of_what = f"{len(self.regions)} labels ({labels}), {voxels} voxels"
        else:
            bins = first.bins
            of_what = f"{voxels} voxels, range {bins.low:g} to {bins.high:g}, {counted(bins.levels, 'level')}"
        return f"{features} of {of_what}; {', '.join(self.aggregations)}"


def _read_table(inputs: Inputs, settings: RegionSettings) -> _Table:
    volume = read_image(inputs.image, inputs.choice)
    glcm = inputs.fitted(settings.glcm, volume)
    pooled = inputs.parameters is not None  # pyradiomics pools the slices of 2D matrices
    aggregations = settings.aggregations or (_default_aggregation(glcm, pool_slices=pooled),)
    _check_dimensions(inputs.image, volume, glcm, aggregations)
    volume, masks = inputs.regions(volume)
    try:
        bins = {label: find_bins(volume.array, glcm, mask) for label, mask in masks.items()}
    except ValueError as error:
        msg = f"{inputs.image}: {error}"
        raise ValueError(msg) from None
    return _Table(
        inputs=inputs,
        volume=volume,
        regions=tuple(_Region(mask=mask, label=label, bins=bins[label]) for label, mask in masks.items()),
        settings=glcm,
        features=settings.features,
        aggregations=aggregations,
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


def _write_rows(path: Path, table: _Table, rows: Sequence[_Row], names: str) -> None:
    chosen, mask = table.inputs.mask_choice.label, table.inputs.mask
    files = [shown_name(table.inputs.image), "" if mask is None else shown_name(mask)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*_COLUMNS, *(column_name(feature, names) for feature in table.features)])
        for row in rows:
            label = chosen if row.region.label is None else row.region.label
            identifiers = dict.fromkeys(AGGREGATIONS[row.aggregation].ibsi(one) for one in table.families)
            aggregation = [row.aggregation, " ".join(identifiers)]
            bins = row.region.bins
            used = [row.region.voxels, bins.levels, repr(bins.low), repr(bins.high)]
            first = [*files, "" if label is None else label, *aggregation, *used]
            writer.writerow([*first, *map(repr, row.values.values())])
