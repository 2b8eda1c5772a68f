"""The paper's algorithm, as `radsynth benchmark` times it: a dense matrix per window and direction."""

from __future__ import annotations

import numba
import numpy as np
from _adapter import Levels, Mapper, serve

import glcm_cuda
from glcm_cuda import GLCMSettings
from pipelines.evaluation.baseline.dense import dense_entropy_map

ALL_THREADS = numba.get_num_threads()


def prepare(levels: Levels, number_of_levels: int, window: int, threads: int | None) -> Mapper:
    """Return a function that maps the levels, which its quantisation leaves unchanged."""
    settings = GLCMSettings(levels=number_of_levels, window=window, intensity_range=(0, number_of_levels))
    numba.set_num_threads(threads or ALL_THREADS)
    return lambda: dense_entropy_map(levels, settings)


if __name__ == "__main__":
    # It is compiled at the first call, which counts as start-up.
    prepare(np.zeros((8, 8), np.uint8), 64, 5, None)()
    found = {"radsynth": glcm_cuda.__version__, "numba": numba.__version__, "numpy": np.__version__}
    serve(prepare, found, parallel=True)
