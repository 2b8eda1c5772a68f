"""What is changed before a map is computed again: the image, the mask or the settings; seeded and recorded.

References
----------
Zwanenburg et al. 2019, Assessing robustness of radiomic features by image perturbation: noise at the level
of the image, translation, volume adaptation. Prior et al. 2024 and Bernatowicz et al. 2021: radius of the
window, width of bins and re-acquisition in maps.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from glcm_cuda import GLCMSettings
from glcm_cuda.levels.arrays import bounding_box
from pipelines.reliability.noise import ESTIMATOR, noise_level
from pipelines.reliability.repeatability import FEWEST_VOXELS
from pipelines.shell.settings import changed_settings

RETEST = "retest"
"""Kind and name of a real second scan."""

Image = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

SHIFT_VOXELS = 0.25
"""Shift along each axis; its sign is drawn."""

COARSER = 1.25
"""Spacing to which an image is resampled, over its own, before it is resampled back."""

_SPLINE = 3
"""Order of the splines: linear interpolation would remove much of the noise."""

_PERCENTILES = (1.0, 99.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """An image with its mask, and the settings of its maps.

    Parameters
    ----------
    image : (Z, Y, X) or (Y, X) array
        Intensities, finite everywhere.
    mask : bool array of the same shape
        The region.
    spacing_mm : (float, float, float)
        Along z, y and x.
    settings : GLCMSettings
        Of the maps.
    """

    image: Image
    mask: Mask
    spacing_mm: tuple[float, float, float]
    settings: GLCMSettings

    @property
    def moved_axes(self) -> tuple[int, ...]:
        """Axes along which windows extend: those of a slice, or all axes of the volume."""
        axes = tuple(range(self.image.ndim))
        flat = self.settings.dimensions == 2 and self.image.ndim == 3
        return tuple(axis for axis in axes if not flat or axis != self.settings.slice_axis)

    def boxed(self) -> Case:
        """Return the part that the windows of the mask reach, and a voxel more; its bins may be others."""
        box = bounding_box(self.mask, max(self.settings.radii) + 1)
        return replace(self, image=self.image[box], mask=self.mask[box])


@dataclass(frozen=True, kw_only=True)
class Perturbation:
    """One change, and how to make it.

    Parameters
    ----------
    kind : str
        Of `CHOSEN`, or `RETEST`.
    name : str
        Unique among those of a run.
    details : dict
        What fixes the change; recorded, and part of the key of its maps.
    change : callable
        Takes a case and returns the changed one.
    unfit : str
        Why the change cannot be made; empty if it can.
    """

    kind: str
    name: str
    details: dict[str, Any] = field(default_factory=dict)
    change: Callable[[Case], Case] = field(default=lambda case: case, compare=False)
    unfit: str = ""


def _unfit(kind: str, name: str, reason: str) -> Perturbation:
    return Perturbation(kind=kind, name=name, unfit=reason)


def perturbations_of(case: Case, kinds: Sequence[str], *, seed: int, repeats: int = 1) -> list[Perturbation]:
    """Return the perturbations of a case, kind by kind, those that cannot be made with their reason.

    Parameters
    ----------
    case : Case
        The case, in which the level of the noise is estimated.
    kinds : sequence of str
        Of `CHOSEN`.
    seed : int
        Of what is drawn. Each perturbation draws on its own, whatever others are chosen.
    repeats : int
        How often noise and shift are drawn.
    """
    return [one for kind in kinds for one in _MAKERS[kind](case, seed, repeats)]


def _generator(seed: int, name: str) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def _noise(case: Case, seed: int, repeats: int) -> Iterator[Perturbation]:
    level = noise_level(case.image, case.mask)
    if level == 0:
        yield _unfit("noise", "noise", "the level of the noise is estimated as 0")
        return
    for number in range(1, repeats + 1):
        name = f"noise {number}" if repeats > 1 else "noise"
        yield Perturbation(
            kind="noise",
            name=name,
            details={"standard_deviation": level, "estimator": ESTIMATOR, "seed": seed},
            change=_with_noise(level, seed, name),
        )


def _with_noise(level: float, seed: int, name: str) -> Callable[[Case], Case]:
    def change(case: Case) -> Case:
        noise = _generator(seed, name).normal(0.0, level, case.image.shape)
        return replace(case, image=(case.image + noise).astype(np.float32))

    return change


def _shift(case: Case, seed: int, repeats: int) -> Iterator[Perturbation]:
    for number in range(1, repeats + 1):
        name = f"shift {number}" if repeats > 1 else "shift"
        signs = _generator(seed, name).choice((-1.0, 1.0), case.image.ndim)
        moved = [
            float(sign * SHIFT_VOXELS) if axis in case.moved_axes else 0.0 for axis, sign in enumerate(signs)
        ]
        yield Perturbation(
            kind="shift",
            name=name,
            details={"voxels": moved, "spline": _SPLINE, "seed": seed},
            change=_shifted(moved),
        )


def _shifted(moved: Sequence[float]) -> Callable[[Case], Case]:
    def change(case: Case) -> Case:
        image = ndimage.shift(case.image.astype(np.float64), moved, order=_SPLINE, mode="nearest")
        return replace(case, image=image.astype(np.float32))

    return change


def _resample(case: Case, _seed: int, _repeats: int) -> Iterator[Perturbation]:
    if min(case.image.shape[axis] for axis in case.moved_axes) < 2 * COARSER:
        yield _unfit("resample", "resample", "an axis has too few voxels to be resampled")
        return
    details = {"coarser": COARSER, "axes": list(case.moved_axes), "spline": _SPLINE}
    yield Perturbation(kind="resample", name="resample", details=details, change=_there_and_back)


def _there_and_back(case: Case) -> Case:
    shape = np.array(case.image.shape)
    coarse = shape.copy()
    for axis in case.moved_axes:
        coarse[axis] = np.ceil(shape[axis] / COARSER)
    # One step of the coarse grid is COARSER voxels along the axes that are resampled; the centres coincide.
    step = np.array([COARSER if axis in case.moved_axes else 1.0 for axis in range(case.image.ndim)])
    there = _on_grid(case.image.astype(np.float64), step, coarse)
    return replace(case, image=_on_grid(there, 1 / step, shape).astype(np.float32))


def _on_grid(image: Image, step: Image, shape: Image) -> npt.NDArray[np.float64]:
    """Return an image on a grid with the same centre, of another step (in voxels) and shape."""
    start = (np.array(image.shape) - 1) / 2 - step * (shape - 1) / 2
    size = tuple(map(int, shape))
    resampled: npt.NDArray[np.float64] = ndimage.affine_transform(
        image, step, start, size, order=_SPLINE, mode="nearest"
    )
    return resampled


def _settings(kind: str, name: str, case: Case, **fields: Any) -> Perturbation:
    """Return a change of settings."""
    changed = changed_settings(case.settings, fields)
    return Perturbation(
        kind=kind,
        name=name,
        details={"settings": {key: value for key, value in fields.items() if value is not None}},
        change=lambda other: replace(other, settings=changed),
    )


def _bins(case: Case, _seed: int, _repeats: int) -> Iterator[Perturbation]:
    settings = case.settings
    if settings.bin_width is not None:
        for factor in (0.5, 2.0):
            width = settings.bin_width * factor
            yield _settings("bins", f"bin width {width:g}", case, bin_width=width)
        return
    for levels in (settings.levels // 2, settings.levels * 2):
        try:
            yield _settings("bins", f"{levels} levels", case, levels=levels)
        except ValueError as error:
            yield _unfit("bins", f"{levels} levels", str(error))


def _window(case: Case, _seed: int, _repeats: int) -> Iterator[Perturbation]:
    for step in (-2, 2):
        window = case.settings.window
        edges = tuple(edge + step for edge in window) if isinstance(window, tuple) else window + step
        name = f"window {'x'.join(map(str, edges)) if isinstance(edges, tuple) else edges}"
        try:
            yield _settings("window", name, case, window=edges)
        except ValueError as error:
            yield _unfit("window", name, str(error))


def _range(case: Case, _seed: int, _repeats: int) -> Iterator[Perturbation]:
    settings = case.settings
    if settings.intensity_range is not None:
        low, high = settings.intensity_range
        more = 0.05 * (high - low)
        yield _settings("range", "range 10 % wider", case, intensity_range=(low - more, high + more))
        return
    other = "image" if settings.range_over == "mask" else "mask"
    yield _settings("range", f"range over the {other}", case, range_over=other)
    if settings.percentiles is None and settings.deviations is None:
        yield _settings("range", "range of percentiles 1 to 99", case, percentiles=_PERCENTILES)


def _mask(case: Case, _seed: int, _repeats: int) -> Iterator[Perturbation]:
    for name, change in (("mask grown", ndimage.binary_dilation), ("mask shrunk", ndimage.binary_erosion)):
        details = {"voxels": 1, "axes": list(case.moved_axes)}
        common = int(np.count_nonzero(change(case.mask, _cross(case)) & case.mask))
        if common < FEWEST_VOXELS:
            yield _unfit("mask", name, f"{common} voxels of the mask are left, {FEWEST_VOXELS} are needed")
            continue
        yield Perturbation(kind="mask", name=name, details=details, change=_with_mask(change))


def _with_mask(change: Callable[..., Mask]) -> Callable[[Case], Case]:
    return lambda case: replace(case, mask=change(case.mask, _cross(case)))


def _cross(case: Case) -> Mask:
    """Return the voxel and its neighbours along the axes of the windows."""
    cross = np.zeros((3,) * case.image.ndim, np.bool_)
    for axis in case.moved_axes:
        place = [slice(1, 2)] * case.image.ndim
        place[axis] = slice(None)
        cross[tuple(place)] = True
    return cross


def retest(image: Image, mask: Mask, source: dict[str, Any]) -> Perturbation:
    """Return a real second scan as a perturbation; `source` records the file."""
    return Perturbation(
        kind=RETEST,
        name=RETEST,
        details=source,
        change=lambda case: replace(case, image=image, mask=mask),
    )


_MAKERS: dict[str, Callable[[Case, int, int], Iterator[Perturbation]]] = {
    "noise": _noise,
    "shift": _shift,
    "resample": _resample,
    "mask": _mask,
    "bins": _bins,
    "window": _window,
    "range": _range,
}

OF_SETTINGS = ("bins", "window", "range")
"""Kinds that change the settings, not what was acquired."""

CHOSEN = tuple(_MAKERS)
"""Kinds that the user chooses, in the order of reports."""
