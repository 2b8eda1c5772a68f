"""What the maps or features of one image are made from: image, mask, and what is done to both first."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from glcm_cuda import GLCMSettings
from pipelines.images.dicom.series import Choice
from pipelines.images.masks import MaskChoice, read_mask_labels
from pipelines.images.preprocessing import (
    Preprocessing,
    moved_labels,
    preprocess,
    preprocess_part,
    preprocess_with_mask,
)
from pipelines.images.provenance import source_record
from pipelines.images.volume import Part, Volume
from pipelines.shell.parameter_file import ParameterFile, read_parameter_file

_log = logging.getLogger(__name__)

_LISTED = 20
"""Most labels that a message lists."""

MOST_LABELS = 4096
"""Labels beyond which an image is hardly a mask."""

Mask = npt.NDArray[np.bool_]

_LARGEST_FLOAT32 = float(np.finfo(np.float32).max)


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
        choice = self.mask_choice
        if choice.label is None and choice.segment is None:
            choice = replace(choice, label=parameters.label)
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

    def prepared(self, volume: Volume) -> tuple[Volume, Mask | None]:
        """Return the image after the steps, and on its grid the voxels of the mask that count.

        Labels are taken together unless one is chosen; the log says which.

        Raises
        ------
        FileNotFoundError, ValueError
            If the mask is unfit, a step cannot be taken, or less of the mask is left than the parameter file
            asks for.
        """
        if self.mask is None:
            return preprocess(volume, self.steps), None
        volume, mask = preprocess_with_mask(volume, self._one_mask(self.mask, volume), self.steps)
        return volume, self._counted(mask, volume)

    def prepared_for_filters(self, volume: Volume) -> tuple[Part, Mask | None]:
        """Return the part of the image after the steps that filters work on, and the mask there.

        It is the whole image, or the box to which pyradiomics crops it with the parameter file's settings.

        Raises
        ------
        FileNotFoundError, ValueError
            Those of `prepared`.
        """
        if self.mask is None:
            return Part.all_of(preprocess(volume, self.steps)), None
        crop = None if self.parameters is None else self.parameters.crop
        part, mask = preprocess_part(volume, self._one_mask(self.mask, volume), self.steps, crop)
        return part, self._counted(mask, part.volume)

    @property
    def filter_pad(self) -> int | None:
        """Voxels around the mask in the box that filters work on; None if that is the whole image."""
        if self.parameters is None:
            return None
        return replace(self.parameters, steps=self.steps).filter_pad

    def _one_mask(self, path: Path, volume: Volume) -> Mask:
        """Return the chosen voxels of the mask; the log says which labels are taken together."""
        labels = read_mask_labels(path, volume, self.mask_choice)
        present = labels_in(labels)
        if len(present) > 1:
            _log.warning(
                "mask %s: labels %s are taken together; --mask-label chooses one", path, listed(present)
            )
        mask: Mask = labels != 0
        return mask

    def regions(
        self, volume: Volume, *, for_filters: bool = False
    ) -> tuple[Volume, dict[int | None, RegionMasks]]:
        """Return the image after the steps, and on its grid the voxels of each label of the mask.

        The key is None where one label was chosen, or the mask has no more than one. A label without a voxel
        on the grid is left out; the log says so. With `for_filters` the image is the part of it that
        `prepared_for_filters` says.

        Raises
        ------
        FileNotFoundError, ValueError
            As `prepared`; if there is no mask, or it has thousands of labels.
        """
        if self.mask is None:
            msg = f"a region needs a mask, got none for {self.image}"
            raise ValueError(msg)
        labels = read_mask_labels(self.mask, volume, self.mask_choice)
        present = labels_in(labels)
        if len(present) < 2:
            if for_filters:
                crop = None if self.parameters is None else self.parameters.crop
                part, mask = preprocess_part(volume, labels != 0, self.steps, crop)
                volume = part.volume
            else:
                volume, mask = preprocess_with_mask(volume, labels != 0, self.steps)
            return volume, {None: RegionMasks(intensity=self._counted(mask, volume), morphological=mask)}
        if len(present) > MOST_LABELS:
            msg = (
                f"mask {self.mask} must have at most {MOST_LABELS} labels, got {len(present)}; is it a mask?"
            )
            raise ValueError(msg)
        image = preprocess(volume, self.steps)
        labels = moved_labels(labels, volume, image, self.steps)
        regions: dict[int | None, Mask] = {label: labels == label for label in present}
        lost = [label for label, mask in regions.items() if not mask.any()]
        for label in lost:
            _log.warning("mask %s: no voxel of label %s is left on the resampled grid", self.mask, label)
        return image, {label: RegionMasks.alike(mask) for label, mask in regions.items() if label not in lost}

    def _counted(self, mask: Mask, volume: Volume) -> Mask:
        """Return the voxels of a mask whose intensities count."""
        if self.parameters is None:
            return mask
        return self.parameters.region(self.mask, mask, volume.array)

    def record(self) -> dict[str, Any]:
        """Return what a sidecar says of the inputs, but for the image itself."""
        mask = {} if self.mask is None else source_record(self.mask, "mask") | self.mask_choice.to_dict()
        parameters = {} if self.parameters is None else source_record(self.parameters.path, "parameter_file")
        return {**self.choice.to_dict(), **self.steps.to_dict(), **mask, **parameters}


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
