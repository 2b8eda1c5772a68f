"""Exact grey-level co-occurrence entropy for every voxel, on CPU and CUDA."""

from __future__ import annotations

from glcm_cuda.base.version import __version__ as __version__
from glcm_cuda.levels.bins import find_bins, intensity_range
from glcm_cuda.levels.quantize import quantize
from glcm_cuda.maps import entropy_map, feature_maps
from glcm_cuda.settings import GLCMSettings

__all__ = [
    "GLCMSettings",
    "PatchStore",
    "entropy_map",
    "feature_maps",
    "find_bins",
    "intensity_range",
    "quantize",
]


def __getattr__(name: str) -> object:
    """Import the store, and with it h5py, only when it is used."""
    if name == "PatchStore":
        from glcm_cuda.store.reading import PatchStore

        return PatchStore
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
