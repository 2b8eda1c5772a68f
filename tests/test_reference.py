"""Our maps against recorded values of pyradiomics, scikit-image, mahotas and ITK.

tests/oracles/record.py made them; `make test-oracles` compares with the tools themselves.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glcm_cuda import GLCMSettings, feature_maps
from glcm_cuda.features import NAMES

RECORD = json.loads((Path(__file__).parent / "reference" / "oracles.json").read_text())
Z, Y, X = np.indices((3, 9, 9))
VOLUME = (60 + (7 * Z + 3 * Y * Y + 5 * X + 2 * X * Y + 11 * Z * X) % 41).astype(np.uint8)
MASK = ((2 * X + 3 * Y + Z) % 5 > 0) & (X < 7)


@pytest.mark.parametrize("case", RECORD["cases"], ids=lambda case: f"{case['tool']}-{case['case']}")
def test_recorded_values(case: dict[str, Any]) -> None:
    settings = GLCMSettings.from_dict(case["settings"])
    voxels = case["tool"] == "pyradiomics"
    image, mask = (VOLUME, MASK) if voxels else (VOLUME[1], None)
    places = tuple(np.transpose(RECORD["places" if voxels else "centres"]))
    maps = feature_maps(image, "all", settings, mask=mask, backend="cpu")
    # ITK's correlation divides the covariance by the square of the variance
    if case["tool"] == "itk":
        maps["correlation"] = maps["correlation"] / maps["sum_squares"]
    for name, values in case["values"].items():
        # None is a NaN; ITK computes in float32
        expected = np.array(values, np.float64)
        rtol = 1e-4 if case["tool"] == "itk" else 1e-6
        atol = 1e-3 if (case["tool"], name) == ("itk", "cluster_shade") else 1e-6
        np.testing.assert_allclose(maps[name][places], expected, rtol=rtol, atol=atol, err_msg=name)


def test_every_feature_is_recorded() -> None:
    for case in RECORD["cases"]:
        if case["tool"] == "pyradiomics":
            assert tuple(case["values"]) == NAMES
