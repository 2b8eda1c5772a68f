"""Synthetic maps: made by a network, checked, replaced by exact ones where that is asked for, written."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from glcm_cuda import GLCMSettings, feature_maps, intensity_range
from glcm_cuda.base.checks import check_choice
from pipelines.images.dicom.series import Choice
from pipelines.images.output_paths import PARAMETRIC_MAP_SUFFIX
from pipelines.images.parametric_map import write_parametric_map
from pipelines.images.provenance import provenance, sha256_of, source_record
from pipelines.images.volume import Volume
from pipelines.images.writing import staged_map
from pipelines.reports.names import full_title
from surrogate import dense_model, glcm_settings, load_model, model_features, synthesize_features
from surrogate.honesty.card import UNKNOWN_COVERAGE, Card, card_path, read_card
from surrogate.honesty.checks import SpotCheck, spot_check
from surrogate.honesty.limits import Clipped, clip
from surrogate.model import keras_versions
from surrogate.settings import Runtime

_log = logging.getLogger(__name__)

CHECK_FAILED = "CHECK FAILED"
"""What pictures and last lines say of a map that failed its check."""


@dataclass(frozen=True)
class Model:
    """A trained model, loaded.

    Parameters
    ----------
    network : keras.Model
        Ready to predict whole slices.
    path : Path
        Its ``.keras`` file.
    sha256 : str
        Checksum of the file.
    card : Card or None
        What was measured of it; None without a card beside the file.
    """

    network: Any
    path: Path
    sha256: str
    card: Card | None

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features that it predicts."""
        return model_features(self.network)

    @property
    def settings(self) -> GLCMSettings:
        """Settings of its maps."""
        return glcm_settings(self.network)


@dataclass(frozen=True)
class CheckedMap:
    """A synthetic map that was checked, or the exact one in its place.

    Parameters
    ----------
    values : float32 array of the image's shape
        The map: exact if `replaced`, otherwise synthetic.
    clipped : Clipped
        The synthetic map, held to what is possible.
    check : SpotCheck
        Result for the synthetic map.
    replaced : bool
        Whether `values` are those of the exact map.
    """

    values: npt.NDArray[np.float32]
    clipped: Clipped
    check: SpotCheck
    replaced: bool

    @property
    def failed(self) -> bool:
        """Whether these values failed their check."""
        return self.check.failed and not self.replaced


@dataclass(frozen=True)
class Synthesis:
    """How images are mapped.

    Parameters
    ----------
    tile : int
        Edge of the squares that are computed at a time, in voxels.
    runtime : {"keras", "onnxruntime"}
        What computes the network.
    fallback : bool
        Whether a map that fails its check is replaced by the exact one.

    Raises
    ------
    ValueError
        If the tile or the runtime is unfit.
    """

    tile: int
    runtime: Runtime
    fallback: bool

    def __post_init__(self) -> None:
        if self.tile < 1:
            msg = f"--tile must be 1 or more, got {self.tile}"
            raise ValueError(msg)
        check_choice("--runtime", self.runtime, get_args(Runtime))


@dataclass(frozen=True, kw_only=True, eq=False)
class SourceImage:
    """The image that is mapped, and where it came from.

    Parameters
    ----------
    path : Path
        File, folder or archive.
    volume : Volume
        The image in it.
    choice : Choice
        Which series and phase of it that is.
    mask : bool array of the volume's shape, optional
        Where the maps are checked; they cover the whole image.
    labels : uint8 array of the volume's shape, optional
        Tissues in which the maps are checked, if there is no mask.
    tissues : mapping of int to str
        Names of the labels.
    """

    path: Path
    volume: Volume
    choice: Choice
    mask: npt.NDArray[np.bool_] | None = None
    labels: npt.NDArray[np.uint8] | None = None
    tissues: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class MapFiles:
    """Where the maps of one image go.

    Parameters
    ----------
    maps : mapping of str to Path
        By feature; all in one file if it is a .dcm.
    errors : mapping of str to Path
        Error maps, by feature; empty for none.
    force : bool
        Replace files that exist.
    """

    maps: Mapping[str, Path]
    errors: Mapping[str, Path] = field(default_factory=dict)
    force: bool = False

    @property
    def parametric(self) -> Path | None:
        """The Parametric Map that holds the maps of all features, if they go into one."""
        first = next(iter(self.maps.values()))
        return first if first.suffix == PARAMETRIC_MAP_SUFFIX else None


