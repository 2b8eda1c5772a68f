"""Synthetic maps of images of any kind."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pipelines.images.dicom.series import Choice
from pipelines.images.volume import Volume
from pipelines.maps.synthetic import (
    CheckedMap,
    Model,
    SourceImage,
    Synthesis,
    announce_without_card,
    checked_map,
    load,
    report,
)
from radsynth.arguments import path_of
from radsynth.inputs import Inputs, Mask
from radsynth.kinds.kind import Spacing
from surrogate import synthesize_features
from surrogate.settings import Runtime
from surrogate.synthesis import TILE


def synthesize(
    image: Any,
    model: str | os.PathLike[str],
    *,
    mask: Any = None,
    label: int | None = None,
    spacing: Spacing = None,
    tile: int = TILE,
    runtime: Runtime = "keras",
    fallback: bool = False,
) -> Any:
    """Synthetic maps of an image by a trained network, checked, as images of the same kind.

    Parameters
    ----------
    image, spacing
        See `radsynth.map`.
    model : path
        A .keras file of ``radsynth train``.
    mask, label
        Where the maps are checked against exact values (docs/honesty.md); they cover the whole image.
    tile : int
        Edge of the squares that are computed at a time, in voxels.
    runtime : {"keras", "onnxruntime"}
        What computes the network.
    fallback : bool
        Return the exact map where a synthetic one fails its check. If not, the log warns of it.

    Returns
    -------
    image of the kind of `image`, or dict of such images
        float32; a dict by feature if the model predicts several.

    Raises
    ------
    TypeError, ValueError, OSError
        If an argument is unfit; see `radsynth.map`.
    """
    trained, synthesis = load(path_of("model", model)), Synthesis(tile, runtime, fallback)
    inputs = Inputs.of(image, mask, label, spacing, None)
    channels = [_mapped(volume, inside, trained, synthesis) for volume, inside in inputs.channels]
    announce_without_card(trained)
    maps = {name: inputs.image([channel[name].values for channel in channels]) for name in trained.features}
    return maps if len(maps) > 1 else maps[trained.features[0]]


def _mapped(volume: Volume, mask: Mask | None, model: Model, synthesis: Synthesis) -> dict[str, CheckedMap]:
    """Return the checked maps of a volume, by feature, after the log said what the checks found."""
    source = SourceImage(path=Path("image"), volume=volume, choice=Choice(), mask=mask)
    synthetic = synthesize_features(
        volume.array, model.network, tile=synthesis.tile, runtime=synthesis.runtime
    )
    maps = {name: checked_map(source, name, synthetic[name], model, synthesis) for name in model.features}
    report(maps, {name: f"synthetic {name}" for name in maps})
    return maps
