"""An image and its mask, of any kind, ready to be mapped or measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from glcm_cuda.base.checks import check_int
from pipelines.images.masks import MaskChoice
from pipelines.images.preprocessing import preprocess_part, preprocess_with_mask
from pipelines.images.volume import Part, Volume, geometry_differences
from pipelines.maps.inputs import Prepared, RegionMasks
from pipelines.shell.parameter_file import ParameterFile
from radsynth.kinds.finding import kind_of
from radsynth.kinds.kind import Kind, Map, Spacing
from radsynth.masks import masks_of

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Inputs:
    """An image by its channels, each with the voxels of the mask that count.

    Parameters
    ----------
    source
        The image as it was given.
    kind : Kind
        Its kind.
    channels : tuple of (Volume, mask or None)
        One, but for tensors.
    parts : tuple of Part
        Where each volume lies in its whole.
    moved : bool
        Whether they were resampled to another grid.
    """

    source: Any
    kind: Kind
    channels: tuple[tuple[Volume, Mask | None], ...]
    parts: tuple[Part, ...]
    moved: bool = False

    @classmethod
    def of(
        cls,
        image: Any,
        mask: Any,
        label: int | None,
        spacing: Spacing,
        parameters: ParameterFile | None,
        *,
        for_filters: bool = False,
    ) -> Inputs:
        """Return an image and its mask after the steps of a parameter file.

        With `for_filters` it is the part of the image on which pyradiomics runs filters.

        Raises
        ------
        TypeError, ValueError, OSError
            If the image or the mask is unfit, or a step cannot be taken.
        """
        kind = kind_of(image, "image")
        volumes = kind.volumes(image, "image", spacing)
        if mask is None:
            if label is not None:
                msg = f"label needs a mask, got label={label} alone"
                raise ValueError(msg)
            channels = tuple((volume, None) for volume in volumes)
            return cls(image, kind, channels, tuple(map(Part.all_of, volumes)))
        masks = masks_of(mask, image, kind, volumes, mask_choice(label, parameters))
        pairs = zip(volumes, masks, strict=True)
        ready = [prepared(volume, inside, parameters, for_filters=for_filters) for volume, inside in pairs]
        return cls(
            image,
            kind,
            tuple((one.image, one.mask) for one in ready),
            tuple(one.part for one in ready),
            moved=bool(geometry_differences(ready[0].part.whole, volumes[0])),
        )

    def image(self, maps: list[Map], outside: float = np.nan) -> Any:
        """Return maps, one for each channel, as an image of the source's kind.

        `outside` is the value beyond the parts that were mapped.
        """
        whole = [
            part.filled(values, Part.all_of(part.volume).box, outside)
            for part, values in zip(self.parts, maps, strict=True)
        ]
        return self.kind.image(whole, [part.whole for part in self.parts], self.source, moved=self.moved)


def mask_choice(label: int | None, parameters: ParameterFile | None) -> MaskChoice:
    """Return which voxels of a mask count: those of a label, else those that a parameter file chooses.

    Raises
    ------
    TypeError, ValueError
        If the label is no whole number above 0.
    """
    if label is not None:
        check_int("label", label, 1)
    return MaskChoice(label=label).over(MaskChoice() if parameters is None else parameters.mask_choice)


def prepared(
    volume: Volume, mask: Mask, parameters: ParameterFile | None, *, for_filters: bool = False
) -> Prepared:
    """Return an image and its masks after the steps of a parameter file, if there is one.

    With `for_filters` it is the part of the image on which pyradiomics runs filters.

    Raises
    ------
    ValueError
        If a step cannot be taken, or less of the mask is left than the file asks for.
    """
    if parameters is None:
        return Prepared(part=Part.all_of(volume), masks=RegionMasks.alike(mask))
    if for_filters:
        part, mask = preprocess_part(volume, mask, parameters.steps, parameters.crop)
    else:
        volume, mask = preprocess_with_mask(volume, mask, parameters.steps)
        part = Part.all_of(volume)
    counted = parameters.region("of the image", mask, part.volume.array)
    return Prepared(
        part=part,
        masks=RegionMasks(intensity=counted, morphological=mask),
        resegment_shape=parameters.resegment_shape,
    )
