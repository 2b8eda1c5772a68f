"""IBSI's mean, Laplacian of Gaussian, Laws' kernels and separable wavelets.

In slices of two-dimensional settings they work in each slice, otherwise in space. All responses are float64,
without scaling.

References
----------
IBSI 2 reference manual, arXiv 2006.05470: mean filter, Laplacian-of-Gaussian filter, Laws kernels, separable
wavelets.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from glcm_cuda.base.checks import check_int
from glcm_cuda.base.extras import library
from pipelines.filters.contract import Derived, Scope
from pipelines.filters.ibsi.responses import (
    Floats,
    check_boundary,
    check_pooling,
    convolved,
    energy,
    pooled,
    refuse_other_axes,
)
from pipelines.filters.intensity import refuse_not_finite
from pipelines.filters.thin import tell_thin
from pipelines.filters.wavelet import check_wavelet
from pipelines.images.volume import Volume, refuse_without_spacing

_SAME_SPACING = 1e-3
"""Largest relative difference of spacings that count as equal."""

LAWS: dict[str, tuple[int, tuple[int, ...]]] = {
    "L3": (6, (1, 2, 1)),
    "E3": (2, (-1, 0, 1)),
    "S3": (6, (-1, 2, -1)),
    "L5": (70, (1, 4, 6, 4, 1)),
    "E5": (10, (-1, -2, 0, 2, 1)),
    "S5": (6, (-1, 0, 2, 0, -1)),
    "W5": (10, (-1, 2, 0, -2, 1)),
    "R5": (70, (1, -4, 6, -4, 1)),
}
"""Laws' kernels: their entries, which are divided by the root of the first number."""


@dataclass(frozen=True, kw_only=True)
class Mean:
    """Mean of a box of voxels.

    Parameters
    ----------
    size : int
        Edge of the box in voxels, odd.
    boundary : {"mirror", "zero", "nearest", "periodic"}
        What lies beyond the image.
    """

    size: int
    boundary: str = "mirror"

    def __post_init__(self) -> None:
        check_int("size", self.size, 1)
        if self.size % 2 == 0:
            msg = f"size must be odd, got {self.size}"
            raise ValueError(msg)
        check_boundary(self.boundary)

    def names(self, dimensions: int, scope: Scope) -> tuple[str, ...]:
        """Return the name of the image."""
        return (f"ibsi-mean-{self.size}",)

    def check(self, volume: Volume, scope: Scope) -> None:
        """Refuse an image that is not finite."""
        refuse_not_finite("ibsi-mean", volume)
        _tell_thin(self, self.size, volume, scope)

    def images(self, volume: Volume, scope: Scope) -> Iterator[Derived]:
        """Derive the image."""
        axes = scope.axes(volume.array.ndim)
        kernels = (np.full(self.size, 1 / self.size),) * len(axes)
        values = convolved(volume.array.astype(np.float64), kernels, axes, self.boundary)
        yield Derived(name=self.names(volume.array.ndim, scope)[0], volume=replace(volume, array=values))

    def to_dict(self) -> dict[str, Any]:
        """Return the settings."""
        return {"type": "ibsi-mean", **vars(self)}


