"""flash-radiomics: the spatial map of JointEntropy on its CPU backend with ``force2D``."""

from __future__ import annotations

import logging
from importlib.metadata import version

import numpy as np
import SimpleITK
from _adapter import Levels, Mapper, serve
from flash_radiomics import RadiomicsFeatureExtractor


def prepare(levels: Levels, number_of_levels: int, window: int, threads: int | None) -> Mapper:
    """Return a function that runs the extractor on a one-slice image whose mask is the whole image.

    Bins of width 1 from 0 leave the levels unchanged. `execute` would also write an HDF5 file every time,
    so its two steps are called directly. One class of features uses one thread.
    """
    image = SimpleITK.GetImageFromArray(levels[None].astype(np.int16))
    mask = SimpleITK.GetImageFromArray(np.ones((1, *levels.shape), np.uint8))
    extractor = RadiomicsFeatureExtractor(
        backend="cpu",
        binWidth=1,
        force2D=True,
        kernelRadius=window // 2,
        maskedKernel=True,
        additionalInfo=False,
    )
    extractor.disableAllFeatures()
    extractor.enableFeaturesByName(glcm=["JointEntropy"])

    def run() -> np.ndarray:
        case = extractor.preprocess_case(image, mask, label=1, spatialMode=True)
        result = extractor.extract_from_preprocessed(case)
        return SimpleITK.GetArrayFromImage(result["original_glcm_JointEntropy"])[0]

    return run


if __name__ == "__main__":
    logging.getLogger("flash_radiomics").setLevel(logging.ERROR)
    serve(prepare, {name: version(name) for name in ("flash-radiomics", "numpy", "SimpleITK")})
