"""Filters that change each intensity by itself, as pyradiomics defines them.

Every result is scaled to the largest absolute intensity m of the whole image, not of the mask.

References
----------
pyradiomics, imageoperations.py: getSquareImage, getSquareRootImage, getLogarithmImage, getExponentialImage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from glcm_cuda.base.checks import check_choice
from pipelines.filters.contract import Derived, Scope
from pipelines.images.volume import Volume

Floats = npt.NDArray[np.float64]


def square(array: Floats) -> Floats:
    """Return (x / sqrt m)^2; the sign is lost, against pyradiomics' documentation."""
    return np.asarray((1 / np.sqrt(_largest(array)) * array) ** 2)


def square_root(array: Floats) -> Floats:
    """Return sign(x) sqrt(|x| m)."""
    return np.copysign(np.sqrt(np.abs(array) * _largest(array)), array)


def logarithm(array: Floats) -> Floats:
    """Return sign(x) log(|x| + 1), scaled so that the largest absolute value is m."""
    logarithms = np.copysign(np.log(np.abs(array) + 1), array)
    return np.asarray(logarithms * (_largest(array) / _largest(logarithms)))


def exponential(array: Floats) -> Floats:
    """Return exp(x log(m) / m)."""
    largest = _largest(array)
    return np.asarray(np.exp(np.log(largest) / largest * array))


def _largest(array: Floats) -> np.float64:
    return np.float64(np.abs(array).max())


_FORMULAS: dict[str, Callable[[Floats], Floats]] = {
    "square": square,
    "squareroot": square_root,
    "logarithm": logarithm,
    "exponential": exponential,
}


@dataclass(frozen=True)
class Original:
    """The image itself, among images that filters derive."""

    def names(self, dimensions: int, scope: Scope) -> tuple[str, ...]:
        """Return the name."""
        return ("original",)

    def check(self, volume: Volume, scope: Scope) -> None:
        """Pass every image."""

    def images(self, volume: Volume, scope: Scope) -> Iterator[Derived]:
        """Return the image."""
        yield Derived(name="original", volume=volume)

    def to_dict(self) -> dict[str, Any]:
        """Return the name alone."""
        return {"type": "original"}


@dataclass(frozen=True)
class Intensity:
    """A function of single intensities.

    Parameters
    ----------
    function : {"square", "squareroot", "logarithm", "exponential"}
        Its name, which is also that of the image.
    """

    function: str

    def __post_init__(self) -> None:
        check_choice("function", self.function, tuple(_FORMULAS))

    def names(self, dimensions: int, scope: Scope) -> tuple[str, ...]:
        """Return the name of the image."""
        return (self.function,)

    def check(self, volume: Volume, scope: Scope) -> None:
        """Refuse an image that is 0 everywhere, or not finite."""
        refuse_not_finite(self.function, volume)
        if not volume.array.any():
            msg = f"{self.function} needs an image that is not 0 everywhere"
            raise ValueError(msg)

    def images(self, volume: Volume, scope: Scope) -> Iterator[Derived]:
        """Derive the image, in float64."""
        values = _FORMULAS[self.function](volume.array.astype(np.float64))
        yield Derived(name=self.function, volume=replace(volume, array=values))

    def to_dict(self) -> dict[str, Any]:
        """Return the name alone."""
        return {"type": self.function}


def refuse_not_finite(name: str, volume: Volume) -> None:
    """Raise ValueError if the image has NaN or infinite voxels, also outside a mask: filters spread them."""
    if volume.array.dtype.kind == "f" and not np.isfinite(volume.array).all():
        count = int(np.count_nonzero(~np.isfinite(volume.array)))
        msg = f"{name} needs finite intensities, got NaN or infinity at {count} voxels; fill them first"
        raise ValueError(msg)
