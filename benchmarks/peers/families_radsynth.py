"""RadSynth: `feature_maps` on the CPU, for `benchmarks/families.py`."""

from __future__ import annotations

from dataclasses import replace

import numba
import numpy as np
from _families import Job, Maps, serve

import glcm_cuda
from glcm_cuda import GLCMSettings, feature_maps


def prepare(job: Job):
    """Return a function that maps the image with pyradiomics' definitions."""
    settings = replace(
        GLCMSettings.preset("pyradiomics"),
        bin_width=job.bin_width,
        dimensions=job.dimensions,
        window=2 * job.radius + 1,
        masked_window=False,
        range_over="crop",
    )
    names = [f"{job.family}_{feature}" for feature in job.features]
    return lambda: feature_maps(job.image, names, settings, mask=job.mask, backend="cpu")


def read(maps: dict[str, np.ndarray], job: Job) -> Maps:
    """Return the maps by pyradiomics' names."""
    return {name.partition("_")[2]: values[job.mask != 0] for name, values in maps.items()}


if __name__ == "__main__":
    found = {"radsynth": glcm_cuda.__version__, "numba": numba.__version__, "numpy": np.__version__}
    serve(prepare, read, found)
