"""Optional preprocessing of images: every step is off by default, and recorded if it is taken."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import SimpleITK

from glcm_cuda.base.checks import check_choice
from glcm_cuda.base.steps import step
from glcm_cuda.levels.arrays import bounding_box
from pipelines.images.intensity_standard import read_standard, standardized
from pipelines.images.provenance import source_record
from pipelines.images.reading import read_image
from pipelines.images.resampling import (
    INTERPOLATORS,
    LINEAR,
    NEAREST,
    CornerGrid,
    Mask,
    in_corner_box,
    labels_on_grid,
    on_corner_grid,
    on_spacing,
)
from pipelines.images.volume import Part, Volume, geometry_differences, image_of

_log = logging.getLogger(__name__)

N4_SHRINK = 4
"""N4 estimates the smooth bias field from every fourth voxel in the plane, as its authors advise."""

N4_ITERATIONS = (50, 50, 50, 50)
"""Most iterations of N4 at each level; ITK's default."""


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """Preprocessing steps, in the order in which they are taken.

    Parameters
    ----------
    subtract : Path, optional
        Image on the same grid to subtract, such as the phase before contrast agent.
    n4 : bool
        Correct the bias field of MR images with N4.
    spacing_mm : tuple of 3 floats, optional
        New spacing of voxels along x, y and z; 0 keeps an axis. The grid has the centre of the old one
        (IBSI).
    interpolator : str, optional
        SimpleITK's name of what is used for the image; by default sitkLinear.
    mask_interpolator : {"sitkNearestNeighbor", "sitkLinear"}, optional
        For masks, linear with a threshold of 0.5; by default each voxel takes the nearest.
    rounded : bool
        Round intensities to whole numbers after resampling, as IBSI does for CT; a half to the even one.
    clip : tuple of 2 floats, optional
        Lowest and highest intensity, such as those of a window of CT; others become these.
    standardize : Path, optional
        Intensity standard (`learn_standard`) to which the histogram is mapped, piecewise linearly.
    normalize : {"zscore"}, optional
        Subtract the mean of the whole image and divide by its sample standard deviation, as pyradiomics does.
    outliers : float, optional
        Clip intensities to this many standard deviations from the mean, both of the whole image.
    scale : float
        Factor on the intensities (normalizeScale in pyradiomics).
    grid : CornerGrid, optional
        Grid to which image and mask are resampled at the end.

    References
    ----------
    Tustison et al. 2010, N4ITK: improved N3 bias correction.
    Nyul, Udupa and Zhang 2000, New variants of a method of MRI scale standardization.
    """

    subtract: Path | None = None
    n4: bool = False
    spacing_mm: tuple[float, float, float] | None = None
    interpolator: str | None = None
    mask_interpolator: str | None = None
    rounded: bool = False
    clip: tuple[float, float] | None = None
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
            msg = f"--resample must be spacings in mm of 0 (keep the axis) or more, got {self.spacing_mm}"
            raise ValueError(msg)
        if self.clip is not None and not -np.inf < self.clip[0] < self.clip[1] < np.inf:
            msg = f"--clip must be a lower and a higher intensity, got {self.clip[0]:g} and {self.clip[1]:g}"
            raise ValueError(msg)

    @property
    def is_off(self) -> bool:
        """Whether no step is taken."""
        return self == Preprocessing()

    def over(self, others: Preprocessing) -> Preprocessing:
        """Return these steps where they are on, and those of `others` elsewhere.

        A spacing replaces a grid, interpolators replace those of a grid.
        """
        default = Preprocessing()
        own = {name: value for name, value in vars(self).items() if value != getattr(default, name)}
        grid = others.grid if self.spacing_mm is None else None
        if grid is not None:
            names = own.keys() & {"interpolator", "mask_interpolator"}
            grid = replace(grid, **{name: own.pop(name) for name in names})
        return replace(others, **{"grid": grid, **own})

    def refuse_lone_interpolators(self) -> None:
        """Raise ValueError if an interpolator is given and nothing is resampled."""
        given = {"--interpolator": self.interpolator, "--mask-interpolator": self.mask_interpolator}
        for option in (option for option, name in given.items() if name is not None):
            if self.spacing_mm is None:
                msg = f"{option} needs --resample X,Y,Z, got none; give the new spacing"
                raise ValueError(msg)

    @property
    def files(self) -> list[Path]:
        """Files that the steps read."""
        return [path for path in (self.subtract, self.standardize) if path is not None]

    def to_dict(self) -> dict[str, Any]:
        """Return the steps that are taken, in order, with their parameters, as sidecars record them."""
        steps: dict[str, Any] = {}
        if self.subtract is not None:
            steps["subtract"] = source_record(self.subtract, "image")
        if self.n4:
            steps["n4"] = {"shrink": N4_SHRINK, "iterations": list(N4_ITERATIONS), "mask": "Otsu"}
        if self.spacing_mm is not None:
            words = {name: word for word, name in INTERPOLATORS.items()}
            name, of_mask = self.interpolator or LINEAR, self.mask_interpolator or NEAREST
            steps["resample"] = {
                "spacing_mm": list(self.spacing_mm),
                "interpolation": words.get(name, name),
                **({} if of_mask == NEAREST else {"mask_interpolation": words[of_mask]}),
            }
        if self.rounded:
            steps["round"] = True
        if self.clip is not None:
            steps["clip"] = list(self.clip)
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
            if self.grid.mask_interpolator != NEAREST:
                steps["resample"]["mask_interpolation"] = self.grid.mask_interpolator
        return {"preprocessing": steps} if steps else {}


