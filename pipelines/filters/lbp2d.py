"""Local binary patterns of slices, as pyradiomics computes them with scikit-image.

References
----------
Ojala, Pietikainen, Maenpaa 2002; scikit-image, local_binary_pattern; pyradiomics, imageoperations.py:
getLBP2DImage.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from glcm_cuda.base.checks import check_choice, check_int
from glcm_cuda.base.extras import library
from pipelines.filters.contract import Derived, Scope
from pipelines.filters.intensity import refuse_not_finite
from pipelines.filters.thin import tell_thin
from pipelines.images.volume import Volume

METHODS = ("default", "ror", "uniform", "nri_uniform", "var")


@dataclass(frozen=True, kw_only=True)
class LocalBinaryPattern2D:
    """Local binary patterns of every slice.

    Parameters
    ----------
    radius : float
        Of the circle, in voxels.
    samples : int
        Points on it.
    method : {"uniform", "default", "ror", "nri_uniform", "var"}
        How a pattern becomes a number; "uniform" gives 0 to samples + 1.
    """

    radius: float = 1.0
    samples: int = 8
    method: str = "uniform"

    def __post_init__(self) -> None:
        if not 0 < self.radius < math.inf:
            msg = f"radius must be a number of voxels above 0, got {self.radius:g}"
            raise ValueError(msg)
        check_int("samples", self.samples, 1, 24)
        check_choice("method", self.method, METHODS)

    def names(self, dimensions: int, scope: Scope) -> tuple[str, ...]:
        """Return the name of the image."""
        return ("lbp-2D",)

    def check(self, volume: Volume, scope: Scope) -> None:
        """Refuse an image that is not finite, or a missing library; say if the circle is larger."""
        library("skimage.feature", "lbp-2D")
        refuse_not_finite("lbp-2D", volume)
        deep = volume.array.ndim == 3
        axes = (axis for axis in range(volume.array.ndim) if not (deep and axis == scope.slice_axis))
        tell_thin("lbp-2D", 2 * math.ceil(self.radius) + 1, volume, axes, "samples beyond it are 0")

    def images(self, volume: Volume, scope: Scope) -> Iterator[Derived]:
        """Derive the image, in float64.

        pyradiomics keeps the image's type, which cuts off the fractions of method "var", and wraps patterns
        that it cannot hold.
        """
        patterns = library("skimage.feature", "lbp-2D").local_binary_pattern
        values = np.empty(volume.array.shape)
        deep = volume.array.ndim == 3
        slices = np.swapaxes(volume.array, 0, scope.slice_axis) if deep else volume.array[None]
        targets = np.swapaxes(values, 0, scope.slice_axis) if deep else values[None]
        for source, target in zip(slices, targets, strict=True):
            target[...] = patterns(source, P=self.samples, R=self.radius, method=self.method)
        yield Derived(name="lbp-2D", volume=replace(volume, array=values))

    def to_dict(self) -> dict[str, Any]:
        """Return the settings."""
        return {"type": "lbp-2D", **vars(self)}
