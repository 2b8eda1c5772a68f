"""Names of features and families."""

from __future__ import annotations

import importlib
from collections import Counter

import numpy as np
import pytest

from glcm_cuda import feature_maps
from glcm_cuda.families.registry import FAMILIES, FEATURES, feature_named, features_named, requested


def test_there_are_93():
    counts = {family.name: len(family.features) for family in FAMILIES}
    assert counts == {"firstorder": 18, "glcm": 24, "glrlm": 16, "glszm": 16, "gldm": 14, "ngtdm": 5}
    assert features_named("all") == FEATURES
    assert len({feature.name for feature in FEATURES}) == 93


def test_every_unique_name_means_its_feature():
    for feature in FEATURES:
        for name in feature.unique_names:
            assert feature_named(name) is feature
    identifiers = [identifier for feature in FEATURES for _, identifier in feature.ibsi]
    assert len(identifiers) == len(set(identifiers))


def test_features_of_intensities_are_those_whose_stage_reads_them():
    for family in FAMILIES:
        stages = importlib.import_module(f"{family.package}.cpu.stages").STAGES
        for feature in family.features:
            assert feature.is_of_intensities == (stages[feature.stage].reads == "intensities")


def test_entropies_have_a_unit():
    assert [feature.name for feature in FEATURES if feature.is_entropy] == [
        "firstorder_Entropy", "difference_entropy", "joint_entropy", "sum_entropy", "glrlm_RunEntropy",
        "glszm_ZoneEntropy", "gldm_DependenceEntropy",
    ]  # fmt: skip


def test_a_shared_name_is_refused_unless_it_is_a_features_own():
    own = {feature.name.replace("_", "") for feature in FEATURES}
    names = Counter(name for feature in FEATURES for name in {feature.pyradiomics})
    shared = [name for name, count in names.items() if count > 1 and name.lower() not in own]
    assert "GrayLevelVariance" in shared
    for name in shared:
        with pytest.raises(ValueError, match=f"feature '{name}' is ambiguous; give "):
            feature_named(name)
    with pytest.raises(ValueError, match=r"give firstorder_Entropy or glcm_JointEntropy$"):
        feature_named("entropy")
    assert feature_named("Contrast").name == "contrast"
    assert feature_named("ngtdm_Contrast").name == "ngtdm_Contrast"


@pytest.mark.parametrize(
    ("name", "nearest"), [("contrst", "contrast"), ("glrlm_RunEntropi", "glrlm_RunEntropy"), ("glrml", "")]
)
def test_an_unknown_name_is_refused_with_the_nearest(name, nearest):
    with pytest.raises(ValueError, match=f"no feature '{name}'.*{nearest}.*give all, or a name of the famil"):
        feature_named(name)


def test_no_names_are_refused():
    with pytest.raises(ValueError, match="features must name at least one"):
        features_named([])


def test_names_are_kept_as_they_were_given():
    names = ["original_glcm_JointEntropy", "TU9B", "glrlm_RunEntropy", "ngtdm"]
    found = requested(names)
    assert list(found)[:3] == names[:3]
    assert list(found)[3:] == [feature.name for feature in FAMILIES[-1].features]
    assert [feature.name for feature in features_named(["TU9B", "JointEntropy", "ACUI"])] == [
        "joint_entropy",
        "contrast",
    ]


def test_a_map_has_the_name_that_was_given(rng):
    image = rng.random((5, 6))
    maps = feature_maps(image, ["TU9B", "JointEntropy", "glrlm_RunEntropy"], backend="cpu")
    assert list(maps) == ["TU9B", "JointEntropy", "glrlm_RunEntropy"]
    np.testing.assert_array_equal(maps["TU9B"], maps["JointEntropy"])
