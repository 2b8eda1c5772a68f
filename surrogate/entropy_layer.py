"""Entropy of the co-occurrence matrix as a layer, for use inside other losses and models."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import KerasTensor, layers, ops

from glcm_cuda.settings import GLCMSettings
from surrogate.model import check_two_dimensional
from surrogate.pairs import Kernel, PairKernels, pair_kernels
from surrogate.settings import check_positive


@keras.saving.register_keras_serializable(package="radsynth")
class GLCMEntropy(layers.Layer):  # type: ignore[misc]
    """Map of the entropy around every pixel, differentiable in the levels.

    Two voxels count as equal by ``exp(-d^2 / 2 T^2)`` of the difference d of their levels, two pairs by the
    product. The entropy of the counts is the resubstitution estimate with a Gaussian kernel on each level;
    as the temperature T goes to 0 it becomes the entropy of docs/definition.md. Windows are clipped at the
    border of the image, as there.

    Parameters
    ----------
    glcm : GLCMSettings or dict, optional
        Of the map; windows must be in the plane. Only `window`, `distance`, `directions`, `symmetric`,
        `aggregate` and `log_base` matter: the layer takes levels and bins nothing.
    temperature : float
        T, in levels. At 0.1 whole levels have the exact entropy and no gradient; from about 0.5 on the
        gradient is of use.

    Raises
    ------
    TypeError, ValueError
        If the windows are three-dimensional, or the temperature is not a number above 0.

    Examples
    --------
    >>> levels = np.zeros((1, 8, 8, 1), np.float32)
    >>> float(ops.max(GLCMEntropy()(levels)))
    0.0

    References
    ----------
    Beirlant, Dudewicz, Gyorfi and van der Meulen 1997, Nonparametric entropy estimation: an overview,
    section 2.2 (resubstitution).
    """

    def __init__(
        self,
        glcm: GLCMSettings | dict[str, Any] | None = None,
        temperature: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.settings = GLCMSettings.from_dict(glcm) if isinstance(glcm, dict) else glcm or GLCMSettings()
        check_two_dimensional(self.settings)
        check_positive("temperature", temperature)
        self.temperature = temperature
        self._kernels = pair_kernels(self.settings)

    def call(self, levels: KerasTensor) -> KerasTensor:
        """Return the entropy map.

        Parameters
        ----------
        levels : (N, Y, X, 1) tensor
            Levels of images, whole or not, in any range.

        Returns
        -------
        (N, Y, X, 1) tensor
            In the unit of the settings.
        """
        radius = self.settings.radius
        around = ((0, 0), (radius, radius), (radius, radius), (0, 0))
        inside = ops.pad(ops.ones_like(levels[:1]), around)
        alike = self._alike(ops.pad(levels, around), inside)
        counts = self._convolved(alike, self._kernels.matches)
        there = ops.relu(self._convolved(inside, self._kernels.ends) - 1)  # 1 where both voxels are inside
        return self._entropy(ops.log(ops.where(there > 0, counts, 1.0)), there)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the input's shape: a map has a value for every pixel."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "glcm": self.settings.to_dict(), "temperature": self.temperature}

    def _alike(self, levels: KerasTensor, inside: KerasTensor) -> KerasTensor:
        """How much each comparison finds alike, 0 where one of its four voxels is outside the image."""
        kernels: PairKernels = self._kernels
        scale = 1 / (math.sqrt(2) * self.temperature)
        orders = (kernels.straight, kernels.crossed) if self.settings.symmetric else (kernels.straight,)
        found = [
            ops.exp(-sum(ops.square(self._convolved(levels, scale * kernel, "same")) for kernel in order))
            for order in orders
        ]
        return sum(found) * ops.relu(self._convolved(inside, kernels.members, "same") - 3)

    def _convolved(self, x: KerasTensor, kernel: Kernel, padding: str = "valid") -> KerasTensor:
        return ops.conv(x, ops.convert_to_tensor(kernel, dtype=self.compute_dtype), padding=padding)

    def _entropy(self, logarithms: KerasTensor, there: KerasTensor) -> KerasTensor:
        """Mean over the matrices of ``log N - mean log m``, over those pairs that are in the image."""
        unit = self.settings.log_unit / math.log(2)
        orders = 2.0 if self.settings.symmetric else 1.0
        part = self._kernels.part
        parts = ops.convert_to_tensor(np.eye(part.max() + 1)[part], dtype=self.compute_dtype)
        pairs = ops.matmul(there, parts)
        sums = ops.matmul(logarithms * there, parts)
        some = ops.cast(pairs > 0, self.compute_dtype)
        pairs = ops.maximum(pairs, 1.0)
        entropies = some * (ops.log(orders * pairs) - sums / pairs)
        return unit * ops.sum(entropies, -1, keepdims=True) / ops.sum(some, -1, keepdims=True)
