"""The differentiable entropy map as a module of PyTorch, for losses on texture.

Keras must run on PyTorch: set the environment variable ``KERAS_BACKEND=torch`` before Keras is imported.
"""

from __future__ import annotations

import keras
import torch

from glcm_cuda import GLCMSettings
from surrogate import GLCMEntropy as EntropyLayer


class GLCMEntropy(torch.nn.Module):
    """Map of the entropy around every voxel, in the planes of H and W, differentiable in the levels.

    Parameters
    ----------
    settings : Settings, optional
        See `surrogate.GLCMEntropy`; windows have two dimensions.
    temperature : float
        See `surrogate.GLCMEntropy`: 0.1 is exact for whole levels, from about 0.5 gradients are useful.

    Raises
    ------
    RuntimeError
        If Keras runs on another backend.
    TypeError, ValueError
        If a setting is unfit.
    """

    def __init__(self, settings: GLCMSettings | None = None, temperature: float = 0.1) -> None:
        super().__init__()
        backend = keras.backend.backend()
        if backend != "torch":
            msg = f"Keras must run on torch, got {backend}; set KERAS_BACKEND=torch before it is imported"
            raise RuntimeError(msg)
        self.layer = EntropyLayer(settings, temperature)

    def forward(self, levels: torch.Tensor) -> torch.Tensor:
        """Return the map of levels.

        Parameters
        ----------
        levels : (N, 1, H, W) or (N, 1, H, W, D) tensor
            Levels, whole numbers or not: ``(image - low) / (high - low) * 64``, for example.

        Returns
        -------
        tensor of the same shape
            Entropy in the unit of the settings.

        Raises
        ------
        ValueError
            If the tensor has another shape.
        """
        shape = tuple(levels.shape)
        if len(shape) not in (4, 5) or shape[1] != 1:
            msg = f"levels must be a tensor (N, 1, H, W) or (N, 1, H, W, D), got shape {shape}"
            raise ValueError(msg)
        # The layer takes (N, Y, X, 1), where W is y and H is x; each slice is an image of its own.
        slices = levels.reshape(*shape[:4], -1).permute(0, 4, 3, 2, 1)
        made: torch.Tensor = self.layer(slices.reshape(-1, *slices.shape[2:]))
        return made.reshape(slices.shape).permute(0, 4, 3, 2, 1).reshape(shape)
