"""flash-radiomics: spatial maps of a family on its CPU backend, for `benchmarks/families.py`."""

from __future__ import annotations

import logging
from importlib.metadata import version

import numpy as np
import SimpleITK
from _families import Job, Maps, serve
from flash_radiomics import RadiomicsFeatureExtractor


def prepare(job: Job):
    """Return a function that runs the extractor on one thread.

    `execute` would also write an HDF5 file every time, so its two steps are called directly. The features are
    named, and all of these are computed in C: a whole class would add some that are made in Python.
    """
    image, mask = (SimpleITK.GetImageFromArray(array) for array in (job.image, job.mask))
    extractor = RadiomicsFeatureExtractor(
        backend="cpu",
        num_threads=1,
        binWidth=job.bin_width,
        force2D=job.dimensions == 2,
        kernelRadius=job.radius,
        maskedKernel=False,
        additionalInfo=False,
    )
    extractor.disableAllFeatures()
    extractor.enableFeaturesByName(**{job.family: job.features})

    def run() -> dict[str, SimpleITK.Image]:
        case = extractor.preprocess_case(image, mask, label=1, spatialMode=True)
        return extractor.extract_from_preprocessed(case)

    return run


def read(result: dict[str, SimpleITK.Image], job: Job) -> Maps:
    """Return the values at the mask's voxels in pyradiomics' conventions.

    Its kurtosis is 3 less, and in windows of one level two features of differences are NaN instead of 0.
    """
    prefix = f"original_{job.family}_"
    values = {
        feature: SimpleITK.GetArrayFromImage(result[prefix + feature])[job.mask != 0]
        for feature in job.features
    }
    if job.family == "firstorder":
        values["Kurtosis"] += 3
    if job.family == "ngtdm":
        for feature in ("Contrast", "Strength"):
            values[feature] = np.nan_to_num(values[feature])
    return values


if __name__ == "__main__":
    logging.getLogger("flash_radiomics").setLevel(logging.ERROR)
    serve(prepare, read, {name: version(name) for name in ("flash-radiomics", "numpy", "SimpleITK")})
