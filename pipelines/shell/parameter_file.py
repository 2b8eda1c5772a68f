"""Parameter files of pyradiomics, translated into settings.

Written from the documentation of pyradiomics, which need not be installed. What a setting says is done, or
refused with its name and its line; none is ignored. docs/pyradiomics.md has a table of all of them.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from glcm_cuda import GLCMSettings
from glcm_cuda.settings import MAX_LEVELS, MAX_WINDOW, NORMS
from pipelines.filters.contract import ImageFilter
from pipelines.images.masks import ALL_LABELS, Label, MaskChoice
from pipelines.images.preprocessing import Preprocessing
from pipelines.images.resampling import CornerGrid
from pipelines.images.volume import Volume
from pipelines.shell.feature_classes import Wanted, wanted_of
from pipelines.shell.image_types import FILTER_SETTINGS, IMAGE_TYPES
from pipelines.shell.own_section import KEYS, OWN_SECTION, OwnSettings, own_settings
from pipelines.shell.yaml_values import (
    Section,
    UnfitError,
    Values,
    is_integer,
    is_number,
    mapping,
    read_yaml,
    refuse_unknown,
)

_log = logging.getLogger(__name__)

SECTIONS = ("imageType", "featureClass", "setting", "voxelSetting", OWN_SECTION)

OF_FEATURES = (
    "binWidth", "binCount", "distances", "force2D", "force2Ddimension", "symmetricalGLCM", "weightingNorm",
    "gldm_a", "voxelArrayShift",
)  # fmt: skip
"""Settings of features, of which an image type may have its own."""

OF_INPUTS = (
    "label", "label_channel", "correctMask", "geometryTolerance", "minimumROIDimensions", "minimumROISize",
    "normalize", "normalizeScale", "removeOutliers", "resampledPixelSpacing", "interpolator", "padDistance",
    "preCrop", "resegmentRange", "resegmentMode", "resegmentShape", "additionalInfo", "enableCExtensions",
)  # fmt: skip
"""Settings of image and mask, which hold for all image types."""

_MAY_BE_NULL = {
    *FILTER_SETTINGS,
    "additionalInfo",
    "enableCExtensions",
    "geometryTolerance",
    "resegmentShape",
    "interpolator",
    "padDistance",
    "binCount",
    "weightingNorm",
    "minimumROISize",
    "normalizeScale",
    "removeOutliers",
    "resampledPixelSpacing",
    "resegmentMode",
    "resegmentRange",
}
"""For other settings, pyradiomics takes null sometimes for the default and sometimes for something else."""

SETTINGS = (*OF_FEATURES, *OF_INPUTS, *FILTER_SETTINGS)
VOXEL_SETTINGS = ("kernelRadius", "maskedKernel", "initValue", "voxelBatch")

_LABEL = 1
"""Label that counts if none is named."""

INTERPOLATORS = (
    "sitkNearestNeighbor", "sitkLinear", "sitkBSpline", "sitkGaussian", "sitkLabelGaussian",
    "sitkHammingWindowedSinc", "sitkCosineWindowedSinc", "sitkWelchWindowedSinc", "sitkLanczosWindowedSinc",
    "sitkBlackmanWindowedSinc",
)  # fmt: skip
"""Of SimpleITK; a number from 1 to 10 counts them from the first."""


class SmallMaskError(ValueError):
    """A mask has fewer voxels than a parameter file asks for."""


@dataclass(frozen=True, kw_only=True)
class ImageType:
    """A filter of a parameter file, and the settings of the features of its images."""

    filter: ImageFilter
    settings: GLCMSettings


@dataclass(frozen=True, kw_only=True)
class ParameterFile:
    """What a parameter file asks for.

    Parameters
    ----------
    path : path
        The file, for messages.
    settings : GLCMSettings
        For maps, or for regions (see `read_parameter_file`).
    features : tuple of str
        Names of features.
    shapes : tuple of str
        Names of features of shape, which regions have.
    mask_choice : MaskChoice
        Which voxels of the mask count, and whether it is resampled.
    diagnostics : bool
        Whether results say what image and mask were at each stage (additionalInfo).
    resegment_shape : bool
        Whether features of shape are of what the range of intensities leaves of the mask.
    outside : float
        Value of a map outside the mask.
    minimum_dimensions, minimum_voxels : int
        Along how many axes a mask must extend, and how many voxels it must hold.
    steps : Preprocessing
        Preprocessing of image and mask.
    crop : int, optional
        Voxels around the mask to which the image is cropped before filters, if it is not resampled
        (preCrop, padDistance).
    resegment : tuple of 0 to 2 floats
        Lowest and highest intensity that counts inside the mask; empty for all.
    image_types : tuple of ImageType
        Images that are derived first; empty for the image itself alone.
    resegment_mode : {"absolute", "relative", "sigma"}
        Whether these are intensities, fractions of the highest one in the mask, or standard deviations from
        the mean in the mask.
    resegment_sigma : float, optional
        Standard deviations from the mean in the mask beyond which voxels do not count either.
    """

    path: Path
    settings: GLCMSettings
    features: tuple[str, ...]
    shapes: tuple[str, ...] = ()
    mask_choice: MaskChoice = field(default_factory=lambda: MaskChoice(label=_LABEL))
    diagnostics: bool = False
    resegment_shape: bool = False
    outside: float = 0.0
    minimum_dimensions: int = 2
    minimum_voxels: int = 1
    steps: Preprocessing = field(default_factory=Preprocessing)
    crop: int | None = None
    resegment: tuple[float, ...] = ()
    resegment_mode: str = "absolute"
    resegment_sigma: float | None = None
    image_types: tuple[ImageType, ...] = ()

    @property
    def filter_pad(self) -> int | None:
        """Voxels around the mask in the box that filters work on; None for the whole image."""
        if self.steps.grid is not None:
            return self.steps.grid.pad
        return None if self.steps.spacing_mm is not None else self.crop

    @staticmethod
    def fitted(settings: GLCMSettings, volume: Volume) -> GLCMSettings:
        """Return the settings for an image: in a 2D image, windows have two dimensions, as in pyradiomics."""
        return replace(settings, dimensions=2, slice_axis=0) if volume.array.ndim == 2 else settings

    def region(
        self, name: object, mask: npt.NDArray[np.bool_], array: npt.NDArray[Any]
    ) -> npt.NDArray[np.bool_]:
        """Return the voxels of a mask whose intensities count: in every range that the file gives.

        Raises
        ------
        SmallMaskError
            If fewer are left than the file asks for; `name` is what the message calls the mask.
        """
        for low, high in self._ranges(array[mask]):
            mask = mask & (array >= low) & (array <= high)
        voxels = int(np.count_nonzero(mask))
        if voxels < self.minimum_voxels:
            msg = (
                f"mask {name} has {voxels} voxels, {self.path.name} requires at least {self.minimum_voxels} "
                "(minimumROISize)"
            )
            raise SmallMaskError(msg)
        extents = (np.ptp(places) for places in np.nonzero(mask))
        dimensions = sum(extent > 0 for extent in extents)
        if dimensions < self.minimum_dimensions:
            msg = (
                f"mask {name} extends along {dimensions} dimensions, {self.path.name} requires at least "
                f"{self.minimum_dimensions} (minimumROIDimensions, by default 2)"
            )
            raise SmallMaskError(msg)
        return mask

    def _ranges(self, intensities: npt.NDArray[Any]) -> list[tuple[float, float]]:
        """Return the ranges in which intensities count, each found over the whole mask (IBSI, IF9H)."""
        ranges = []
        if self.resegment:
            scale, origin = {
                "absolute": (1, 0),
                "relative": (intensities.max(), 0),
                "sigma": (intensities.std(), intensities.mean()),
            }[self.resegment_mode]
            low, high = (*(origin + scale * edge for edge in self.resegment), np.inf)[:2]
            ranges.append((low, high))
        if self.resegment_sigma is not None:
            mean, reach = intensities.mean(), self.resegment_sigma * intensities.std()
            ranges.append((mean - reach, mean + reach))
        return ranges


def read_parameter_file(path: str | os.PathLike[str], *, region: bool = False) -> ParameterFile:
    """Return what a parameter file of pyradiomics asks for.

    Parameters
    ----------
    path : path
        YAML, or JSON.
    region : bool
        Whether features of a region are wanted: pyradiomics then ignores ``voxelSetting``, and no window
        limits the distance.

    Raises
    ------
    FileNotFoundError, ValueError
        If the file cannot be read, holds what pyradiomics would not accept, or asks for what is not
        supported; the message names it.
    """
    path = Path(path)
    try:
        return _parsed(path, read_yaml(path), region=region)
    except (ValueError, TypeError) as error:
        msg = f"{path}: {error}"
        raise ValueError(msg) from None


def _parsed(path: Path, content: Mapping[str, Any], *, region: bool) -> ParameterFile:
    sections = sections_of(content)
    setting = sections["setting"]
    return parameters_of(
        path,
        setting,
        sections["voxelSetting"],
        types=sections["imageType"],
        wanted=wanted_of(sections["featureClass"], region=region),
        region=region,
        own=own_settings(sections[OWN_SECTION]),
    )


def sections_of(content: Mapping[str, Any]) -> dict[str, Section]:
    """Return pyradiomics' four sections of a parameter file and ours, empty where one is missing.

    Raises
    ------
    ValueError
        If a section, or a setting, has an unknown name.
    """
    whole = Section(content)
    refuse_unknown("section", whole, SECTIONS)
    sections = {name: mapping(name, whole.get(name, {}), whole.place(name)) for name in SECTIONS}
    keys = {"setting": SETTINGS, "voxelSetting": VOXEL_SETTINGS, OWN_SECTION: KEYS}
    for name, known in keys.items():
        others = {key: other for other, those in keys.items() if other != name for key in those}
        refuse_unknown(name, sections[name], known, elsewhere=others)
    refuse_unknown("imageType", sections["imageType"], tuple(IMAGE_TYPES))
    return sections


def parameters_of(
    path: Path,
    setting: Mapping[str, Any],
    voxel: Mapping[str, Any],
    *,
    types: Mapping[str, Any],
    wanted: Wanted,
    region: bool,
    own: OwnSettings | None = None,
) -> ParameterFile:
    """Return what settings of pyradiomics ask for.

    Parameters
    ----------
    path : Path
        Where they stand, for messages.
    setting, voxel : mapping
        The sections ``setting`` and ``voxelSetting``.
    types : mapping
        The section ``imageType``: image types, each with settings of its own.
    wanted : Wanted
        Features.
    region : bool
        See `read_parameter_file`.
    own : OwnSettings, optional
        Settings that pyradiomics does not have.

    Raises
    ------
    ValueError
        If a value is not one that pyradiomics would accept, or asks for what is not supported.
    """
    own = own or OwnSettings()
    values, voxel_values = _values(setting), _values(voxel)
    voxel_values.integer("voxelBatch", 1, low=1)
    outside = voxel_values.number("initValue", 0.0, words=True)
    radius = voxel_values.integer("kernelRadius", 1, low=1, high=MAX_WINDOW // 2)
    masked = voxel_values.boolean("maskedKernel", True) or region
    window = _Window(radius=radius, masked=masked, region=region, own=own)
    steps = _steps(values, own)
    _check_padding(values, radius, steps)
    of_types = {name: _image_type(name, types, setting, window) for name in types}
    settings = of_types["Original"].settings if "Original" in of_types else _glcm(values, window)
    image_types = tuple(of_types.values()) if of_types.keys() - {"Original"} else ()
    return ParameterFile(
        path=path,
        settings=settings,
        features=wanted.features,
        shapes=wanted.shapes,
        mask_choice=_mask_choice(values, steps),
        diagnostics=values.boolean("additionalInfo", True),
        resegment_shape=values.boolean("resegmentShape", False),
        outside=outside,
        crop=_pad(values) if values.boolean("preCrop", False) else None,
        minimum_dimensions=values.integer("minimumROIDimensions", 2, low=1, high=3),
        minimum_voxels=1 + values.integer("minimumROISize", 0, low=1),
        steps=steps,
        image_types=image_types,
        resegment_sigma=own.resegment_sigma,
        **_resegmentation(values),
    )


@dataclass(frozen=True, kw_only=True)
class _Window:
    """What ``voxelSetting`` says of windows, `region` where there are none; and settings of our own."""

    radius: int
    masked: bool
    region: bool
    own: OwnSettings


def _values(values: Mapping[str, Any]) -> Values:
    return Values(values, _MAY_BE_NULL)


def _image_type(
    name: str, types: Mapping[str, Any], setting: Mapping[str, Any], window: _Window
) -> ImageType:
    """Return the filter of an image type, and the settings with those that are given for it alone."""
    title, common = f"imageType {name}", Section(setting)
    own = mapping(title, types[name], Section(types).place(name))
    refuse_unknown(title, own, SETTINGS)
    for key in own.keys() & set(OF_INPUTS):
        if (own[key] or None) != (common.get(key, _LABEL if key == "label" else None) or None):
            msg = f"{title}: {key} must be given in setting, for all image types{own.place(key)}"
            raise UnfitError(msg)
    try:
        values = _values(common.changed_by(own))
        settings = _glcm(values, window, filtered=name != "Original")
        return ImageType(filter=IMAGE_TYPES[name](values), settings=settings)
    except (ValueError, TypeError) as error:
        if name == "Original":
            raise
        place = "" if isinstance(error, UnfitError) else Section(types).place(name)
        msg = f"{title}: {error}{place}"
        raise UnfitError(msg) from None


def _glcm(values: Values, window: _Window, *, filtered: bool = False) -> GLCMSettings:
    """Return the settings of features."""
    fields = _bins(values) | _counting(values, window)
    if not filtered:  # a filtered image has other intensities
        fields |= _bin_range(values, window.own)
    fields["window"] = 2 * window.radius + 1
    if window.region:  # a region has no window, but the settings need one wider than every distance
        fields["window"] = 2 * max(fields["distance"]) + 1
    return GLCMSettings(
        range_over="mask" if window.masked else "crop",
        masked_window=window.masked,
        directions="all",
        bin_edges=window.own.bin_edges,
        ngtdm_isolated=window.own.ngtdm_isolated,
        **fields,
    )


def _check_padding(values: Values, radius: int, steps: Preprocessing) -> None:
    """Refuse a crop that windows reach beyond, so that pyradiomics cuts them."""
    crops = steps.grid is not None or (values.boolean("preCrop", False) and steps.spacing_mm is None)
    if crops and _pad(values) < radius:
        values.refuse("padDistance", "at least kernelRadius if the image is cropped or resampled")


def _mask_choice(values: Values, steps: Preprocessing) -> MaskChoice:
    """Return which voxels of the mask count: of one label, of several, or of all.

    Where it resamples the image, pyradiomics starts from the grid of the mask and corrects nothing.
    """
    return MaskChoice(
        label=_label(values),
        channel=values.integer("label_channel", 0, low=0),
        resample=values.boolean("correctMask", False) and steps.grid is None,
        within=True,
        tolerance=values.positive("geometryTolerance", 0.0) or None,
    )


def _label(values: Values) -> Label:
    label = values.values.get("label", _LABEL)
    if label == ALL_LABELS:
        return ALL_LABELS
    labels = label if isinstance(label, list) else [label]
    if not labels or not all(is_integer(one) and one >= 1 for one in labels):
        values.refuse("label", "a whole number of 1 or more, a list of them, or all")
    return tuple(dict.fromkeys(labels)) if isinstance(label, list) else int(label)


def _steps(values: Values, own: OwnSettings) -> Preprocessing:
    """Return the preprocessing: normalisation over the whole image, and resampling."""
    resampling = _resampling(_grid(values), own)
    outliers, scale = values.positive("removeOutliers", math.inf), values.positive("normalizeScale", 1.0)
    if not values.boolean("normalize", False):
        return resampling
    clipped = None if outliers == math.inf else outliers
    return replace(resampling, normalize="zscore", outliers=clipped, scale=scale)


def _resampling(grid: CornerGrid | None, own: OwnSettings) -> Preprocessing:
    """Return the steps that take an image to a grid, pyradiomics' or IBSI's."""
    if grid is None:
        return Preprocessing(rounded=own.rounded)
    if own.grid == "ibsi":
        return Preprocessing(
            spacing_mm=grid.spacing_mm,
            interpolator=grid.interpolator,
            mask_interpolator=own.mask_interpolator,
            rounded=own.rounded,
        )
    return Preprocessing(grid=replace(grid, mask_interpolator=own.mask_interpolator), rounded=own.rounded)


def _grid(values: Values) -> CornerGrid | None:
    spacing, interpolator = values.values.get("resampledPixelSpacing"), _interpolator(values)
    if spacing is not None and (
        not isinstance(spacing, list) or len(spacing) != 3 or not all(map(_is_spacing, spacing))
    ):
        values.refuse("resampledPixelSpacing", "a list of three numbers of 0 or more")
    if spacing is None or "interpolator" in values.nulls:  # null switches it off
        return None
    x, y, z = map(float, spacing)
    return CornerGrid(spacing_mm=(x, y, z), interpolator=interpolator, pad=_pad(values))


def _pad(values: Values) -> int:
    return values.integer("padDistance", 5, low=0)


def _interpolator(values: Values) -> str:
    given = values.values.get("interpolator", "sitkBSpline")
    if is_integer(given) and 1 <= given <= len(INTERPOLATORS):
        return INTERPOLATORS[given - 1]
    if given not in INTERPOLATORS:
        values.refuse("interpolator", f"one of {', '.join(INTERPOLATORS)}, or a number from 1 to 10")
    return str(given)


def _is_spacing(value: Any) -> bool:
    return is_number(value) and 0 <= value < math.inf


def _resegmentation(values: Values) -> dict[str, Any]:
    edges = values.values.get("resegmentRange")
    mode = values.choice("resegmentMode", "absolute", ("absolute", "relative", "sigma"))
    if edges is None:
        return {}
    if not isinstance(edges, list) or len(edges) not in (1, 2) or not all(map(is_number, edges)):
        values.refuse("resegmentRange", "a list of one or two numbers")
    return {"resegment": tuple(sorted(map(float, edges))), "resegment_mode": mode}


def _bins(values: Values) -> dict[str, Any]:
    width = values.positive("binWidth", 25.0)
    if "binCount" in values.values:
        return {"levels": values.integer("binCount", 0, low=2, high=MAX_LEVELS)}
    return {"bin_width": width}


def _bin_range(values: Values, own: OwnSettings) -> dict[str, Any]:
    """Return where IBSI's bins of a fixed width begin and end: at the range of resegmentation."""
    resegmentation = _resegmentation(values)
    if own.bin_edges != "ibsi" or "binCount" in values.values or not resegmentation:
        return {}
    edges, mode = resegmentation["resegment"], resegmentation["resegment_mode"]
    if mode != "absolute":
        return {}
    if len(edges) == 1:
        values.refuse("resegmentRange", "two numbers if binEdges is ibsi and there is a binWidth")
    return {"intensity_range": edges}


