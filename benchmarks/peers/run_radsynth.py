"""RadSynth itself: `entropy_map` on the CPU, in the project's own environment.

    python run_radsynth.py mean|merge

As for the other tools, its time starts with levels in memory. Its quantisation, which leaves them
unchanged, is included.
"""

from __future__ import annotations

import sys

import numba
import numpy as np
from _adapter import Levels, Mapper, serve

import glcm_cuda
from glcm_cuda import GLCMSettings, entropy_map

DEFINITIONS = {"mean": {}, "merge": {"symmetric": False, "aggregate": "merge"}}
ALL_THREADS = numba.get_num_threads()


def preparing(definition: str):
    """Return the function that sets up the map of one definition."""

    def prepare(levels: Levels, number_of_levels: int, window: int, threads: int | None) -> Mapper:
        settings = GLCMSettings(
            levels=number_of_levels,
            window=window,
            intensity_range=(0, number_of_levels),
            **DEFINITIONS[definition],
        )
        numba.set_num_threads(threads or ALL_THREADS)
        return lambda: entropy_map(levels, settings, backend="cpu")

    # The machine code is compiled or read from the cache at the first call, which counts as start-up.
    prepare(np.zeros((8, 8), np.uint8), 64, 5, None)()
    return prepare


if __name__ == "__main__":
    found = {"radsynth": glcm_cuda.__version__, "numba": numba.__version__, "numpy": np.__version__}
    serve(preparing(sys.argv[1]), found, parallel=True)