def write_maps(
    source: SourceImage,
    model: Model,
    synthesis: Synthesis,
    files: MapFiles,
    *,
    progress: Callable[[int, int], None] | None = None,
    **details: Any,
) -> dict[str, CheckedMap]:
    """Map one image, check the maps and write them, every file or none.

    Parameters
    ----------
    source : SourceImage
        The image.
    model : Model
        What maps it.
    synthesis : Synthesis
        How it is mapped.
    files : MapFiles
        Where the maps go; error maps need a model with a card.
    progress : callable (done, total), optional
        Called with the tiles done.
    details
        Further entries of the record.

    Returns
    -------
    dict of CheckedMap
        By feature.
    """
    volume = source.volume
    synthetic = synthesize_features(
        volume.array, model.network, tile=synthesis.tile, runtime=synthesis.runtime, progress=progress
    )
    maps = {name: checked_map(source, name, synthetic[name], model, synthesis) for name in files.maps}
    report(maps, files.maps)
    records = _records(source, maps, model, synthesis, details)
    with ExitStack() as stack:
        for name, checked in maps.items():
            if files.parametric is None:
                path, record = files.maps[name], records[name]
                stack.enter_context(
                    staged_map(checked.values, volume, path, provenance=record, force=files.force)
                )
            if files.errors and model.card is not None:
                error, about = _error_map(checked, model.card, name)
                path, record = files.errors[name], records[name] | about
                if model.card.features[name].error_band.coverage is None:
                    _log.warning("%s: its coverage is not known: %s", path, UNKNOWN_COVERAGE)
                stack.enter_context(staged_map(error, volume, path, provenance=record, force=files.force))
        if files.parametric is not None:
            values = {name: checked.values for name, checked in maps.items()}
            write_parametric_map(values, volume, files.parametric, _joined(records), force=files.force)
    return maps


def _records(
    source: SourceImage,
    maps: Mapping[str, CheckedMap],
    model: Model,
    synthesis: Synthesis,
    details: Mapping[str, Any],
) -> dict[str, dict[str, Any]]:
    """Return the provenance of each map."""
    common = {
        "source": source.path,
        "settings": model.settings,
        "intensity_range": intensity_range(source.volume.array, model.settings),
        **source.choice.to_dict(),
        **details,
    }
    records = {}
    for name, checked in maps.items():
        record = provenance(feature=name, **common, **_checked_record(name, checked, model, synthesis))
        record["software"] |= keras_versions()
        records[name] = record
    return records


