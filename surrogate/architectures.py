"""The three network architectures, as functions from scaled grey levels to feature values."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from keras import KerasTensor, layers, ops

from glcm_cuda.families.feature import Feature
from glcm_cuda.families.registry import feature_named
from glcm_cuda.settings import GLCMSettings
from surrogate.pairs import (
    Comparisons,
    Kernel,
    comparisons,
    difference_kernel,
    entropy_weights,
    pair_kernels,
)
from surrogate.settings import POOLED_BLOCKS, NetworkSettings

NORMALIZATION_MOMENTUM = 0.9
"""Momentum of the running statistics of batch normalisation, the default of MATLAB and PyTorch.

With Keras' default of 0.99 the initial variance of 1 still contributes after the few hundred steps of a
short training, and the predictions are off by a factor."""

Architecture = Callable[[KerasTensor, GLCMSettings, NetworkSettings, tuple[str, ...]], KerasTensor]
"""From scaled grey levels (N, w, w, 1) to values (N, F), F being the number of features.

Networks made of convolutions alone return (N, 1, 1, F). They accept whole slices (N, Y, X, 1) too and then
return the values of every whole window, (N, Y-w+1, X-w+1, F)."""

_ORDER_FREE = {
    "joint_entropy", "joint_energy", "maximum_probability", "firstorder_Entropy", "firstorder_Uniformity"
}  # fmt: skip
_ORDER_FREE_FORMULAS = {
    "short", "long", "levels", "levels_normalized", "numbers", "numbers_normalized", "percentage",
    "number_variance", "entropy",
}  # fmt: skip
"""Features, or formulas of runs, zones and dependences, that stay the same if the grey levels are renumbered:
only equality of levels matters."""


def radsynth(
    x: KerasTensor, glcm: GLCMSettings, network: NetworkSettings, features: tuple[str, ...]
) -> KerasTensor:
    """Return the output of the paper's network.

    References
    ----------
    Parekh and Jacobs, Radiomic synthesis using deep convolutional neural networks, section 2.3.
    """
    for number, filters in enumerate(network.filters, start=1):
        x = layers.Conv2D(filters, 3, padding=network.padding, name=f"convolution{number}")(x)
        x = layers.BatchNormalization(momentum=NORMALIZATION_MOMENTUM, name=f"normalization{number}")(x)
        x = layers.ReLU(name=f"relu{number}")(x)
        if number <= POOLED_BLOCKS:
            x = layers.MaxPooling2D(2, strides=network.pool_stride, name=f"pooling{number}")(x)
    x = layers.Dropout(network.dropout, name="dropout")(x)
    x = layers.Flatten(name="flatten")(x)
    return layers.Dense(len(features), dtype="float32", name="output")(x)


def equality(
    x: KerasTensor, glcm: GLCMSettings, network: NetworkSettings, features: tuple[str, ...]
) -> KerasTensor:
    """Return the output of the network that compares pairs of voxels and learns to count the equal ones.

    For any two voxels of the window, ``relu(1 - |difference|)`` is 1 if their levels are equal and 0 if they
    are at least one level apart. The product of two such values says whether two pairs of voxels are equal.
    The first dense layer learns which of these products to count; the next ones see ``log(1 + count)``.
    Networks for features that depend on the size of the differences also see the differences and their
    squares.
    """
    top = glcm.levels - 1
    # (N, Y-w+1, X-w+1, D) absolute level differences of the D = w²(w²-1)/2 pairs of voxels in a window.
    distances = ops.abs(_fixed(x, top * difference_kernel(glcm.edge), "valid", "differences"))
    equal = ops.relu(1 - distances)
    compared = comparisons(glcm)
    inputs = [
        _equal_pairs(equal, compared, symmetric=glcm.symmetric),
        ops.take(equal, compared.ends, axis=-1),
    ]
    if not all(_is_order_free(feature_named(name), glcm) for name in features):
        inputs += [distances / top, ops.square(distances / top)]
    x = ops.concatenate(inputs, axis=-1)
    hidden = []
    for number, units in enumerate(network.hidden, start=1):
        # A convolution of one voxel is a dense layer that also applies to whole slices.
        dense = layers.Conv2D(
            units, 1, activation="relu", kernel_initializer="he_normal", name=f"dense{number}"
        )
        x = dense(x)
        x = ops.log(1 + x) if number == 1 else x
        hidden.append(x)
    x = ops.concatenate(hidden, axis=-1) if len(hidden) > 1 else x
    return layers.Conv2D(len(features), 1, dtype="float32", name="output")(x)


def analytic(
    x: KerasTensor, glcm: GLCMSettings, network: NetworkSettings, features: tuple[str, ...]
) -> KerasTensor:
    """Return the output of the network whose weights follow from the definition of the entropy.

    The similarity of two pairs of voxels (a, b) and (c, d) is ``exp(-((a-c)^2 + (b-d)^2) / 2 T^2)``; if the
    matrix is symmetric, that of (a, b) and (d, c) is added. Summed over the pairs of a window, it gives a
    count of equal pairs that the temperature T makes smooth. The entropy is linear in the logarithms of
    these counts.
    """
    kernels = pair_kernels(glcm)
    scale = (glcm.levels - 1) / (math.sqrt(2) * network.temperature)
    similarity = _similarity(x, scale, kernels.straight, "straight")
    if glcm.symmetric:
        similarity = layers.Add(name="alike")([similarity, _similarity(x, scale, kernels.crossed, "crossed")])
    counts = _fixed(similarity, kernels.matches, "valid", "counts")
    weights, constant = entropy_weights(glcm, kernels)
    return _fixed(ops.log(counts), weights.reshape(1, 1, -1, 1), "valid", "output", constant)


def _is_order_free(feature: Feature, glcm: GLCMSettings) -> bool:
    if feature.family == "gldm" and glcm.gldm_a:
        return False
    return feature.name in _ORDER_FREE or feature.formula in _ORDER_FREE_FORMULAS


ARCHITECTURES: dict[str, Architecture] = {"radsynth": radsynth, "equality": equality, "analytic": analytic}


def _equal_pairs(equal: KerasTensor, compared: Comparisons, *, symmetric: bool) -> KerasTensor:
    """Return, (..., C), 1 for each comparison of equal pairs, plus 1 if they are equal with one swapped."""
    # Pairs may share a voxel. Its equality with itself is the constant 1 behind the others.
    equal = ops.concatenate([equal, ops.ones_like(equal[..., :1])], axis=-1)
    straight, crossed = (
        ops.take(equal, first, axis=-1) * ops.take(equal, second, axis=-1)
        for first, second in (compared.straight, compared.crossed)
    )
    return straight + crossed if symmetric else straight


def _similarity(x: KerasTensor, scale: float, kernels: tuple[Kernel, Kernel], name: str) -> KerasTensor:
    """Return (N, Y, X, C) similarities of the pairs of each comparison, placed at the first pair."""
    # "same" padding spoils comparisons that reach beyond the patch, but no whole window counts those.
    first, second = (
        ops.square(_fixed(x, scale * kernel, "same", f"{name}_{end}"))
        for end, kernel in zip(("first", "second"), kernels, strict=True)
    )
    return layers.Activation("exponential", name=name)(-(first + second))


def _fixed(x: KerasTensor, kernel: Kernel, padding: str, name: str, bias: float | None = None) -> KerasTensor:
    """Apply a convolution with given weights, which training does not change.

    It computes in float32 whatever the precision of the training: differences of levels need all digits.
    """
    layer = layers.Conv2D(
        kernel.shape[-1],
        kernel.shape[:2],
        padding=padding,
        use_bias=bias is not None,
        trainable=False,
        dtype="float32",
        name=name,
    )
    layer.build(x.shape)
    layer.set_weights([kernel] if bias is None else [kernel, np.array([bias])])
    return layer(x)
