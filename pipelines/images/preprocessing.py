"""What is done to an image before its map, if asked for: all off by default, and recorded when on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from glcm_cuda.base.checks import check_choice
from glcm_cuda.base.files import replacing
from pipelines.images.masks import resampled
from pipelines.images.provenance import source_record
from pipelines.images.reading import read_image
from pipelines.images.volume import Volume, geometry_differences, image_of, volume_of

PERCENTILES = (1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 99)
"""Landmarks of the standard histogram; those of Nyul, Udupa and Zhang (2000)."""

N4_SHRINK = 4
"""N4 estimates the bias, which is smooth, on every fourth voxel in the plane, as its authors advise."""

N4_ITERATIONS = (50, 50, 50, 50)
"""Most iterations of N4 at each of its levels, ITK's default."""

_MOST_VOXELS = 1 << 31

_KIND = "radsynth intensity standard"

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class CornerGrid:
    """The grid that pyradiomics resamples image and mask to; it begins at the outer corner of the image.

    Parameters
    ----------
    spacing_mm : tuple of 3 floats
        Distance of voxels along x, y and z; 0 leaves an axis as it is.
    interpolator : str
        Name in SimpleITK, as sitkBSpline. The mask goes by the nearest voxel.
    pad : int
        Voxels around the mask in pyradiomics' box (padDistance).
    """

    spacing_mm: tuple[float, float, float]
    interpolator: str = "sitkBSpline"
    pad: int = 5


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """Steps in the order that they are taken.

    Parameters
    ----------
    subtract : Path, optional
        Image on the same grid that is subtracted: the phase before contrast from the one after.
    n4 : bool
        Correct the bias field of MR by N4.
    spacing_mm : tuple of 3 floats, optional
        New distance of voxels along x, y and z; 0 leaves one as it is. Linear between voxels, the new grid
        centred on the old one (IBSI); masks go by the nearest voxel.
    standardize : Path, optional
        Intensity standard (`learn_standard`) that the histogram is mapped to, piecewise linear.
    normalize : {"zscore"}, optional
        Less the mean over the standard deviation (that of a sample), of the whole image, as pyradiomics does.
    outliers : float, optional
        Clip what is further from the mean than this many standard deviations, of the whole image.
    scale : float
        Factor on the intensities (normalizeScale of pyradiomics).
    grid : CornerGrid, optional
        What image and mask are resampled to at last.

    References
    ----------
    Tustison et al. 2010, N4ITK: improved N3 bias correction.
    Nyul, Udupa and Zhang 2000, New variants of a method of MRI scale standardization.
    """

    subtract: Path | None = None
    n4: bool = False
    spacing_mm: tuple[float, float, float] | None = None
    standardize: Path | None = None
    normalize: Literal["zscore"] | None = None
    outliers: float | None = None
    scale: float = 1.0
    grid: CornerGrid | None = None

    def __post_init__(self) -> None:
        if self.normalize is not None:
            check_choice("--normalize", self.normalize, ("zscore",))
        if self.outliers is not None and not 0 < self.outliers < np.inf:
            msg = f"--clip-outliers must be above 0, got {self.outliers:g}"
            raise ValueError(msg)
        if self.spacing_mm is not None and not all(0 <= edge < np.inf for edge in self.spacing_mm):
            msg = f"--resample must be spacings in mm of 0 (leave) or more, got {self.spacing_mm}"
            raise ValueError(msg)

    @property
    def is_off(self) -> bool:
        """Whether nothing is done."""
        return self == Preprocessing()

    def over(self, others: Preprocessing) -> Preprocessing:
        """Return the steps of `others`, but those that are asked for here as they are here.

        A spacing that is asked for takes the place of a grid.
        """
        default = Preprocessing()
        own = {name: value for name, value in vars(self).items() if value != getattr(default, name)}
        grid = others.grid if self.spacing_mm is None else None
        return replace(others, **{"grid": grid, **own})

    @property
    def files(self) -> list[Path]:
        """Files that are read for it."""
        return [path for path in (self.subtract, self.standardize) if path is not None]

    def to_dict(self) -> dict[str, Any]:
        """Return the steps that are taken, in their order, with what they were given."""
        steps: dict[str, Any] = {}
        if self.subtract is not None:
            steps["subtract"] = source_record(self.subtract, "image")
        if self.n4:
            steps["n4"] = {"shrink": N4_SHRINK, "iterations": list(N4_ITERATIONS), "mask": "Otsu"}
        if self.spacing_mm is not None:
            steps["resample"] = {"spacing_mm": list(self.spacing_mm), "interpolation": "linear"}
        if self.standardize is not None:
            steps["standardize"] = source_record(self.standardize, "standard")
        if self.normalize is not None:
            steps["normalize"] = self.normalize
        if self.outliers is not None:
            steps["clip_outliers"] = self.outliers
        if self.scale != 1:
            steps["scale"] = self.scale
        if self.grid is not None:
            spacing, interpolation = list(self.grid.spacing_mm), self.grid.interpolator
            steps["resample"] = {"spacing_mm": spacing, "interpolation": interpolation, "grid": "corner"}
        return {"preprocessing": steps} if steps else {}


