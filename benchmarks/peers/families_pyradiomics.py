"""pyradiomics: voxel-based extraction of a family, for `benchmarks/families.py`."""

from __future__ import annotations

import logging
from importlib.metadata import version

import SimpleITK
from _families import Job, Maps, serve
from radiomics.featureextractor import RadiomicsFeatureExtractor


def prepare(job: Job):
    """Return a function that runs the extractor on all voxels of the mask at once."""
    image, mask = (SimpleITK.GetImageFromArray(array) for array in (job.image, job.mask))
    extractor = RadiomicsFeatureExtractor(
        binWidth=job.bin_width,
        force2D=job.dimensions == 2,
        kernelRadius=job.radius,
        maskedKernel=False,
        additionalInfo=False,
    )
    extractor.disableAllFeatures()
    extractor.enableFeaturesByName(**{job.family: job.features})
    return lambda: extractor.execute(image, mask, voxelBased=True)


def read(result: dict[str, SimpleITK.Image], job: Job) -> Maps:
    """Return the values at the mask's voxels; the image is mask and radius, so that nothing was cut off."""
    prefix = f"original_{job.family}_"
    return {
        feature: SimpleITK.GetArrayFromImage(result[prefix + feature])[job.mask != 0]
        for feature in job.features
    }


if __name__ == "__main__":
    logging.getLogger("radiomics").setLevel(logging.ERROR)
    serve(prepare, read, {name: version(name) for name in ("pyradiomics-bhklab", "numpy", "SimpleITK")})
