"""What is done to an image before its map, if asked for: all off by default, and recorded when on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import SimpleITK

from glcm_cuda.base.checks import check_choice
from pipelines.images.intensity_standard import read_standard, standardized
from pipelines.images.provenance import source_record
from pipelines.images.reading import read_image
from pipelines.images.resampling import CornerGrid, Mask, nearest_on_grid, on_corner_grid, on_spacing
from pipelines.images.volume import Volume, geometry_differences, image_of

N4_SHRINK = 4
"""N4 estimates the bias, which is smooth, on every fourth voxel in the plane, as its authors advise."""

N4_ITERATIONS = (50, 50, 50, 50)
"""Most iterations of N4 at each of its levels, ITK's default."""


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
        volume = on_spacing(volume, steps.spacing_mm)
    if steps.standardize is not None:
        volume = replace(volume, array=standardized(volume.array, read_standard(steps.standardize)))
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
        return on_corner_grid(image, mask, steps.grid)
    return image, moved_labels(mask, volume, image) != 0


def moved_labels(labels: npt.NDArray[Any], before: Volume, after: Volume) -> npt.NDArray[Any]:
    """Return labels of an image on the image's grid after the steps, each voxel from the nearest."""
    if not geometry_differences(before, after):
        return labels
    return nearest_on_grid("the mask", replace(before, array=labels), after)


def _subtracted(volume: Volume, path: Path) -> Volume:
    other = read_image(path)
    differences = geometry_differences(other, volume)
    if differences:
        msg = f"--subtract {path} must lie on the image's grid, got {'; '.join(differences)}"
        raise ValueError(msg)
    return replace(volume, array=volume.array - other.array)


def _corrected(volume: Volume) -> Volume:
    """Divide by the bias field that N4 finds in the foreground."""
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


def _normalized(volume: Volume) -> Volume:
    _moments(volume.array, "--normalize zscore")
    return replace(volume, array=SimpleITK.GetArrayFromImage(SimpleITK.Normalize(image_of(volume))))


def _moments(array: npt.NDArray[Any], option: str) -> tuple[float, float]:
    mean, deviation = float(array.mean(dtype=np.float64)), float(array.std(dtype=np.float64, ddof=1))
    if not deviation > 0:
        msg = f"{option} needs more than one intensity, got {mean:g} alone"
        raise ValueError(msg)
    return mean, deviation
