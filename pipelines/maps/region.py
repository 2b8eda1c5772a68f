"""Features of a whole region."""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from glcm_cuda import GLCMSettings
    from glcm_cuda.families.feature import Feature
    from glcm_cuda.levels.bins import Bins
    from pipelines.images.volume import Volume

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


@dataclass(frozen=True)
class _Row:
    aggregation: str
    settings: GLCMSettings
    values: dict[str, float]


def region_rows(
    region: Region, ways: Sequence[str], source: Path, mask_path: Path
) -> tuple[Bins, list[_Row]]:
    from glcm_cuda.levels.quantize import find_bins

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
    from pipelines.images.reading import reached

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


def inputs_record(mask_path: Path, params: Path | None) -> dict[str, Any]:
    from pipelines.images.provenance import source_record

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


def write_table(
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
    from glcm_cuda.base.files import replacing
    from pipelines.images.provenance import made_by, sidecar_path, source_record, write_sidecar
    from pipelines.reports.names import feature_names

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
