"""The other tools, each as a function that gives its values under our names."""

from __future__ import annotations

import dataclasses
from importlib.metadata import version
from typing import Any

import itk
import mahotas
import numpy as np
import radiomics
import SimpleITK as sitk
from radiomics.featureextractor import RadiomicsFeatureExtractor
from skimage.feature import graycomatrix, graycoprops

from glcm_cuda import GLCMSettings
from glcm_cuda.features import FEATURES

Values = dict[str, float]

radiomics.setVerbosity(60)

PACKAGES = ("pyradiomics-bhklab", "scikit-image", "mahotas", "itk-texturefeatures", "itk-core", "numpy")
VERSIONS = {name: version(name) for name in PACKAGES}

# pyradiomics' settings, and ours on top of the preset `pyradiomics`
_PLANE = {"force2D": True, "kernelRadius": 2, "binWidth": 10}
_OURS = {"dimensions": 2, "window": 5, "bin_width": 10.0}
PYRADIOMICS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "3d": ({}, {}),
    "2d": (_PLANE, _OURS),
    "2d-unmasked": (
        {**_PLANE, "maskedKernel": False},
        {**_OURS, "masked_window": False, "range_over": "crop"},
    ),
    "bin-count": ({"binCount": 32}, {"levels": 32, "bin_width": None}),
    "two-distances": ({**_PLANE, "distances": [1, 2]}, {**_OURS, "distance": (1, 2)}),
    "asymmetric": ({**_PLANE, "symmetricalGLCM": False}, {**_OURS, "symmetric": False}),
    "asymmetric-merge": (
        {**_PLANE, "symmetricalGLCM": False, "weightingNorm": "no_weighting"},
        {**_OURS, "symmetric": False, "aggregate": "merge"},
    ),
    "across-y": (
        {**_PLANE, "force2Ddimension": 1, "kernelRadius": 1},
        {**_OURS, "slice_axis": 1, "window": 3},
    ),
    "across-x-merge": (
        {**_PLANE, "force2Ddimension": 2, "weightingNorm": "no_weighting"},
        {**_OURS, "slice_axis": 2, "aggregate": "merge"},
    ),
}


def pyradiomics_settings(case: str) -> GLCMSettings:
    return dataclasses.replace(GLCMSettings.preset("pyradiomics"), **PYRADIOMICS[case][1])


def pyradiomics_maps(volume: np.ndarray, mask: np.ndarray, case: str, batch: int) -> dict[str, np.ndarray]:
    """Return the 24 maps of pyradiomics, NaN outside its crop."""
    extractor = RadiomicsFeatureExtractor(
        additionalInfo=False, label=1, voxelBatch=batch, **PYRADIOMICS[case][0]
    )
    extractor.disableAllFeatures()
    extractor.enableFeatureClassByName("glcm")
    image = sitk.GetImageFromArray(volume)
    found = extractor.execute(image, sitk.GetImageFromArray(mask.astype(np.uint8)), voxelBased=True)
    maps = {}
    for feature in FEATURES:
        part = found[f"original_glcm_{feature.pyradiomics}"]
        first = image.TransformPhysicalPointToIndex(part.GetOrigin())[::-1]
        values = sitk.GetArrayFromImage(part)
        maps[feature.name] = np.full(volume.shape, np.nan)
        place = tuple(slice(low, low + size) for low, size in zip(first, values.shape, strict=True))
        maps[feature.name][place] = values
    return maps


_SKIMAGE = {
    "contrast": "contrast",
    "difference_average": "dissimilarity",
    "idm": "homogeneity",
    "joint_energy": "ASM",
    "correlation": "correlation",
    "joint_average": "mean",
    "sum_squares": "variance",
    "joint_entropy": "entropy",
}


def skimage_values(window: np.ndarray) -> Values:
    angles = [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4]
    matrix = graycomatrix(window, [1], angles, levels=256, symmetric=False, normed=True)
    return {ours: float(graycoprops(matrix, theirs).mean()) for ours, theirs in _SKIMAGE.items()}


_HARALICK = (
    "joint_energy",
    "contrast",
    "correlation",
    "sum_squares",
    "idm",
    "sum_average",
    "cluster_tendency",
    "sum_entropy",
    "joint_entropy",
    "difference_variance",
    "difference_entropy",
    "imc1",
    "imc2",
)


def mahotas_values(window: np.ndarray) -> Values:
    """Return Haralick's f1 to f13; without the option, f10 is not a variance of differences."""
    found = mahotas.features.haralick(window, use_x_minus_y_variance=True, compute_14th_feature=False)
    return dict(zip(_HARALICK, found.mean(axis=0).tolist(), strict=True))


_ITK = (
    "joint_energy",
    "joint_entropy",
    "correlation",
    "idm",
    "contrast",
    "cluster_shade",
    "cluster_prominence",
)
_HALF = ((-1, 0), (-1, -1), (0, -1), (1, -1))


def itk_maps(image: np.ndarray, *, symmetric: bool) -> dict[str, np.ndarray]:
    """Return ITK's maps; its eighth, the Haralick correlation, has its own definition and is left out.

    Symmetric is given to ITK as eight offsets, every one with its opposite. Only then is its one mean of
    a matrix (that of the rows) also the mean of the columns, which its correlation and cluster features
    assume, so that these are left out otherwise. Its correlation is the covariance over the square of
    the variance: the coefficient divided by the variance once more.
    """
    kind, output = itk.Image[itk.SS, 2], itk.VectorImage[itk.F, 2]
    texture = itk.CoocurrenceTextureFeaturesImageFilter[kind, output].New(
        itk.image_from_array(image.astype(np.int16))
    )
    texture.SetNumberOfBinsPerAxis(256)
    texture.SetHistogramMinimum(0)
    texture.SetHistogramMaximum(256)
    texture.SetNeighborhoodRadius([2, 2])
    if symmetric:
        offsets = itk.VectorContainer[itk.UC, itk.Offset[2]].New()
        every = [*_HALF, *((-x, -y) for x, y in _HALF)]
        offsets.Reserve(len(every))
        for place, (x, y) in enumerate(every):
            offset = itk.Offset[2]()
            offset[0], offset[1] = x, y
            offsets.SetElement(place, offset)
        texture.SetOffsets(offsets)
    texture.Update()
    found = itk.array_from_image(texture.GetOutput())
    names = _ITK if symmetric else [name for name in _ITK if not name.startswith(("cluster", "corr"))]
    return {name: found[..., _ITK.index(name)] for name in names}


def itk_settings(*, symmetric: bool) -> GLCMSettings:
    return dataclasses.replace(GLCMSettings.preset("itk"), symmetric=symmetric)
