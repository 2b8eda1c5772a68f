"""pyradiomics' feature extractor, computed by RadSynth.

    from radsynth import featureextractor        # instead of: from radiomics import featureextractor

Names, keys, values and geometry are those of pyradiomics (docs/python.md says what differs). The names of
methods and arguments are therefore in its style.
"""

from __future__ import annotations

import json
import logging
import os
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK

from glcm_cuda import GLCMSettings
from glcm_cuda.levels.arrays import bounding_box
from pipelines.images.diagnostics import Stages
from pipelines.images.preprocessing import preprocess_with_mask
from pipelines.images.resampling import corner_box
from pipelines.images.shape import shapes_named
from pipelines.images.volume import Part, Volume, image_of
from pipelines.maps.inputs import RegionMasks
from pipelines.shell.image_types import IMAGE_TYPES
from pipelines.shell.own_section import OWN_SECTION
from pipelines.shell.parameter_file import ParameterFile, sections_of
from pipelines.shell.yaml_values import read_yaml
from radsynth.boxes import box_maps, mask_box, on_whole, region_values
from radsynth.extraction.configuration import (
    CLASSES,
    STANDARD_DEVIATION,
    are_computed,
    computed_as,
    defaults,
    parameters_from,
    shapes_in,
    textures_in,
)
from radsynth.extraction.diagnostics import configuration, versions
from radsynth.extraction.handing_over import by_pyradiomics, refuse_without_pyradiomics
from radsynth.extraction.image_types import image_types_from, images_of
from radsynth.extraction.subject import Subject, read_subject
from radsynth.inputs import Mask

_log = logging.getLogger(__name__)

Result = OrderedDict[str, Any]


