"""The stationary wavelet transform as pyradiomics computes it with PyWavelets.

Periodic; a side of odd length is made even by one voxel from the other end, which is cut off again. The
low-pass filter is not rescaled: it multiplies intensities by sqrt 2 along each axis and level.

References
----------
PyWavelets, swtn; pyradiomics, imageoperations.py: getWaveletImage, _swt3.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from glcm_cuda.base.checks import check_int, nearest
from glcm_cuda.base.extras import library
from pipelines.filters.contract import Array, Derived, Scope
from pipelines.filters.intensity import refuse_not_finite
from pipelines.filters.thin import tell_thin
from pipelines.images.volume import Volume


@dataclass(frozen=True, kw_only=True)
class Wavelet:
    """Every band of a stationary wavelet transform: 8 images a level in space, 4 in a plane.

    The approximation (all letters L) is that of the last level alone.

    Parameters
    ----------
    name : str
        Discrete wavelet of PyWavelets.
    level : int
        Number of levels.
    start_level : int
        Levels that are skipped first.
    """

    name: str = "coif1"
    level: int = 1
    start_level: int = 0

    def __post_init__(self) -> None:
        check_int("level", self.level, 1)
        check_int("start_level", self.start_level, 0)
        check_wavelet(self.name)

    def names(self, dimensions: int, scope: Scope) -> tuple[str, ...]:
        """Return the names: letters in the order x, y, z, from the second level on with its number."""
        axes = len(scope.axes(dimensions))
        details = ["".join(letters) for letters in product("LH", repeat=axes)][1:]
        levels = range(1, self.level + 1)
        return (
            *(_named(level, band) for level in levels for band in details),
            _named(self.level, "L" * axes),
        )

    def check(self, volume: Volume, scope: Scope) -> None:
        """Refuse an image that is not finite; say it if it is thinner than the wavelet is long."""
        refuse_not_finite("wavelet", volume)
        length = library("pywt", "wavelet").Wavelet(self.name).dec_len
        axes = scope.axes(volume.array.ndim)
        tell_thin(f"wavelet {self.name}", length, volume, axes, "it is repeated beyond its ends")

    def images(self, volume: Volume, scope: Scope) -> Iterator[Derived]:
        """Derive the images, in float64, or float32 where the image is; about three are in memory at once."""
        axes, shape = scope.axes(volume.array.ndim), volume.array.shape
        padding = [(0, size % 2) for size in shape]
        approximation = np.pad(volume.array, padding, "wrap")
        for _ in range(self.start_level):
            approximation = next(_bands(approximation, self.name, axes))[1]
        for level in range(1, self.level + 1):
            bands = _bands(approximation, self.name, axes)
            _, approximation = next(bands)
            for letters, values in bands:
                yield Derived(name=_named(level, letters), volume=_cut(volume, values))
        yield Derived(name=_named(self.level, "L" * len(axes)), volume=_cut(volume, approximation))

    def to_dict(self) -> dict[str, Any]:
        """Return the settings."""
        return {"type": "wavelet", **vars(self)}


def check_wavelet(name: str) -> None:
    """Raise ValueError if PyWavelets has no such discrete wavelet."""
    known = library("pywt", "wavelet").wavelist(kind="discrete")
    if name not in known:
        hint = nearest(name, known) or f"; the discrete wavelets are {_families(known)}"
        msg = f"no wavelet {name!r}{hint}"
        raise ValueError(msg)


def _families(names: Sequence[str]) -> str:
    """Return names of wavelets, of each family the first and the last."""
    families: dict[str, list[str]] = {}
    for name in names:
        families.setdefault(name.rstrip("0123456789."), []).append(name)
    ends = (list(dict.fromkeys((family[0], family[-1]))) for family in families.values())
    return ", ".join(" to ".join(pair) for pair in ends)


def _named(level: int, letters: str) -> str:
    return f"wavelet-{letters}" if level == 1 else f"wavelet{level}-{letters}"


def _bands(array: Array, name: str, axes: tuple[int, ...], letters: str = "") -> Iterator[tuple[str, Array]]:
    """Yield the bands of one level, that of low-pass filters alone first.

    Axis after axis, as `pywt.swtn` does, but band after band, so that they are never all in memory.
    """
    if not axes:
        yield letters, array
        return
    swtn = library("pywt", "wavelet").swtn
    halves = swtn(array, name, level=1, start_level=0, axes=axes[:1])[0]
    yield from _bands(halves.pop("a"), name, axes[1:], f"{letters}L")
    yield from _bands(halves.pop("d"), name, axes[1:], f"{letters}H")


def _cut(volume: Volume, values: Array) -> Volume:
    return replace(volume, array=np.ascontiguousarray(values[tuple(map(slice, volume.array.shape))]))
