"""An image and its mask, of any kind, ready to be mapped or measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.images.preprocessing import preprocess_with_mask
from pipelines.images.volume import Volume, geometry_differences
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
    moved : bool
        Whether they were resampled to another grid.
    """

    source: Any
    kind: Kind
    channels: tuple[tuple[Volume, Mask | None], ...]
    moved: bool = False

    @classmethod
    def of(
        cls, image: Any, mask: Any, label: int | None, spacing: Spacing, parameters: ParameterFile | None
    ) -> Inputs:
        """Return an image and its mask after the steps of a parameter file.

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
            return cls(image, kind, tuple((volume, None) for volume in volumes))
        chosen = parameters.label if label is None and parameters is not None else label
        masks = masks_of(mask, image, kind, volumes, chosen)
        pairs = zip(volumes, masks, strict=True)
        channels = tuple(prepared(volume, inside, parameters) for volume, inside in pairs)
        return cls(image, kind, channels, moved=bool(geometry_differences(channels[0][0], volumes[0])))

    def image(self, maps: list[Map]) -> Any:
        """Return maps, one for each channel, as an image of the source's kind."""
        volumes = [volume for volume, _ in self.channels]
        return self.kind.image(maps, volumes, self.source, moved=self.moved)


def prepared(volume: Volume, mask: Mask, parameters: ParameterFile | None) -> tuple[Volume, Mask]:
    """Return an image and its mask after the steps of a parameter file, if there is one.

    Raises
    ------
    ValueError
        If a step cannot be taken, or less of the mask is left than the file asks for.
    """
    volume, counted, _ = prepared_region(volume, mask, parameters)
    return volume, counted


def prepared_region(
    volume: Volume, mask: Mask, parameters: ParameterFile | None
) -> tuple[Volume, Mask, Mask]:
    """Return an image and its mask as `prepared` does, and the mask before resegmentation."""
    if parameters is None:
        return volume, mask, mask
    volume, mask = preprocess_with_mask(volume, mask, parameters.steps)
    return volume, parameters.region("of the image", mask, volume.array), mask
