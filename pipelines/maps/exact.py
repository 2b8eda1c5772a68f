"""Exact maps of one image."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from glcm_cuda import GLCMSettings, feature_maps
from glcm_cuda.base.files import replacing
from glcm_cuda.base.steps import step
from glcm_cuda.engines.choice import Backend, resolve_backend
from glcm_cuda.families.feature import Feature
from glcm_cuda.families.registry import check_features
from glcm_cuda.levels.arrays import bounding_box
from glcm_cuda.levels.bins import Bins, find_bins
from pipelines.images.archives import opened
from pipelines.images.formats.nifti import is_nifti
from pipelines.images.output_paths import (
    PARAMETRIC_MAP_SUFFIX,
    check_map_output,
    check_preview_path,
    map_paths,
)
from pipelines.images.parametric_map import check_size, check_sources, write_parametric_map
from pipelines.images.provenance import provenance
from pipelines.images.reading import read_image
from pipelines.images.volume import Part, Volume
from pipelines.images.writing import staged_map
from pipelines.maps.filtering import (
    Filtering,
    checked_names,
    derived_images,
    map_name,
    refuse_one_level,
    refuse_windows_beyond,
)
from pipelines.maps.inputs import Inputs, Mask, told_of
from pipelines.maps.spread import Spread, spread_of, with_fewer_levels
from pipelines.reports.names import unit_of
from pipelines.reports.tables import counted
from pipelines.shell.progress import progress_bar

_log = logging.getLogger(__name__)

_MOST_BYTES = 1 << 30
"""Maps of several features are computed together, which costs less, as far as they fit in this memory."""

_COUNTED = {"glcm": "pair", "glrlm": "line of two voxels"}
"""What a window may lack so that features of a family have no value there."""

_MOST_TRIED = 1 << 22
"""Voxels of the largest box that is mapped again with fewer levels, to say what they would change."""

Map = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class MapSettings:
    """What is computed of every voxel.

    Parameters
    ----------
    glcm : GLCMSettings
        Settings of the maps.
    features : tuple of Feature
        In the order of their maps.
    backend : {"auto", "cpu", "cuda"}
        Engine; it does not change the result.
    fit_dimensions : bool
        Whether a parameter file's three-dimensional windows become two-dimensional in a 2D image.
    filters : tuple of Filtering
        Filters whose images are mapped in place of the image itself, each with settings in place of `glcm`.
    """

    glcm: GLCMSettings
    features: tuple[Feature, ...]
    filters: tuple[Filtering, ...] = ()
    backend: Backend = "auto"
    fit_dimensions: bool = True


@dataclass(frozen=True, kw_only=True)
class MapTarget:
    """Where maps are written.

    Parameters
    ----------
    output : Path
        The map. With several features, each file name gets the feature's name; one .dcm holds them all.
    preview : Path, optional
        Picture of a slice of the first map.
    crop : bool
        Write the box that the mask's windows reach, not the whole image.
    force : bool
        Replace files that exist.
    """

    output: Path
    preview: Path | None = None
    crop: bool = False
    force: bool = False

    def paths_of(self, names: Sequence[str]) -> dict[str, Path]:
        """Return the file of each map, by its name."""
        return map_paths(self.output, names)

    def check(self, names: Sequence[str], inputs: Inputs) -> None:
        """Refuse outputs that cannot be written, or that are inputs; `names` are those of the maps.

        Raises
        ------
        ValueError, OSError
            Those of `check_map_output` and `check_preview_path`.
        """
        for path in self.paths_of(names).values():
            check_map_output(path, *inputs.files, force=self.force)
        if self.preview is not None:
            check_preview_path(self.preview, *inputs.files, force=self.force)


@dataclass(frozen=True, kw_only=True)
class WrittenMaps:
    """Maps that were written: their files, and a line about them."""

    paths: tuple[Path, ...]
    summary: str


def write_maps(
    inputs: Inputs, settings: MapSettings, target: MapTarget, volume: Volume | None = None
) -> WrittenMaps:
    """Map one image and write the maps, each with its provenance: every file or none.

    Parameters
    ----------
    inputs : Inputs
        Image, mask and what is done to both first.
    settings : MapSettings
        What is computed.
    target : MapTarget
        Where the maps go.
    volume : Volume, optional
        What is mapped in place of the image that `inputs` names, if that has been read.

    Raises
    ------
    TypeError, ValueError, OSError
        If an input, a setting or an output is unfit.
    RuntimeError
        If the backend is "cuda" and no device can be used.
    """
    if settings.filters:
        return _write_filtered(inputs, settings, target, volume)
    _check_mask_given(inputs, settings.glcm, crop=target.crop)
    names = [feature.name for feature in settings.features]
    target.check(names, inputs)
    with opened(inputs.image) as place:
        volume = read_image(place, inputs.choice) if volume is None else volume
        glcm = inputs.fitted(settings.glcm, volume) if settings.fit_dimensions else settings.glcm
        check_dimensions(inputs.image, volume, glcm)
        ready = inputs.prepared(volume)
        volume, mask = ready.image, ready.mask
        if target.output.suffix == PARAMETRIC_MAP_SUFFIX:
            check_sources(target.output, volume, inputs.choice)
        job = _Mapping.of(inputs, volume, mask, glcm, settings)
        if target.output.suffix == PARAMETRIC_MAP_SUFFIX:
            voxels = job.box_voxels if target.crop else volume.array.size
            check_size(target.output, len(settings.features), voxels)
        paths = target.paths_of(names)
        with ExitStack() as stack:
            seconds = _Writer(job, target, inputs, paths, told_of(ready)).write(stack)
    return WrittenMaps(paths=tuple(dict.fromkeys(paths.values())), summary=job.summary(seconds))


def _write_filtered(
    inputs: Inputs, settings: MapSettings, target: MapTarget, volume: Volume | None
) -> WrittenMaps:
    """Map every derived image, one after another, each with grey levels of its own.

    A derived image is released when its maps are written under temporary names.
    """
    if target.output.suffix == PARAMETRIC_MAP_SUFFIX:
        msg = f"maps of filtered images cannot be a Parametric Map, got {target.output.name}; write .nii.gz"
        raise ValueError(msg)
    for one in settings.filters:
        _check_mask_given(inputs, one.glcm, crop=target.crop)
    with opened(inputs.image) as place, ExitStack() as stack:
        volume = read_image(place, inputs.choice) if volume is None else volume
        filters = [_fitted(one, inputs, volume, settings) for one in settings.filters]
        ready = inputs.prepared(volume, for_filters=True)
        part, mask = ready.part, ready.mask
        refuse_windows_beyond(filters, inputs.filter_pad)
        images = checked_names(filters, part.volume)
        names = [map_name(image, feature) for image in images for feature in settings.features]
        target.check(names, inputs)
        settings = replace(settings, backend=resolve_backend(settings.backend))  # which is told once
        paths, seconds, shown = target.paths_of(names), 0.0, target
        for derived, one in derived_images(filters, part.volume, mask):
            job = _Mapping.of(inputs, derived.volume, mask, one.glcm, settings, derived.name, part)
            refuse_one_level(derived, one.glcm, job.bins, settings.features)
            _log.info("%s: range %g to %g, %d levels", *job.bins_told())
            seconds += _Writer(job, shown, inputs, paths, told_of(ready) | one.record(derived)).write(stack)
            shown = replace(target, preview=None)  # the preview shows the first image
        summary = (
            f"{'x'.join(map(str, part.whole.array.shape))} voxels, {counted(len(images), 'image')}, "
            f"{counted(len(settings.features), 'feature')}, {seconds:.2f} s on {job.backend}"
        )
    return WrittenMaps(paths=tuple(paths.values()), summary=summary)


def _fitted(one: Filtering, inputs: Inputs, volume: Volume, settings: MapSettings) -> Filtering:
    """Return a filter with the settings that an image can have."""
    glcm = inputs.fitted(one.glcm, volume) if settings.fit_dimensions else one.glcm
    check_dimensions(inputs.image, volume, glcm)
    return replace(one, glcm=glcm)


def _check_mask_given(inputs: Inputs, settings: GLCMSettings, *, crop: bool) -> None:
    inputs.refuse_lone_mask_options()
    if inputs.mask is not None:
        return
    needing = {
        "--crop": crop,
        "--unmasked-window": not settings.masked_window,
        f"--range-over {settings.range_over}": settings.range_over != "image"
        and settings.intensity_range is None,
    }
    for option in (option for option, given in needing.items() if given):
        msg = f"{option} needs --mask FILE"
        raise ValueError(msg)


def check_dimensions(source: Path, volume: Volume, settings: GLCMSettings) -> None:
    """Raise ValueError if settings of volumes are asked of a 2D image."""
    needing = {"--dimensions 3": settings.dimensions == 3, "--slice-axis": settings.slice_axis != 0}
    for option in (option for option, given in needing.items() if given and volume.array.ndim == 2):
        msg = f"{option} needs a volume, got the 2D image {source}; give --dimensions 2"
        raise ValueError(msg)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Mapping:
    """An image whose bins are known, and the part of it that is mapped.

    With a mask that is the box that the windows around the mask reach; its levels are those of the whole.
    `part` says of an image that filters derived from a part of the whole where that lies.
    """

    volume: Volume
    mask: Mask | None
    settings: GLCMSettings
    features: tuple[Feature, ...]
    backend: Literal["cpu", "cuda"]
    bins: Bins
    box: tuple[slice, ...]
    part: Part
    derived: str = ""

    @classmethod
    def of(
        cls,
        inputs: Inputs,
        volume: Volume,
        mask: Mask | None,
        glcm: GLCMSettings,
        settings: MapSettings,
        derived: str = "",
        part: Part | None = None,
    ) -> _Mapping:
        """Find the bins and the box; refuse what cannot be mapped. `derived` is a filtered image's name."""
        try:
            bins = find_bins(volume.array, glcm, mask)
        except ValueError as error:
            msg = f"{inputs.image}: {derived}{': ' if derived else ''}{error}"
            raise ValueError(msg) from None
        check_features(settings.features, glcm, bins)
        whole = tuple(slice(0, size) for size in volume.array.shape)
        return cls(
            volume=volume,
            mask=mask,
            settings=glcm,
            features=settings.features,
            backend=resolve_backend(settings.backend),
            bins=bins,
            box=whole if mask is None else bounding_box(mask, max(glcm.radii)),
            part=part or Part.all_of(volume),
            derived=derived,
        )

    def bins_told(self) -> tuple[str, float, float, int]:
        """Return the image's name, its range and its number of levels."""
        return self.derived, self.bins.low, self.bins.high, self.bins.levels

    @property
    def box_voxels(self) -> int:
        """Number of voxels that are mapped."""
        return self.volume.array[self.box].size

    @property
    def place(self) -> tuple[slice, ...]:
        """The box on the grid of the whole image."""
        return self.part.placed(self.box)

    @property
    def boxed_mask(self) -> Mask | None:
        """The mask in the box."""
        return None if self.mask is None else self.mask[self.box]

    def groups(self) -> list[tuple[Feature, ...]]:
        """Return the features whose maps fit in memory together, the first feature in the first group.

        What one stage computes stays together as far as it fits, since each group counts all windows again.
        """
        at_once = max(1, _MOST_BYTES // (4 * self.box_voxels))
        stages: dict[tuple[str, str], list[Feature]] = {}
        for feature in self.features:
            stages.setdefault((feature.family, feature.stage), []).append(feature)
        groups: list[tuple[Feature, ...]] = [()]
        for features in stages.values():
            for start in range(0, len(features), at_once):
                part = tuple(features[start : start + at_once])
                if len(groups[-1]) + len(part) > at_once:
                    groups.append(())
                groups[-1] += part
        return groups

    @step("maps")
    def maps(self, features: tuple[Feature, ...]) -> dict[str, Map]:
        """Return maps of the box, by feature."""
        several = f"{len(features)} of {len(self.features)} maps"
        with progress_bar("map" if features == self.features else several) as progress:
            return feature_maps(
                self.volume.array[self.box],
                [feature.name for feature in features],
                self.settings,
                mask=self.boxed_mask,
                backend=self.backend,
                bins=self.bins,
                spacing=self.volume.zyx_spacing_mm,
                progress=progress,
            )

    def warn_of_nothing(self, part: Map, feature: Feature) -> None:
        """Log how many voxels have a window in which there is nothing to count."""
        mask = self.boxed_mask
        count = int(np.count_nonzero(np.isnan(part) if mask is None else np.isnan(part) & mask))
        if count:
            where = "" if mask is None else " inside the mask"
            what, voxels = _COUNTED.get(feature.family, "value"), counted(count, "voxel")
            _log.warning("no %s in the window of %s%s: the map is NaN there", what, voxels, where)

    def spread(self, part: Map, feature: Feature) -> Spread | None:
        """Return what a map of the box shows of the mask; None without a mask."""
        mask = self.boxed_mask
        if mask is None:
            return None
        return spread_of(part, self.volume.array[self.box], mask, self.bins, self.settings, feature.name)

    def report(self, spread: Spread, feature: Feature) -> None:
        """Log the figures of a map whose mask spans few levels, or lies at the feature's ceiling."""
        if np.isnan(spread.low) or not (spread.has_few_levels or spread.is_saturated):
            return
        unit = unit_of(feature.name, self.settings)
        line = f"in the mask: {spread.levels} of {spread.of_levels} levels, {spread.described(unit)}"
        if spread.is_saturated and self.box_voxels <= _MOST_TRIED:
            fewer, tried = self._with_fewer_levels(feature)
            line += (
                "; fewer levels, wider bins or a larger window would help: "
                f"with {counted(fewer.levels, 'level')} {tried.described(unit)}"
            )
        _log.warning("%s", line)

    def _with_fewer_levels(self, feature: Feature) -> tuple[Bins, Spread]:
        """Return the bins and the spread of a map with a quarter of the levels."""
        settings = with_fewer_levels(self.settings, self.bins)
        bins = find_bins(self.volume.array, settings, self.mask)
        fewer = replace(self, settings=settings, bins=bins)
        mask, name = self.boxed_mask, feature.name
        image = self.volume.array[self.box]
        values = feature_maps(image, [name], settings, mask=mask, backend=self.backend, bins=bins)[name]
        spread = fewer.spread(values, feature)
        assert spread is not None
        return bins, spread

    def on_image(self, part: Map) -> Map:
        """Return a map of the box as one of the image that is mapped, NaN beyond the box."""
        return Part.all_of(self.volume).filled(part, self.box, np.nan)

    def on_whole(self, part: Map, outside: float) -> Map:
        """Return a map of the box as one of the whole image, with a value beyond the box."""
        return self.part.filled(part, self.box, outside)

    def summary(self, seconds: float) -> str:
        """Return a line about the maps, which took some seconds."""
        shape = "x".join(str(edge) for edge in self.volume.array.shape)
        several = f"{len(self.features)} features, " if len(self.features) > 1 else ""
        return (
            f"{shape} voxels, range {self.bins.low:g} to {self.bins.high:g}, {self.bins.levels} levels, "
            f"{several}{seconds:.2f} s on {self.backend}"
        )


@dataclass(frozen=True, eq=False)
class _Writer:
    """Maps on their way into files."""

    job: _Mapping
    target: MapTarget
    inputs: Inputs
    paths: Mapping[str, Path]
    record: Mapping[str, Any]

    def path_of(self, feature: Feature) -> Path:
        """Return where the map of a feature goes."""
        return self.paths[map_name(self.job.derived, feature)]

    @cached_property
    def spreads(self) -> dict[str, Spread]:
        """What the maps show of the mask, by feature, as they are computed."""
        return {}

    @cached_property
    def details(self) -> dict[str, Any]:
        return {**self.inputs.record(), **self._outside_record(), **self.record}

    def write(self, stack: ExitStack) -> float:
        """Map and write, every file or none; return the seconds of the maps (compiling included).

        Files get their names when the stack ends well.
        """
        parametric: dict[str, Map] = {}
        self._tell_of_nan()
        seconds = sum(self._write_group(group, stack, parametric) for group in self.job.groups())
        if parametric:
            self._write_parametric(parametric)
        return seconds

    def _write_group(self, group: tuple[Feature, ...], stack: ExitStack, parametric: dict[str, Map]) -> float:
        """Map some features; write the maps under temporary names, or keep them for a Parametric Map.

        When it returns the seconds of the maps, maps that are written no longer take memory.
        """
        start = time.perf_counter()
        maps = self.job.maps(group)
        seconds = time.perf_counter() - start
        if group[0] is self.job.features[0]:
            self.job.warn_of_nothing(maps[group[0].name], group[0])
            if self.target.preview is not None:
                stack.enter_context(self._drawn(maps[group[0].name], self.target.preview))
        for feature in group:
            self._measure(feature, maps[feature.name])
            values = self._on_grid(maps[feature.name])
            if self.path_of(feature).suffix == PARAMETRIC_MAP_SUFFIX:
                parametric[feature.name] = values
            else:
                stack.enter_context(self._staged(feature, values))
        return seconds

    @contextmanager
    def _drawn(self, part: Map, path: Path) -> Iterator[None]:
        """Draw the preview, and keep it if the block, which writes the maps, ends well."""
        # Matplotlib takes longer to load than a small map to compute.
        from pipelines.images.preview import write_preview

        with replacing(path, force=self.target.force) as temporary:
            write_preview(
                self.job.volume,
                self.job.on_image(part),
                temporary,
                self.job.settings,
                region=self.job.mask,
                feature=self.job.features[0].name,
                levels=self.job.bins.levels,
            )
            del part
            yield

    def _measure(self, feature: Feature, part: Map) -> None:
        """Note what a map shows of the mask; of the first map and of joint entropy, the log may say it."""
        spread = self.job.spread(part, feature)
        if spread is None:
            return
        self.spreads[feature.name] = spread
        if feature is self.job.features[0] or feature.name == "joint_entropy":
            self.job.report(spread, feature)

    def _on_grid(self, part: Map) -> Map:
        """Return a map of the box on the grid that is written, with the value outside the mask."""
        outside, mask = self.inputs.outside, self.job.boxed_mask
        if mask is not None and not np.isnan(outside):
            part[~mask] = outside
        return part if self.target.crop else self.job.on_whole(part, outside)

    def _tell_of_nan(self) -> None:
        """Log that a masked map in NIfTI may be misread."""
        if self.job.mask is None or not np.isnan(self.inputs.outside):
            return
        if any(is_nifti(path) for path in self.paths.values()):
            _log.info(
                "NaN outside the mask is read as 0 from NIfTI by some tools (ITK, 3D Slicer), which changes "
                "statistics: write .nrrd, or give --outside VALUE"
            )

    def _grid(self) -> Volume:
        return self.job.volume.cropped(self.job.box) if self.target.crop else self.job.part.whole

    def _staged(self, feature: Feature, values: Map) -> AbstractContextManager[None]:
        path, record = self.path_of(feature), self._record(feature)
        return staged_map(values, self._grid(), path, provenance=record, force=self.target.force)

    def _write_parametric(self, maps: dict[str, Map]) -> None:
        """Write all features into one Parametric Map, in their order."""
        maps = {feature.name: maps[feature.name] for feature in self.job.features}
        record = self._record(self.job.features[0]) | {"features": list(maps)}
        if len({feature.family for feature in self.job.features}) > 1:
            record["kind"] = "texture feature maps"
        write_parametric_map(maps, self._grid(), self.target.output, record, force=self.target.force)

    def _record(self, feature: Feature) -> dict[str, Any]:
        bins, spread = self.job.bins, self.spreads.get(feature.name)
        return provenance(
            source=self.inputs.image,
            settings=self.job.settings,
            intensity_range=(bins.low, bins.high),
            backend=self.job.backend,
            feature=feature.name,
            bins={"levels": bins.levels, "low": bins.low, "high": bins.high},
            **self.details,
            **({"in_mask": spread.to_dict()} if spread is not None else {}),
        )

    def _outside_record(self) -> dict[str, Any]:
        """Return what lies outside the mask, and which voxels of the image a cropped file holds."""
        record: dict[str, Any] = {}
        if self.job.mask is not None:
            record["outside"] = "NaN" if np.isnan(self.inputs.outside) else self.inputs.outside
        if self.target.crop:
            record["crop"] = [[part.start, part.stop] for part in self.job.place]
        return record
