"""The network for whole slices: all windows at once, with the same predictions as patch by patch."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
import numpy.typing as npt
from keras import KerasTensor, layers

from surrogate.architectures import ARCHITECTURES
from surrogate.model import network_settings
from surrogate.settings import POOLED_BLOCKS

_Weights = npt.NDArray[np.float32]


def dense_model(model: keras.Model) -> keras.Model:
    """Return the network that predicts every whole window of a slice at once.

    Parameters
    ----------
    model : keras.Model
        A network for patches, from `build_model` or `load_model`. Its weights are copied.

    Returns
    -------
    keras.Model
        Input ``(N, Y, X, 1)`` float32: grey levels, at least as high and wide as the window.
        Output ``(N, Y-w+1, X-w+1, F)`` float32: for every window, what `model` predicts for the patch, up to
        rounding.

    Notes
    -----
    Networks made of convolutions alone are applied to the slice as they are. The paper's network needs more,
    since it pads and pools every patch separately: in each layer, windows share only those values that are
    computed in the same way. Along each axis, the positions of a layer's feature map in the window are
    therefore sorted into kinds. Positions of one kind take the same weights from the same kinds of positions
    of the previous layer, at the same distances; they differ only in where they are. So there is one image
    of the slice for each kind of row and kind of column, and every window reads its values from these images.

    References
    ----------
    Giusti et al. 2013, Fast image scanning with deep max-pooling convolutional neural networks. They compute
    the maps once for every phase of the pooling; one image per kind also handles the padding of the patches.
    """
    inputs = keras.Input((None, None, 1), name="levels")
    scaling = model.get_layer("level_scaling")
    name = f"{model.name}_dense"
    if scaling.network.architecture == "radsynth":
        return keras.Model(inputs, _radsynth(model, scaling(inputs)), name=name)
    architecture = ARCHITECTURES[scaling.network.architecture]
    outputs = architecture(scaling(inputs), scaling.settings, scaling.network, scaling.features)
    dense = keras.Model(inputs, outputs, name=name)
    dense.set_weights(model.get_weights())
    return dense


@dataclass(frozen=True)
class _Tap:
    """One input of a position, along one axis.

    Parameters
    ----------
    weight : int
        Index of the kernel weight that is applied.
    kind : int
        Kind of the input position, in the previous layer.
    shift : int
        Voxels from the start of the position's first input to the start of this one.
    """

    weight: int
    kind: int
    shift: int


_Kind = tuple[_Tap, ...]
"""The taps that all positions of one kind have along one axis."""


@dataclass(frozen=True)
class _Axis:
    """The positions of a layer's feature map in the window, along one axis.

    Parameters
    ----------
    kinds : tuple of _Kind
        The different kinds.
    positions : tuple of (int, int)
        For each position: number of its kind, and its start in voxels from the start of the window.
    reach : tuple of int
        For each kind, the number of voxels that it sees, less 1: its image is that much smaller than the
        slice.
    """

    kinds: tuple[_Kind, ...]
    positions: tuple[tuple[int, int], ...]
    reach: tuple[int, ...]

    def next(self, inputs: Sequence[Sequence[tuple[int, int]]]) -> _Axis:
        """Return the positions of the next layer.

        `inputs` lists, for each of them, pairs of a weight and a position of this layer.
        """
        kinds: dict[_Kind, int] = {}
        positions = []
        for pairs in inputs:
            start = self.positions[pairs[0][1]][1]
            kind = tuple(
                _Tap(weight, self.positions[position][0], self.positions[position][1] - start)
                for weight, position in pairs
            )
            positions.append((kinds.setdefault(kind, len(kinds)), start))
        reach = tuple(max(tap.shift + self.reach[tap.kind] for tap in kind) for kind in kinds)
        return _Axis(tuple(kinds), tuple(positions), reach)

    def convolved(self, padding: str) -> _Axis:
        """Return the positions after a convolution with three taps."""
        margin = 1 if padding == "same" else 0
        number = len(self.positions)
        return self.next(
            [
                [(tap, start + tap) for tap in range(3) if 0 <= start + tap < number]
                for start in range(-margin, number - 2 + margin)
            ]
        )

    def pooled(self, stride: int) -> _Axis:
        """Return the positions after a pooling of two."""
        starts = range(0, len(self.positions) - 1, stride)
        return self.next([[(0, start), (1, start + 1)] for start in starts])

    def flattened(self, edge: int) -> _Axis:
        """Return the single position that reads all others, as the output does in a window of this edge.

        It reaches over the whole window, even if a pooling left out the last voxels.
        """
        axis = self.next([list(enumerate(range(len(self.positions))))])
        return _Axis(axis.kinds, axis.positions, (edge - 1,))


@dataclass(frozen=True)
class _Maps:
    """Feature maps of a layer: one image (N, Y - reach, X - reach, C) for each kind of row and of column."""

    axis: _Axis
    images: dict[tuple[int, int], KerasTensor]


def _radsynth(model: keras.Model, scaled: KerasTensor) -> KerasTensor:
    network = network_settings(model)
    edge = int(model.input_shape[1])
    # At the input all positions are of one kind, which has no taps and reaches over its own voxel.
    input_axis = _Axis(((),), tuple((0, position) for position in range(edge)), (0,))
    maps = _Maps(input_axis, {(0, 0): scaled})
    for number in range(1, len(network.filters) + 1):
        kernel, bias = _normalized_weights(model, number)
        maps = _convolved(maps, maps.axis.convolved(network.padding), kernel, bias, "relu")
        if number <= POOLED_BLOCKS:
            maps = _pooled(maps, maps.axis.pooled(network.pool_stride))
    weights, bias = model.get_layer("output").get_weights()
    number = len(maps.axis.positions)
    kernel = weights.reshape(number, number, -1, weights.shape[-1])
    return _convolved(maps, maps.axis.flattened(edge), kernel, bias, "linear").images[0, 0]


def _normalized_weights(model: keras.Model, number: int) -> tuple[_Weights, _Weights]:
    """Return kernel and bias of a convolution that includes the normalisation after it."""
    kernel, bias = model.get_layer(f"convolution{number}").get_weights()
    normalization = model.get_layer(f"normalization{number}")
    gamma, beta, mean, variance = normalization.get_weights()
    gain = gamma / np.sqrt(variance + normalization.epsilon)
    return kernel * gain, (bias - mean) * gain + beta


def _convolved(maps: _Maps, axis: _Axis, kernel: _Weights, bias: _Weights, activation: str) -> _Maps:
    """Apply a convolution that leads to the positions of `axis`.

    Kinds that read the same inputs with different weights share one Keras layer, with more filters.
    """
    groups: dict[tuple[object, ...], list[tuple[int, int]]] = {}
    for row, column in itertools.product(range(len(axis.kinds)), repeat=2):
        # All that determines the inputs; -1 separates the taps of the rows from those of the columns.
        sources = tuple((tap.kind, tap.shift) for tap in axis.kinds[row])
        sources += ((-1, axis.reach[row]), *((tap.kind, tap.shift) for tap in axis.kinds[column]))
        groups.setdefault((*sources, axis.reach[column]), []).append((row, column))
    images = {}
    filters = kernel.shape[-1]
    for kinds in groups.values():
        # The filters of the kinds side by side, (rows, columns, channels, kinds * filters).
        stacked = [_tap_weights(kernel, axis.kinds[row], axis.kinds[column]) for row, column in kinds]
        x = _convolution(
            maps, axis, *kinds[0], np.concatenate(stacked, -1), np.tile(bias, len(kinds)), activation
        )
        for index, kind in enumerate(kinds):
            images[kind] = x if len(kinds) == 1 else x[..., index * filters : (index + 1) * filters]
    return _Maps(axis, images)


def _tap_weights(kernel: _Weights, rows: _Kind, columns: _Kind) -> _Weights:
    """Return the (rows, columns, channels, filters) part of the kernel that these taps use."""
    return kernel[np.ix_([tap.weight for tap in rows], [tap.weight for tap in columns])]


def _convolution(
    maps: _Maps, axis: _Axis, row: int, column: int, kernel: _Weights, bias: _Weights, activation: str
) -> KerasTensor:
    """Apply a kernel to the inputs of a kind of row and a kind of column."""
    rows, columns = axis.kinds[row], axis.kinds[column]
    dilation = _dilation(rows), _dilation(columns)
    if all(dilation):
        # The inputs are evenly spaced in one image: a convolution, dilated after a pooling with stride.
        x = _cropped(maps, axis, (row, rows[0], rows[-1]), (column, columns[0], columns[-1]))
        layer = layers.Conv2D(
            kernel.shape[-1], kernel.shape[:2], dilation_rate=dilation, activation=activation
        )
    else:
        # The inputs come from several images, which are shifted and stacked along the channels.
        inputs = [
            _cropped(maps, axis, (row, a, a), (column, b, b)) for a, b in itertools.product(rows, columns)
        ]
        x = layers.Concatenate()(inputs)
        kernel = kernel.reshape(1, 1, -1, kernel.shape[-1])
        layer = layers.Conv2D(kernel.shape[-1], 1, activation=activation)
    layer.build(x.shape)
    layer.set_weights([kernel, bias])
    return layer(x)


def _dilation(kind: _Kind) -> int:
    """Return the distance between the taps if their inputs are of one kind and evenly spaced, otherwise 0."""
    steps = {after.shift - before.shift for before, after in itertools.pairwise(kind)} or {1}
    return steps.pop() if len({tap.kind for tap in kind}) == 1 and len(steps) == 1 else 0


def _pooled(maps: _Maps, axis: _Axis) -> _Maps:
    images = {}
    for row, column in itertools.product(range(len(axis.kinds)), repeat=2):
        inputs = [
            _cropped(maps, axis, (row, a, a), (column, b, b))
            for a, b in itertools.product(axis.kinds[row], axis.kinds[column])
        ]
        images[row, column] = layers.Maximum()(inputs)
    return _Maps(axis, images)


def _cropped(
    maps: _Maps, axis: _Axis, row: tuple[int, _Tap, _Tap], column: tuple[int, _Tap, _Tap]
) -> KerasTensor:
    """Return the part of an image that the taps from the first to the last of a new kind run over.

    `row` and `column` are each the number of the new kind, its first tap and its last tap.
    """
    # Cropped off: what lies before the first tap, and what the last tap never gets to.
    margins = [
        (first.shift, axis.reach[kind] - last.shift - maps.axis.reach[first.kind])
        for kind, first, last in (row, column)
    ]
    image = maps.images[row[1].kind, column[1].kind]
    return image if not np.any(margins) else layers.Cropping2D(margins)(image)
