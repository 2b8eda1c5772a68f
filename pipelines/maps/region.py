"""Features of a whole region, written as a table."""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from glcm_cuda import GLCMSettings
from glcm_cuda.base.checks import nearest
from glcm_cuda.base.files import replacing
from glcm_cuda.base.steps import step
from glcm_cuda.families.feature import Feature
from glcm_cuda.levels.arrays import bounding_box
from glcm_cuda.levels.bins import Bins, find_bins
from glcm_cuda.roi import roi_features
from pipelines.filters.intensity import Original
from pipelines.images.output_paths import check_table_output
from pipelines.images.provenance import made_by, shown_name, sidecar_path, source_record, write_sidecar
from pipelines.images.reading import read_image
from pipelines.images.shape import SHAPE_IN_IBSI
from pipelines.images.volume import Volume
from pipelines.maps.aggregations import AGGREGATIONS
from pipelines.maps.filtering import Filtering, checked_names, derived_images, refuse_one_level
from pipelines.maps.inputs import Inputs, Mask, Prepared, RegionMasks, Regions, listed, told_of
from pipelines.reports.names import feature_names
from pipelines.reports.tables import counted
from pipelines.shell.settings import glcm_settings_from

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RegionSettings:
    """What is computed of a region.

    Parameters
    ----------
    glcm : GLCMSettings
        All but dimensions and aggregation, which `aggregations` give.
    features : tuple of Feature
        In the order of their columns; none if shape alone is asked for.
    shapes : tuple of str
        Features of shape, of `pipelines.images.shape`.
    aggregations : tuple of str
        Of `AGGREGATIONS`, one per row; if empty, the one that `glcm` asks for.
    filters : tuple of Filtering
        Filters whose images have features in place of the image itself; their settings replace `glcm`.
    """

    glcm: GLCMSettings
    features: tuple[Feature, ...]
    shapes: tuple[str, ...] = ()
    aggregations: tuple[str, ...] = ()
    filters: tuple[Filtering, ...] = ()


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
    table = region_table(inputs, settings, target.names)
    with (
        replacing(sidecar_path(target.output), force=target.force) as sidecar,
        replacing(target.output, force=target.force) as temporary,
    ):
        write_sidecar(sidecar, table.record)
        write_rows(temporary, table.rows)
    return table.summary


@dataclass(frozen=True, kw_only=True)
class RegionTable:
    """Features of regions: rows of cells by column, how they were made, and a line about them."""

    rows: list[dict[str, Any]]
    record: dict[str, Any]
    summary: str


def region_table(inputs: Inputs, settings: RegionSettings, names: str) -> RegionTable:
    """Compute the features of a region.

    Parameters and errors are those of `write_table`; `names` says how columns are called.
    """
    groups = [[_Part.of(table, names) for table in tables] for tables in _groups(inputs, settings)]
    images = f"{counted(len(groups[0]), 'image')}: " if settings.filters else ""
    return RegionTable(
        rows=_joined_rows(groups),
        record=_joined_record(groups),
        summary=f"{images}{_summary([parts[0] for parts in groups])}",
    )


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


def shape_column(name: str, names: str) -> str:
    """Return what a feature of shape is called, as `column_name` does."""
    if names == "pyradiomics":
        return f"original_{name}"
    if names == "ibsi" and name.startswith("shape_"):
        known, identifier = SHAPE_IN_IBSI[name.removeprefix("shape_")]
        return f"{known} ({identifier})"
    return name


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

    prepared: Prepared
    label: int | None
    bins: Bins

    @property
    def mask(self) -> Mask:
        """The voxels that count."""
        return self.masks.intensity

    @property
    def masks(self) -> RegionMasks:
        """The voxels that count, and those that make the shape."""
        assert self.prepared.masks is not None
        return self.prepared.masks

    @property
    def voxels(self) -> int:
        """Number of voxels that count."""
        return int(self.mask.sum())

    def __str__(self) -> str:
        return "the region" if self.label is None else f"label {self.label}"

    def record(self) -> dict[str, Any]:
        """Return what a sidecar says of the region."""
        bins = {"levels": self.bins.levels, "low": self.bins.low, "high": self.bins.high}
        before = int(self.masks.morphological.sum())
        resegmented = {} if before == self.voxels else {"voxels_before_resegmentation": before}
        return {"voxels": self.voxels, **resegmented, "bins": bins, **told_of(self.prepared)}


