"""scikit-image: `graycomatrix` and `graycoprops` of every window, in nats."""

from __future__ import annotations

import numpy as np
import skimage
from _adapter import Levels, Mapper, serve, windows
from skimage.feature import graycomatrix, graycoprops

ANGLES = (0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)


def prepare(levels: Levels, number_of_levels: int, window: int, threads: int | None) -> Mapper:
    """Return a function that loops over the pixels; scikit-image has no maps and one thread."""

    def run() -> np.ndarray:
        out = np.empty(levels.shape)
        for row, column, part in windows(levels, window):
            matrix = graycomatrix(part, [1], ANGLES, levels=number_of_levels, symmetric=True, normed=True)
            out[row, column] = graycoprops(matrix, "entropy").mean()
        return out

    return run


if __name__ == "__main__":
    serve(prepare, {"scikit-image": skimage.__version__, "numpy": np.__version__})
