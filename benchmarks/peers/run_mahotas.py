"""mahotas: `features.haralick` of every window, the ninth of its thirteen features."""

from __future__ import annotations

import mahotas
import numpy as np
from _adapter import Levels, Mapper, serve, windows

ENTROPY = 8


def prepare(levels: Levels, number_of_levels: int, window: int, threads: int | None) -> Mapper:
    """Return a function that loops over the pixels; mahotas has no maps and one thread."""

    def run() -> np.ndarray:
        out = np.empty(levels.shape)
        for row, column, part in windows(levels, window):
            out[row, column] = mahotas.features.haralick(part, return_mean=True)[ENTROPY]
        return out

    return run


if __name__ == "__main__":
    serve(prepare, {"mahotas": mahotas.__version__, "numpy": np.__version__})
