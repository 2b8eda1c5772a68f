"""The magnitude of the gradient, as pyradiomics and ITK define it.

References
----------
ITK, GradientMagnitudeImageFilter; pyradiomics, imageoperations.py: getGradientImage.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import SimpleITK

from pipelines.filters.contract import Derived, Scope
from pipelines.filters.intensity import refuse_not_finite
from pipelines.images.volume import Volume, image_of, refuse_without_spacing


@dataclass(frozen=True, kw_only=True)
class Gradient:
    """Magnitude of the gradient.

    Parameters
    ----------
    use_spacing : bool
        Whether it is per mm; otherwise per voxel (``gradientUseSpacing``).
    """

    use_spacing: bool = True

    def names(self, dimensions: int, scope: Scope) -> tuple[str, ...]:
        """Return the name of the image."""
        return ("gradient",)

    def check(self, volume: Volume, scope: Scope) -> None:
        """Refuse an image that is not finite, and one without the spacing that is used."""
        refuse_not_finite("gradient", volume)
        if self.use_spacing:
            refuse_without_spacing("gradient", volume, ", or take the gradient per voxel (use_spacing=no)")

    def images(self, volume: Volume, scope: Scope) -> Iterator[Derived]:
        """Derive the image: central differences, at the border with the border's voxel repeated; float32."""
        itk = SimpleITK.GradientMagnitudeImageFilter()
        itk.SetUseImageSpacing(self.use_spacing)
        values = SimpleITK.GetArrayFromImage(itk.Execute(image_of(volume)))
        yield Derived(name="gradient", volume=replace(volume, array=values))

    def to_dict(self) -> dict[str, Any]:
        """Return the settings."""
        return {"type": "gradient", "use_spacing": self.use_spacing}