def preprocess(volume: Volume, steps: Preprocessing) -> Volume:
    """Return the image after the steps; the same image if there are none.

    In float32, or float64 where the image has more digits; normalised in float64, as SimpleITK has it, so
    that levels are those of pyradiomics.

    Raises
    ------
    ValueError
        If a step cannot be taken: an image of one intensity has no z-score, and so on; a grid needs a mask.
    """
    if steps.grid is not None:
        msg = "resampling to the grid of pyradiomics needs a mask, got none"
        raise ValueError(msg)
    if steps.is_off:
        return volume
    volume = replace(volume, array=volume.array.astype(np.result_type(volume.array, np.float32)))
    if steps.subtract is not None:
        volume = _subtracted(volume, steps.subtract)
    if steps.n4:
        volume = _corrected(volume)
    if steps.spacing_mm is not None:
        volume = _on_spacing(volume, steps.spacing_mm)
    if steps.standardize is not None:
        volume = replace(volume, array=_standardized(volume.array, read_standard(steps.standardize)))
    if steps.normalize is not None:
        volume = _normalized(volume)
    if steps.outliers is not None:
        normalized = steps.normalize is not None  # to the moments that rounding leaves a little off
        mean, deviation = (0.0, 1.0) if normalized else _moments(volume.array, "--clip-outliers")
        reach = steps.outliers * deviation
        volume = replace(volume, array=np.clip(volume.array, mean - reach, mean + reach))
    return volume if steps.scale == 1 else replace(volume, array=volume.array * steps.scale)


def preprocess_with_mask(volume: Volume, mask: Mask, steps: Preprocessing) -> tuple[Volume, Mask]:
    """Return the image after the steps, and its mask on the image's grid, each voxel from the nearest.

    Raises as `preprocess`.
    """
    image = preprocess(volume, replace(steps, grid=None))
    if steps.grid is not None:
        return _from_corner(image, mask, steps.grid)
    return image, moved_labels(mask, volume, image) != 0


def moved_labels(labels: npt.NDArray[Any], before: Volume, after: Volume) -> npt.NDArray[Any]:
    """Return labels of an image on the image's grid after the steps, each voxel from the nearest."""
    if not geometry_differences(before, after):
        return labels
    return resampled("the mask", replace(before, array=labels), after)


def _subtracted(volume: Volume, path: Path) -> Volume:
    other = read_image(path)
    differences = geometry_differences(other, volume)
    if differences:
        msg = f"--subtract {path} must lie on the image's grid, got {'; '.join(differences)}"
        raise ValueError(msg)
    return replace(volume, array=volume.array - other.array)


