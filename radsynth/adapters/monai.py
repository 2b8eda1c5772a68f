"""Texture maps as transforms of MONAI, which TorchIO takes too (``torchio.MonaiAdapter``).

from radsynth.adapters.monai import TextureMapd

Compose([LoadImaged("image"), EnsureChannelFirstd("image"), TextureMapd("image", ["joint_entropy"])])
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform

from glcm_cuda import GLCMSettings
from radsynth.arguments import texts_of
from radsynth.filtering import Filters
from radsynth.mapping import map as texture_map


class TextureMap(Transform):
    """Texture maps of a tensor (C, H, W, D), as channels in the order of the features.

    Parameters
    ----------
    features : str or iterable of str
        See `radsynth.map`.
    settings : Settings, optional
        See `radsynth.map`.
    outside : float
        Value outside a mask. It is 0, not NaN, by default, as few networks take NaN.
    filters : str or iterable of str, optional
        See `radsynth.map`; the features of each derived image stand together.
    **keywords
        Fields of `Settings`: ``levels=32``.

    Notes
    -----
    It is deterministic, so that `PersistentDataset` keeps its results. With several channels, the maps of
    the first feature come first.
    """

    def __init__(
        self,
        features: str | Iterable[str] = "joint_entropy",
        settings: GLCMSettings | None = None,
        *,
        outside: float = 0.0,
        filters: Filters = None,
        **keywords: Any,
    ) -> None:
        super().__init__()
        self.features = texts_of("features", features, "a name or several")
        self.settings = settings
        self.outside = outside
        self.filters = None if filters is None else texts_of("filters", filters, "specifications")
        self.keywords = keywords

    def __call__(self, data: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Return the maps of a tensor (C, H, W, D), with its metadata.

        Parameters
        ----------
        data : tensor (C, H, W, D)
            The image.
        mask : tensor (1 or C, H, W, D), optional
            Non-zero inside.

        Raises
        ------
        TypeError, ValueError
            Those of `radsynth.map`.
        """
        if not isinstance(data, torch.Tensor):
            msg = f"data must be a tensor (C, H, W, D), got {type(data).__name__}"
            raise TypeError(msg)
        outside = None if mask is None else self.outside
        maps = texture_map(
            data,
            self.features,
            mask=mask,
            settings=self.settings,
            filters=self.filters,
            outside=outside,
            **self.keywords,
        )
        joined: torch.Tensor = torch.cat(list(maps.values()))
        return joined.copy_meta_from(data) if hasattr(joined, "copy_meta_from") else joined


class TextureMapd(MapTransform):
    """Texture maps of the images of a dictionary; see `TextureMap`.

    Parameters
    ----------
    keys : str or sequence of str
        Keys of the images.
    features, settings, outside, filters, keywords
        See `TextureMap`.
    mask_key : str, optional
        Key of the mask; without one the whole image is mapped.
    output_postfix : str, optional
        The maps go to the key with ``_<postfix>`` behind it; by default they replace the image.
    allow_missing_keys : bool
        Whether a key may be missing.
    """

    def __init__(
        self,
        keys: KeysCollection,
        features: str | Iterable[str] = "joint_entropy",
        settings: GLCMSettings | None = None,
        *,
        mask_key: Hashable | None = None,
        output_postfix: str | None = None,
        outside: float = 0.0,
        filters: Filters = None,
        allow_missing_keys: bool = False,
        **keywords: Any,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = TextureMap(features, settings, outside=outside, filters=filters, **keywords)
        self.mask_key = mask_key
        self.output_postfix = output_postfix

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the dictionary with the maps.

        Raises
        ------
        KeyError
            If an image or the mask is missing.
        TypeError, ValueError
            Those of `radsynth.map`.
        """
        result = dict(data)
        mask = None if self.mask_key is None else data[self.mask_key]
        for key in self.key_iterator(result):
            target = key if self.output_postfix is None else f"{key}_{self.output_postfix}"
            result[target] = self.transform(data[key], mask)
        return result
