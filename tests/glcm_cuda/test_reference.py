"""Values that pyradiomics, scikit-image and mahotas gave for a small image; see oracles/record.py."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from glcm_cuda import GLCMSettings, feature_maps
from glcm_cuda.families.registry import features_named

RECORDED = json.loads((Path(__file__).parents[1] / "reference" / "oracles.json").read_text(encoding="utf-8"))
PLANE = {"dimensions": 2, "window": 5}
SETTINGS = {
    "default": {"bin_width": 10.0},
    "plane": {"bin_width": 10.0, **PLANE},
    "plane, unmasked, count": {
        "bin_width": None, "levels": 16, "masked_window": False, "range_over": "crop", **PLANE,
    },
    "plane, merged": {"bin_width": 10.0, "aggregate": "merge", **PLANE},
}  # fmt: skip
SKIMAGE = {
    "dissimilarity": "difference_average",
    "entropy": "joint_entropy",
    "mean": "joint_average",
    "variance": "sum_squares",
}


def image():
    return (np.arange(3 * 6 * 7) * 7919 % 97).reshape(3, 6, 7)


def mask():
    inside = np.zeros((3, 6, 7))
    inside[:2, 1:6, :5] = 1
    inside[2, 0, 5:] = 1
    return inside


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("family", ["firstorder", "glcm", "glrlm", "glszm", "gldm", "ngtdm"])
def test_pyradiomics(family, name):
    chosen = replace(GLCMSettings.preset("pyradiomics"), **SETTINGS[name])
    recorded = RECORDED["pyradiomics"][name]["values"]
    names = [feature.full_name for feature in features_named(family)]
    for full_name, values in feature_maps(image(), names, chosen, mask=mask(), backend="cpu").items():
        expected = np.array(recorded[full_name], float)  # None becomes NaN
        np.testing.assert_allclose(values[mask() == 1], expected, rtol=1e-6, atol=1e-7, err_msg=full_name)


@pytest.mark.parametrize(("tool", "preset"), [("scikit-image", "skimage"), ("mahotas", "mahotas")])
def test_tools_that_are_called_per_window(tool, preset):
    names = {name: features_named(SKIMAGE.get(name, name))[0].name for name in RECORDED[tool]}
    maps = feature_maps(image()[0], names.values(), GLCMSettings.preset(preset), backend="cpu")
    for name, expected in RECORDED[tool].items():
        assert maps[names[name]][2, 2] == pytest.approx(expected, rel=1e-6, abs=1e-7), name
