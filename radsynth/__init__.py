"""Texture maps and features of medical images: images in, the same kind out.

A path, a SimpleITK image, a nibabel image, a NumPy array or a torch tensor goes in; maps come out as images
of the same kind with the same geometry (docs/python.md).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glcm_cuda.base.version import __version__ as __version__
    from glcm_cuda.settings import GLCMSettings as Settings
    from radsynth.files import read, write
    from radsynth.mapping import map
    from radsynth.regions import features
    from radsynth.synthesis import synthesize

__all__ = ["Settings", "features", "map", "read", "synthesize", "write"]

_HOME = {
    "__version__": ("glcm_cuda.base.version", "__version__"),
    "Settings": ("glcm_cuda.settings", "GLCMSettings"),
    "features": ("radsynth.regions", "features"),
    "map": ("radsynth.mapping", "map"),
    "read": ("radsynth.files", "read"),
    "synthesize": ("radsynth.synthesis", "synthesize"),
    "write": ("radsynth.files", "write"),
}
"""Module and name of each public object. They are imported when they are used, which keeps ours quick."""


def __getattr__(name: str) -> Any:
    """Import a public object when it is first used."""
    if name not in _HOME:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    module, own = _HOME[name]
    return getattr(importlib.import_module(module), own)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
