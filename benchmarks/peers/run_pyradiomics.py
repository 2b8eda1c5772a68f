"""pyradiomics: voxel-based extraction of JointEntropy with ``force2D``."""

from __future__ import annotations

import logging
from importlib.metadata import version

import numpy as np
import SimpleITK
from _adapter import Levels, Mapper, serve
from radiomics.featureextractor import RadiomicsFeatureExtractor

MATRIX_BYTES = 1 << 24
"""For the dense float64 matrices of a batch of voxels: the fastest of the powers of two that were tried."""


def prepare(levels: Levels, number_of_levels: int, window: int, threads: int | None) -> Mapper:
    """Return a function that runs the extractor on a one-slice image whose mask is the whole image.

    Bins of width 1 from 0 leave the levels unchanged.
    """
    image = SimpleITK.GetImageFromArray(levels[None].astype(np.int16))
    mask = SimpleITK.GetImageFromArray(np.ones((1, *levels.shape), np.uint8))
    batch = max(1, MATRIX_BYTES // (number_of_levels**2 * 4 * 8))
    extractor = RadiomicsFeatureExtractor(
        binWidth=1,
        force2D=True,
        kernelRadius=window // 2,
        maskedKernel=True,
        voxelBatch=batch,
        additionalInfo=False,
    )
    extractor.disableAllFeatures()
    extractor.enableFeaturesByName(glcm=["JointEntropy"])

    def run() -> np.ndarray:
        result = extractor.execute(image, mask, voxelBased=True)
        return SimpleITK.GetArrayFromImage(result["original_glcm_JointEntropy"])[0]

    return run


if __name__ == "__main__":
    logging.getLogger("radiomics").setLevel(logging.ERROR)
    serve(prepare, {name: version(name) for name in ("pyradiomics-bhklab", "numpy", "SimpleITK")})
