"""ITK: CoocurrenceTextureFeaturesImageFilter, the second of the eight features of its output."""

from __future__ import annotations

from importlib.metadata import version

import itk
import numpy as np
from _adapter import Levels, Mapper, serve

ENTROPY = 1
PACKAGES = ("itk-texturefeatures", "itk-core", "numpy")
INPUT, OUTPUT = itk.Image[itk.SS, 2], itk.VectorImage[itk.F, 2]
FILTER = itk.CoocurrenceTextureFeaturesImageFilter[INPUT, OUTPUT]


def prepare(levels: Levels, number_of_levels: int, window: int, threads: int | None) -> Mapper:
    """Return a function that runs a new filter: one that has run keeps its output.

    The range 0 to `number_of_levels` leaves the levels unchanged. Its default offsets are one of each two
    opposite neighbours.
    """
    image = itk.image_from_array(levels.astype(np.int16))

    def run() -> np.ndarray:
        texture = FILTER.New(image)
        texture.SetNumberOfBinsPerAxis(number_of_levels)
        texture.SetHistogramMinimum(0)
        texture.SetHistogramMaximum(number_of_levels)
        texture.SetNeighborhoodRadius([window // 2] * 2)
        if threads is not None:
            texture.SetNumberOfWorkUnits(threads)
        texture.Update()
        return itk.array_view_from_image(texture.GetOutput())[..., ENTROPY].copy()

    return run


if __name__ == "__main__":
    serve(prepare, {name: version(name) for name in PACKAGES}, parallel=True)
