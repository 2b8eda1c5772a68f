"""Intensity standards: landmarks of histograms that MR images of different scanners are mapped to."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from glcm_cuda.base.files import replacing
from pipelines.images.volume import Volume

PERCENTILES = (1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 99)
"""Landmarks of the standard histogram; those of Nyul, Udupa and Zhang (2000)."""

_KIND = "radsynth intensity standard"


def learn_standard(volumes: Iterable[Volume]) -> dict[str, Any]:
    """Return the mean landmarks of images, after the range of each was scaled to 0 to 100.

    The landmarks are `PERCENTILES` of the intensities above the mean of the image, which stand for its
    foreground.

    Raises
    ------
    ValueError
        If an image has too few intensities, or no image is given.
    """
    found = [_to_hundred(_landmarks(volume.array)) for volume in volumes]
    if not found:
        msg = "an intensity standard needs at least one image, got none"
        raise ValueError(msg)
    return {
        "kind": _KIND,
        "percentiles": list(PERCENTILES),
        "landmarks": np.mean(found, axis=0).tolist(),
        "images": len(found),
    }


def write_standard(standard: dict[str, Any], path: Path, *, force: bool = False) -> None:
    """Write a standard as JSON."""
    with replacing(path, force=force) as temporary:
        temporary.write_text(json.dumps(standard, indent=2) + "\n", encoding="utf-8")


def read_standard(path: Path) -> npt.NDArray[np.float64]:
    """Return the landmarks of a standard.

    Raises
    ------
    ValueError
        If the file is not a standard.
    """
    try:
        standard = json.loads(path.read_text(encoding="utf-8"))
        landmarks = np.array(standard["landmarks"], float)
        fits = standard["kind"] == _KIND and standard["percentiles"] == list(PERCENTILES)
    except (ValueError, LookupError, TypeError, RecursionError):
        fits = False
    if not fits or landmarks.shape != (len(PERCENTILES),):
        msg = f"{path} must be an intensity standard from `radsynth cohort standard`, got another file"
        raise ValueError(msg)
    return landmarks


def _landmarks(array: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    foreground = array[array > array.mean(dtype=np.float64)]
    found = np.percentile(foreground, PERCENTILES) if foreground.size else np.zeros(len(PERCENTILES))
    if not (np.diff(found) > 0).all():
        msg = "the image has too few different intensities to be standardised: histogram landmarks coincide"
        raise ValueError(msg)
    return found


def _to_hundred(landmarks: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    scaled: npt.NDArray[np.float64] = 100 * (landmarks - landmarks[0]) / (landmarks[-1] - landmarks[0])
    return scaled


def standardized(array: npt.NDArray[Any], standard: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
    """Return an image whose landmarks are those of a standard.

    In between, the map is linear; beyond the outermost landmarks it goes on with the same slope.

    Parameters
    ----------
    array : array
        Intensities of an image.
    standard : (landmarks,) float64 array
        What `read_standard` returned.

    Raises
    ------
    ValueError
        If the image has too few intensities.
    """
    own = _landmarks(array)
    mapped = np.interp(array, own, standard)
    slopes = np.diff(standard) / np.diff(own)
    mapped = np.where(array < own[0], standard[0] + slopes[0] * (array - own[0]), mapped)
    mapped = np.where(array > own[-1], standard[-1] + slopes[-1] * (array - own[-1]), mapped)
    values: npt.NDArray[Any] = mapped.astype(array.dtype)
    return values