def _corrected(volume: Volume) -> Volume:
    """Divide by the bias field that N4 finds in the foreground."""
    import SimpleITK

    if volume.array.min() < 0:
        msg = f"--n4 needs intensities of 0 or more, since it takes logarithms, got {volume.array.min():g}"
        raise ValueError(msg)
    image = image_of(volume)
    foreground = SimpleITK.OtsuThreshold(image, 0, 1)
    shrink = [N4_SHRINK, N4_SHRINK, 1][: image.GetDimension()]
    n4 = SimpleITK.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations(N4_ITERATIONS)
    try:
        n4.Execute(SimpleITK.Shrink(image, shrink), SimpleITK.Shrink(foreground, shrink))
    except RuntimeError as error:
        msg = f"--n4 found no bias field in this image: it has {volume.array.shape} voxels; leave --n4 out"
        raise ValueError(msg) from error
    field = SimpleITK.GetArrayFromImage(SimpleITK.Exp(n4.GetLogBiasFieldAsImage(image)))
    return replace(volume, array=(volume.array / field).astype(volume.array.dtype))


def _on_spacing(volume: Volume, spacing_mm: tuple[float, float, float]) -> Volume:
    """Resample linearly to a grid of the same centre that is at least as large."""
    old, size, new = _spacings(volume, spacing_mm)
    if (new > size * old).any():
        msg = f"--resample {spacing_mm} mm is larger than the image, which is {tuple(size * old)} mm"
        raise ValueError(msg)
    new_size = np.ceil(size * old / new - 1e-6).astype(int)
    start = (size - 1) / 2 - (new_size - 1) / 2 * new / old  # in old voxels: the centres coincide
    return _interpolated(volume, new, new_size, start, "sitkLinear", beyond=True)


def _from_corner(volume: Volume, mask: Mask, grid: CornerGrid) -> tuple[Volume, Mask]:
    """Resample an image, in its dtype, and its mask as pyradiomics does.

    An axis along which the mask has one slice stays as it is. pyradiomics resamples the box of the mask
    alone, here it is the whole image; but which voxel is the nearest, of two as near, depends on where the
    box begins, so that the mask is resampled there.

    References
    ----------
    pyradiomics' documentation, `radiomics.imageoperations.resampleImage`.
    """
    if volume.array.ndim != 3:
        msg = "resampledPixelSpacing needs a 3D image, got a 2D one; take it out"
        raise ValueError(msg)
    old, size, new = _spacings(volume, grid.spacing_mm)
    inside = np.nonzero(mask)[::-1]
    first, last = (np.array([end(places) for places in inside]) for end in (np.min, np.max))
    new = np.where(last > first, new, old)
    if np.allclose(old, new):
        return volume, mask
    ratio, corner = old / new, 0.5 * (new - old) / old
    whole = np.ceil(size * ratio).astype(int)
    low = np.maximum(np.floor((first - 0.5) * ratio - grid.pad), 0).astype(int)
    high = np.minimum(np.ceil((last + 0.5) * ratio + grid.pad), whole - 1).astype(int)
    image = _interpolated(volume, new, whole, corner, grid.interpolator)
    labels = replace(volume, array=mask.astype(np.uint8))
    box = _interpolated(labels, new, high - low + 1, corner + low / ratio, "sitkNearestNeighbor")
    moved = np.zeros(image.array.shape, np.bool_)
    moved[tuple(slice(*ends) for ends in zip(low[::-1], high[::-1] + 1, strict=True))] = box.array
    return image, moved


def _spacings(volume: Volume, spacing_mm: tuple[float, ...]) -> tuple[npt.NDArray[Any], ...]:
    """Return spacing, size and new spacing of an image along x, y and z."""
    old, size = np.array(volume.spacing_mm), np.array(volume.array.shape[::-1])
    wanted = np.array(spacing_mm[: len(old)])
    return old, size, np.where(wanted == 0, old, wanted)


