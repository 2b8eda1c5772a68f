"""scikit-image and mahotas, a call per window, and ITK's filter, where windows lie inside the image."""

from __future__ import annotations

import itk
import mahotas
import numpy as np
import pytest
from skimage.feature import graycomatrix, graycoprops

from glcm_cuda import GLCMSettings, feature_maps
from glcm_cuda.families.registry import features_named

ANGLES = [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4]
SKIMAGE = {
    "contrast": "contrast",
    "dissimilarity": "difference_average",
    "homogeneity": "idm",
    "ASM": "joint_energy",
    "correlation": "correlation",
    "mean": "joint_average",
    "variance": "sum_squares",
    "entropy": "joint_entropy",
}
ITK = ["joint_energy", "joint_entropy", None, "idm", "contrast"]
"""Of its eight outputs. The correlations (third and eighth) and, of a matrix that is not symmetric, cluster
shade and prominence (sixth and seventh) are defined otherwise: the latter about twice the mean of one end."""


@pytest.fixture
def image():
    rng = np.random.default_rng(0)
    image = rng.integers(-9, 10, (14, 15)).cumsum(axis=0).cumsum(axis=1)
    image = (image - image.min()) * 255 // np.ptp(image)
    image[2:9, 2:9] = 17  # windows of one level
    return image.astype(np.uint8)


def windows(image):
    return {(y, x): image[y - 2 : y + 3, x - 2 : x + 3] for y in range(2, 12, 3) for x in range(2, 13)}


def test_scikit_image(compare, image):
    maps = feature_maps(image, SKIMAGE.values(), GLCMSettings.preset("skimage"), backend="cpu")
    for place, window in windows(image).items():
        matrices = graycomatrix(window, [1], ANGLES, levels=256, symmetric=False, normed=True)
        for name, ours in SKIMAGE.items():
            compare("scikit-image", ours, maps[ours][place], graycoprops(matrices, name).mean())


def test_mahotas(compare, image):
    names = [features_named([f"f{number}"])[0].name for number in range(1, 14)]
    maps = feature_maps(image, names, GLCMSettings.preset("mahotas"), backend="cpu")
    for place, window in windows(image).items():
        values = mahotas.features.haralick(window, use_x_minus_y_variance=True).mean(axis=0)
        for name, theirs in zip(names, values, strict=True):
            compare("mahotas", name, maps[name][place], theirs)


def test_itk(compare, image):
    texture = itk.CoocurrenceTextureFeaturesImageFilter[itk.Image[itk.SS, 2], itk.VectorImage[itk.F, 2]].New(
        itk.image_from_array(image.astype(np.int16))
    )
    texture.SetNumberOfBinsPerAxis(256)
    texture.SetHistogramMinimum(0)
    texture.SetHistogramMaximum(256)
    texture.SetNeighborhoodRadius([2, 2])
    texture.Update()
    theirs = itk.array_from_image(texture.GetOutput())[2:-2, 2:-2]
    names = [name for name in ITK if name is not None]
    maps = feature_maps(image, names, GLCMSettings.preset("itk"), backend="cpu")
    for place, name in enumerate(ITK):
        if name is not None:
            compare("ITK", name, maps[name][2:-2, 2:-2], theirs[..., place])
