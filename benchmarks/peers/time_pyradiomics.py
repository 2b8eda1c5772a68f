"""Time pyradiomics' voxel mode on levels in a .npy file: one line of seconds for every line read."""

from __future__ import annotations

import logging
import sys
import time

import numpy as np
import SimpleITK
from radiomics.featureextractor import RadiomicsFeatureExtractor

MATRIX_BYTES = 1 << 24
"""For the dense matrices of a batch of voxels; see run_pyradiomics.py."""


def main(path: str, number_of_levels: int, names: list[str]) -> None:
    """Time one extraction for every line on standard input; bins of width 1 leave the levels unchanged."""
    logging.getLogger("radiomics").setLevel(logging.ERROR)
    levels = np.load(path)
    image = SimpleITK.GetImageFromArray(levels[None].astype(np.int16))
    mask = SimpleITK.GetImageFromArray(np.ones((1, *levels.shape), np.uint8))
    batch = max(1, MATRIX_BYTES // (number_of_levels**2 * 4 * 8))
    extractor = RadiomicsFeatureExtractor(
        binWidth=1, force2D=True, kernelRadius=2, voxelBatch=batch, additionalInfo=False
    )
    extractor.disableAllFeatures()
    extractor.enableFeaturesByName(glcm=names)
    for _ in sys.stdin:
        start = time.perf_counter()
        extractor.execute(image, mask, voxelBased=True)
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
