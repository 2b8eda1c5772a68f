"""All parameters of the networks and of their training, and the checks of their values."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

from glcm_cuda.base.checks import check_choice, check_int
from surrogate.folds import FoldsBy

Architecture = Literal["radsynth", "equality", "analytic"]
Padding = Literal["same", "valid"]
PoolStride = Literal[1, 2]
Precision = Literal["float32", "bfloat16"]
Runtime = Literal["keras", "onnxruntime"]

POOLED_BLOCKS = 2
"""Number of convolutional blocks, counted from the first, that end in max pooling."""

_ARCHITECTURES: tuple[Architecture, ...] = get_args(Architecture)
_PADDINGS: tuple[Padding, ...] = get_args(Padding)
_POOL_STRIDES: tuple[PoolStride, ...] = get_args(PoolStride)


class _Fields:
    """Conversion of dataclasses to plain dictionaries and back."""

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Return the settings of a dictionary from `to_dict`; raise ValueError for unknown fields."""
        known = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
        unknown = sorted(set(fields) - set(known))
        if unknown:
            msg = f"unknown settings {unknown}, expected some of {known}"
            raise ValueError(msg)
        return cls(**fields)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain numbers, strings and lists."""
        fields = dataclasses.asdict(self)  # type: ignore[call-overload]
        return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}


@dataclass(frozen=True, kw_only=True)
class NetworkSettings(_Fields):
    """Settings of the network. The defaults are those of the paper, where it states them.

    Parameters
    ----------
    architecture : {"radsynth", "equality", "analytic"}
        Which network: that of the paper; one that compares levels and learns to count; or one whose weights
        follow from the definition. The settings below each apply to the architecture they name.
    filters : tuple of int
        radsynth: numbers of filters of the 3x3 convolutions, in order; two or more.
    dropout : float
        radsynth: fraction dropped after the last convolution in training, at least 0 and below 1.
    padding : {"same", "valid"}
        radsynth: padding of the convolutions. Not stated in the paper; docs/surrogate.md explains the
        default.
    pool_stride : {1, 2}
        radsynth: stride of the 2x2 max pooling. Not stated in the paper either.
    hidden : tuple of int
        equality: numbers of units of the dense layers, in order; one or more. The output is a linear function
        of the units of all of them.
    temperature : float
        analytic: width of the comparison of two levels, in levels, above 0. At the default the network is
        exact for whole levels; from about 0.5 its gradient is useful.

    Raises
    ------
    TypeError, ValueError
        If a field has the wrong type or is out of range.

    Examples
    --------
    >>> NetworkSettings().filters
    (128, 64, 32, 16)
    """

    architecture: Architecture = "radsynth"
    filters: tuple[int, ...] = (128, 64, 32, 16)
    dropout: float = 0.2
    padding: Padding = "same"
    pool_stride: PoolStride = 2
    hidden: tuple[int, ...] = (256,)
    temperature: float = 0.1

    def __post_init__(self) -> None:
        check_choice("architecture", self.architecture, _ARCHITECTURES)
        object.__setattr__(self, "filters", _checked_units("filters", self.filters, POOLED_BLOCKS))
        object.__setattr__(self, "hidden", _checked_units("hidden", self.hidden, 1))
        _check_number("dropout", self.dropout)
        if not 0 <= self.dropout < 1:
            msg = f"dropout must be at least 0 and below 1, got {self.dropout}"
            raise ValueError(msg)
        check_choice("padding", self.padding, _PADDINGS)
        check_choice("pool_stride", self.pool_stride, _POOL_STRIDES)
        check_positive("temperature", self.temperature)

    def edge_after_blocks(self, window: int) -> int:
        """Return the edge of the last block's feature map for a patch of edge `window`; 0 if it is empty."""
        edge = window
        for block in range(len(self.filters)):
            edge -= 2 if self.padding == "valid" else 0
            if block < POOLED_BLOCKS:
                edge = (edge - 2) // self.pool_stride + 1
            if edge < 1:
                return 0
        return edge

    def takes_window(self, window: int) -> bool:
        """Whether a patch of edge `window` is large enough for the network."""
        return self.architecture != "radsynth" or self.edge_after_blocks(window) > 0

    def check_window(self, window: int) -> None:
        """Raise ValueError if a patch of edge `window` is too small for the network."""
        if self.takes_window(window):
            return
        works = [
            f'padding="{padding}" with pool_stride {stride}'
            for padding in _PADDINGS
            for stride in _POOL_STRIDES
            if dataclasses.replace(self, padding=padding, pool_stride=stride).edge_after_blocks(window)
        ]
        msg = (
            f'a {window}x{window} patch shrinks to nothing with padding="{self.padding}" and '
            f"pool_stride {self.pool_stride}; these work: {', '.join(works) or 'none'}"
        )
        raise ValueError(msg)


