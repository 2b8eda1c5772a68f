"""Parameter files of pyradiomics, translated into settings.

Written from the documentation of pyradiomics, which need not be installed. Its settings fall into three
groups: those that are supported, those without effect on co-occurrence features of the original image, and
those that would change the features and are not supported. The last are refused by name, never ignored.
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
from glcm_cuda.families.feature import Feature
from glcm_cuda.families.glcm.features import FEATURES
from pipelines.images.preprocessing import Preprocessing
from pipelines.images.resampling import CornerGrid
from pipelines.images.volume import Volume
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

SECTIONS = ("imageType", "featureClass", "setting", "voxelSetting")

COMPUTED = (
    "binWidth", "binCount", "distances", "force2D", "force2Ddimension", "symmetricalGLCM", "weightingNorm",
    "label", "minimumROIDimensions", "minimumROISize", "normalize", "normalizeScale", "removeOutliers",
    "interpolator", "resampledPixelSpacing", "resegmentMode", "resegmentRange",
)  # fmt: skip
"""Settings that are supported."""

WITHOUT_EFFECT = (
    "additionalInfo", "enableCExtensions", "geometryTolerance", "gldm_a", "gradientUseSpacing",
    "lbp2DMethod", "lbp2DRadius", "lbp2DSamples", "lbp3DIcosphereRadius",
    "lbp3DIcosphereSubdivision", "lbp3DLevels", "level",
    "resegmentShape", "sigma", "start_level", "voxelArrayShift", "wavelet",
)  # fmt: skip
"""Settings that change no co-occurrence feature of the original image, at least without those `REFUSED`."""

REFUSED = ("correctMask", "label_channel", "padDistance", "preCrop")
"""Settings that are accepted only if they are off."""

_MAY_BE_NULL = {
    *WITHOUT_EFFECT,
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

SETTINGS = (*COMPUTED, *WITHOUT_EFFECT, *REFUSED)
VOXEL_SETTINGS = ("kernelRadius", "maskedKernel", "initValue", "voxelBatch")

_INTERPOLATORS = (
    "sitkNearestNeighbor", "sitkLinear", "sitkBSpline", "sitkGaussian", "sitkHammingWindowedSinc",
    "sitkCosineWindowedSinc", "sitkWelchWindowedSinc", "sitkLanczosWindowedSinc", "sitkBlackmanWindowedSinc",
)  # fmt: skip
_CLASSES = ("firstorder", "glcm", "gldm", "glrlm", "glszm", "ngtdm", "shape", "shape2D")
_IMAGE_TYPES = (
    "Original", "Exponential", "Gradient", "LBP2D", "LBP3D", "LoG", "Logarithm", "Square", "SquareRoot",
    "Wavelet",
)  # fmt: skip

_SAME_AS = {
    "Dissimilarity": "DifferenceAverage",
    "Homogeneity1": "Id",
    "Homogeneity2": "Idm",
    "SumVariance": "ClusterTendency",
}
"""Features that pyradiomics no longer computes, and the features that they equal."""


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
    resegment : tuple of 0 to 2 floats
        Lowest and highest intensity that counts inside the mask; empty for all.
    resegment_mode : {"absolute", "relative", "sigma"}
        Whether these are intensities, fractions of the highest one in the mask, or standard deviations from
        the mean in the mask.
    """

    path: Path
    settings: GLCMSettings
    features: tuple[str, ...]
    label: int = 1
    outside: float = 0.0
    minimum_dimensions: int = 2
    minimum_voxels: int = 1
    steps: Preprocessing = field(default_factory=Preprocessing)
    resegment: tuple[float, ...] = ()
    resegment_mode: str = "absolute"

    @staticmethod
    def fitted(settings: GLCMSettings, volume: Volume) -> GLCMSettings:
        """Return the settings for an image: in a 2D image, windows have two dimensions, as in pyradiomics."""
        return replace(settings, dimensions=2, slice_axis=0) if volume.array.ndim == 2 else settings

    def region(
        self, name: object, mask: npt.NDArray[np.bool_], array: npt.NDArray[Any]
    ) -> npt.NDArray[np.bool_]:
        """Return the voxels of a mask whose intensities count.

        Raises
        ------
        ValueError
            If fewer are left than the file asks for; `name` is what the message calls the mask.
        """
        if self.resegment:
            intensities = array[mask]
            scale, origin = {
                "absolute": (1, 0),
                "relative": (intensities.max(), 0),
                "sigma": (intensities.std(), intensities.mean()),
            }[self.resegment_mode]
            low, high = (*(origin + scale * edge for edge in self.resegment), np.inf)[:2]
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
    refuse_unknown("section", content, SECTIONS)
    setting = mapping("setting", content.get("setting"))
    voxel = mapping("voxelSetting", content.get("voxelSetting"))
    refuse_unknown("setting", setting, SETTINGS, elsewhere=dict.fromkeys(VOXEL_SETTINGS, "voxelSetting"))
    refuse_unknown("voxelSetting", voxel, VOXEL_SETTINGS, elsewhere=dict.fromkeys(SETTINGS, "setting"))
    own = _original(mapping("imageType", content.get("imageType")), setting)
    values, voxel_values = _values(setting), _values(voxel)
    radius = voxel_values.integer("kernelRadius", 1, low=1)
    voxel_values.integer("voxelBatch", 1, low=1)
    outside = voxel_values.number("initValue", 0.0)
    masked = voxel_values.boolean("maskedKernel", True) or region
    for part in (values, _values(own)):
        _refuse_preprocessing(part, radius)
    for name in ("normalize", "resampledPixelSpacing", "resegmentRange"):
        if own.get(name):
            msg = f"imageType Original: {name} must be given in setting, for all image types"
            raise ValueError(msg)
    texture = _values(setting | own)
    fields = _bins(texture) | _pairs(texture)
    fields["window"] = 2 * radius + 1
    if region:  # a region has no window, but the settings need one wider than every distance
        fields["window"] = 2 * max(fields["distance"]) + 1
    settings = GLCMSettings(
        range_over="mask" if masked else "crop",
        masked_window=masked,
        directions="all",
        bin_edges="pyradiomics",
        **fields,
    )
    return ParameterFile(
        path=path,
        settings=settings,
        features=_features(mapping("featureClass", content.get("featureClass"))),
        label=values.integer("label", 1, low=1),
        outside=outside,
        minimum_dimensions=values.integer("minimumROIDimensions", 2, low=1, high=3),
        minimum_voxels=1 + values.integer("minimumROISize", 0, low=1),
        steps=_steps(values),
        **_resegmentation(values),
    )


