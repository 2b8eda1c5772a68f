"""Parameter files of pyradiomics, translated into settings.

Written from the documentation of pyradiomics, which need not be installed. Its settings fall into three
groups: those that are supported, those without effect on texture features, and those that would change the
features and are not supported. The last are refused by name, never ignored.
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
from glcm_cuda.base.checks import nearest
from glcm_cuda.families.feature import Family, Feature
from glcm_cuda.families.registry import FAMILIES, NAMES
from pipelines.filters.contract import ImageFilter
from pipelines.images.preprocessing import Preprocessing
from pipelines.images.resampling import CornerGrid
from pipelines.images.volume import Volume
from pipelines.shell.image_types import FILTER_SETTINGS, IMAGE_TYPES
from pipelines.shell.own_section import KEYS, OWN_SECTION, OwnSettings, own_settings
from pipelines.shell.yaml_values import (
    Values,
    expected,
    is_integer,
    is_number,
    mapping,
    read_yaml,
    refuse_unknown,
)

_log = logging.getLogger(__name__)

SECTIONS = ("imageType", "featureClass", "setting", "voxelSetting", OWN_SECTION)

COMPUTED = (
    "binWidth", "binCount", "distances", "force2D", "force2Ddimension", "symmetricalGLCM", "weightingNorm",
    "label", "minimumROIDimensions", "minimumROISize", "normalize", "normalizeScale", "removeOutliers",
    "interpolator", "resampledPixelSpacing", "resegmentMode", "resegmentRange", "gldm_a", "voxelArrayShift",
)  # fmt: skip
"""Settings that are supported."""

WITHOUT_EFFECT = ("additionalInfo", "enableCExtensions", "geometryTolerance", "resegmentShape")
"""Settings that change no texture feature, at least without those `REFUSED`."""

REFUSED = ("correctMask", "label_channel", "padDistance", "preCrop")
"""Settings that are accepted only if they are off."""

_MAY_BE_NULL = {
    *WITHOUT_EFFECT,
    *FILTER_SETTINGS,
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

SETTINGS = (*COMPUTED, *FILTER_SETTINGS, *WITHOUT_EFFECT, *REFUSED)
VOXEL_SETTINGS = ("kernelRadius", "maskedKernel", "initValue", "voxelBatch")

INTERPOLATORS = (
    "sitkNearestNeighbor", "sitkLinear", "sitkBSpline", "sitkGaussian", "sitkHammingWindowedSinc",
    "sitkCosineWindowedSinc", "sitkWelchWindowedSinc", "sitkLanczosWindowedSinc", "sitkBlackmanWindowedSinc",
)  # fmt: skip
SHAPES = ("shape", "shape2D")
"""Feature classes without maps."""

SAME_AS = {
    "firstorder": {"StandardDeviation": "the root of Variance"},
    "glcm": {
        "Dissimilarity": "DifferenceAverage",
        "Homogeneity1": "Id",
        "Homogeneity2": "Idm",
        "SumVariance": "ClusterTendency",
    },
    "gldm": {
        "GrayLevelNonUniformityNormalized": "Uniformity of firstorder",
        "DependencePercentage": "always 1",
    },
}
"""Features that pyradiomics has deprecated, by class, and what they are."""


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
    label : int
        Label of the voxels of the mask that count.
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
    label: int = 1
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
        ValueError
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
            raise ValueError(msg)
        extents = (np.ptp(places) for places in np.nonzero(mask))
        dimensions = sum(extent > 0 for extent in extents)
        if dimensions < self.minimum_dimensions:
            msg = (
                f"mask {name} extends along {dimensions} dimensions, {self.path.name} requires at least "
                f"{self.minimum_dimensions} (minimumROIDimensions, by default 2)"
            )
            raise ValueError(msg)
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
        features=_features(sections["featureClass"]),
        region=region,
        own=own_settings(sections[OWN_SECTION]),
    )


def sections_of(content: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return pyradiomics' four sections of a parameter file and ours, empty where one is missing.

    Raises
    ------
    ValueError
        If a section, or a setting, has an unknown name.
    """
    refuse_unknown("section", content, SECTIONS)
    sections = {name: mapping(name, content.get(name)) for name in SECTIONS}
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
    features: tuple[str, ...],
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
    features : tuple of str
        Names of features.
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
    outside = voxel_values.number("initValue", 0.0)
    radius = voxel_values.integer("kernelRadius", 1, low=1)
    masked = voxel_values.boolean("maskedKernel", True) or region
    window = _Window(radius=radius, masked=masked, region=region, own=own)
    _refuse_preprocessing(values, radius)
    of_types = {name: _image_type(name, types[name], setting, window) for name in types}
    settings = of_types["Original"].settings if "Original" in of_types else _glcm(values, window)
    image_types = tuple(of_types.values()) if of_types.keys() - {"Original"} else ()
    return ParameterFile(
        path=path,
        settings=settings,
        features=features,
        label=values.integer("label", 1, low=1),
        outside=outside,
        minimum_dimensions=values.integer("minimumROIDimensions", 2, low=1, high=3),
        minimum_voxels=1 + values.integer("minimumROISize", 0, low=1),
        steps=_steps(values, own),
        crop=_pad(values) if values.boolean("preCrop", False) else None,
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


def _image_type(name: str, content: Any, setting: Mapping[str, Any], window: _Window) -> ImageType:
    """Return the filter of an image type, and the settings with those that are given for it alone."""
    place = f"imageType {name}"
    own = mapping(place, content)
    refuse_unknown(place, own, SETTINGS)
    if "label" in own and own["label"] != setting.get("label", 1):
        msg = f"{place}: label must be given in setting"
        raise ValueError(msg)
    for key in ("normalize", "resampledPixelSpacing", "resegmentRange"):
        if own.get(key):
            msg = f"{place}: {key} must be given in setting, for all image types"
            raise ValueError(msg)
    values = _values({**setting, **own})
    try:
        _refuse_preprocessing(_values(own), window.radius)
        settings = _glcm(values, window, filtered=name != "Original")
        return ImageType(filter=IMAGE_TYPES[name](values), settings=settings)
    except (ValueError, TypeError) as error:
        if name == "Original":
            raise
        msg = f"{place}: {error}"
        raise ValueError(msg) from None


def _glcm(values: Values, window: _Window, *, filtered: bool = False) -> GLCMSettings:
    """Return the settings of features."""
    fields = _bins(values) | _counting(values)
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


def _refuse_preprocessing(values: Values, radius: int) -> None:
    """Refuse settings that would change the image or the mask first."""
    _refuse_if("correctMask", values.boolean("correctMask", False), "resample the mask to the image", "true")
    channel = values.integer("label_channel", 0, low=0)
    _refuse_if("label_channel", channel != 0, "write that channel of the mask to a file", channel)
    pad = _pad(values)
    if pad < radius and (values.boolean("preCrop", False) or _grid(values)):
        msg = f"padDistance must be at least kernelRadius if the image is cropped or resampled, got {pad}"
        raise ValueError(msg)


def _refuse_if(name: str, refused: bool, advice: str, value: Any) -> None:
    if refused:
        msg = f"{name} is not supported, got {value}; {advice}, or remove {name}"
        raise ValueError(msg)


def _steps(values: Values, own: OwnSettings) -> Preprocessing:
    """Return the preprocessing: normalisation over the whole image, and resampling."""
    resampling = _resampling(_grid(values), own)
    if not values.boolean("normalize", False):
        return resampling
    outliers = values.number("removeOutliers", math.inf)
    if not outliers > 0:
        raise ValueError(expected("removeOutliers", "a number above 0", values.values["removeOutliers"]))
    scale = values.number("normalizeScale", 1.0)
    if not 0 < scale < math.inf:
        raise ValueError(expected("normalizeScale", "a number above 0", values.values["normalizeScale"]))
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
    spacing = values.values.get("resampledPixelSpacing")
    if spacing is None or "interpolator" in values.nulls:  # null switches it off
        return None
    if not isinstance(spacing, list) or len(spacing) != 3 or not all(map(_is_spacing, spacing)):
        raise ValueError(expected("resampledPixelSpacing", "a list of three numbers of 0 or more", spacing))
    name = values.values.get("interpolator", "sitkBSpline")
    if name not in INTERPOLATORS:
        raise ValueError(expected("interpolator", f"one of {', '.join(INTERPOLATORS)}", name))
    x, y, z = map(float, spacing)
    return CornerGrid(spacing_mm=(x, y, z), interpolator=name, pad=_pad(values))


def _pad(values: Values) -> int:
    return values.integer("padDistance", 5, low=0)


def _is_spacing(value: Any) -> bool:
    return is_number(value) and 0 <= value < math.inf


def _resegmentation(values: Values) -> dict[str, Any]:
    edges = values.values.get("resegmentRange")
    if edges is None:
        return {}
    mode = values.values.get("resegmentMode", "absolute")
    if mode not in ("absolute", "relative", "sigma"):
        raise ValueError(expected("resegmentMode", "absolute, relative or sigma", mode))
    if not isinstance(edges, list) or len(edges) not in (1, 2) or not all(map(is_number, edges)):
        raise ValueError(expected("resegmentRange", "a list of one or two numbers", edges))
    return {"resegment": tuple(sorted(map(float, edges))), "resegment_mode": mode}


def _bins(values: Values) -> dict[str, Any]:
    if "binCount" in values.values:
        return {"levels": values.integer("binCount", 0, low=2)}
    width = values.number("binWidth", 25.0)
    if not (math.isfinite(width) and width > 0):
        raise ValueError(expected("binWidth", "a positive number", values.values["binWidth"]))
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
        msg = f"binEdges ibsi with binWidth needs both ends of resegmentRange, got {list(edges)}"
        raise ValueError(msg)
    return {"intensity_range": edges}


def _counting(values: Values) -> dict[str, Any]:
    """Return what is counted in a window, and how."""
    flat = values.boolean("force2D", False)
    axis = values.integer("force2Ddimension", 0, low=0, high=2)
    distances = values.values.get("distances", [1])
    if not isinstance(distances, list) or not distances or not all(map(is_integer, distances)):
        raise ValueError(expected("distances", "a list of whole numbers", distances))
    return {
        "dimensions": 2 if flat else 3,
        "slice_axis": axis if flat else 0,
        "distance": tuple(distances),
        "symmetric": values.boolean("symmetricalGLCM", True),
        "gldm_a": values.integer("gldm_a", 0, low=0),
        "intensity_shift": _shift(values),
        "aggregate": _aggregate(values.values.get("weightingNorm")),
    }


def _shift(values: Values) -> int:
    shift = values.values.get("voxelArrayShift", 0)
    if not is_integer(shift):
        raise ValueError(expected("voxelArrayShift", "a whole number", shift))
    return int(shift)


def _aggregate(norm: Any) -> str:
    if norm in ("manhattan", "euclidean", "infinity"):
        msg = f"weightingNorm {norm} is not supported; remove it, or give no_weighting"
        raise ValueError(msg)
    if norm not in (None, "no_weighting"):
        norms = "null, no_weighting, manhattan, euclidean or infinity"
        raise ValueError(expected("weightingNorm", norms, norm))
    return "mean" if norm is None else "merge"


def _features(classes: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the features of the classes that are named, or those of all classes."""
    families = {family.name: family for family in FAMILIES}
    if not classes:
        _log.info("no featureClass: pyradiomics would compute every class; all but shape are computed")
        return NAMES
    refuse_unknown("featureClass", classes, (*families, *SHAPES))
    found: dict[str, None] = {}
    for name, given in classes.items():
        if name in SHAPES:
            _log.warning("featureClass %s is left out: it has one value for a whole region", name)
        else:
            found |= dict.fromkeys(_features_of(families[name], given))
    if not found:
        msg = "featureClass: none of these features is computed here; name others"
        raise ValueError(msg)
    return tuple(found)


def _features_of(family: Family, names: Any) -> list[str]:
    """Return the features of a class that are named, or all of the class."""
    if names is not None and not isinstance(names, list):
        raise ValueError(expected(f"featureClass {family.name}", "a list of features", names))
    if not names:
        return [feature.name for feature in family.features]
    found = [_feature(family, str(name)) for name in names]
    return [feature.name for feature in found if feature is not None]


def _feature(family: Family, name: str) -> Feature | None:
    deprecated = SAME_AS.get(family.name, {}).get(name)
    if deprecated is not None:
        _log.warning(
            "featureClass %s: %s, which pyradiomics has deprecated, is left out: it is %s",
            family.name, name, deprecated,
        )  # fmt: skip
        return None
    known = {feature.pyradiomics: feature for feature in family.features}
    if name not in known:
        hint = nearest(name, list(known)) or f"; the features are {', '.join(known)}"
        msg = f"featureClass {family.name}: no feature {name!r}{hint}"
        raise ValueError(msg)
    return known[name]