@dataclass(frozen=True)
class _Row:
    region: _Region
    aggregation: str
    values: dict[str, float]
    shapes: dict[str, float]

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
    shapes: tuple[str, ...]
    aggregations: tuple[str, ...]
    derived: str = ""
    filter_record: Mapping[str, Any] = field(default_factory=dict)

    @step("features")
    def rows(self) -> list[_Row]:
        """Return the features of every region and aggregation; refuse a mask for which none is defined."""
        of_shape = [region.prepared.shapes(self.shapes) for region in self.regions]
        rows = [
            self._row(region, name, shape)
            for region, shape in zip(self.regions, of_shape, strict=True)
            for name in self.aggregations
        ]
        if self.features and all(len(row.undefined) == len(self.features) for row in rows):
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
            "%sno value of %d of %s (%s) for %s in %s: NaN",
            f"{self.derived}: " if self.derived else "",
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

    def _row(self, region: _Region, name: str, shapes: dict[str, float]) -> _Row:
        if not self.features:
            return _Row(region, name, {}, shapes)
        aggregation = AGGREGATIONS[name]
        shape = region.masks.morphological
        box = bounding_box(shape, 0)  # beyond it there is no pair inside the mask
        values = roi_features(
            self.volume.array[box],
            [feature.name for feature in self.features],
            aggregation.settings(self.settings),
            mask=region.mask[box],
            pool_slices=aggregation.pool_slices,
            bins=region.bins,
            spacing=self.volume.zyx_spacing_mm,
            morphological_mask=shape[box],
        )
        return _Row(region, name, values, shapes)

    def record(self) -> dict[str, Any]:
        """Return how the table was made."""
        labels = {str(region.label): region.record() for region in self.regions}
        return {
            "kind": "features of a region",
            "features": [feature_names(feature.name) for feature in self.features],
            **source_record(self.inputs.image),
            **self.inputs.record(),
            **self.filter_record,
            **(self.regions[0].record() if self.regions[0].label is None else {"labels": labels}),
            "settings": self.settings.to_dict(),
            "aggregations": {name: self._aggregation_record(name) for name in self.aggregations},
            **made_by(),
        }

    @property
    def families(self) -> list[str]:
        """Families of the features."""
        return list(dict.fromkeys(feature.family for feature in self.features))

    def ibsi(self, name: str, family: str) -> str:
        """Return IBSI's identifier of an aggregation for a family; "" where directions are weighted."""
        aggregation = AGGREGATIONS[name]
        weighted = aggregation.settings(self.settings).weighting is not None and family in ("glcm", "glrlm")
        return "" if weighted else aggregation.ibsi(family)

    def _aggregation_record(self, name: str) -> dict[str, Any]:
        aggregation = AGGREGATIONS[name]
        return {
            "ibsi": {family: self.ibsi(name, family) for family in self.families},
            "pool_slices": aggregation.pool_slices,
            "settings": aggregation.settings(self.settings).to_dict(),
        }


def _groups(inputs: Inputs, settings: RegionSettings) -> Iterator[Iterator[_Table]]:
    """Yield for the regions of each image, one after another, the tables of that image and its filters."""
    volume = read_image(inputs.image, inputs.choice)
    filters = [replace(one, glcm=inputs.fitted(one.glcm, volume)) for one in settings.filters]
    glcm = filters[0].glcm if filters else inputs.fitted(settings.glcm, volume)
    pooled = inputs.parameters is not None  # pyradiomics pools the slices of 2D matrices
    aggregations = settings.aggregations or (_common_aggregation(glcm, filters, pool_slices=pooled),)
    settings = replace(settings, aggregations=aggregations)
    for one in filters or [Filtering(filter=Original(), glcm=glcm)]:
        _check_dimensions(inputs.image, volume, one.glcm, aggregations)
    for regions in inputs.regions(volume, for_filters=bool(filters)):
        if filters:
            yield _derived_tables(inputs, regions, filters, settings)
        else:
            yield iter([_table(inputs, regions.image, regions, glcm, settings)])


def _derived_tables(
    inputs: Inputs,
    regions: Regions,
    filters: Sequence[Filtering],
    settings: RegionSettings,
) -> Iterator[_Table]:
    """Yield the tables of the images that filters derive, one after another."""
    checked_names(filters, regions.image)
    masks = [region.mask for region in regions.of_labels.values() if region.mask is not None]
    together: Mask = np.logical_or.reduce(masks)
    for derived, one in derived_images(filters, regions.image, together):
        image, name = derived.volume, derived.name
        table = _table(inputs, image, regions, one.glcm, settings, name)
        for region in table.regions:
            refuse_one_level(derived, one.glcm, region.bins, settings.features)
        yield replace(table, filter_record=one.record(derived))


def _common_aggregation(glcm: GLCMSettings, filters: Sequence[Filtering], *, pool_slices: bool) -> str:
    """Return the aggregation that the settings of all images ask for, of which a table has one row."""
    names = {_default_aggregation(one.glcm, pool_slices=pool_slices) for one in filters}
    if len(names) > 1:
        msg = (
            f"image types ask for different aggregations ({', '.join(sorted(names))}), of which a table "
            "has one: give --aggregation, or one force2D and weightingNorm for all"
        )
        raise ValueError(msg)
    return _default_aggregation(glcm, pool_slices=pool_slices)


