"""What the maps or features of one image are made from: image, mask, and what is done to both first."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from glcm_cuda import GLCMSettings
from pipelines.images.diagnostics import Stages
from pipelines.images.dicom.series import Choice
from pipelines.images.masks import MaskChoice, MaskFile, read_mask_file
from pipelines.images.preprocessing import (
    Preprocessing,
    moved_labels,
    preprocess,
    preprocess_part,
    preprocess_with_mask,
)
from pipelines.images.provenance import source_record
from pipelines.images.shape import shapes_named
from pipelines.images.volume import Part, Volume
from pipelines.shell.parameter_file import ParameterFile, SmallMaskError, read_parameter_file

_log = logging.getLogger(__name__)

_LISTED = 20
"""Most labels that a message lists."""

MOST_LABELS = 4096
"""Labels beyond which an image is hardly a mask."""

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class RegionMasks:
    """The two masks of a region, as IBSI has them.

    Parameters
    ----------
    intensity : bool array
        The voxels that count.
    morphological : bool array
        These and those that were left out for their intensities (resegmentation).
    """

    intensity: Mask
    morphological: Mask

    @classmethod
    def alike(cls, mask: Mask) -> Self:
        """Return the masks of a region of which nothing was left out."""
        return cls(intensity=mask, morphological=mask)


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """An image after the steps, and a region of it.

    Parameters
    ----------
    part : Part
        The image, or the part of it that filters work on.
    masks : RegionMasks, optional
        The region; without one all voxels count.
    resegment_shape : bool
        Whether the shape is that of the voxels that count, and not of all.
    diagnostics : dict
        What pyradiomics would say of image and mask, if the parameter file asks for it.
    """

    part: Part
    masks: RegionMasks | None = None
    resegment_shape: bool = False
    diagnostics: Mapping[str, Any] = field(default_factory=dict)

    @property
    def image(self) -> Volume:
        """The image, or its part."""
        return self.part.volume

    @property
    def mask(self) -> Mask | None:
        """The voxels that count; None for all."""
        return None if self.masks is None else self.masks.intensity

    def shapes(self, names: Sequence[str]) -> dict[str, float]:
        """Return features of the region's shape."""
        assert self.masks is not None
        mask = self.masks.intensity if self.resegment_shape else self.masks.morphological
        return shapes_named(names, self.image, mask)


@dataclass(frozen=True, eq=False)
class Regions:
    """Regions of one image by label; None where there is one region."""

    image: Volume
    of_labels: Mapping[int | None, Prepared]