@dataclass(frozen=True, kw_only=True)
class LaplacianOfGaussian:
    """Laplacian of Gaussian, by its kernel.

    Parameters
    ----------
    sigma : tuple of float
        Widths of the Gaussian in mm, an image for each.
    cutoff : float
        Where the kernel ends, in widths.
    boundary : {"mirror", "zero", "nearest", "periodic"}
        What lies beyond the image.
    """

    sigma: tuple[float, ...]
    cutoff: float = 4.0
    boundary: str = "mirror"

    def __post_init__(self) -> None:
        for name, value in (*(("sigma", sigma) for sigma in self.sigma), ("cutoff", self.cutoff)):
            if not 0 < value < math.inf:
                msg = f"{name} must be a number above 0, got {value:g}"
                raise ValueError(msg)
        check_boundary(self.boundary)

    def names(self, dimensions: int, scope: Scope) -> tuple[str, ...]:
        """Return the names of the images."""
        return tuple(f"ibsi-log-sigma-{str(sigma).replace('.', '-')}-mm" for sigma in self.sigma)

    def check(self, volume: Volume, scope: Scope) -> None:
        """Refuse an image whose voxels are not as long along all axes, or not known, or not finite."""
        refuse_not_finite("ibsi-log", volume)
        refuse_without_spacing("ibsi-log", volume)
        spacings = _spacings(volume, scope)
        if max(spacings) > (1 + _SAME_SPACING) * min(spacings):
            told = ", ".join(f"{spacing:g}" for spacing in spacings)
            msg = (
                f"ibsi-log needs one spacing along the axes it works along, got {told} mm (x first); "
                "give --resample, or --dimensions 2"
            )
            raise ValueError(msg)
        reach = max(_reach(self.cutoff, sigma / spacings[0]) for sigma in self.sigma)
        _tell_thin(self, 2 * reach + 1, volume, scope)

    def images(self, volume: Volume, scope: Scope) -> Iterator[Derived]:
        """Derive the images."""
        axes, spacing = scope.axes(volume.array.ndim), _spacings(volume, scope)[0]
        array = volume.array.astype(np.float64)
        for name, sigma in zip(self.names(volume.array.ndim, scope), self.sigma, strict=True):
            gaussian, second = self._kernels(sigma / spacing)
            values = np.zeros(array.shape)
            for differentiated in axes:
                kernels = [second if axis == differentiated else gaussian for axis in axes]
                values += convolved(array, kernels, axes, self.boundary)
            yield Derived(name=name, volume=replace(volume, array=values))

    def _kernels(self, sigma: float) -> tuple[Floats, Floats]:
        """Return the Gaussian of a width in voxels and its second derivative.

        The kernel of the manual is a sum over the axes of products of these.
        """
        reach = _reach(self.cutoff, sigma)
        places = np.arange(-reach, reach + 1.0)
        gaussian = np.exp(-(places**2) / (2 * sigma**2)) / (math.sqrt(2 * math.pi) * sigma)
        return gaussian, (places**2 / sigma**2 - 1) / sigma**2 * gaussian

    def to_dict(self) -> dict[str, Any]:
        """Return the settings."""
        return {
            "type": "ibsi-log",
            "sigma_mm": list(self.sigma),
            "cutoff": self.cutoff,
            "boundary": self.boundary,
        }


def _reach(cutoff: float, sigma: float) -> int:
    """Return how many voxels the kernel of a width in voxels reaches to either side."""
    return math.floor(cutoff * sigma + 0.5)


def _spacings(volume: Volume, scope: Scope) -> list[float]:
    """Return the spacings in mm along the axes of the filter, x first."""
    spacings = volume.spacing_mm[::-1]
    return [spacings[axis] for axis in scope.axes(volume.array.ndim)]


@dataclass(frozen=True, kw_only=True)
class Laws:
    """Laws' kernels, one along each axis.

    Parameters
    ----------
    kernels : str
        Such as E5L5S5: the first is along x.
    pooling : {"none", "max", "average"}
        Over the rotations by right angles.
    energy : int
        Distance of the voxels whose absolute responses are averaged; 0 for the response itself.
    boundary : {"mirror", "zero", "nearest", "periodic"}
        What lies beyond the image.
    """

    kernels: str
    pooling: str = "none"
    energy: int = 0
    boundary: str = "mirror"

    def __post_init__(self) -> None:
        parts = self._parts()
        if "".join(parts) != self.kernels or len(parts) not in (2, 3) or set(parts) - set(LAWS):
            msg = f"kernels must be two or three of {', '.join(LAWS)}, such as E5L5S5, got {self.kernels!r}"
            raise ValueError(msg)
        check_pooling(self.pooling)
        check_int("energy", self.energy, 0)
        check_boundary(self.boundary)

    def _parts(self) -> list[str]:
        return re.findall("[A-Z][0-9]", self.kernels)

    def names(self, dimensions: int, scope: Scope) -> tuple[str, ...]:
        """Return the name of the image."""
        parts = [f"ibsi-laws-{self.kernels}", *_told(self.pooling)]
        return ("-".join([*parts, *([f"energy-{self.energy}"] if self.energy else [])]),)

    def check(self, volume: Volume, scope: Scope) -> None:
        """Refuse an image that is not finite, or has another number of axes."""
        refuse_not_finite("ibsi-laws", volume)
        refuse_other_axes(f"ibsi-laws {self.kernels}", len(self._parts()), volume, scope)
        longest = max(len(LAWS[part][1]) for part in self._parts())
        _tell_thin(self, max(longest, 2 * self.energy + 1), volume, scope)

    def images(self, volume: Volume, scope: Scope) -> Iterator[Derived]:
        """Derive the image."""
        axes = scope.axes(volume.array.ndim)
        kernels = [np.array(LAWS[part][1]) / math.sqrt(LAWS[part][0]) for part in self._parts()]

        def response(image: Floats) -> Floats:
            return convolved(image, kernels, axes, self.boundary)

        values = pooled(volume.array.astype(np.float64), response, axes, self.pooling)
        if self.energy:
            values = energy(values, self.energy, axes, self.boundary)
        yield Derived(name=self.names(volume.array.ndim, scope)[0], volume=replace(volume, array=values))

    def to_dict(self) -> dict[str, Any]:
        """Return the settings."""
        return {"type": "ibsi-laws", **vars(self)}


