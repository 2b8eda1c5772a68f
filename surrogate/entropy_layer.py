"""Entropy of the co-occurrence matrix as a Keras layer, for use in other losses and models."""

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
    """Map of the entropy around every pixel, differentiable with respect to the levels.

    Two voxels whose levels differ by d have the similarity ``exp(-d^2 / 2 T^2)``; that of two pairs is the
    product of those of their voxels. Sums of similarities take the place of counts of equal pairs. The result
    is the resubstitution estimate of the entropy with a Gaussian kernel on each level; as the temperature T
    goes to 0 it becomes the entropy of docs/definition.md. Windows are clipped at the border of the image, as
    they are there.

    Parameters
    ----------
    glcm : GLCMSettings or dict, optional
        Settings of the map, with two-dimensional windows. The layer takes levels and does not quantise, so
        only `window`, `distance`, `directions`, `symmetric`, `aggregate` and `log_base` are used.
    temperature : float
        T, in levels. At 0.1 the entropy of whole levels is exact but has no gradient; from about 0.5 the
        gradient is useful.

    Raises
    ------
    TypeError, ValueError
        If the windows are three-dimensional, or the temperature is not a positive number.

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
            Levels of the images, whole numbers or not, in any range.

        Returns
        -------
        (N, Y, X, 1) tensor
            Entropy in the unit of the settings.
        """
        radius = self.settings.radius
        margins = ((0, 0), (radius, radius), (radius, radius), (0, 0))
        mask = ops.pad(ops.ones_like(levels[:1]), margins)  # (1, Y+2r, X+2r, 1): 1 inside the image
        similarity = self._similarity(ops.pad(levels, margins), mask)  # (N, Y+2r, X+2r, C)
        counts = self._convolved(similarity, self._kernels.matches)  # (N, Y, X, P)
        # (1, Y, X, P): 1 where both voxels of a pair are inside the image.
        has_pair = ops.relu(self._convolved(mask, self._kernels.ends) - 1)
        return self._entropy(ops.log(ops.where(has_pair > 0, counts, 1.0)), has_pair)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape of the input: the map has a value for every pixel."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "glcm": self.settings.to_dict(), "temperature": self.temperature}

    def _similarity(self, levels: KerasTensor, mask: KerasTensor) -> KerasTensor:
        """Return the similarity of each comparison, 0 where one of its four voxels is outside the image."""
        kernels: PairKernels = self._kernels
        scale = 1 / (math.sqrt(2) * self.temperature)
        orders = (kernels.straight, kernels.crossed) if self.settings.symmetric else (kernels.straight,)
        similarities = [
            ops.exp(-sum(ops.square(self._convolved(levels, scale * kernel, "same")) for kernel in order))
            for order in orders
        ]
        # The sum over four voxels of the mask is 4 if all are inside: less 3 and clipped it is 1, else 0.
        return sum(similarities) * ops.relu(self._convolved(mask, kernels.members, "same") - 3)

    def _convolved(self, x: KerasTensor, kernel: Kernel, padding: str = "valid") -> KerasTensor:
        return ops.conv(x, ops.convert_to_tensor(kernel, dtype=self.compute_dtype), padding=padding)

    def _entropy(self, logarithms: KerasTensor, has_pair: KerasTensor) -> KerasTensor:
        """Return the mean over the matrices of ``log N - mean log m``, over the pairs inside the image.

        Both arguments are (..., P); the result is (N, Y, X, 1). See `pairs.entropy_weights`.
        """
        unit = self.settings.log_unit / math.log(2)
        orders = 2.0 if self.settings.symmetric else 1.0
        matrix = self._kernels.matrix
        # (P, M), 1 where a pair belongs to a matrix: products with it are sums over the pairs of each matrix.
        membership = ops.convert_to_tensor(np.eye(matrix.max() + 1)[matrix], dtype=self.compute_dtype)
        pairs = ops.matmul(has_pair, membership)
        sums = ops.matmul(logarithms * has_pair, membership)
        not_empty = ops.cast(pairs > 0, self.compute_dtype)
        pairs = ops.maximum(pairs, 1.0)
        entropies = not_empty * (ops.log(orders * pairs) - sums / pairs)
        return unit * ops.sum(entropies, -1, keepdims=True) / ops.sum(not_empty, -1, keepdims=True)
