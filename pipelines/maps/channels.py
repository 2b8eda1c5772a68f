"""Images and maps as the channels of nnU-Net: every case on one grid, without NaN."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from glcm_cuda import GLCMSettings
from glcm_cuda.base.checks import nearest
from glcm_cuda.base.files import replacing, temporary_folder
from glcm_cuda.engines.choice import Backend, resolve_backend
from glcm_cuda.families.feature import Feature
from glcm_cuda.families.registry import features_named
from glcm_cuda.levels.arrays import bounding_box
from pipelines.cohorts.cohort import Case
from pipelines.cohorts.runner import FAILED, Journal, Made, Outcome, run_cohort
from pipelines.filters.contract import Derived, ImageFilter, Scope
from pipelines.filters.intensity import Original
from pipelines.images.masks import MaskChoice, read_labels, read_mask_labels
from pipelines.images.preprocessing import Preprocessing, moved_labels, preprocess
from pipelines.images.provenance import sha256_of, sidecar_path
from pipelines.images.reading import read_image
from pipelines.images.volume import Volume
from pipelines.images.writing import LightWriter, write_volume
from pipelines.maps.exact import MapSettings, MapTarget, write_maps
from pipelines.maps.filtering import Filtering, map_name
from pipelines.maps.inputs import Inputs
from pipelines.maps.nnunet import (
    IMAGES,
    LABELS,
    TEST_IMAGES,
    check_case_names,
    check_dataset_name,
    dataset_description,
    image_path,
    label_names,
    label_path,
)
from pipelines.maps.study import Study
from pipelines.reports.names import unit_of
from pipelines.shell.outputs import refuse_foreign_folder, refuse_inputs
from pipelines.shell.parameter_file import ParameterFile

_OWN_FILES = ("settings.json",)
_WRITERS = 2


@dataclass(frozen=True)
class _Chosen:
    """Some of the images that a filter derives."""

    filter: ImageFilter
    wanted: tuple[str, ...]

    def names(self, dimensions: int, scope: Scope) -> tuple[str, ...]:
        return self.wanted

    def check(self, volume: Volume, scope: Scope) -> None:
        self.filter.check(volume, scope)

    def images(self, volume: Volume, scope: Scope) -> Iterator[Derived]:
        return (one for one in self.filter.images(volume, scope) if one.name in self.wanted)

    def to_dict(self) -> dict[str, Any]:
        return self.filter.to_dict()


@dataclass(frozen=True, kw_only=True)
class Channel:
    """One map of a parameter file.

    Parameters
    ----------
    name : str
        As pyradiomics writes it; with the file's name before it if two files have such a map.
    parameters : ParameterFile
        The file.
    filter : ImageFilter
        What derives its image.
    image : str
        Name of the image.
    feature : Feature
        The feature.
    glcm : GLCMSettings
        The settings.
    """

    name: str
    parameters: ParameterFile
    filter: ImageFilter
    image: str
    feature: Feature
    glcm: GLCMSettings

    def to_dict(self) -> dict[str, Any]:
        """Return the channel in types of JSON."""
        return {
            "name": self.name,
            "image": self.image,
            "feature": self.feature.full_name,
            "unit": unit_of(self.feature.name, self.glcm),
            "params": self.parameters.path.name,
            "filter": self.filter.to_dict(),
            "settings": self.glcm.to_dict(),
        }


def channels_of(files: Sequence[ParameterFile], names: Sequence[str] = ()) -> tuple[Channel, ...]:
    """Return the maps that parameter files ask for, each file's images and their features in order.

    Parameters
    ----------
    files : sequence of ParameterFile
        For maps.
    names : sequence of str
        Those that are wanted, in their order; without names all.

    Raises
    ------
    ValueError
        If a file resamples, or there is no channel of a name.
    """
    found = [channel for file in files for channel in _channels_of(file)]
    counts = Counter(one.name for one in found)
    channels = {
        name: replace(one, name=name)
        for one in found
        for name in [f"{one.parameters.path.stem}:{one.name}" if counts[one.name] > 1 else one.name]
    }
    for name in names:
        if name not in channels:
            known = list(channels)
            hint = nearest(name, known) or f"; the channels are {', '.join(known)}"
            msg = f"no channel {name!r}{hint}"
            raise ValueError(msg)
    return tuple(channels[name] for name in names or channels)


def _channels_of(file: ParameterFile) -> Iterator[Channel]:
    if file.steps.grid is not None or file.steps.spacing_mm is not None:
        msg = (
            f"{file.path}: resampledPixelSpacing would give some channels another grid; remove it, and give "
            "--resample X,Y,Z for all of them"
        )
        raise ValueError(msg)
    types = [(one.filter, one.settings) for one in file.image_types] or [(Original(), file.settings)]
    for filter_, glcm in types:
        scope = Scope(flat=glcm.dimensions == 2, slice_axis=glcm.slice_axis)
        for image in filter_.names(3, scope):
            for feature in features_named(file.features):
                yield Channel(
                    name=map_name(image, feature),
                    parameters=file,
                    filter=filter_,
                    image=image,
                    feature=feature,
                    glcm=glcm,
                )


@dataclass(frozen=True, kw_only=True)
class ChannelSettings:
    """What the channels of every case are.

    Parameters
    ----------
    channels : tuple of Channel
        The maps, in order, after the image.
    image_channel : str
        Name of the image's channel, by which nnU-Net chooses its normalisation.
    fill : float
        Value outside the mask, and where a map has no value.
    backend : {"auto", "cpu", "cuda"}
        Engine; it does not change the result.
    """

    channels: tuple[Channel, ...]
    image_channel: str = "image"
    fill: float = 0.0
    backend: Backend = "auto"

    def __post_init__(self) -> None:
        if not np.isfinite(np.float32(self.fill)):
            msg = f"--fill must be a number that fits in float32, got {self.fill:g}"
            raise ValueError(msg)

    @property
    def names(self) -> list[str]:
        """Names of all channels, that of the image first."""
        return [self.image_channel, *(one.name for one in self.channels)]

    def to_dict(self) -> dict[str, Any]:
        """Return them in types of JSON."""
        return {
            "image_channel": self.image_channel,
            "fill": self.fill,
            "channels": [one.to_dict() for one in self.channels],
        }

    @property
    def pad(self) -> int | None:
        """Voxels around the mask that all files crop to before filters; None if one takes the whole image."""
        pads = [one.parameters.crop for one in self.channels]
        known = [pad for pad in pads if pad is not None]
        return max(known) if len(known) == len(pads) else None


def write_channels(study: Study, settings: ChannelSettings, folder: Path, *, force: bool) -> Outcome:
    """Write a dataset of nnU-Net: images, maps, labels, ``dataset.json`` and ``channels.csv``.

    Cases without labels go to ``imagesTs``.

    Parameters
    ----------
    study : Study
        The cases, and what is done to every image first.
    settings : ChannelSettings
        What the channels are.
    folder : Path
        ``DatasetNNN_Name``.
    force : bool
        Replace channels of other settings.

    Returns
    -------
    Outcome
        How the run ended.

    Raises
    ------
    TypeError, ValueError, OSError, RuntimeError
        If a setting, a name, or the folder is unfit; see `run_cohort` for what happens to cases.
    """
    check_dataset_name(folder)
    check_case_names(study.cases)
    refuse_foreign_folder(folder, _OWN_FILES, force=force)
    refuse_inputs([folder / "settings.json"], study.files)
    label_names(study.cases, ())
    settings = replace(settings, backend=resolve_backend(settings.backend))
    record = {"kind": "channels of nnU-Net", **settings.to_dict(), **study.record()}
    journal = Journal.in_folder(folder, {**record, "parameter_files": _hashes(settings)})
    _refuse_others(folder, journal, study.cases)
    make = partial(_make, study, settings, folder)
    outcome = run_cohort(study.cases, journal, folder / FAILED, make, force=force)
    _describe(study, settings, folder, outcome)
    return outcome


def _make(study: Study, settings: ChannelSettings, folder: Path, case: Case) -> Made:
    """Write the channels and the labels of a case, every file or none."""
    inputs = study.inputs_of(case)
    if inputs.mask is None:
        msg = "maps need a mask, got none; fill in the column mask or labels"
        raise ValueError(msg)
    before = read_image(inputs.image, inputs.choice)
    if before.array.ndim != 3:
        msg = f"nnU-Net's channels need a volume, got the 2D image {inputs.image.name}"
        raise ValueError(msg)
    image = preprocess(before, inputs.steps)
    labels = (
        None
        if case.labels is None
        else moved_labels(read_labels(case.labels, before), before, image, inputs.steps)
    )
    choice = inputs.mask_choice
    region = read_mask_labels(inputs.mask, before, replace(choice, label=None))
    if region.dtype == bool:
        region, choice = region.astype(np.uint8), replace(choice, label=1)
    region = moved_labels(region, before, image, inputs.steps)
    inputs = replace(
        inputs, steps=Preprocessing(), mask_choice=MaskChoice(label=choice.label), outside_mask=float("nan")
    )
    maps = _maps(inputs, settings, image, region)
    images = folder / (TEST_IMAGES if labels is None else IMAGES)
    files: dict[Path, Iterable[npt.NDArray[Any]]] = {image_path(images, case.patient, 0): image.array}
    for number, one in enumerate(maps, start=1):
        files[image_path(images, case.patient, number)] = one.slices(image.array.shape, settings.fill)
    if labels is not None:
        files[label_path(folder / LABELS, case.patient)] = labels
    _write_all(files, image)
    present = [] if labels is None else np.unique(labels[labels != 0]).tolist()
    shape = "x".join(map(str, image.array.shape))
    return Made(
        summary=f"{len(maps) + 1} channels of {shape} voxels",
        outputs=tuple(files),
        result={"labels": present, "modality": before.modality, "bins": [one.bins for one in maps]},
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Map:
    """A map in a box of the image, and the bins of its levels."""

    array: npt.NDArray[np.float32]
    box: tuple[slice, ...]
    bins: dict[str, Any]

    def slices(self, shape: tuple[int, ...], fill: float) -> Iterator[npt.NDArray[np.float32]]:
        """Yield the slices of the map on the grid of the image, with a value where it has none."""
        first, *plane = self.box
        empty = np.full(shape[1:], fill, np.float32)
        for index in range(shape[0]):
            if not first.start <= index < first.stop:
                yield empty
                continue
            values, whole = self.array[index - first.start], empty.copy()
            whole[tuple(plane)] = np.where(np.isnan(values), empty[0, 0], values)
            yield whole


def _write_all(files: Mapping[Path, Iterable[npt.NDArray[Any]]], image: Volume) -> None:
    """Write arrays, slice by slice, on the grid of an image, every file or none; two at a time."""
    writer_of = cache(partial(LightWriter.of, image))

    def write(slices: Iterable[npt.NDArray[Any]], temporary: Path) -> None:
        dtype = slices.dtype if isinstance(slices, np.ndarray) else np.dtype(np.float32)
        writer_of(dtype).write(slices, temporary)

    with ExitStack() as stack:
        temporaries = [stack.enter_context(replacing(path, force=True)) for path in files]
        with ThreadPoolExecutor(_WRITERS) as threads:
            list(threads.map(write, files.values(), temporaries))


def _maps(inputs: Inputs, settings: ChannelSettings, image: Volume, region: npt.NDArray[Any]) -> list[_Map]:
    """Return the maps of the channels, in order, each in the box that its windows reach."""
    whole = tuple(slice(0, size) for size in image.array.shape)
    box = whole if settings.pad is None else bounding_box(region != 0, settings.pad)
    part = image.cropped(box)
    found: dict[str, _Map] = {}
    with temporary_folder() as folder:
        mask = folder / "mask.nrrd"
        write_volume(replace(part, array=np.ascontiguousarray(region[box])), mask)
        own = replace(inputs, mask=mask)
        for number, group in enumerate(_groups(settings.channels)):
            found |= _maps_of_group(own, group, settings.backend, part, box, folder / str(number))
    return [found[one.name] for one in settings.channels]


def _groups(channels: Sequence[Channel]) -> list[list[Channel]]:
    """Return the channels in groups that are mapped together: those of images that have the same features."""
    images: dict[tuple[Any, ...], list[Channel]] = {}
    for one in channels:
        images.setdefault((one.parameters.path, one.filter, one.glcm, one.image), []).append(one)
    groups: dict[tuple[Any, ...], list[Channel]] = {}
    for (path, filter_, glcm, _), members in images.items():
        features = tuple(one.feature.name for one in members)
        groups.setdefault((path, filter_, glcm, features), []).extend(members)
    return list(groups.values())


def _maps_of_group(
    inputs: Inputs, group: list[Channel], backend: Backend, part: Volume, box: tuple[slice, ...], folder: Path
) -> dict[str, _Map]:
    """Return the maps of a group, by the name of the channel."""
    first = group[0]
    images = tuple(dict.fromkeys(one.image for one in group))
    features = tuple(dict.fromkeys(one.feature for one in group))
    filtering = Filtering(filter=_Chosen(first.filter, images), glcm=first.glcm)
    settings = MapSettings(glcm=first.glcm, features=features, filters=(filtering,), backend=backend)
    target = MapTarget(output=folder / "map.nrrd", crop=True)
    names = [map_name(image, feature) for image in images for feature in features]
    paths = target.paths_of(names)
    write_maps(inputs.with_parameters(first.parameters), settings, target, part)
    return {one.name: _read_map(paths[map_name(one.image, one.feature)], box) for one in group}


def _read_map(path: Path, box: tuple[slice, ...]) -> _Map:
    """Return a map and its place in the whole image."""
    record = json.loads(sidecar_path(path).read_text(encoding="utf-8"))
    starts = [part.start for part in box]
    place = tuple(
        slice(start + first, start + last)
        for start, (first, last) in zip(starts, record["crop"], strict=True)
    )
    return _Map(array=read_image(path).array, box=place, bins=record["bins"])


def _hashes(settings: ChannelSettings) -> dict[str, str]:
    return {one.parameters.path.name: sha256_of(one.parameters.path) for one in settings.channels}


def _refuse_others(folder: Path, journal: Journal, cases: Sequence[Case]) -> None:
    """Refuse cases of an earlier run that are not in the cohort: nnU-Net would train on them."""
    listed = {case.patient for case in cases}
    others = sorted(path.stem for path in journal.records.glob("*.json") if path.stem not in listed)
    if others:
        msg = (
            f"{folder} holds cases that the cohort does not list: {', '.join(others[:5])}; remove their "
            "images, labels and records (cases), or choose another folder"
        )
        raise ValueError(msg)


def _describe(study: Study, settings: ChannelSettings, folder: Path, outcome: Outcome) -> None:
    """Write ``dataset.json`` and ``channels.csv`` for the cases that are done."""
    done = [case for case in study.cases if case.patient in outcome.results]
    training = [case for case in done if case.labels is not None]
    present = {label for case in training for label in outcome.results[case.patient]["labels"]}
    labels = label_names(training, present)
    content = dataset_description(folder, settings.names, labels, len(training))
    with replacing(folder / "dataset.json", force=True) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    with (
        replacing(folder / "channels.csv", force=True) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        columns = ("name", "image", "feature", "unit", "params", "filter", "settings")
        writer.writerow(("channel", *columns, "fill"))
        steps = json.dumps(study.common.steps.to_dict().get("preprocessing", {}))
        writer.writerow((0, settings.image_channel, "image", "", "", "", "", steps, ""))
        for number, one in enumerate(settings.channels, start=1):
            row = one.to_dict()
            cells = [json.dumps(row[name]) if isinstance(row[name], dict) else row[name] for name in columns]
            writer.writerow((number, *cells, settings.fill))
