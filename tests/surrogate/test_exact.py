"""Exact values of patches of grey levels."""

from __future__ import annotations

import itertools

import naive_families
import numpy as np
import pytest

from glcm_cuda import GLCMSettings
from glcm_cuda.families.registry import features_named
from surrogate.exact import exact_values, learnable

SETTINGS = GLCMSettings(levels=6, gldm_a=1)


@pytest.mark.parametrize("family", ["firstorder", "glrlm", "glszm", "gldm", "ngtdm"])
def test_values_of_a_family_are_the_oracle_s(family, rng):
    patches = rng.integers(0, 6, (3, 5, 5)).astype(np.uint8)
    features = [feature for feature in features_named(family) if not feature.is_of_intensities]
    found = exact_values(patches, SETTINGS, [feature.name for feature in features])
    options = {"alpha": 1} if family == "gldm" else {}
    for patch, values in zip(patches, found, strict=True):
        levels = {(0, y, x): int(patch[y, x]) + 1 for y, x in itertools.product(range(5), range(5))}
        expected = naive_families.features(family, levels, levels, dimensions=2, **options)
        np.testing.assert_allclose(
            values, [expected[feature.pyradiomics] for feature in features], rtol=1e-6, atol=1e-7
        )


def test_what_a_network_can_learn():
    assert learnable(["TU9B", "RunEntropy"]) == ("joint_entropy", "glrlm_RunEntropy")
    assert len(learnable(["glcm", "glrlm", "glszm", "gldm", "ngtdm", "firstorder_Entropy", "BJ5W"])) == 77
    with pytest.raises(ValueError, match="which are all it sees, got firstorder_Energy and 15 more features"):
        learnable(["N8CA", "firstorder"])
