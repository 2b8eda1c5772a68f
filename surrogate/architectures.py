"""The networks: what each makes of a patch of scaled grey levels."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from keras import KerasTensor, layers, ops

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
"""Weight of the past in the running statistics, MATLAB's and PyTorch's default.

Keras' 0.99 still remembers its initial variance of 1 after the few hundred steps of a short
training, and the predictions come out scaled."""

Architecture = Callable[[KerasTensor, GLCMSettings, NetworkSettings, tuple[str, ...]], KerasTensor]
"""From scaled grey levels (N, w, w, 1) to values (N, features), or (N, 1, 1, features) if all layers are
convolutions: those take (N, Y, X, 1) as well, and give values for every whole window."""

_OF_EQUALITY = {"joint_entropy", "joint_energy", "maximum_probability"}
"""Features that do not change when the levels are numbered in another order."""


def radsynth(
    x: KerasTensor, glcm: GLCMSettings, network: NetworkSettings, features: tuple[str, ...]
) -> KerasTensor:
    """Return the paper's network.

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
    """Return the network that compares pairs of voxels, and learns to count and to weigh what is alike.

    Of the differences between any two voxels of the window, ``relu(1 - |difference|)`` is 1 where they are
    equal and 0 where they are a level or more apart; products of these say which pairs of voxels are alike.
    The first dense layer adds what is alike and takes logarithms; features that weigh the differences are
    shown them too, and their squares.
    """
    top = glcm.levels - 1
    distances = ops.abs(_fixed(x, top * difference_kernel(glcm.edge), "valid", "differences"))
    equal = ops.relu(1 - distances)
    found = comparisons(glcm)
    seen = [_pairs_alike(equal, found, symmetric=glcm.symmetric), ops.take(equal, found.ends, axis=-1)]
    if not _OF_EQUALITY.issuperset(features):
        seen += [distances / top, ops.square(distances / top)]
    x = ops.concatenate(seen, axis=-1)
    outputs = []
    for number, units in enumerate(network.hidden, start=1):
        x = layers.Conv2D(units, 1, activation="relu", kernel_initializer="he_normal", name=f"dense{number}")(
            x
        )
        x = ops.log(1 + x) if number == 1 else x
        outputs.append(x)
    x = ops.concatenate(outputs, axis=-1) if len(outputs) > 1 else x
    return layers.Conv2D(len(features), 1, dtype="float32", name="output")(x)


def analytic(
    x: KerasTensor, glcm: GLCMSettings, network: NetworkSettings, features: tuple[str, ...]
) -> KerasTensor:
    """Return the network whose weights follow from the definition of the entropy.

    Two pairs of voxels (a, b) and (c, d) are alike by ``exp(-((a-c)^2 + (b-d)^2) / 2 T^2)``, and in the
    other order too if the matrix is symmetric. The sum over the pairs of a window is the number of equal
    ones, kept smooth by the temperature T, and the entropy is linear in the logarithms of these numbers.
    """
    kernels = pair_kernels(glcm)
    scale = (glcm.levels - 1) / (math.sqrt(2) * network.temperature)
    alike = _alike(x, scale, kernels.straight, "straight")
    if glcm.symmetric:
        alike = layers.Add(name="alike")([alike, _alike(x, scale, kernels.crossed, "crossed")])
    counts = _fixed(alike, kernels.matches, "valid", "counts")
    weights, constant = entropy_weights(glcm, kernels)
    return _fixed(ops.log(counts), weights.reshape(1, 1, -1, 1), "valid", "output", constant)


ARCHITECTURES: dict[str, Architecture] = {"radsynth": radsynth, "equality": equality, "analytic": analytic}


def _pairs_alike(equal: KerasTensor, found: Comparisons, *, symmetric: bool) -> KerasTensor:
    # A voxel that two pairs share is equal to itself.
    equal = ops.concatenate([equal, ops.ones_like(equal[..., :1])], axis=-1)
    straight, crossed = (
        ops.take(equal, first, axis=-1) * ops.take(equal, second, axis=-1)
        for first, second in (found.straight, found.crossed)
    )
    return straight + crossed if symmetric else straight


def _alike(x: KerasTensor, scale: float, kernels: tuple[Kernel, Kernel], name: str) -> KerasTensor:
    # What the zeros around the patch do to the comparisons that reach there is seen by no window's counts.
    first, second = (
        ops.square(_fixed(x, scale * kernel, "same", f"{name}_{end}"))
        for end, kernel in zip(("first", "second"), kernels, strict=True)
    )
    return layers.Activation("exponential", name=name)(-(first + second))


def _fixed(x: KerasTensor, kernel: Kernel, padding: str, name: str, bias: float | None = None) -> KerasTensor:
    """Apply a convolution with given weights that training leaves alone.

    Differences of levels need all digits of float32, whatever the precision of the training.
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