_LARGEST_FLOAT32 = float(np.finfo(np.float32).max)


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Files that are read, and how.

    Parameters
    ----------
    image : Path
        The image.
    choice : Choice
        Which series and phase of it.
    mask : Path, optional
        Its mask.
    mask_choice : MaskChoice
        Which voxels of the mask.
    steps : Preprocessing
        What is done to image and mask first.
    parameters : ParameterFile, optional
        What a parameter file of pyradiomics asks for; see `following`.
    outside_mask : float, optional
        Value of maps outside the mask, in place of NaN or of the parameter file's value.
    """

    image: Path
    choice: Choice = field(default_factory=Choice)
    mask: Path | None = None
    mask_choice: MaskChoice = field(default_factory=MaskChoice)
    steps: Preprocessing = field(default_factory=Preprocessing)
    parameters: ParameterFile | None = None
    outside_mask: float | None = None

    def __post_init__(self) -> None:
        value = self.outside_mask
        if value is not None and not (np.isnan(value) or abs(value) <= _LARGEST_FLOAT32):
            msg = f"--outside must be a number that fits in float32, or nan, got {value:g}"
            raise ValueError(msg)

    def following(self, path: Path | None, *, region: bool = False) -> Inputs:
        """Return the inputs with what a parameter file says where the options say nothing.

        Parameters
        ----------
        path : Path, optional
            The file; without one the inputs stay as they are.
        region : bool
            See `read_parameter_file`.

        Raises
        ------
        FileNotFoundError, ValueError
            Those of `read_parameter_file`; if there is no mask.
        """
        if path is None:
            return self
        if self.mask is None:
            msg = "--params needs --mask FILE, as in pyradiomics"
            raise ValueError(msg)
        return self.with_parameters(read_parameter_file(path, region=region))

    def with_parameters(self, parameters: ParameterFile | None) -> Inputs:
        """Return the inputs with what a parameter file says where the options say nothing."""
        if parameters is None:
            return self
        choice = self.mask_choice.over(parameters.mask_choice)
        steps = self.steps.over(parameters.steps)
        return replace(self, parameters=parameters, mask_choice=choice, steps=steps)

    @property
    def settings(self) -> GLCMSettings | None:
        """Settings of the parameter file, which options change."""
        return None if self.parameters is None else self.parameters.settings

    @property
    def features(self) -> tuple[str, ...] | None:
        """Features that the parameter file names."""
        return None if self.parameters is None else self.parameters.features

    @property
    def shapes(self) -> tuple[str, ...]:
        """Features of shape that the parameter file names."""
        return () if self.parameters is None else self.parameters.shapes

    @property
    def files(self) -> list[Path]:
        """Everything that is read."""
        parameters = None if self.parameters is None else self.parameters.path
        return [path for path in (self.image, self.mask, parameters, *self.steps.files) if path is not None]

    def refuse_lone_mask_options(self) -> None:
        """Raise ValueError if an option of the mask is given without a mask."""
        needing = {
            "--mask-label": self.mask_choice.label is not None,
            "--segment": self.mask_choice.segment is not None,
            "--resample-mask": self.mask_choice.resample,
            "--outside": self.outside_mask is not None,
        }
        for option in (option for option, given in needing.items() if given and self.mask is None):
            msg = f"{option} needs --mask FILE"
            raise ValueError(msg)

    @property
    def outside(self) -> float:
        """Value of maps outside the mask."""
        if self.outside_mask is not None:
            return self.outside_mask
        return float("nan") if self.parameters is None else self.parameters.outside

    def fitted(self, settings: GLCMSettings, volume: Volume) -> GLCMSettings:
        """Return the settings for an image; those of a parameter file are two-dimensional in a 2D image."""
        return settings if self.parameters is None else self.parameters.fitted(settings, volume)

    def prepared(self, volume: Volume, *, for_filters: bool = False) -> Prepared:
        """Return the image after the steps, and on its grid the voxels of the mask that count.

        Labels are taken together unless one is chosen; the log says which. With `for_filters` it is the part
        of the image that filters work on: the whole, or the box to which pyradiomics crops it with the
        parameter file's settings.

        Raises
        ------
        FileNotFoundError, ValueError
            If the mask is unfit, a step cannot be taken, or less of the mask is left than the parameter file
            asks for.
        """
        if self.mask is None:
            return Prepared(part=Part.all_of(preprocess(volume, self.steps)))
        read = read_mask_file(self.mask, volume, self.mask_choice)
        present = labels_in(read.labels)
        if len(present) > 1 and self.mask_choice.label is None:
            _log.warning(
                "mask %s: labels %s are taken together; --mask-label chooses one", self.mask, listed(present)
            )
        return self._together(volume, read, for_filters=for_filters)

    @property
    def filter_pad(self) -> int | None:
        """Voxels around the mask in the box that filters work on; None if that is the whole image."""
        if self.parameters is None:
            return None
        return replace(self.parameters, steps=self.steps).filter_pad

    def regions(self, volume: Volume, *, for_filters: bool = False) -> Iterator[Regions]:
        """Yield the image after the steps, and on its grid the voxels of each label of the mask.

        They come together, unless the steps of a parameter file depend on the region: then each label has an
        image of its own. A label without a voxel on the grid, or too small for the parameter file, is left
        out, and the log says so. With `for_filters` an image is the part that `prepared` says.

        Raises
        ------
        FileNotFoundError, ValueError
            As `prepared`; if there is no mask, it has thousands of labels, or no label is left.
        """
        if self.mask is None:
            msg = f"a region needs a mask, got none for {self.image}"
            raise ValueError(msg)
        read = read_mask_file(self.mask, volume, self.mask_choice)
        present = labels_in(read.labels)
        several = isinstance(self.mask_choice.label, (tuple, str))  # named, even if the mask has one
        if not present or (len(present) == 1 and not several):
            region = self._together(volume, read, for_filters=for_filters)
            yield Regions(region.image, {None: region})
            return
        if len(present) > MOST_LABELS:
            msg = (
                f"mask {self.mask} must have at most {MOST_LABELS} labels, got {len(present)}; is it a mask?"
            )
            raise ValueError(msg)
        apart = self.steps.grid is not None or (for_filters and self.filter_pad is not None)
        found = 0
        for group in [[label] for label in present] if apart else [list(present)]:
            regions = self._labels(volume, read, group, for_filters=for_filters)
            if regions is not None:
                found += 1
                yield regions
        if not found:
            msg = f"mask {self.mask}: no label is left of {listed(present)}"
            raise ValueError(msg)

    def _together(self, volume: Volume, read: MaskFile, *, for_filters: bool) -> Prepared:
        """Return the image after the steps, and the region of all labels that are chosen."""
        return self._region(volume, read, None, *self._alone(volume, read.labels != 0, for_filters))

    def _alone(self, volume: Volume, mask: Mask, for_filters: bool) -> tuple[Part, Mask]:
        """Return the image after the steps, or the part of it that filters work on, and a mask there."""
        if for_filters:
            crop = None if self.parameters is None else self.parameters.crop
            return preprocess_part(volume, mask, self.steps, crop)
        image, mask = preprocess_with_mask(volume, mask, self.steps)
        return Part.all_of(image), mask

    def _labels(
        self, volume: Volume, read: MaskFile, labels: Sequence[int], *, for_filters: bool
    ) -> Regions | None:
        """Return the regions of some labels on one image; None if none is left."""
        regions: dict[int | None, Prepared] = {}
        for label, (part, whole) in self._moved(volume, read, labels, for_filters).items():
            if not whole.any():
                _log.warning("mask %s: no voxel of label %d is left on the resampled grid", self.mask, label)
                continue
            try:
                regions[label] = self._region(volume, read, label, part, whole)
            except SmallMaskError as error:
                _log.warning("%s: label %d is left out", error, label)
        return Regions(next(iter(regions.values())).image, regions) if regions else None

    def _moved(
        self, volume: Volume, read: MaskFile, labels: Sequence[int], for_filters: bool
    ) -> dict[int, tuple[Part, Mask]]:
        """Return the image after the steps, and the voxels of each label on its grid."""
        if len(labels) == 1:
            return {labels[0]: self._alone(volume, read.labels == labels[0], for_filters)}
        image = preprocess(volume, self.steps)
        moved = moved_labels(read.labels, volume, image, self.steps)
        return {label: (Part.all_of(image), moved == label) for label in labels}

    def _region(self, volume: Volume, read: MaskFile, label: int | None, part: Part, whole: Mask) -> Prepared:
        """Return the region of a label, or of all that are chosen, as the parameter file limits it."""
        if self.parameters is None:
            return Prepared(part=part, masks=RegionMasks.alike(whole))
        counted = self.parameters.region(self.mask, whole, part.volume.array)
        prepared = Prepared(
            part=part,
            masks=RegionMasks(intensity=counted, morphological=whole),
            resegment_shape=self.parameters.resegment_shape,
        )
        if not self.parameters.diagnostics:
            return prepared
        stages = Stages(
            image=volume,
            mask=read.original,
            chosen=read.where(self.mask_choice, label),
            inside=read.labels != 0 if label is None else read.labels == label,
            part=part,
            resampled=whole,
            counted=counted,
            grid=self.steps.grid,
            crop=self.parameters.crop,
            resegmented=bool(self.parameters.resegment),
        )
        return replace(prepared, diagnostics=stages.diagnostics())

    def record(self) -> dict[str, Any]:
        """Return what a sidecar says of the inputs, but for the image itself."""
        mask = {} if self.mask is None else source_record(self.mask, "mask") | self.mask_choice.to_dict()
        parameters = {} if self.parameters is None else source_record(self.parameters.path, "parameter_file")
        return {**self.choice.to_dict(), **self.steps.to_dict(), **mask, **parameters}


def told_of(ready: Prepared) -> dict[str, Any]:
    """Return what a sidecar says of image and region at each stage, if the parameter file asks for it."""
    return {"diagnostics": dict(ready.diagnostics)} if ready.diagnostics else {}


def labels_in(mask: npt.NDArray[Any]) -> tuple[int, ...]:
    """Return the labels of a mask but 0; none if it holds fractions, which are no labels."""
    if mask.dtype == bool:
        return (1,) if mask.any() else ()
    values = np.unique(mask[mask != 0])
    return tuple(map(int, values)) if np.array_equal(values, np.trunc(values)) else ()


def listed(labels: Sequence[int]) -> str:
    """Return labels as a message lists them; of many, the first."""
    shown = ", ".join(map(str, labels[:_LISTED]))
    return f"{shown} and {len(labels) - _LISTED} more" if len(labels) > _LISTED else shown
