"""The network: grey levels of a patch in, entropy of its co-occurrence matrix out."""

from __future__ import annotations

import os
import sys
import zipfile
from pathlib import Path
from typing import Any

import keras
from keras import KerasTensor, layers, ops

from glcm_cuda.settings import GLCMSettings

from .settings import POOLED_BLOCKS, NetworkSettings

NORMALIZATION_MOMENTUM = 0.9
"""Weight of the past in the running statistics, MATLAB's and PyTorch's default.

Keras' 0.99 still remembers its initial variance of 1 after the few hundred steps of a short
training, and the predictions come out scaled."""


@keras.saving.register_keras_serializable(package="radsynth")
class LevelScaling(layers.Layer):  # type: ignore[misc]
    """Grey levels scaled from ``0..levels-1`` to ``0..1``.

    Its configuration carries the settings of the map, so that a saved model explains itself.

    Parameters
    ----------
    glcm : dict
        `GLCMSettings.to_dict` of the maps that the model stands in for.
    """

    def __init__(self, glcm: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.settings = GLCMSettings.from_dict(glcm)

    def call(self, levels: KerasTensor) -> KerasTensor:
        """Return the levels over the highest level."""
        return levels / (self.settings.levels - 1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the input's shape: nothing is moved."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "glcm": self.settings.to_dict()}


@keras.saving.register_keras_serializable(package="radsynth")  # type: ignore[untyped-decorator]
def root_mean_squared_error(truth: KerasTensor, prediction: KerasTensor) -> KerasTensor:
    """Root of the mean squared difference over the minibatch: the paper's cost.

    Parameters
    ----------
    truth, prediction : (N,) or (N, 1) tensors
        Exact and synthetic entropy.

    Returns
    -------
    scalar tensor
        In the unit of the map. Below 1e-6 it is 1e-6 with gradient zero: a root has none at 0.
    """
    difference = ops.reshape(truth, (-1,)) - ops.reshape(prediction, (-1,))
    return ops.sqrt(ops.maximum(ops.mean(ops.square(difference)), 1e-12))


def build_model(glcm: GLCMSettings, network: NetworkSettings | None = None) -> keras.Model:
    """Return the untrained network for maps of these settings.

    Parameters
    ----------
    glcm : GLCMSettings
        Of the maps to learn; windows must be two-dimensional.
    network : NetworkSettings, optional
        The paper's network by default.

    Returns
    -------
    keras.Model
        Input ``(N, window, window, 1)``: grey levels 0 to ``levels - 1`` as float32.
        Output ``(N, 1)`` float32: entropy of the window, in the unit of `glcm.log_base`.

    Raises
    ------
    ValueError
        If the windows are three-dimensional, or the patch shrinks to nothing in the network.

    References
    ----------
    Parekh and Jacobs, Radiomic synthesis using deep convolutional neural networks, section 2.3.
    """
    network = network or NetworkSettings()
    check_two_dimensional(glcm)
    network.check_window(glcm.edge)
    inputs = keras.Input((glcm.edge, glcm.edge, 1), name="levels")
    x = LevelScaling(glcm.to_dict(), name="level_scaling")(inputs)
    for number, filters in enumerate(network.filters, start=1):
        x = _block(x, number, filters, network)
    x = layers.Dropout(network.dropout, name="dropout")(x)
    x = layers.Flatten(name="flatten")(x)
    outputs = layers.Dense(1, name="entropy")(x)
    return keras.Model(inputs, outputs, name=network.architecture)


def load_model(path: str | os.PathLike[str]) -> keras.Model:
    """Return the model of a ``.keras`` file, ready to predict.

    Nothing of the file is executed: only layers of Keras and of this package are made.

    Parameters
    ----------
    path : path
        A file that `surrogate.train` wrote.

    Raises
    ------
    ValueError
        If there is no such file, it is not a ``.keras`` file, is damaged or holds unknown layers, or
        the model carries no GLCM settings.
    """
    path = Path(path)
    _check_archive(path)
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # whatever a foreign file makes of it, the reader needs one line
        msg = f"{path} cannot be loaded as a Keras model: {_first_line(error)}"
        raise ValueError(msg) from error
    try:
        glcm_settings(model)
    except ValueError as error:
        msg = f"{path}: {error}"
        raise ValueError(msg) from None
    return model


def glcm_settings(model: keras.Model) -> GLCMSettings:
    """Return the settings of the maps that `model` stands in for.

    Raises
    ------
    ValueError
        If the model carries none.
    """
    for layer in model.layers:
        if isinstance(layer, LevelScaling):
            return layer.settings
    msg = "the model has no GLCM settings (no LevelScaling layer); train one with radsynth train"
    raise ValueError(msg)


def check_two_dimensional(glcm: GLCMSettings) -> None:
    """Raise ValueError for settings of three-dimensional windows."""
    if glcm.dimensions != 2:
        msg = f"the network takes windows in the plane (dimensions=2), got dimensions={glcm.dimensions}"
        raise ValueError(msg)


def _block(x: KerasTensor, number: int, filters: int, network: NetworkSettings) -> KerasTensor:
    x = layers.Conv2D(filters, 3, padding=network.padding, name=f"convolution{number}")(x)
    x = layers.BatchNormalization(momentum=NORMALIZATION_MOMENTUM, name=f"normalization{number}")(x)
    x = layers.ReLU(name=f"relu{number}")(x)
    if number <= POOLED_BLOCKS:
        x = layers.MaxPooling2D(2, strides=network.pool_stride, name=f"pooling{number}")(x)
    return x


def _check_archive(path: Path) -> None:
    if not path.is_file():
        msg = f"there is no model file {path}"
        raise ValueError(msg)
    if not zipfile.is_zipfile(path):
        msg = f"{path} is not a .keras file, or a truncated one; expected a model of radsynth train"
        raise ValueError(msg)
    with zipfile.ZipFile(path) as archive:
        if "config.json" not in archive.namelist():
            msg = f"{path} is a zip archive but not a .keras file; expected a model of radsynth train"
            raise ValueError(msg)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def keras_versions() -> dict[str, str]:
    """Return the versions of Keras and of the backend it computes with."""
    backend = keras.backend.backend()
    return {
        "keras": str(keras.__version__),
        backend: str(getattr(sys.modules.get(backend), "__version__", "unknown")),
    }