class RadiomicsFeatureExtractor:
    """Features of a region, or maps of them, with pyradiomics' names and settings.

    Parameters
    ----------
    *args : path or dict, at most one
        A parameter file (YAML or JSON), or its content; by default every feature of the original image.
    **kwargs
        Settings that replace those of the file, such as ``binWidth=10`` or ``kernelRadius=2``.

    Attributes
    ----------
    settings : dict
        Settings by name, those of maps among them.
    enabledImagetypes : dict
        Settings for each image type that is enabled.
    enabledFeatures : dict
        Names of features for each class that is enabled; empty for all.
    featureClassNames : list of str
        All classes.

    Raises
    ------
    TypeError, ValueError, OSError
        If the argument is no parameter file; the message names what is unknown in it.

    Notes
    -----
    Shape that needs a mesh is handed to pyradiomics if it is installed, else refused.

    Examples
    --------
    >>> extractor = RadiomicsFeatureExtractor(binWidth=10, kernelRadius=2)
    >>> extractor.disableAllFeatures()
    >>> extractor.enableFeaturesByName(glcm=["JointEntropy"])
    >>> extractor.settings["kernelRadius"], extractor.enabledFeatures
    (2, {'glcm': ['JointEntropy']})
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.settings: dict[str, Any] = {}
        self.enabledImagetypes: dict[str, Any] = {}
        self.enabledFeatures: dict[str, Any] = {}
        self.featureClassNames = list(CLASSES)
        if len(args) > 1:
            msg = f"give one parameter file or dict, got {len(args)} arguments (pyradiomics would ignore all)"
            raise TypeError(msg)
        (given,) = args or (None,)
        if isinstance(given, Mapping):
            self._apply(given)
        elif given is None:
            self._apply({})
            self.enabledFeatures.pop("shape2D")
        elif isinstance(given, (str, os.PathLike)):
            self.loadParams(given)
        else:
            msg = f"a parameter file or dict is expected, got {type(given).__name__}"
            raise TypeError(msg)
        self.settings.update(kwargs)

    def _apply(self, content: Mapping[str, Any]) -> None:
        sections = sections_of(content)
        if sections[OWN_SECTION]:
            msg = (
                f"section {OWN_SECTION} is for radsynth.map, radsynth.features and the commands; the "
                "extractor takes pyradiomics' sections alone: remove it"
            )
            raise ValueError(msg)
        self.enabledImagetypes = sections["imageType"] or {"Original": {}}
        self.enabledFeatures = sections["featureClass"] or {name: [] for name in self.featureClassNames}
        self.settings = {**defaults(), **sections["setting"], **sections["voxelSetting"]}

    def loadParams(self, paramsFile: str | os.PathLike[str]) -> None:
        """Take settings, image types and features of a parameter file.

        Raises
        ------
        ValueError, OSError
            If it cannot be read, or holds a name that pyradiomics does not know.
        """
        path = Path(paramsFile)
        try:
            self._apply(read_yaml(path))
        except ValueError as error:
            msg = f"{path}: {error}"
            raise ValueError(msg) from None

    def loadJSONParams(self, JSON_configuration: str) -> None:
        """Take settings, image types and features of a parameter file's content as JSON."""
        self._apply(json.loads(JSON_configuration))

    def addProvenance(self, provenance_on: bool = True) -> None:
        """Say whether results hold the entries ``diagnostics_...``."""
        self.settings["additionalInfo"] = provenance_on

    def enableAllImageTypes(self) -> None:
        """Enable every image type, without settings of its own."""
        self.enabledImagetypes.update({name: {} for name in sorted(IMAGE_TYPES)})

    def disableAllImageTypes(self) -> None:
        """Disable every image type."""
        self.enabledImagetypes = {}

    def enableImageTypeByName(
        self, imageType: str, enabled: bool = True, customArgs: Mapping[str, Any] | None = None
    ) -> None:
        """Enable an image type, with settings of its own, or disable it; an unknown one is logged."""
        if customArgs is not None and not isinstance(customArgs, Mapping):
            msg = f"customArgs must be a dict of settings, got {customArgs!r}"
            raise TypeError(msg)
        if imageType not in IMAGE_TYPES:
            _log.warning("Image type %s is not recognized", imageType)
        elif enabled:
            self.enabledImagetypes[imageType] = dict(customArgs or {})
        else:
            self.enabledImagetypes.pop(imageType, None)

    def enableImageTypes(self, **enabledImagetypes: Any) -> None:
        """Enable image types, each with settings of its own."""
        self.enabledImagetypes.update(enabledImagetypes)

    def enableAllFeatures(self) -> None:
        """Enable every feature of every class."""
        self.enabledFeatures.update({name: [] for name in self.featureClassNames})

    def disableAllFeatures(self) -> None:
        """Disable every class."""
        self.enabledFeatures = {}

    def enableFeatureClassByName(self, featureClass: str, enabled: bool = True) -> None:
        """Enable every feature of a class, or disable the class; an unknown one is logged."""
        if featureClass not in self.featureClassNames:
            _log.warning("Feature class %s is not recognized", featureClass)
        elif enabled:
            self.enabledFeatures[featureClass] = []
        else:
            self.enabledFeatures.pop(featureClass, None)

    def enableFeaturesByName(self, **enabledFeatures: Any) -> None:
        """Enable features by class: ``glcm=["JointEntropy"]``; an empty list or None is all of the class."""
        self.enabledFeatures.update(enabledFeatures)

    def execute(
        self,
        imageFilepath: Any,
        maskFilepath: Any,
        label: int | None = None,
        label_channel: int | None = None,
        voxelBased: bool = False,
    ) -> Result:
        """Return the features of a region, or maps of them.

        Parameters
        ----------
        imageFilepath, maskFilepath : path or SimpleITK image
            Image and mask; other kinds that `radsynth.map` takes, too.
        label : int, optional
            The voxels of the mask that count, instead of the setting.
        label_channel : int, optional
            Channel of a mask with several.
        voxelBased : bool
            Whether to map the features.

        Returns
        -------
        OrderedDict
            ``original_glcm_JointEntropy`` and so on: 0-dimensional arrays, or images of SimpleITK in the box
            that windows around the region reach, with `initValue` outside the region. Before them
            ``diagnostics_...``, which say by whom they were computed.

        Raises
        ------
        TypeError, ValueError, OSError
            If image, mask or a setting is unfit, or a setting is not supported.
        LookupError
            If a feature is unknown.
        ImportError
            If shape is asked for and pyradiomics is not installed, or a filter lacks its library.
        """
        given = {"label": label, "label_channel": label_channel}
        settings = {**self.settings, **{name: value for name, value in given.items() if value is not None}}
        if voxelBased:
            settings["voxelBased"] = True
        shapes = {} if voxelBased else shapes_in(self.enabledFeatures)
        own_shapes = shapes if are_computed(shapes) else {}
        textures = textures_in(self.enabledFeatures)
        handed = "" if own_shapes else ", ".join(shapes)
        if handed:
            refuse_without_pyradiomics(handed)
        parameters = parameters_from(settings, voxel_based=voxelBased)
        enabled = self.enabledImagetypes if textures else {}
        types = image_types_from(settings, enabled, voxel_based=voxelBased)
        case = _Case.of(read_subject(imageFilepath, maskFilepath, settings), parameters)
        result: Result = OrderedDict()
        if settings.get("additionalInfo", False):
            result.update(versions(handed or None))
            result.update(configuration(settings, self.enabledImagetypes))
            result.update(case.diagnostics())
        if own_shapes:
            result.update(case.shapes(own_shapes))
        elif shapes:
            result.update(by_pyradiomics(case.subject, settings, shapes))
        volume, inside = case.filtered()
        for derived, one in images_of(types, volume, inside):
            image = _Image(derived.volume, inside, one.parameters)
            result.update(_features(image, derived.name, textures, voxelBased))
        return result

    def computeFeatures(self, image: Any, mask: Any, imageTypeName: str, **kwargs: Any) -> Result:
        """Return the features of an image as it is, without steps before: those that are enabled, but shape.

        Parameters
        ----------
        image, mask : path or SimpleITK image
            As they would be cropped.
        imageTypeName : str
            How the keys begin.
        **kwargs
            Settings; those of the extractor are not used, as in pyradiomics.

        Raises
        ------
        TypeError, ValueError, LookupError, OSError
            As `execute`.
        """
        voxel_based = bool(kwargs.get("voxelBased", False))
        parameters = parameters_from(kwargs, voxel_based=voxel_based)
        subject = read_subject(image, mask, kwargs)
        image = _Image(subject.image, subject.inside, parameters, is_crop=True)
        return _features(image, imageTypeName, textures_in(self.enabledFeatures), voxel_based)