def _table(
    inputs: Inputs,
    volume: Volume,
    prepared: Regions,
    glcm: GLCMSettings,
    settings: RegionSettings,
    derived: str = "",
) -> _Table:
    """Find the bins of every region of an image."""
    try:
        regions = tuple(
            _Region(prepared=one, label=label, bins=find_bins(volume.array, glcm, one.mask))
            for label, one in prepared.of_labels.items()
        )
    except ValueError as error:
        msg = f"{inputs.image}: {derived}{': ' if derived else ''}{error}"
        raise ValueError(msg) from None
    return _Table(
        inputs=inputs,
        volume=volume,
        regions=regions,
        settings=glcm,
        features=settings.features,
        shapes=settings.shapes,
        aggregations=settings.aggregations,
        derived=derived,
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


@dataclass(frozen=True, kw_only=True)
class _Part:
    """What is left of a table when its image is no longer needed: the cells, by row, and how they were made.

    `first` holds what rows of all images share; `regions` the labels, voxels and bins.
    """

    derived: str
    features: int
    aggregations: tuple[str, ...]
    regions: list[tuple[int | None, int, Bins]]
    first: list[dict[str, Any]]
    cells: list[dict[str, Any]]
    record: dict[str, Any]

    @classmethod
    def of(cls, table: _Table, names: str) -> _Part:
        """Compute the features of a table."""
        rows = table.rows()
        return cls(
            derived=table.derived,
            features=len(table.features) + len(rows[0].shapes),
            aggregations=table.aggregations,
            regions=[(region.label, region.voxels, region.bins) for region in table.regions],
            first=[_first_cells(table, row, names) for row in rows],
            cells=[_own_cells(table, row, names) for row in rows],
            record=table.record(),
        )


def _summary(parts: Sequence[_Part]) -> str:
    """Return a line about the tables of all regions, of the first derived image each."""
    regions = [region for part in parts for region in part.regions]
    voxels, (first, _, bins) = sum(count for _, count, _ in regions), regions[0]
    if first is not None:
        labels = listed([label for label, _, _ in regions if label is not None])
        of_what = f"{counted(len(regions), 'label')} ({labels}), {voxels} voxels"
    else:
        of_what = f"{voxels} voxels"
        if not parts[0].derived:
            of_what += f", range {bins.low:g} to {bins.high:g}, {counted(bins.levels, 'level')}"
    return f"{counted(parts[0].features, 'feature')} of {of_what}; {', '.join(parts[0].aggregations)}"


def _first_cells(table: _Table, row: _Row, names: str) -> dict[str, Any]:
    """Return the image, the region and the aggregation of a row, and what depends on the mask alone."""
    chosen, mask = table.inputs.mask_choice.label, table.inputs.mask
    label = chosen if row.region.label is None else row.region.label
    identifiers = dict.fromkeys(table.ibsi(row.aggregation, one) for one in table.families)
    told = row.region.prepared.diagnostics if names == "pyradiomics" else {}
    return {
        "image": shown_name(table.inputs.image),
        "mask": "" if mask is None else shown_name(mask),
        "label": "" if label is None or isinstance(label, tuple) else label,
        "aggregation": row.aggregation,
        "aggregation_ibsi": " ".join(identifiers).strip(),
        "voxels": row.region.voxels,
        **{name: str(value) for name, value in told.items()},
        **{shape_column(name, names): repr(value) for name, value in row.shapes.items()},
    }


def _own_cells(table: _Table, row: _Row, names: str) -> dict[str, Any]:
    """Return the bins and the features of a row; of a derived image, each name begins with the image's."""
    bins = row.region.bins
    found = {"levels": bins.levels, "range_low": repr(bins.low), "range_high": repr(bins.high)}
    if table.derived:
        values = {feature.full_name: repr(row.values[feature.name]) for feature in table.features}
        return {f"{table.derived}_{name}": cell for name, cell in {**found, **values}.items()}
    columns = {column_name(feature, names): repr(row.values[feature.name]) for feature in table.features}
    return {**found, **columns}


_OF_ONE_IMAGE = ("filter", "voxels", "bins", "labels", "diagnostics", "settings", "aggregations")
"""Entries of a record that differ between derived images."""


def _joined_record(groups: Sequence[Sequence[_Part]]) -> dict[str, Any]:
    """Return how a table was made: what its images share once, the rest by image, and in it by label."""
    records = [_with_all_labels([parts[place] for parts in groups]) for place in range(len(groups[0]))]
    if not groups[0][0].derived:
        return records[0]
    shared = {key: value for key, value in records[0].items() if key not in _OF_ONE_IMAGE}
    images = {
        part.derived: {key: value for key, value in record.items() if key in _OF_ONE_IMAGE}
        for part, record in zip(groups[0], records, strict=True)
    }
    return {**shared, "images": images}


def _with_all_labels(parts: Sequence[_Part]) -> dict[str, Any]:
    """Return the record of an image with the labels of all groups of regions."""
    labels = {label: told for part in parts for label, told in part.record.get("labels", {}).items()}
    return {**parts[0].record, **({"labels": labels} if labels else {})}


def _joined_rows(groups: Sequence[Sequence[_Part]]) -> list[dict[str, Any]]:
    """Return the cells of every row, those of all images side by side."""
    return [
        first | {name: cell for part in parts for name, cell in part.cells[index].items()}
        for parts in groups
        for index, first in enumerate(parts[0].first)
    ]


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV, with the columns in the order in which the rows have them."""
    columns = dict.fromkeys(name for row in rows for name in row)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
