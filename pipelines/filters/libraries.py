"""Libraries that some filters need, of the extra ``filters``."""

from __future__ import annotations

import importlib
from types import ModuleType

_PACKAGES = {"pywt": "PyWavelets", "skimage.feature": "scikit-image"}


def library(module: str, purpose: str) -> ModuleType:
    """Return a module of the extra ``filters``.

    Raises
    ------
    ModuleNotFoundError
        If it is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError:
        msg = f"{purpose} needs {_PACKAGES[module]}, which is not installed; pip install 'radsynth[filters]'"
        raise ModuleNotFoundError(msg) from None