def _interpolated(
    volume: Volume,
    spacing: npt.NDArray[Any],
    size: npt.NDArray[Any],
    start: npt.NDArray[Any],
    interpolator: str,
    *,
    beyond: bool = False,
) -> Volume:
    """Return an image on a grid that starts at this voxel of it; `beyond` it the nearest voxel, or 0."""
    import SimpleITK

    if size.astype(float).prod() > _MOST_VOXELS:
        edges = "x".join(str(edge) for edge in size)
        msg = f"a spacing of {spacing.tolist()} mm makes {edges} voxels of this image; give a larger one"
        raise ValueError(msg)
    image = image_of(volume)
    filter_ = SimpleITK.ResampleImageFilter()
    filter_.SetSize(size.tolist())
    filter_.SetOutputSpacing(spacing.tolist())
    filter_.SetOutputOrigin(image.TransformContinuousIndexToPhysicalPoint(start.tolist()))
    filter_.SetOutputDirection(image.GetDirection())
    filter_.SetInterpolator(getattr(SimpleITK, interpolator))
    filter_.SetUseNearestNeighborExtrapolator(beyond)
    # Voxels of the new grid are no slices of the files any more.
    return replace(volume_of(filter_.Execute(image)), sources=(), modality=volume.modality)


def _normalized(volume: Volume) -> Volume:
    import SimpleITK

    _moments(volume.array, "--normalize zscore")
    return replace(volume, array=SimpleITK.GetArrayFromImage(SimpleITK.Normalize(image_of(volume))))


def _moments(array: npt.NDArray[Any], option: str) -> tuple[float, float]:
    mean, deviation = float(array.mean(dtype=np.float64)), float(array.std(dtype=np.float64, ddof=1))
    if not deviation > 0:
        msg = f"{option} needs more than one intensity, got {mean:g} alone"
        raise ValueError(msg)
    return mean, deviation


def learn_standard(volumes: Iterable[Volume]) -> dict[str, Any]:
    """Return the mean landmarks of images, each first mapped to 0 to 100 by its outermost ones.

    Landmarks are `PERCENTILES` of the intensities above the mean of the image, its foreground.

    Raises
    ------
    ValueError
        If an image has too few intensities, or there is none.
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
        If the file is none.
    """
    try:
        standard = json.loads(path.read_text(encoding="utf-8"))
        landmarks = np.array(standard["landmarks"], float)
        fits = standard["kind"] == _KIND and standard["percentiles"] == list(PERCENTILES)
    except (ValueError, LookupError, TypeError, UnicodeDecodeError):
        fits = False
    if not fits or landmarks.shape != (len(PERCENTILES),):
        msg = f"{path} must be an intensity standard of `radsynth cohort standard`, got another file"
        raise ValueError(msg)
    return landmarks


def _landmarks(array: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    foreground = array[array > array.mean(dtype=np.float64)]
    found = np.percentile(foreground, PERCENTILES) if foreground.size else np.zeros(len(PERCENTILES))
    if not (np.diff(found) > 0).all():
        msg = "the histogram has too few intensities to be standardised: landmarks coincide"
        raise ValueError(msg)
    return found


def _to_hundred(landmarks: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    scaled: npt.NDArray[np.float64] = 100 * (landmarks - landmarks[0]) / (landmarks[-1] - landmarks[0])
    return scaled


def _standardized(
    array: npt.NDArray[np.float32], standard: npt.NDArray[np.float64]
) -> npt.NDArray[np.float32]:
    """Map the landmarks of an image to those of the standard, what lies beyond along the outermost pieces."""
    own = _landmarks(array)
    mapped = np.interp(array, own, standard)
    slopes = np.diff(standard) / np.diff(own)
    mapped = np.where(array < own[0], standard[0] + slopes[0] * (array - own[0]), mapped)
    mapped = np.where(array > own[-1], standard[-1] + slopes[-1] * (array - own[-1]), mapped)
    return mapped.astype(array.dtype)
