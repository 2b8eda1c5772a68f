"""Tensors of PyTorch and MONAI: channel first (C, H, W, D), where H, W and D are x, y and z of the file.

MONAI's readers hand over axes in this order. A `MetaTensor` states its place by its affine.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipelines.images.formats.nifti_forms import place_of
from pipelines.images.volume import Volume
from radsynth.kinds.kind import Map, Spacing, checked_spacing, refuse_not_real, refuse_spacing, unplaced


class TorchKind:
    """Tensors (C, H, W, D); every channel is an image of its own."""

    name = "a torch tensor"
    takes_arrays = False

    def owns(self, image: object) -> bool:
        """Whether this is a tensor of PyTorch."""
        library = sys.modules.get("torch")
        return library is not None and isinstance(image, library.Tensor)

    def is_placed(self, image: Any) -> bool:
        """Whether this is MONAI's `MetaTensor`, which has an affine."""
        return hasattr(image, "affine") and hasattr(image, "copy_meta_from")

    def volumes(self, image: Any, name: str, spacing: Spacing) -> tuple[Volume, ...]:
        """Return the channels as volumes; the spacing is along H, W and D."""
        shape = tuple(image.shape)
        if len(shape) != 4:
            advice = {
                2: f"give {name}[None, ..., None]",
                3: f"add the channel, {name}[None], or a depth of 1, {name}[..., None]",
                5: "give the images of the batch one by one",
            }
            what = advice.get(len(shape), "give one image")
            msg = f"{name} must be a tensor (C, H, W, D), got shape {shape}; {what}"
            raise ValueError(msg)
        if self.is_placed(image):
            refuse_spacing(spacing, "a MetaTensor")
        tensor = image.detach().cpu()
        array = (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()
        refuse_not_real(array, name)
        channels = [np.ascontiguousarray(channel.T) for channel in array]
        if self.is_placed(image):
            place = place_of(np.asarray(image.affine, np.float64)[:3])
            return tuple(Volume(channel, **vars(place)) for channel in channels)
        edges = checked_spacing(spacing, "H, W and D", 3)
        return tuple(unplaced(channel, edges) for channel in channels)

    def image(self, maps: Sequence[Map], volumes: Sequence[Volume], source: Any, *, moved: bool) -> Any:
        """Return maps as the channels of a tensor, on the source's device and with its metadata.

        Raises
        ------
        ValueError
            If the image was resampled: the tensor could not say where its new voxels lie.
        """
        if moved:
            msg = "params resamples the image, which a tensor cannot record; resample it first"
            raise ValueError(msg)
        values = np.stack([values.T for values in maps])
        tensor = sys.modules["torch"].from_numpy(values).to(source.device)
        if not self.is_placed(source):
            return tensor
        return type(source)(tensor).copy_meta_from(source)