@dataclass(frozen=True, eq=False)
class _Image:
    """An image whose features are computed, and the voxels that count.

    `is_crop` says whether the image was cropped by the caller, so that maps have its size.
    """

    volume: Volume
    inside: Mask
    parameters: ParameterFile
    is_crop: bool = False

    @property
    def settings(self) -> GLCMSettings:
        """Settings for the image; those whose range is over a crop take all of an image that is one."""
        settings = self.parameters.fitted(self.parameters.settings, self.volume)
        if self.is_crop and settings.range_over == "crop":
            return replace(settings, range_over="image")
        return settings


@dataclass(frozen=True, eq=False)
class _Case:
    """A subject after the steps that its settings ask for.

    `resampled` is its region after resampling, `inside` what resegmentation leaves of that.
    """

    subject: Subject
    parameters: ParameterFile
    volume: Volume
    resampled: Mask
    inside: Mask

    @classmethod
    def of(cls, subject: Subject, parameters: ParameterFile) -> _Case:
        volume, resampled = preprocess_with_mask(subject.image, subject.inside, parameters.steps)
        inside = parameters.region("of the image", resampled, volume.array)
        return cls(subject, parameters, volume, resampled, inside)

    def shapes(self, wanted: Mapping[str, list[str]]) -> dict[str, Any]:
        """Return features of shape under their keys."""
        inside = self.inside if self.parameters.resegment_shape else self.resampled
        names = [f"{name}_{feature}" for name, given in wanted.items() for feature in given]
        values = shapes_named(names, self.volume, inside)
        return {f"original_{name}": np.array(value) for name, value in values.items()}

    def filtered(self) -> tuple[Volume, Mask]:
        """Return what pyradiomics filters, and the voxels of it that count: all, or a box around the mask."""
        grid, pad = self.parameters.steps.grid, self.parameters.crop
        if grid is not None:
            box = corner_box(self.subject.image, self.subject.inside, grid)
        elif pad is not None:
            box = bounding_box(self.resampled, pad)
        else:
            return self.volume, self.inside
        return self.volume.cropped(box), self.inside[box]

    def diagnostics(self) -> dict[str, Any]:
        """Return what is said of image and mask at each stage."""
        subject = self.subject
        stages = Stages(
            image=subject.image,
            mask=subject.mask,
            chosen=subject.mask.array == subject.label,
            inside=subject.inside,
            part=Part.all_of(self.volume),
            resampled=self.resampled,
            counted=self.inside,
            grid=self.parameters.steps.grid,
            crop=self.parameters.crop,
            resegmented=bool(self.parameters.resegment),
        )
        return stages.diagnostics()


def _features(image: _Image, prefix: str, textures: Mapping[str, list[str]], voxel_based: bool) -> Result:
    """Return values or maps of features under their keys."""
    keys = [f"{family}_{name}" for family, names in textures.items() for name in names]
    made = _maps(image, keys) if voxel_based else _values(image, keys)
    return OrderedDict((f"{prefix}_{key}", made[key]) for key in keys if key in made)


def _sources(keys: list[str]) -> dict[str, str]:
    """Return the feature of which each key is made, without those that are never computed."""
    sources = {key: computed_as(key) for key in keys}
    return {key: source for key, source in sources.items() if source is not None}


def _values(image: _Image, keys: list[str]) -> dict[str, Any]:
    sources = _sources(keys)
    wanted = tuple(dict.fromkeys(sources.values()))
    values = (
        region_values(image.volume, RegionMasks.alike(image.inside), wanted, image.settings, pool_slices=True)
        if wanted
        else {}
    )
    made = {key: np.array(values[source]) for key, source in sources.items()}
    if STANDARD_DEVIATION in made:
        made[STANDARD_DEVIATION] = np.sqrt(made[STANDARD_DEVIATION])
    return made


def _maps(image: _Image, keys: list[str]) -> dict[str, SimpleITK.Image]:
    """Return maps on the grid of the crop; those of deprecated features hold `initValue` alone."""
    sources, settings, outside = _sources(keys), image.settings, image.parameters.outside
    wanted = tuple(dict.fromkeys(sources.values()))
    volume, inside = image.volume, image.inside
    maps = box_maps(volume, inside, wanted, settings, outside=outside) if wanted else {}
    box = mask_box(inside, settings)
    if image.is_crop:
        maps = {name: on_whole(part, volume, inside, settings, outside) for name, part in maps.items()}
        box = tuple(slice(0, size) for size in volume.array.shape)
    grid, inside = volume.cropped(box), inside[box]
    empty = np.full(inside.shape, outside)
    made = {}
    for key in keys:
        values = maps[sources[key]] if key in sources else empty
        if key == STANDARD_DEVIATION:
            values = np.sqrt(values, where=inside, out=empty.copy())
        made[key] = image_of(replace(grid, array=values.astype(np.float64)))
    return made