@dataclass(frozen=True, kw_only=True)
class TrainingSettings(_Fields):
    """Settings of the training. The sizes of minibatch and folds are those of the paper.

    Parameters
    ----------
    folds : int
        Number of folds of the cross validation. With 1, one model is trained on all patients.
    folds_by : {"patient", "group"}
        Whether single patients or whole groups (scanners or data sets) are held out, see `assign_folds`.
    batch : int
        Patches in a minibatch, 1 or more.
    epochs : int
        Passes over the patches, 1 or more. The learning rate falls to zero over this many.
    learning_rate : float
        Highest learning rate of Adam, above 0.
    patience : int
        Training stops after this many epochs of the second half without a better validation RMSE. With 0, no
        patients are set aside for validation and all epochs are trained.
    augment : float
        Share of each minibatch, from 0 to 1, whose contrast, brightness and noise are changed and whose exact
        values are computed again.
    precision : {"float32", "bfloat16"}
        What the layers compute in (mixed precision). Weights, level differences, cost and the finished model
        are always float32.
    seed : int
        Seed of folds, weights, order of patches, augmentation and dropout, 0 to 2**31 - 1.

    Raises
    ------
    TypeError, ValueError
        If a field has the wrong type or is out of range.
    """

    folds: int = 2
    folds_by: FoldsBy = "patient"
    batch: int = 2000
    epochs: int = 24
    learning_rate: float = 0.003
    patience: int = 8
    augment: float = 0.5
    precision: Precision = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("folds", 1), ("batch", 1), ("epochs", 1), ("patience", 0)):
            check_int(name, getattr(self, name), least)
        check_choice("folds_by", self.folds_by, get_args(FoldsBy))
        check_choice("precision", self.precision, get_args(Precision))
        check_positive("learning_rate", self.learning_rate)
        _check_number("augment", self.augment)
        if not 0 <= self.augment <= 1:
            msg = f"augment must be from 0 to 1, got {self.augment}"
            raise ValueError(msg)
        check_int("seed", self.seed, 0)
        if self.seed >= 1 << 31:
            msg = f"seed must be from 0 to {(1 << 31) - 1}, got {self.seed}"
            raise ValueError(msg)


def _check_number(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        msg = f"{name} must be a number, got {value!r}"
        raise TypeError(msg)


def check_positive(name: str, value: float) -> None:
    """Raise TypeError or ValueError unless the value is a finite number above 0."""
    _check_number(name, value)
    if not 0 < value < math.inf:
        msg = f"{name} must be above 0 and finite, got {value}"
        raise ValueError(msg)


def _checked_units(name: str, units: object, least: int) -> tuple[int, ...]:
    """Return the units of each layer as a tuple; JSON has them as a list."""
    if not isinstance(units, tuple | list):
        msg = f"{name} must be a tuple of integers, got {units!r}"
        raise TypeError(msg)
    for count in units:
        check_int(f"each of {name}", count, 1)
    if len(units) < least:
        msg = f"{name} must list {least} or more layers, got {units!r}"
        raise ValueError(msg)
    return tuple(units)