def _tell_thin(
    one: Mean | LaplacianOfGaussian | Laws | SeparableWavelet, length: int, volume: Volume, scope: Scope
) -> None:
    axes = scope.axes(volume.array.ndim)
    tell_thin(one.to_dict()["type"], length, volume, axes, f"beyond it: boundary {one.boundary}")


def _told(pooling: str) -> list[str]:
    return [] if pooling == "none" else [pooling]


@dataclass(frozen=True, kw_only=True)
class SeparableWavelet:
    """Bands of an undecimated wavelet transform, with kernels spread by zeros from level to level.

    Parameters
    ----------
    name : str
        Discrete wavelet of PyWavelets.
    band : str
        Such as LHL, the first letter along x; empty for all bands.
    level : int
        The level, from 1 on; lower ones take the low-pass filter along all axes.
    pooling : {"none", "max", "average"}
        Over the rotations by right angles.
    boundary : {"mirror", "zero", "nearest", "periodic"}
        What lies beyond the image.
    """

    name: str = "haar"
    band: str = ""
    level: int = 1
    pooling: str = "none"
    boundary: str = "mirror"

    def __post_init__(self) -> None:
        check_wavelet(self.name)
        check_int("level", self.level, 1, 10)
        if self.band and not re.fullmatch("[LH]{2,3}", self.band):
            msg = f"band must be two or three of the letters L and H, such as LHL, got {self.band!r}"
            raise ValueError(msg)
        check_pooling(self.pooling)
        check_boundary(self.boundary)

    def _bands(self, axes: Sequence[int]) -> list[str]:
        return [self.band] if self.band else ["".join(band) for band in product("LH", repeat=len(axes))]

    def names(self, dimensions: int, scope: Scope) -> tuple[str, ...]:
        """Return the names of the images."""
        end = "".join(f"-{part}" for part in _told(self.pooling))
        bands = self._bands(scope.axes(dimensions))
        return tuple(f"ibsi-wavelet-{self.name}-{band}-level-{self.level}{end}" for band in bands)

    def check(self, volume: Volume, scope: Scope) -> None:
        """Refuse an image that is not finite, or has another number of axes than the band."""
        refuse_not_finite("ibsi-wavelet", volume)
        if self.band:
            refuse_other_axes(f"ibsi-wavelet band {self.band}", len(self.band), volume, scope)
        length = library("pywt", "ibsi-wavelet").Wavelet(self.name).dec_len
        _tell_thin(self, 2 ** (self.level - 1) * length, volume, scope)

    def images(self, volume: Volume, scope: Scope) -> Iterator[Derived]:
        """Derive the images."""
        axes, array = scope.axes(volume.array.ndim), volume.array.astype(np.float64)
        names = self.names(volume.array.ndim, scope)
        for name, band in zip(names, self._bands(axes), strict=True):
            response = partial(self._response, band=band, axes=axes)
            values = pooled(array, response, axes, self.pooling)
            yield Derived(name=name, volume=replace(volume, array=values))

    def _response(self, array: Floats, band: str, axes: Sequence[int]) -> Floats:
        wavelet = library("pywt", "ibsi-wavelet").Wavelet(self.name)
        filters = {"L": np.array(wavelet.dec_lo), "H": np.array(wavelet.dec_hi)}
        for level in range(1, self.level + 1):
            letters = band if level == self.level else "L" * len(axes)
            kernels = [_spread(filters[letter], level) for letter in letters]
            array = convolved(array, kernels, axes, self.boundary)
        return array

    def to_dict(self) -> dict[str, Any]:
        """Return the settings."""
        return {"type": "ibsi-wavelet", **vars(self)}


def _spread(kernel: Floats, level: int) -> Floats:
    """Return a kernel with zeros after each entry, so many that it has 2^(level - 1) times the length."""
    step = 2 ** (level - 1)
    spread = np.zeros(step * len(kernel))
    spread[::step] = kernel
    return spread
