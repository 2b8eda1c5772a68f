"""Packages that not every installation has: which extra brings each, and what is said where one is missing.

The extras are those of ``pyproject.toml``.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution
from types import ModuleType

EXTRAS = {
    "highdicom": ("highdicom", "dicom"),
    "idc_index": ("idc-index", "idc"),
    "idc_index_data": ("idc-index", "idc"),
    "keras": ("Keras", "surrogate"),
    "matplotlib": ("Matplotlib", "report"),
    "onnx": ("onnx", "onnx"),
    "onnxruntime": ("onnxruntime", "onnx"),
    "pywt": ("PyWavelets", "filters"),
    "scipy": ("SciPy", "surrogate"),
    "skimage": ("scikit-image", "filters"),
    "tensorflow": ("TensorFlow", "tensorflow-cpu"),
    "tf2onnx": ("tf2onnx", "onnx"),
}
"""The name and the extra of each package, by what is imported."""

BACKENDS = ("tensorflow", "jax", "torch")
"""Of Keras."""


def require(purpose: str, *packages: str, extra: str | None = None) -> None:
    """Refuse what needs packages that are not installed, without loading those that are.

    Parameters
    ----------
    purpose : str
        What needs them; the message begins with it.
    packages : str
        Keys of `EXTRAS`.
    extra : str, optional
        The extra to name, where the package is in several.

    Raises
    ------
    ModuleNotFoundError
        If some are not installed; the message says how to install them.
    """
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        names = list(dict.fromkeys(EXTRAS[package][0] for package in missing))
        extras = [extra] if extra else _extras_of(missing)
        verb = "is" if len(names) == 1 else "are"
        msg = f"{purpose} needs {_joined(names)}, which {verb} not installed: {how_to_install(*extras)}"
        raise ModuleNotFoundError(msg, name=missing[0])


def library(module: str, purpose: str, extra: str | None = None) -> ModuleType:
    """Return a module of an optional package; the other parameters and the error are those of `require`."""
    require(purpose, module.partition(".")[0], extra=extra)
    return importlib.import_module(module)


def _extras_of(packages: Sequence[str]) -> list[str]:
    """Return the extras that bring packages; Keras alone is of no use where it has no backend."""
    extras = dict.fromkeys(EXTRAS[package][1] for package in packages)
    if "keras" in packages and not any(importlib.util.find_spec(backend) for backend in BACKENDS):
        return ["tensorflow-cpu", *(extra for extra in extras if extra != "surrogate")]
    return list(extras)


def how_to_install(*extras: str) -> str:
    """Return the command that installs extras.

    Where radsynth is installed, from wherever, pip adds the extra's packages to it; else this is a checkout.
    """
    names = ",".join(extras)
    try:
        distribution("radsynth")
    except PackageNotFoundError:
        return f"pip install -e '.[{names}]' in the folder of pyproject.toml"
    return f"pip install 'radsynth[{names}]'"


def _joined(names: Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
