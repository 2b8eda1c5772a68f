"""Write tests/reference/oracles.json and filters.json: what the tools say of small images.

For tests that run without the tools:

.venv-oracles/bin/python tests/oracles/record.py
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import mahotas
import numpy as np
import SimpleITK as sitk
from radiomics import imageoperations
from skimage.feature import graycomatrix, graycoprops
from voxel_mode import voxel_mode

OUTPUT = Path(__file__).parents[1] / "reference" / "oracles.json"
FILTERS = OUTPUT.with_name("filters.json")
PACKAGES = ("pyradiomics-bhklab", "scikit-image", "mahotas", "numpy")
FAMILIES = ("firstorder", "glcm", "glrlm", "glszm", "gldm", "ngtdm")
PYRADIOMICS = {
    "default": {"binWidth": 10},
    "plane": {"binWidth": 10, "force2D": True, "kernelRadius": 2},
    "plane, unmasked, count": {"binCount": 16, "force2D": True, "kernelRadius": 2, "maskedKernel": False},
    "plane, merged": {"binWidth": 10, "force2D": True, "kernelRadius": 2, "weightingNorm": "no_weighting"},
}
IMAGE_TYPES = {
    "log:sigma=1.5": ("LoG", {"sigma": [1.5]}),
    "wavelet": ("Wavelet", {}),
    "square": ("Square", {}),
    "squareroot": ("SquareRoot", {}),
    "logarithm": ("Logarithm", {}),
    "exponential": ("Exponential", {}),
    "gradient": ("Gradient", {}),
    "lbp-2d": ("LBP2D", {}),
}
PLACES = ((0, 0, 0), (3, 3, 4), (2, 5, 1), (5, 6, 7))
SKIMAGE = ("contrast", "dissimilarity", "homogeneity", "ASM", "correlation", "mean", "variance", "entropy")


def image() -> np.ndarray:
    """Return the image, by a formula that the tests repeat."""
    return (np.arange(3 * 6 * 7) * 7919 % 97).reshape(3, 6, 7).astype(np.int16)


def mask() -> np.ndarray:
    """Return a mask that touches the border and is in two pieces."""
    inside = np.zeros((3, 6, 7), np.uint8)
    inside[:2, 1:6, :5] = 1
    inside[2, 0, 5:] = 1
    return inside


def of_pyradiomics(told: dict[str, object]) -> dict[str, list[float | None]]:
    """Return every feature at the voxels of the mask, in their order, to nine digits."""
    maps = {
        f"{family}_{name}": values
        for family in FAMILIES
        # One voxel at a time: with more, one that lacks a direction spoils MCC for all of its batch.
        for name, values in voxel_mode(image(), mask() == 1, family, {"voxelBatch": 1, **told}).items()
    }
    return {
        name: [None if np.isnan(value) else float(f"{value:.9g}") for value in values]
        for name, values in maps.items()
    }


def of_image_types() -> dict[str, dict[str, list[float]]]:
    """Return values of every image type but LBP3D, which pyradiomics cannot compute with current SciPy."""
    array = (np.arange(6 * 7 * 8) * 7919 % 97).reshape(6, 7, 8).astype(np.int16)
    source = sitk.GetImageFromArray(array)
    source.SetSpacing((0.7, 0.9, 2.5))
    return {
        text: {
            name: [float(f"{sitk.GetArrayFromImage(one)[place]:.9g}") for place in PLACES]
            for one, name, _ in getattr(imageoperations, f"get{kind}Image")(source, source, **told)
        }
        for text, (kind, told) in IMAGE_TYPES.items()
    }


def write_filters() -> None:
    """Write values of derived images."""
    values = {
        "made by": ".venv-oracles/bin/python tests/oracles/record.py",
        "versions": {name: version(name) for name in ("pyradiomics-bhklab", "simpleitk", "PyWavelets")},
        "places": PLACES,
        "images": of_image_types(),
    }
    FILTERS.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    write_filters()
    window = image()[0, :5, :5].astype(np.uint8)
    angles = [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4]
    matrices = graycomatrix(window, [1], angles, levels=256, symmetric=False, normed=True)
    haralick = mahotas.features.haralick(window, use_x_minus_y_variance=True).mean(axis=0)
    values = {
        "made by": ".venv-oracles/bin/python tests/oracles/record.py",
        "versions": {name: version(name) for name in PACKAGES},
        "pyradiomics": {
            name: {"told": told, "values": of_pyradiomics(told)} for name, told in PYRADIOMICS.items()
        },
        "scikit-image": {name: float(graycoprops(matrices, name).mean()) for name in SKIMAGE},
        "mahotas": {f"f{number}": float(value) for number, value in enumerate(haralick, start=1)},
    }
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(values) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
