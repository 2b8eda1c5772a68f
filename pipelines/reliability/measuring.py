"""Maps of a case at the voxels of its mask: what they cost, and kept between runs."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import glcm_cuda
from glcm_cuda import feature_maps, find_bins
from glcm_cuda.base.files import replacing
from glcm_cuda.families.feature import Feature
from glcm_cuda.families.registry import check_features
from glcm_cuda.levels.arrays import bounding_box
from glcm_cuda.levels.bins import Bins
from pipelines.reliability.perturbations import OF_SETTINGS, RETEST, Case, Mask, Perturbation
from pipelines.shell.progress import progress_bar

MapsAtVoxels = npt.NDArray[np.float32]
"""(F, N): the features' values at the N voxels of the unperturbed mask; NaN where there is none."""

_TRIED_VOXELS = 512
"""Voxels of the crop in which the rate is measured."""

_AT_ONCE = 8
"""Features whose maps of the whole box are held at a time, where the box is large."""

_LARGE_BOX = 1 << 22


@dataclass(frozen=True, kw_only=True)
class Measurer:
    """Computes maps, or takes them from an earlier run.

    Parameters
    ----------
    features : tuple of Feature
        In the order of the maps.
    backend : {"auto", "cpu", "cuda"}
        Engine; it does not change the result.
    folder : Path
        Where maps are kept.
    inputs : dict
        What identifies image and mask: part of the key of each file.
    """

    features: tuple[Feature, ...]
    backend: Any
    folder: Path
    inputs: dict[str, Any]

    def path_of(self, case: Case, details: dict[str, Any]) -> Path:
        """Return the file of the maps of a perturbed case, named by all that they depend on."""
        key = {
            "version": glcm_cuda.__version__,
            "inputs": self.inputs,
            "settings": case.settings.to_dict(),
            "features": [feature.name for feature in self.features],
            "details": details,
        }
        text = json.dumps(key, sort_keys=True).encode()
        return self.folder / f"{hashlib.sha256(text).hexdigest()[:24]}.npy"

    def is_kept(self, case: Case, details: dict[str, Any]) -> bool:
        """Return whether an earlier run has finished these maps."""
        return self.path_of(case, details).is_file()

    def maps(self, case: Case, voxels: Mask, details: dict[str, Any], label: str) -> MapsAtVoxels:
        """Return the maps of a perturbed case at the voxels of the unperturbed mask.

        Parameters
        ----------
        case : Case
            The perturbed case.
        voxels : bool array of the image's shape
            The unperturbed mask.
        details : dict
            What the perturbation is.
        label : str
            What the progress bar calls it.

        Features that the settings exclude are NaN; see `excluded_by`.

        Raises
        ------
        ValueError
            If the engine refuses the case.
        """
        path = self.path_of(case, details)
        if path.is_file():
            kept: MapsAtVoxels = np.load(path)
            return kept
        excluded = excluded_by(self.features, case)
        values = np.full((len(self.features), np.count_nonzero(voxels)), np.nan, np.float32)
        rows = [row for row, feature in enumerate(self.features) if feature.name not in excluded]
        if rows:
            chosen = [self.features[row] for row in rows]
            values[rows] = maps_at(case, voxels, chosen, self.backend, label)
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.save(file, values)
        return values


def bins_of(case: Case) -> Bins:
    """Return the bins of a case's grey levels."""
    return find_bins(case.image, case.settings, case.mask)


def maps_at(
    case: Case, voxels: Mask, features: Sequence[Feature], backend: Any, label: str = ""
) -> MapsAtVoxels:
    """Return maps at some voxels; NaN at those outside the case's mask."""
    bins = bins_of(case)
    box = bounding_box(case.mask, max(case.settings.radii))
    inside = case.mask[box]
    image = np.ascontiguousarray(case.image[box])
    result = np.full((len(features), np.count_nonzero(voxels)), np.nan, np.float32)
    # Voxels of both masks, counted along those of `voxels` and those of the box.
    common = (voxels & case.mask)[voxels]
    wanted = voxels[box] & inside
    at_once = len(features) if image.size <= _LARGE_BOX else _AT_ONCE
    for start in range(0, len(features), at_once):
        part = features[start : start + at_once]
        with progress_bar(label) as progress:
            maps = feature_maps(
                image,
                [feature.name for feature in part],
                case.settings,
                mask=inside,
                bins=bins,
                spacing=case.spacing_mm,
                backend=backend,
                progress=progress,
            )
        for row, feature in enumerate(part, start):
            result[row, common] = maps[feature.name][wanted]
    return result


def excluded_by(features: Sequence[Feature], case: Case) -> dict[str, str]:
    """Return why settings exclude features, by name; empty where none is excluded."""
    bins, excluded = bins_of(case), {}
    for feature in features:
        try:
            check_features((feature,), case.settings, bins)
        except ValueError as error:
            excluded[feature.name] = str(error)
    return excluded


def seconds_per_voxel(case: Case, features: Sequence[Feature], backend: Any) -> float:
    """Return how long one voxel of the mask takes, measured in a small crop; compilation is not counted."""
    places = np.argwhere(case.mask)
    centre = places[len(places) // 2]
    near = np.argsort(np.max(np.abs(places - centre), axis=1), kind="stable")[:_TRIED_VOXELS]
    crop = np.zeros_like(case.mask)
    crop[tuple(places[near].T)] = True
    tried = replace(case, mask=crop)
    maps_at(tried, crop, features, backend)
    start = time.perf_counter()
    maps_at(tried, crop, features, backend)
    return (time.perf_counter() - start) / len(near)


def seconds_of_changes(case: Case, perturbations: Sequence[Perturbation]) -> float:
    """Return how long it takes to perturb image and mask, without the maps, measured in the mask's box."""
    small = case.boxed()
    start = time.perf_counter()
    for one in perturbations:
        if one.kind not in (*OF_SETTINGS, RETEST) and not one.unfit:
            one.change(small)
    return (time.perf_counter() - start) * case.image.size / small.image.size
