"""Synthetic maps of one image."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.images.archives import opened
from pipelines.images.output_paths import (
    PARAMETRIC_MAP_SUFFIX,
    check_map_output,
    check_preview_path,
    map_paths,
)
from pipelines.images.parametric_map import check_size, check_sources
from pipelines.images.reading import read_image
from pipelines.images.volume import Volume
from pipelines.maps.inputs import Inputs
from pipelines.maps.synthetic import (
    CHECK_FAILED,
    CheckedMap,
    MapFiles,
    Model,
    SourceImage,
    Synthesis,
    announce_without_card,
    load,
    write_maps,
)
from pipelines.reports.names import feature_title, unit_of
from pipelines.reports.tables import counted
from pipelines.shell.progress import progress_bar
from surrogate.model import keras_versions

_WHERE = {"image": "", "mask": " in the mask", "tissues": " by tissue", "texture": " in texture"}
"""Where the voxels of a check lie, as the summary has it."""


@dataclass(frozen=True, kw_only=True)
class SyntheticTarget:
    """Where the maps of one image are written.

    Parameters
    ----------
    output : Path
        The map. With several features, each file name gets the feature's name; one .dcm holds them all.
    error_map : Path, optional
        The error map, named in the same way.
    preview : Path, optional
        Picture of a slice of the first map.
    force : bool
        Replace files that exist.
    """

    output: Path
    error_map: Path | None = None
    preview: Path | None = None
    force: bool = False

    def files(self, features: tuple[str, ...]) -> MapFiles:
        """Return the file of each feature's map and error map."""
        errors = {} if self.error_map is None else map_paths(self.error_map, features)
        return MapFiles(maps=map_paths(self.output, features), errors=errors, force=self.force)


@dataclass(frozen=True, kw_only=True)
class WrittenMaps:
    """Maps that were written: their files, lines about them, and files of those that failed their check."""

    paths: tuple[Path, ...]
    summary: str
    failed: tuple[Path, ...] = ()


def synthesize_image(
    inputs: Inputs, model_path: Path, synthesis: Synthesis, target: SyntheticTarget
) -> WrittenMaps:
    """Map one image with a trained model, check the maps and write them.

    Parameters
    ----------
    inputs : Inputs
        The image, and the mask in which the maps are checked, if there is one; they cover the whole image.
    model_path : Path
        A .keras file.
    synthesis : Synthesis
        How the image is mapped.
    target : SyntheticTarget
        Where the maps go.

    Raises
    ------
    TypeError, ValueError, OSError
        If the image, the model or an output is unfit.
    """
    inputs.refuse_lone_mask_options()
    model = _loaded(model_path, target)
    files = target.files(model.features)
    _check_outputs(files, inputs.files)
    if target.preview is not None:
        check_preview_path(target.preview, *inputs.files, model_path, force=target.force)
    start = time.perf_counter()
    with opened(inputs.image) as place, progress_bar("Synthetic map") as progress:
        ready = inputs.prepared(read_image(place, inputs.choice))
        volume, mask = ready.image, ready.mask
        if files.parametric is not None:
            check_sources(files.parametric, volume, inputs.choice)
            check_size(files.parametric, len(model.features), volume.array.size)
        image = SourceImage(path=inputs.image, volume=volume, choice=inputs.choice, mask=mask)
        maps = write_maps(image, model, synthesis, files, progress=progress, **inputs.record())
    seconds = time.perf_counter() - start
    announce_without_card(model)
    _draw_preview(image, maps, model, target)
    engine = _keras_backend() if synthesis.runtime == "keras" else synthesis.runtime
    return WrittenMaps(
        paths=tuple(dict.fromkeys(files.maps.values())),
        summary=_summary(volume, maps, model, f"{seconds:.1f} s on {engine}"),
        failed=tuple(dict.fromkeys(files.maps[name] for name, checked in maps.items() if checked.failed)),
    )


def _loaded(path: Path, target: SyntheticTarget) -> Model:
    if path.is_dir():
        msg = f"a single image needs one model, a .keras file, got the folder {path}; give a file in it"
        raise ValueError(msg)
    model = load(path)
    if target.error_map is not None and model.card is None:
        msg = f"--error-map needs the model card beside {path}, which `radsynth train` writes"
        raise ValueError(msg)
    return model


def _check_outputs(files: MapFiles, read: Sequence[Path]) -> None:
    both = set(files.maps.values()) & set(files.errors.values())
    if both:
        msg = f"--error-map and -o must be different files, got {both.pop()} for both"
        raise ValueError(msg)
    for output in (*files.maps.values(), *files.errors.values()):
        check_map_output(output, *read, force=files.force)
    if any(error.suffix == PARAMETRIC_MAP_SUFFIX for error in files.errors.values()):
        msg = "--error-map cannot be a Parametric Map; write .nii.gz, .nrrd or .mha"
        raise ValueError(msg)


def _draw_preview(
    source: SourceImage, maps: Mapping[str, CheckedMap], model: Model, target: SyntheticTarget
) -> None:
    """Draw the map of the first feature, if a preview is wanted."""
    if target.preview is None:
        return
    from pipelines.images.preview import write_preview  # Matplotlib is slow to load

    feature = model.features[0]
    name = feature_title(feature)
    title = f"{name}, exact in place of synthetic" if maps[feature].replaced else f"synthetic {name}"
    write_preview(
        source.volume,
        maps[feature].values,
        target.preview,
        model.settings,
        region=source.mask,
        title=title,
        banner=CHECK_FAILED if maps[feature].failed else None,
        feature=feature,
        force=target.force,
    )


def _keras_backend() -> str:
    return next(name for name in keras_versions() if name != "keras")


def _summary(volume: Volume, maps: Mapping[str, CheckedMap], model: Model, duration: str) -> str:
    shape = "x".join(str(edge) for edge in volume.array.shape)
    several = f"{len(maps)} features, " if len(maps) > 1 else ""
    lines = [f"{shape} voxels, {model.settings.levels} levels, {several}{duration}"]
    return "\n".join(lines + [_verdict(name, checked, model) for name, checked in maps.items()])


def _verdict(feature: str, checked: CheckedMap, model: Model) -> str:
    check, unit = checked.check, unit_of(feature, model.settings)
    return (
        f"{f'{feature}: ' if len(model.features) > 1 else ''}"
        f"{'exact map written instead, check' if checked.replaced else 'check'} of "
        f"{counted(check.voxels, 'voxel')}{_WHERE[check.where]}: r {check.pearson:.4f}, R2 "
        f"{check.explained:.4f}, bias {check.bias:+.4f}, largest error {check.largest:.3f}"
        f"{f' {unit}' if unit else ''}"
    )
