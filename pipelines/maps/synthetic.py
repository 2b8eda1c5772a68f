"""Synthetic maps of one image: made, checked, replaced where that is asked for, and written."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.images.dicom.series import Choice

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from glcm_cuda import GLCMSettings
    from pipelines.images.volume import Volume
    from surrogate.card import Card, ErrorBand
    from surrogate.checks import SpotCheck
    from surrogate.settings import Runtime

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Model:
    """A loaded model and where it came from.

    Parameters
    ----------
    network : keras.Model
        Ready to predict whole slices.
    path : Path
        Its ``.keras`` file.
    sha256 : str
        Checksum of the file.
    card : Card or None
        What was measured of it; None where no card lies beside the file.
    """

    network: Any
    path: Path
    sha256: str
    card: Card | None

    @property
    def features(self) -> tuple[str, ...]:
        """Names of what it gives."""
        from surrogate import model_features

        return model_features(self.network)

    @property
    def settings(self) -> GLCMSettings:
        """Of its maps."""
        from surrogate import glcm_settings

        return glcm_settings(self.network)


@dataclass(frozen=True)
class Made:
    """A map that was written.

    Parameters
    ----------
    values : float32 array of the image's shape
        Synthetic or, where `replaced`, exact.
    check : SpotCheck
        Of the synthetic map.
    replaced : bool
        Whether the exact map stands in its place.
    """

    values: npt.NDArray[np.float32]
    check: SpotCheck
    replaced: bool


@dataclass(frozen=True)
class Synthesis:
    """How maps are made, whatever the image.

    Parameters
    ----------
    tile : int
        Edge of the squares that are computed at a time, in voxels.
    runtime : {"keras", "onnxruntime"}
        What computes the network.
    fallback : bool
        Whether a map that fails its check is replaced by the exact one.
    error_map : Path or None
        Where the error map goes.
    """

    tile: int
    runtime: Runtime
    fallback: bool
    error_map: Path | None = None


def write_maps(
    source: Path,
    volume: Volume,
    outputs: Mapping[str, Path],
    model: Model,
    how: Synthesis,
    choice: Choice,
    *,
    errors: Mapping[str, Path] | None = None,
    force: bool,
    progress: Callable[[int, int], None] | None = None,
    **details: Any,
) -> dict[str, Made]:
    """Map one image, check the maps and write them, every file or none.

    Parameters
    ----------
    source : Path
        Where the image came from.
    volume : Volume
        The image.
    outputs, errors : mapping of str to Path
        Of each feature, where map and error map go; all maps to one .dcm.
    model : Model
        What maps it.
    how : Synthesis
        How.
    choice : Choice
        What was chosen of the source, for the record.
    force : bool
        Replace files that exist.
    progress : callable (done, total), optional
        Called with the tiles done.
    details
        Further entries of the record.

    Returns
    -------
    dict of Made
        By feature.
    """
    from glcm_cuda import intensity_range
    from pipelines.images.parametric_map import SUFFIX, write_parametric_map
    from pipelines.images.provenance import provenance
    from pipelines.images.writing import staged_map
    from surrogate import synthesize_features
    from surrogate.model import keras_versions

    synthetic = synthesize_features(
        volume.array, model.network, tile=how.tile, runtime=how.runtime, progress=progress
    )
    maps = {name: _checked(volume, name, synthetic[name], model, how) for name in outputs}
    _report(maps, outputs)
    common = {
        "source": source,
        "settings": model.settings,
        "intensity_range": intensity_range(volume.array, model.settings),
        **choice.to_dict(),
        **details,
    }
    records = {}
    with ExitStack() as stack:
        for name, made in maps.items():
            record = provenance(feature=name, **common, **_made_record(name, made, model, how))
            record["software"] |= keras_versions()
            records[name] = dict(record)
            if outputs[name].suffix != SUFFIX:
                staged = staged_map(made.values, volume, outputs[name], provenance=record, force=force)
                stack.enter_context(staged)
            if errors and model.card is not None:
                error, about = _error_map(synthetic[name], made, model.card.features[name].error_band)
                record |= about | {"measured_on": model.card.basis}
                stack.enter_context(staged_map(error, volume, errors[name], provenance=record, force=force))
        together = {name: made.values for name, made in maps.items() if outputs[name].suffix == SUFFIX}
        if together:
            path = next(iter(outputs.values()))
            write_parametric_map(together, volume, path, _joined(records), force=force)
    return maps


def _joined(records: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the record of several maps: the first one's, and of the others what differs from it."""
    names = list(records)
    first = records[names[0]]
    others = {
        name: {key: value for key, value in records[name].items() if value != first[key]}
        for name in names[1:]
    }
    return {**first, "features": names, **({"others": others} if others else {})}