def _counting(values: Values, window: _Window) -> dict[str, Any]:
    """Return what is counted in a window, and how."""
    flat = values.boolean("force2D", False)
    axis = values.integer("force2Ddimension", 0, low=0, high=2)
    return {
        "dimensions": 2 if flat else 3,
        "slice_axis": axis if flat else 0,
        "distance": _distances(values, window),
        "symmetric": values.boolean("symmetricalGLCM", True),
        "gldm_a": values.integer("gldm_a", 0, low=0, high=MAX_LEVELS - 1),
        "intensity_shift": _shift(values),
        **_aggregation(values),
    }


def _distances(values: Values, window: _Window) -> tuple[int, ...]:
    distances = values.values.get("distances", [1])
    longest = MAX_WINDOW // 2 if window.region else 2 * window.radius
    if not isinstance(distances, list) or not distances or not all(map(is_integer, distances)):
        values.refuse("distances", "a list of whole numbers")
    if not all(1 <= distance <= longest for distance in distances):
        reach = "" if window.region else ", which the window reaches"
        values.refuse("distances", f"from 1 to {longest}{reach}")
    return tuple(dict.fromkeys(distances))


def _shift(values: Values) -> int:
    shift = values.values.get("voxelArrayShift", 0)
    if not is_integer(shift):
        values.refuse("voxelArrayShift", "a whole number")
    return int(shift)


def _aggregation(values: Values) -> dict[str, Any]:
    """Return how directions come together: one by one without a norm, else pooled by weights."""
    if "weightingNorm" not in values.values:
        return {"aggregate": "mean"}
    norm = values.choice("weightingNorm", "", ("no_weighting", *NORMS))
    return {"aggregate": "merge", "weighting": None if norm == "no_weighting" else norm}
