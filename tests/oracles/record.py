"""Write tests/reference/oracles.json: what the tools say of a small image, for tests that run without them.

.venv-oracles/bin/python tests/oracles/record.py
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import mahotas
import numpy as np
from skimage.feature import graycomatrix, graycoprops
from voxel_mode import voxel_mode

OUTPUT = Path(__file__).parents[1] / "reference" / "oracles.json"
PACKAGES = ("pyradiomics-bhklab", "scikit-image", "mahotas", "numpy")
FAMILIES = ("firstorder", "glcm", "glrlm", "glszm", "gldm", "ngtdm")
PYRADIOMICS = {
    "default": {"binWidth": 10},
    "plane": {"binWidth": 10, "force2D": True, "kernelRadius": 2},
    "plane, unmasked, count": {"binCount": 16, "force2D": True, "kernelRadius": 2, "maskedKernel": False},
    "plane, merged": {"binWidth": 10, "force2D": True, "kernelRadius": 2, "weightingNorm": "no_weighting"},
}
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


def main() -> None:
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
