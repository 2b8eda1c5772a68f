"""The network for whole slices: every window at once, equal to the prediction of each patch."""

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
    """Return the network that predicts every whole window of an image.

    Parameters
    ----------
    model : keras.Model
        Of patches, from `build_model` or `load_model`. Its weights are copied.

    Returns
    -------
    keras.Model
        Input ``(N, Y, X, 1)`` float32: grey levels, of any height and width from the window's edge on.
        Output ``(N, Y-w+1, X-w+1, F)`` float32: what `model` gives for the patch at each place, to rounding.

    References
    ----------
    Giusti et al. 2013, Fast image scanning with deep max-pooling convolutional neural networks. There the
    maps are computed once for every phase of the pooling; here once for every kind of place in the window,
    which also tells apart where the padding of a patch is seen.
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
    """What a place takes from the layer before: which weight, from which kind of place, how far on."""

    weight: int
    kind: int
    shift: int


_Kind = tuple[_Tap, ...]
"""Along one axis, what all places of one kind take; they differ only in where they are."""


@dataclass(frozen=True)
class _Axis:
    """The places of a layer's map in the window, along one axis.

    Parameters
    ----------
    kinds : tuple of _Kind
        The different ones.
    places : tuple of (int, int)
        Kind of each place and how far it lies from the window's beginning.
    reach : tuple of int
        Of each kind, voxels that it sees less one: by so much its image is smaller than the slice.
    """

    kinds: tuple[_Kind, ...]
    places: tuple[tuple[int, int], ...]
    reach: tuple[int, ...]

    def next(self, taken: Sequence[Sequence[tuple[int, int]]]) -> _Axis:
        """Return the places of the layer that takes these (weight, place) of this one."""
        kinds: dict[_Kind, int] = {}
        places = []
        for pairs in taken:
            start = self.places[pairs[0][1]][1]
            kind = tuple(
                _Tap(weight, self.places[place][0], self.places[place][1] - start) for weight, place in pairs
            )
            places.append((kinds.setdefault(kind, len(kinds)), start))
        reach = tuple(max(tap.shift + self.reach[tap.kind] for tap in kind) for kind in kinds)
        return _Axis(tuple(kinds), tuple(places), reach)

    def convolved(self, padding: str) -> _Axis:
        """Return the places behind a convolution of three taps."""
        margin = 1 if padding == "same" else 0
        number = len(self.places)
        return self.next(
            [
                [(tap, start + tap) for tap in range(3) if 0 <= start + tap < number]
                for start in range(-margin, number - 2 + margin)
            ]
        )

    def pooled(self, stride: int) -> _Axis:
        """Return the places behind a pooling of two."""
        starts = range(0, len(self.places) - 1, stride)
        return self.next([[(0, start), (1, start + 1)] for start in starts])

    def gathered(self, edge: int) -> _Axis:
        """Return the one place that takes all, as the output of a window of this edge does.

        Its reach is the whole window, the last voxels of which a pooling may have left out.
        """
        axis = self.next([list(enumerate(range(len(self.places))))])
        return _Axis(axis.kinds, axis.places, (edge - 1,))


@dataclass(frozen=True)
class _Maps:
    """The maps of a layer: for every kind of row and column one image of all slices' places of that kind."""

    axis: _Axis
    images: dict[tuple[int, int], KerasTensor]


def _radsynth(model: keras.Model, scaled: KerasTensor) -> KerasTensor:
    network = network_settings(model)
    edge = int(model.input_shape[1])
    maps = _Maps(_Axis(((),), tuple((0, place) for place in range(edge)), (0,)), {(0, 0): scaled})
    for number in range(1, len(network.filters) + 1):
        kernel, bias = _folded(model, number)
        maps = _convolved(maps, maps.axis.convolved(network.padding), kernel, bias, "relu")
        if number <= POOLED_BLOCKS:
            maps = _pooled(maps, maps.axis.pooled(network.pool_stride))
    weights, bias = model.get_layer("output").get_weights()
    number = len(maps.axis.places)
    kernel = weights.reshape(number, number, -1, weights.shape[-1])
    return _convolved(maps, maps.axis.gathered(edge), kernel, bias, "linear").images[0, 0]


