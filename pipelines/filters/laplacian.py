"""The Laplacian of a Gaussian as pyradiomics has it: ITK's recursive filter, scaled by sigma squared.

It approximates the Gaussian by a recursion, and is not IBSI's filter.

References
----------
ITK, LaplacianRecursiveGaussianImageFilter; pyradiomics, imageoperations.py: getLoGImage.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import SimpleITK

from pipelines.filters.contract import Derived, Scope
from pipelines.filters.intensity import refuse_not_finite
from pipelines.images.volume import Volume, image_of, refuse_without_spacing

_FEWEST_VOXELS = 4
"""Along an axis: the recursion begins with four."""


@dataclass(frozen=True, kw_only=True)
class Laplacian:
    """Laplacian of Gaussian, an image for each width.

    Parameters
    ----------
    sigma : tuple of int or float
        Widths of the Gaussian in mm. Names hold them as they are given: 2 gives another name than 2.0, as in
        pyradiomics.
    """

    sigma: tuple[float, ...]

    def __post_init__(self) -> None:
        for sigma in self.sigma:
            if not 0 < sigma < math.inf:
                msg = f"sigma must be a width in mm above 0, got {sigma:g}"
                raise ValueError(msg)

    def names(self, dimensions: int, scope: Scope) -> tuple[str, ...]:
        """Return the names of the images; pyradiomics says 3D of 2D images too."""
        return tuple(map(_name, self.sigma))

    def check(self, volume: Volume, scope: Scope) -> None:
        """Refuse an image without spacing, and one that is too small along an axis.

        There pyradiomics warns and leaves maps out.
        """
        refuse_not_finite("log", volume)
        refuse_without_spacing("log", volume)
        size, spacing = np.array(volume.array.shape[::-1]), np.array(volume.spacing_mm)
        for sigma in self.sigma:
            fewest = np.maximum(np.ceil(sigma / spacing) + 1, _FEWEST_VOXELS).astype(int)
            if (size < fewest).any():
                axis = int(np.argmax(size < fewest))
                msg = (
                    f"log with sigma {sigma:g} mm needs at least {fewest[axis]} voxels along {'xyz'[axis]}, "
                    f"{spacing[axis]:g} mm apart, got {size[axis]}; give "
                    "a smaller sigma (4 voxels are the least) or a larger image (of a crop: padDistance)"
                )
                raise ValueError(msg)

    def images(self, volume: Volume, scope: Scope) -> Iterator[Derived]:
        """Derive the images; float32, or float64 where the image is."""
        image = image_of(volume)
        for sigma in self.sigma:
            itk = SimpleITK.LaplacianRecursiveGaussianImageFilter()
            itk.SetNormalizeAcrossScale(True)
            itk.SetSigma(float(sigma))
            values = SimpleITK.GetArrayFromImage(itk.Execute(image))
            yield Derived(name=_name(sigma), volume=replace(volume, array=values))

    def to_dict(self) -> dict[str, Any]:
        """Return the settings."""
        return {"type": "log", "sigma_mm": list(self.sigma)}


def _name(sigma: float) -> str:
    return f"log-sigma-{str(sigma).replace('.', '-')}-mm-3D"
