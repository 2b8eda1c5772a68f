"""The IBSI digital phantom: joint entropy of its region under the six aggregations."""

from __future__ import annotations

import numpy as np
import pytest

from glcm_cuda import GLCMSettings
from glcm_cuda.roi import roi_entropy

# Image Biomarker Standardisation Initiative, digital phantom (CC BY 4.0): levels, 0 outside the region.
PHANTOM = np.array(
    [
        [[1, 4, 4, 1, 1], [1, 4, 6, 1, 1], [4, 1, 6, 4, 1], [4, 4, 6, 4, 1]],
        [[1, 4, 4, 1, 1], [1, 1, 6, 1, 1], [0, 1, 3, 1, 1], [4, 4, 6, 1, 1]],
        [[1, 4, 4, 0, 0], [1, 1, 1, 1, 1], [1, 1, 0, 1, 1], [1, 1, 6, 1, 1]],
        [[1, 4, 4, 0, 0], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 6, 1, 1]],
    ],
    np.uint8,
)


@pytest.mark.parametrize(
    ("fields", "pool_slices", "published"),
    [
        ({"dimensions": 2, "aggregate": "mean"}, False, 2.05),
        ({"dimensions": 2, "aggregate": "merge"}, False, 2.24),
        ({"dimensions": 2, "aggregate": "mean"}, True, 2.48),
        ({"dimensions": 2, "aggregate": "merge"}, True, 2.61),
        ({"dimensions": 3, "aggregate": "mean"}, False, 2.40),
        ({"dimensions": 3, "aggregate": "merge"}, False, 2.57),
    ],
    ids=["2D mean", "2D merged", "2.5D mean", "2.5D merged", "3D mean", "3D merged"],
)
def test_ibsi_digital_phantom(fields, pool_slices, published):
    value = roi_entropy(PHANTOM, GLCMSettings(**fields), mask=PHANTOM > 0, pool_slices=pool_slices)
    assert round(value, 2) == published


def test_a_region_without_a_pair_is_nan():
    assert np.isnan(roi_entropy(np.zeros((1, 1, 1), np.uint8)))