def _values(values: Mapping[str, Any]) -> Values:
    return Values(values, _MAY_BE_NULL)


def _original(types: Mapping[str, Any], setting: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that are given for the original image alone."""
    refuse_unknown("imageType", types, _IMAGE_TYPES)
    for name in types:
        if name != "Original":
            msg = f"imageType {name} is not supported; keep only Original"
            raise ValueError(msg)
    own = mapping("imageType Original", types.get("Original"))
    refuse_unknown("imageType Original", own, SETTINGS)
    if "label" in own and own["label"] != setting.get("label", 1):
        msg = "imageType Original: label must be given in setting"
        raise ValueError(msg)
    return own


def _refuse_preprocessing(values: Values, radius: int) -> None:
    """Refuse settings that would change the image or the mask first."""
    _refuse_if("correctMask", values.boolean("correctMask", False), "resample the mask to the image", "true")
    channel = values.integer("label_channel", 0, low=0)
    _refuse_if("label_channel", channel != 0, "write that channel of the mask to a file", channel)
    pad = values.integer("padDistance", 5, low=0)
    if pad < radius and (values.boolean("preCrop", False) or _grid(values)):
        msg = f"padDistance must be at least kernelRadius if the image is cropped or resampled, got {pad}"
        raise ValueError(msg)


def _refuse_if(name: str, refused: bool, advice: str, value: Any) -> None:
    if refused:
        msg = f"{name} is not supported, got {value}; {advice}, or remove {name}"
        raise ValueError(msg)


def _steps(values: Values) -> Preprocessing:
    """Return the preprocessing: normalisation over the whole image, and resampling."""
    grid = _grid(values)
    if not values.boolean("normalize", False):
        return Preprocessing(grid=grid)
    outliers = values.number("removeOutliers", math.inf)
    if not outliers > 0:
        raise ValueError(expected("removeOutliers", "a number above 0", values.values["removeOutliers"]))
    scale = values.number("normalizeScale", 1.0)
    if not 0 < scale < math.inf:
        raise ValueError(expected("normalizeScale", "a number above 0", values.values["normalizeScale"]))
    clipped = None if outliers == math.inf else outliers
    return Preprocessing(normalize="zscore", outliers=clipped, scale=scale, grid=grid)


def _grid(values: Values) -> CornerGrid | None:
    spacing = values.values.get("resampledPixelSpacing")
    if spacing is None or "interpolator" in values.nulls:  # null switches it off
        return None
    if not isinstance(spacing, list) or len(spacing) != 3 or not all(map(_is_spacing, spacing)):
        raise ValueError(expected("resampledPixelSpacing", "a list of three numbers of 0 or more", spacing))
    name = values.values.get("interpolator", "sitkBSpline")
    if name not in _INTERPOLATORS:
        raise ValueError(expected("interpolator", f"one of {', '.join(_INTERPOLATORS)}", name))
    x, y, z = map(float, spacing)
    return CornerGrid(spacing_mm=(x, y, z), interpolator=name, pad=values.integer("padDistance", 5, low=0))


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


def _pairs(values: Values) -> dict[str, Any]:
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
        "aggregate": _aggregate(values.values.get("weightingNorm")),
    }


def _aggregate(norm: Any) -> str:
    if norm in ("manhattan", "euclidean", "infinity"):
        msg = f"weightingNorm {norm} is not supported; remove it, or give no_weighting"
        raise ValueError(msg)
    if norm not in (None, "no_weighting"):
        norms = "null, no_weighting, manhattan, euclidean or infinity"
        raise ValueError(expected("weightingNorm", norms, norm))
    return "mean" if norm is None else "merge"


def _features(classes: Mapping[str, Any]) -> tuple[str, ...]:
    every = tuple(feature.name for feature in FEATURES)
    if not classes:
        _log.info("no featureClass: pyradiomics would compute every class, only glcm is computed here")
        return every
    refuse_unknown("featureClass", classes, _CLASSES)
    for name in classes:
        if name != "glcm":
            msg = f"featureClass {name} is not supported; keep only glcm"
            raise ValueError(msg)
    names = classes["glcm"] or []
    if not isinstance(names, list):
        raise ValueError(expected("featureClass glcm", "a list of features", names))
    wanted = [found.name for found in map(_feature, names) if found is not None]
    if names and not wanted:
        msg = "featureClass glcm: pyradiomics no longer computes any of these features; name others"
        raise ValueError(msg)
    return tuple(dict.fromkeys(wanted)) or every


def _feature(name: Any) -> Feature | None:
    if name in _SAME_AS:
        _log.warning(
            "featureClass glcm: pyradiomics no longer computes %s, which is %s", name, _SAME_AS[name]
        )
        return None
    known = {feature.pyradiomics: feature for feature in FEATURES}
    if name not in known:
        hint = nearest(str(name), list(known)) or f"; the features are {', '.join(known)}"
        msg = f"featureClass glcm: no feature {name!r}{hint}"
        raise ValueError(msg)
    return known[name]
