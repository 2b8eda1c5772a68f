"""Models: from the grey levels of a patch to texture features of it."""

from __future__ import annotations

import os
import struct
import sys
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import keras
from keras import KerasTensor, layers, ops

from glcm_cuda.settings import GLCMSettings
from surrogate.architectures import ARCHITECTURES
from surrogate.exact import ENTROPY, learnable
from surrogate.settings import NetworkSettings

_MEMBERS = {"config.json", "metadata.json", "model.weights.h5"}
"""What a .keras file of ours holds."""


@keras.saving.register_keras_serializable(package="radsynth")
class LevelScaling(layers.Layer):  # type: ignore[misc]
    """Grey levels scaled from ``0..levels-1`` to ``0..1``.

    The configuration of this layer also stores the settings of map and network, so that a model file
    describes itself.

    Parameters
    ----------
    glcm : dict
        `GLCMSettings.to_dict` of the exact maps that the model replaces.
    features : sequence of str
        Names of the features, in the order of the model's outputs.
    network : dict, optional
        `NetworkSettings.to_dict` of the model.
    """

    def __init__(
        self,
        glcm: dict[str, Any],
        features: Sequence[str] = ENTROPY,
        network: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.settings = GLCMSettings.from_dict(glcm)
        self.features = tuple(features)
        self.network = NetworkSettings.from_dict(network or {})

    def call(self, levels: KerasTensor) -> KerasTensor:
        """Return the levels divided by the highest level."""
        return levels / (self.settings.levels - 1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {
            **super().get_config(),
            "glcm": self.settings.to_dict(),
            "features": list(self.features),
            "network": self.network.to_dict(),
        }


@keras.saving.register_keras_serializable(package="radsynth")  # type: ignore[untyped-decorator]
def root_mean_squared_error(truth: KerasTensor, prediction: KerasTensor) -> KerasTensor:
    """Root mean squared difference over the minibatch: the paper's cost.

    Parameters
    ----------
    truth, prediction : (N,) or (N, F) tensors
        Exact and synthetic values.

    Returns
    -------
    scalar tensor
        Over all features together, in the unit of the values. At least 1e-6, with zero gradient there, since
        the gradient of the root is infinite at 0.
    """
    difference = ops.reshape(truth, (-1,)) - ops.reshape(prediction, (-1,))
    return ops.sqrt(ops.maximum(ops.mean(ops.square(difference)), 1e-12))


def build_model(
    glcm: GLCMSettings, network: NetworkSettings | None = None, features: str | Iterable[str] = ENTROPY
) -> keras.Model:
    """Return an untrained network for maps with these settings.

    Parameters
    ----------
    glcm : GLCMSettings
        Settings of the maps to learn; windows must be two-dimensional.
    network : NetworkSettings, optional
        Settings of the network; the paper's network by default.
    features : str or iterable of str
        Names of the features to predict (see `glcm_cuda.feature_maps`), joint entropy by default.

    Returns
    -------
    keras.Model
        Input ``(N, window, window, 1)``: grey levels 0 to ``levels - 1`` as float32.
        Output ``(N, F)`` float32: the features of the window, entropies in the unit of `glcm.log_base`.

    Raises
    ------
    ValueError
        If the windows are three-dimensional, the patch shrinks to nothing in the network, a feature is
        unknown or one of intensities, or the analytic network is to predict any other feature than joint
        entropy.
    """
    network = network or NetworkSettings()
    names = learnable(features)
    check_two_dimensional(glcm)
    network.check_window(glcm.edge)
    if network.architecture == "analytic" and names != ENTROPY:
        msg = f"the analytic network predicts only joint_entropy, got {', '.join(names)}"
        raise ValueError(msg)
    inputs = keras.Input((glcm.edge, glcm.edge, 1), name="levels")
    scaling = LevelScaling(glcm.to_dict(), names, network.to_dict(), dtype="float32", name="level_scaling")
    outputs = ARCHITECTURES[network.architecture](scaling(inputs), glcm, network, names)
    if network.architecture != "radsynth":
        outputs = layers.Flatten(name="flatten")(outputs)
    return keras.Model(inputs, outputs, name=network.architecture)


def load_model(path: str | os.PathLike[str]) -> keras.Model:
    """Return the model of a ``.keras`` file, ready to predict.

    No code from the file is executed: only layers of Keras and of this package are created.

    Parameters
    ----------
    path : path
        A file written by `surrogate.train`.

    Raises
    ------
    ValueError
        If the file does not exist, is not a ``.keras`` file, is damaged or has unknown layers, or if the
        model has no GLCM settings.
    """
    path = Path(path)
    _check_archive(path)
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # a foreign file may raise anything; users get one line
        # Keras' own message advises to disable safe mode, which is not an option here.
        is_lambda = "Lambda" in str(error)
        why = "it has a Lambda layer, whose code is never run" if is_lambda else _first_line(error)
        msg = f"{path} cannot be loaded as a Keras model: {why}"
        raise ValueError(msg) from error
    try:
        glcm_settings(model)
    except ValueError as error:
        msg = f"{path}: {error}"
        raise ValueError(msg) from None
    return model


def glcm_settings(model: keras.Model) -> GLCMSettings:
    """Return the settings of the exact maps that `model` replaces.

    Raises
    ------
    ValueError
        If the model has none.
    """
    return _scaling(model).settings


def model_features(model: keras.Model) -> tuple[str, ...]:
    """Return the names of the features that `model` predicts, in the order of its output.

    Raises
    ------
    ValueError
        See `glcm_settings`.
    """
    return _scaling(model).features


def network_settings(model: keras.Model) -> NetworkSettings:
    """Return the settings of the network that `model` was built with.

    Raises
    ------
    ValueError
        See `glcm_settings`.
    """
    return _scaling(model).network


def _scaling(model: keras.Model) -> LevelScaling:
    for layer in model.layers:
        if isinstance(layer, LevelScaling):
            return layer
    msg = "the model has no GLCM settings (no LevelScaling layer); train one with radsynth train"
    raise ValueError(msg)


def check_two_dimensional(glcm: GLCMSettings) -> None:
    """Raise ValueError if the windows are three-dimensional."""
    if glcm.dimensions != 2:
        msg = f"the network takes two-dimensional windows (dimensions=2), got dimensions={glcm.dimensions}"
        raise ValueError(msg)


def _check_archive(path: Path) -> None:
    if not path.is_file():
        msg = f"there is no model file {path}"
        raise ValueError(msg)
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, EOFError, NotImplementedError, UnicodeDecodeError, struct.error) as error:
        msg = f"{path} is not a .keras file, or is truncated; expected a model from radsynth train"
        raise ValueError(msg) from error
    if "config.json" not in names:
        msg = f"{path} is a zip archive but not a .keras file; expected a model from radsynth train"
        raise ValueError(msg)
    # Keras unpacks all others into a temporary folder, which it leaves behind if one cannot be read.
    if not names <= _MEMBERS:
        others = sorted(names - _MEMBERS)
        msg = f"{path} must hold {', '.join(sorted(_MEMBERS))} alone, got {others[0][:60]!r} too; train again"
        raise ValueError(msg)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def keras_versions() -> dict[str, str]:
    """Return the versions of Keras and of its backend, by name."""
    backend = keras.backend.backend()
    return {
        "keras": str(keras.__version__),
        backend: str(getattr(sys.modules.get(backend), "__version__", "unknown")),
    }