@step("preprocessing")
def preprocess(volume: Volume, steps: Preprocessing) -> Volume:
    """Return the image after the steps; without steps, the same image.

    Intensities become float32, or float64 if the image has more digits. Normalised ones are float64, as in
    SimpleITK, so that grey levels are those of pyradiomics.

    Raises
    ------
    ValueError
        If a step cannot be taken: an image of one intensity has no z-score, a grid needs a mask, and so on.
    """
    if steps.grid is not None:
        msg = "resampling to pyradiomics' grid needs a mask, got none"
        raise ValueError(msg)
    steps.refuse_lone_interpolators()
    if steps.is_off:
        return volume
    volume = replace(volume, array=volume.array.astype(np.result_type(volume.array, np.float32)))
    if steps.subtract is not None:
        volume = _subtracted(volume, steps.subtract)
    if steps.n4:
        volume = _corrected(volume)
    if steps.spacing_mm is not None:
        volume = on_spacing(volume, steps.spacing_mm, steps.interpolator or LINEAR)
    if steps.rounded:
        volume = _rounded(volume)
    if steps.clip is not None:
        volume = replace(volume, array=np.clip(volume.array, *steps.clip))
    if steps.standardize is not None:
        volume = replace(volume, array=standardized(volume.array, read_standard(steps.standardize)))
    if steps.normalize is not None:
        volume = _normalized(volume)
    if steps.outliers is not None:
        normalized = steps.normalize is not None  # rounding leaves the moments slightly off 0 and 1
        mean, deviation = (0.0, 1.0) if normalized else _moments(volume.array, "--clip-outliers")
        reach = steps.outliers * deviation
        volume = replace(volume, array=np.clip(volume.array, mean - reach, mean + reach))
    return volume if steps.scale == 1 else replace(volume, array=volume.array * steps.scale)


def preprocess_with_mask(volume: Volume, mask: Mask, steps: Preprocessing) -> tuple[Volume, Mask]:
    """Return the image after the steps, and its mask on the new grid.

    Errors are those of `preprocess` and `labels_on_grid`.
    """
    if steps.grid is None:
        image = preprocess(volume, steps)
        return image, moved_labels(mask, volume, image, steps) != 0
    image = preprocess(volume, replace(steps, grid=None, rounded=False))
    image, mask = on_corner_grid(image, mask, steps.grid)
    return _rounded(image) if steps.rounded else image, mask


def preprocess_part(
    volume: Volume, mask: Mask, steps: Preprocessing, crop: int | None = None
) -> tuple[Part, Mask]:
    """Return the part of the image after the steps on which pyradiomics runs filters, and its mask there.

    Parameters
    ----------
    volume, mask, steps
        See `preprocess_with_mask`, whose errors these are.
    crop : int, optional
        Voxels around the mask to which an image that is not resampled is cropped (preCrop, padDistance). By
        default it is not.
    """
    if steps.grid is not None:
        image = preprocess(volume, replace(steps, grid=None, rounded=False))
        part, mask = in_corner_box(image, mask, steps.grid)
        return (replace(part, volume=_rounded(part.volume)) if steps.rounded else part), mask
    image, mask = preprocess_with_mask(volume, mask, steps)
    if crop is None or steps.spacing_mm is not None:
        return Part.all_of(image), mask
    box = bounding_box(mask, crop)
    return Part(volume=image.cropped(box), whole=image, box=box), mask[box]


def moved_labels(
    labels: npt.NDArray[Any], before: Volume, after: Volume, steps: Preprocessing
) -> npt.NDArray[Any]:
    """Return labels on the grid that the image has after the steps; see `labels_on_grid`."""
    if not geometry_differences(before, after):
        return labels
    return labels_on_grid(labels, before, after, steps.mask_interpolator or NEAREST)


def _rounded(volume: Volume) -> Volume:
    return replace(volume, array=np.rint(volume.array))


def _subtracted(volume: Volume, path: Path) -> Volume:
    other = read_image(path)
    differences = geometry_differences(other, volume)
    if differences:
        msg = f"--subtract {path} must lie on the image's grid, got {'; '.join(differences)}"
        raise ValueError(msg)
    return replace(volume, array=volume.array - other.array)


@step("N4")
def _corrected(volume: Volume) -> Volume:
    """Return the image divided by the bias field that N4 finds in the foreground."""
    if volume.array.min() < 0:
        msg = f"--n4 needs intensities of 0 or more, because it takes logarithms, got {volume.array.min():g}"
        raise ValueError(msg)
    _log.info("N4 corrects the bias field, which may take minutes")
    image = image_of(volume)
    foreground = SimpleITK.OtsuThreshold(image, 0, 1)
    shrink = [N4_SHRINK, N4_SHRINK, 1][: image.GetDimension()]
    n4 = SimpleITK.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations(N4_ITERATIONS)
    try:
        n4.Execute(SimpleITK.Shrink(image, shrink), SimpleITK.Shrink(foreground, shrink))
    except RuntimeError as error:
        msg = f"--n4 found no bias field in this image of {volume.array.shape} voxels; remove --n4"
        raise ValueError(msg) from error
    field = SimpleITK.GetArrayFromImage(SimpleITK.Exp(n4.GetLogBiasFieldAsImage(image)))
    return replace(volume, array=(volume.array / field).astype(volume.array.dtype))


def _normalized(volume: Volume) -> Volume:
    _moments(volume.array, "--normalize zscore")
    return replace(volume, array=SimpleITK.GetArrayFromImage(SimpleITK.Normalize(image_of(volume))))


def _moments(array: npt.NDArray[Any], option: str) -> tuple[float, float]:
    mean, deviation = float(array.mean(dtype=np.float64)), float(array.std(dtype=np.float64, ddof=1))
    if not deviation > 0:
        msg = f"{option} needs more than one intensity, got only {mean:g}"
        raise ValueError(msg)
    return mean, deviation
