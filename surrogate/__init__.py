"""Networks that learn texture maps from exact ground truth and stand in for it.

Importing this package is quick: Keras and its backend are loaded on the first use of a name that
needs them.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from glcm_cuda.base.extras import BACKENDS, EXTRAS, how_to_install, require
from surrogate.folds import assign_folds, validation_patients
from surrogate.settings import NetworkSettings, TrainingSettings

if TYPE_CHECKING:
    from surrogate.dataset import PatchDataset
    from surrogate.dense import dense_model
    from surrogate.entropy_layer import GLCMEntropy
    from surrogate.model import (
        LevelScaling,
        build_model,
        glcm_settings,
        load_model,
        model_features,
        network_settings,
    )
    from surrogate.synthesis import synthesize, synthesize_features, synthesize_patches
    from surrogate.training import train

_MODULE_OF = {
    "GLCMEntropy": "entropy_layer",
    "LevelScaling": "model",
    "PatchDataset": "dataset",
    "build_model": "model",
    "dense_model": "dense",
    "glcm_settings": "model",
    "load_model": "model",
    "model_features": "model",
    "network_settings": "model",
    "synthesize": "synthesis",
    "synthesize_features": "synthesis",
    "synthesize_patches": "synthesis",
    "train": "training",
}

__all__ = [
    "GLCMEntropy",
    "LevelScaling",
    "NetworkSettings",
    "PatchDataset",
    "TrainingSettings",
    "assign_folds",
    "build_model",
    "dense_model",
    "glcm_settings",
    "load_model",
    "model_features",
    "network_settings",
    "synthesize",
    "synthesize_features",
    "synthesize_patches",
    "train",
    "validation_patients",
]


def __getattr__(name: str) -> Any:
    """Import the module of a name that needs Keras on the first use of that name."""
    if name not in _MODULE_OF:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    # Without this, importing TensorFlow prints a dozen lines on stderr. Errors are still shown.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        return getattr(importlib.import_module(f".{_MODULE_OF[name]}", __name__), name)
    except ModuleNotFoundError as error:
        missing = str(error.name).split(".")[0]
        if missing not in BACKENDS:
            if missing in EXTRAS:
                require(f"surrogate.{name}", missing)
            raise
        msg = (
            f"Keras needs {missing}, which is not installed: {how_to_install('tensorflow-cpu')}, "
            "or install jax or torch and set KERAS_BACKEND to its name"
        )
        raise ImportError(msg) from error