def _checked(
    volume: Volume, feature: str, synthetic: npt.NDArray[np.float32], model: Model, how: Synthesis
) -> Made:
    """Check a map; where that fails and it is asked for, put the exact one in its place."""
    from glcm_cuda import feature_maps
    from surrogate.checks import spot_check

    check = spot_check(volume.array, synthetic, model.settings, feature, model.card, modality=volume.modality)
    if not (check.failed and how.fallback):
        return Made(synthetic, check, replaced=False)
    exact = feature_maps(volume.array, [feature], model.settings, backend="cpu")[feature]
    return Made(exact, check, replaced=True)


def announce_without_card(model: Model) -> None:
    """Say if nothing is known of how well a model agrees."""
    if model.card is None:
        _log.info("%s has no model card: the check has nothing to be compared with", model.path.name)


def _report(maps: Mapping[str, Made], outputs: Mapping[str, Path]) -> None:
    """Warn, one line each; what the image is flagged for is the same for every feature."""
    for name, made in maps.items():
        for line in made.check.failures:
            _log.warning("%s: %s", outputs[name], line)
        if made.replaced:
            _log.warning("%s: the exact map is written instead", outputs[name])
    first = next(iter(maps))
    for line in maps[first].check.flags:
        _log.warning("%s: %s", outputs[first], line)


def _made_record(feature: str, made: Made, model: Model, how: Synthesis) -> dict[str, Any]:
    """Return what the sidecar says of a map beyond what it says of exact ones."""
    from pipelines.images.provenance import source_record
    from pipelines.reports.names import feature_title
    from surrogate.card import card_path

    name = feature_title(feature)
    kind = f"synthetic GLCM {name} map (network prediction)"
    backend = f"Keras {_keras_version()} on {keras_backend()}" if how.runtime == "keras" else how.runtime
    if made.replaced:
        kind, backend = f"GLCM {name} map, exact in place of a synthetic one", "cpu"
    card = None if model.card is None else card_path(model.path)
    return {
        "backend": backend,
        "kind": kind,
        "model": model.path.name,
        "model_sha256": model.sha256,
        **({"model_card": None} if card is None else source_record(card, "model_card")),
        "runtime": how.runtime,
        "spot_check": made.check.to_dict(),
        "outside_training_range": made.check.outside,
        "fallback": "exact" if made.replaced else None,
    }


def _error_map(
    synthetic: npt.NDArray[np.float32], made: Made, band: ErrorBand
) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
    """Return the error map and what its sidecar says; an exact map has no error."""
    about = {
        "kind": "half width of the band that holds 95 % of the errors of a synthetic map",
        "coverage": band.coverage,
    }
    error = band.at(synthetic)
    return (0 * error if made.replaced else error), about


def load(path: Path) -> Model:
    """Return the model of a file, for whole slices, with its card if one lies beside.

    Raises
    ------
    ValueError
        If it is no model of ours, or the card is of another.
    """
    from pipelines.images.provenance import sha256_of
    from surrogate import dense_model, load_model
    from surrogate.card import card_path, read_card

    model = Model(dense_model(load_model(path)), path, sha256_of(path), read_card(path))
    if model.card is not None and not model.card.is_of(model.features, model.settings):
        msg = f"{card_path(path)} is the card of another model than {path.name}; remove it, or train again"
        raise ValueError(msg)
    return model


def keras_backend() -> str:
    """Return what Keras computes with."""
    import keras

    return str(keras.backend.backend())


def _keras_version() -> str:
    import keras

    return str(keras.__version__)