def _joined(records: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Return one record for several maps: that of the first, and how those of the others differ."""
    names = list(records)
    first = records[names[0]]
    others = {
        name: {key: value for key, value in records[name].items() if value != first[key]}
        for name in names[1:]
    }
    return {**first, "features": names, **({"others": others} if others else {})}


def checked_map(
    source: SourceImage, feature: str, synthetic: npt.NDArray[np.float32], model: Model, synthesis: Synthesis
) -> CheckedMap:
    """Return a map of a feature, clipped and checked; the exact one if the check fails and that is asked for.

    Parameters
    ----------
    source : SourceImage
        The image.
    feature : str
        Name of the feature.
    synthetic : float32 array of the image's shape
        What the network predicts.
    model, synthesis
        See `write_maps`.
    """
    volume, clipped = source.volume, clip(synthetic, feature, model.settings)
    check = spot_check(
        volume.array,
        clipped.values,
        model.settings,
        feature,
        model.card,
        mask=source.mask,
        labels=source.labels,
        tissues=source.tissues,
        modality=volume.modality,
    )
    if not (check.failed and synthesis.fallback):
        return CheckedMap(clipped.values, clipped, check, replaced=False)
    exact = feature_maps(volume.array, [feature], model.settings, backend="cpu")[feature]
    return CheckedMap(exact, clipped, check, replaced=True)


def announce_without_card(model: Model) -> None:
    """Log that a model has no card, so that its maps cannot be judged."""
    if model.card is None:
        _log.info("%s has no model card, so the check has no reference", model.path.name)


def report(maps: Mapping[str, CheckedMap], outputs: Mapping[str, object]) -> None:
    """Warn of what the checks found, a line each; flags concern the image and are the same for all maps.

    Parameters
    ----------
    maps : mapping of str to CheckedMap
        By feature.
    outputs : mapping of str to object
        What the lines call each map.
    """
    for name, checked in maps.items():
        _tell_clipped(outputs[name], checked.clipped)
        for line in checked.check.failures:
            _log.warning("%s: %s", outputs[name], line)
        if checked.replaced:
            _log.warning("%s: the exact map takes its place", outputs[name])
    first = next(iter(maps))
    for line in maps[first].check.flags:
        _log.warning("%s: %s", outputs[first], line)


def _tell_clipped(output: object, clipped: Clipped) -> None:
    parts = []
    if clipped.above:
        parts.append(f"{clipped.above} above the largest possible, {clipped.high:.4g}")
    if clipped.below:
        parts.append(f"{clipped.below} below the smallest possible, {clipped.low:.4g}")
    if parts:
        _log.warning("%s: clipped values: %s", output, "; ".join(parts))


def _checked_record(feature: str, checked: CheckedMap, model: Model, synthesis: Synthesis) -> dict[str, Any]:
    """Return what the sidecar of a synthetic map says beyond that of an exact one."""
    name = full_title(feature)
    kind = f"synthetic {name} map (network prediction)"
    backend: str = synthesis.runtime
    if backend == "keras":
        (_, version), (library, _) = keras_versions().items()
        backend = f"Keras {version} on {library}"
    if checked.replaced:
        kind, backend = f"{name} map (exact, instead of a synthetic one)", "cpu"
    card = None if model.card is None else card_path(model.path)
    return {
        "backend": backend,
        "kind": kind,
        "model": model.path.name,
        "model_sha256": model.sha256,
        **({"model_card": None} if card is None else source_record(card, "model_card")),
        "runtime": synthesis.runtime,
        "spot_check": checked.check.to_dict(),
        "outside_training_range": checked.check.outside,
        "clipped": None if checked.replaced else checked.clipped.to_dict(),
        "fallback": "exact" if checked.replaced else None,
    }


def _error_map(
    checked: CheckedMap, card: Card, feature: str
) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
    """Return the error map, which is 0 for an exact map, and what its sidecar says of it."""
    band = card.features[feature].error_band
    about: dict[str, Any] = {
        "kind": "half-width of the band that contains 95 % of the errors of a synthetic map",
        "coverage": "not known",
        "measured_on": card.basis,
    }
    if band.coverage is not None:
        mean, least = band.coverage
        about |= {"coverage": {"mean": mean, "least": least}, "widened": band.factor}
    error = band.at(checked.clipped.values)
    return (0 * error if checked.replaced else error), about


def load(path: Path) -> Model:
    """Return a trained model, ready for whole slices, with the card beside its file if there is one.

    Raises
    ------
    ValueError
        If the file is not one of our models, or the card belongs to another model.
    """
    model = Model(dense_model(load_model(path)), path, sha256_of(path), read_card(path))
    if model.card is not None and not model.card.is_of(model.features, model.settings):
        msg = f"{card_path(path)} does not belong to the model {path.name}; remove it or train again"
        raise ValueError(msg)
    return model