def _folded(model: keras.Model, number: int) -> tuple[_Weights, _Weights]:
    """Kernel and bias of a convolution with the normalisation behind it."""
    kernel, bias = model.get_layer(f"convolution{number}").get_weights()
    normalization = model.get_layer(f"normalization{number}")
    gamma, beta, mean, variance = normalization.get_weights()
    gain = gamma / np.sqrt(variance + normalization.epsilon)
    return kernel * gain, (bias - mean) * gain + beta


def _convolved(maps: _Maps, axis: _Axis, kernel: _Weights, bias: _Weights, activation: str) -> _Maps:
    """Apply a convolution; kinds that take the same images are one product."""
    alike: dict[tuple[object, ...], list[tuple[int, int]]] = {}
    for row, column in itertools.product(range(len(axis.kinds)), repeat=2):
        sources = tuple((tap.kind, tap.shift) for tap in axis.kinds[row])
        sources += ((-1, axis.reach[row]), *((tap.kind, tap.shift) for tap in axis.kinds[column]))
        alike.setdefault((*sources, axis.reach[column]), []).append((row, column))
    images = {}
    filters = kernel.shape[-1]
    for kinds in alike.values():
        stacked = [_taken(kernel, axis.kinds[row], axis.kinds[column]) for row, column in kinds]
        x = _product(
            maps, axis, *kinds[0], np.concatenate(stacked, -1), np.tile(bias, len(kinds)), activation
        )
        for place, kind in enumerate(kinds):
            images[kind] = x if len(kinds) == 1 else x[..., place * filters : (place + 1) * filters]
    return _Maps(axis, images)


def _taken(kernel: _Weights, rows: _Kind, columns: _Kind) -> _Weights:
    """(rows, columns, channels, filters) part of the kernel that these taps have."""
    return kernel[np.ix_([tap.weight for tap in rows], [tap.weight for tap in columns])]


def _product(
    maps: _Maps, axis: _Axis, row: int, column: int, kernel: _Weights, bias: _Weights, activation: str
) -> KerasTensor:
    rows, columns = axis.kinds[row], axis.kinds[column]
    dilation = _dilation(rows), _dilation(columns)
    if all(dilation):
        # The taps are one image, evenly spaced: a convolution, dilated where a pooling has strode.
        x = _cropped(maps, axis, (row, rows[0], rows[-1]), (column, columns[0], columns[-1]))
        layer = layers.Conv2D(
            kernel.shape[-1], kernel.shape[:2], dilation_rate=dilation, activation=activation
        )
    else:
        taken = [
            _cropped(maps, axis, (row, a, a), (column, b, b)) for a, b in itertools.product(rows, columns)
        ]
        x = layers.Concatenate()(taken)
        kernel = kernel.reshape(1, 1, -1, kernel.shape[-1])
        layer = layers.Conv2D(kernel.shape[-1], 1, activation=activation)
    layer.build(x.shape)
    layer.set_weights([kernel, bias])
    return layer(x)


def _dilation(kind: _Kind) -> int:
    """Distance of the taps if they are of one kind and evenly spaced, otherwise 0."""
    steps = {after.shift - before.shift for before, after in itertools.pairwise(kind)} or {1}
    return steps.pop() if len({tap.kind for tap in kind}) == 1 and len(steps) == 1 else 0


def _pooled(maps: _Maps, axis: _Axis) -> _Maps:
    images = {}
    for row, column in itertools.product(range(len(axis.kinds)), repeat=2):
        taken = [
            _cropped(maps, axis, (row, a, a), (column, b, b))
            for a, b in itertools.product(axis.kinds[row], axis.kinds[column])
        ]
        images[row, column] = layers.Maximum()(taken)
    return _Maps(axis, images)


def _cropped(
    maps: _Maps, axis: _Axis, row: tuple[int, _Tap, _Tap], column: tuple[int, _Tap, _Tap]
) -> KerasTensor:
    """Of the image of a kind the part that the taps from the first to the last of a new kind run over."""
    margins = [
        (first.shift, axis.reach[kind] - last.shift - maps.axis.reach[first.kind])
        for kind, first, last in (row, column)
    ]
    image = maps.images[row[1].kind, column[1].kind]
    return image if not np.any(margins) else layers.Cropping2D(margins)(image)
