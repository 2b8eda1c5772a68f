"""Features of whole regions: the IBSI digital phantom, pyradiomics' published baseline, the oracle.

`families/test_regions.py` has the families other than the co-occurrence matrix.
"""

from __future__ import annotations

from dataclasses import replace

import naive
import numpy as np
import pytest
from helpers import ibsi_values, pyradiomics_values

from glcm_cuda import GLCMSettings, feature_maps
from glcm_cuda.families.registry import REGION_FEATURES, features_named
from glcm_cuda.roi import roi_features

AGGREGATIONS = {
    "2D_avg": ({"dimensions": 2, "aggregate": "mean"}, False),
    "2D_comb": ({"dimensions": 2, "aggregate": "merge"}, False),
    "2_5D_avg": ({"dimensions": 2, "aggregate": "mean"}, True),
    "2_5D_comb": ({"dimensions": 2, "aggregate": "merge"}, True),
    "3D_avg": ({"dimensions": 3, "aggregate": "mean"}, False),
    "3D_comb": ({"dimensions": 3, "aggregate": "merge"}, False),
}


@pytest.fixture(scope="module")
def published(data_dir):
    return ibsi_values.published(data_dir / "ibsi" / "ibsi1_digital_phantom_reference_values.csv")


@pytest.mark.parametrize("family", ibsi_values.FAMILIES)
def test_ibsi_digital_phantom(published, family):
    found = ibsi_values.computed(family)
    assert set(found) == {tag for tag in published if tag.startswith(f"{family}_")}
    for tag, value in found.items():
        assert ibsi_values.same_digits(value, published[tag]), tag


def test_the_published_values_are_of_these_families(published):
    """All but those of the intensity-volume histogram."""
    assert {tag.split("_")[0] for tag in published} == {*ibsi_values.FAMILIES, "ivh"}


def test_every_feature_of_a_region_is_in_the_manual_or_in_pyradiomics():
    words = " ".join(ibsi_values.FAMILIES.values()).split()[1::2]
    known = {identifier for feature in REGION_FEATURES for _, identifier in feature.ibsi}
    assert known == set(words)


def test_directions_weighted_by_their_length():
    """Four voxels, 1 mm apart along y and 2 along x: city blocks weigh x 2, y 1 and the diagonals 3."""
    image, spacing = np.array([[0, 1], [0, 0]]), (1.0, 1.0, 2.0)
    settings = GLCMSettings(levels=2, aggregate="merge", weighting="manhattan")
    names = ["contrast", "glrlm_RunPercentage", "glrlm_RunLengthNonUniformity"]
    found = roi_features(image, names, settings, spacing=spacing)
    x, y, diagonal = np.exp([-4.0, -1.0, -9.0])
    assert found["contrast"] == pytest.approx((x + y + diagonal) / (2 * x + 2 * y + 2 * diagonal))
    # Runs: 3 along x, 3 along y, 3 and 4 along the diagonals; of two voxels 1, 1, 1 and 0.
    assert found["glrlm_RunPercentage"] == pytest.approx((3 * 2 + 3 * 1 + 3 * 3 + 4 * 3) / (4 * 9))
    assert found["glrlm_RunLengthNonUniformity"] == pytest.approx((24**2 + 6**2) / 30)
    equal = [replace(settings, weighting=norm) for norm in (None, "infinity")]  # all offsets are 2 mm long
    for name in ("contrast", "joint_entropy", "mcc"):
        merged, weighted = (roi_features(image, [name], one, spacing=(1.0, 2.0, 2.0))[name] for one in equal)
        assert weighted == pytest.approx(merged)
    with pytest.raises(ValueError, match=r"weighting='manhattan' .weightingNorm. applies to regions"):
        feature_maps(image, ["contrast"], replace(settings, window=3), backend="cpu")
    assert feature_maps(image, ["firstorder_Mean"], replace(settings, window=3), backend="cpu")


NAMES = [feature.name for feature in features_named("glcm")]

BASELINE = {
    "": ({"intensity_shift": 2000}, False),
    "_2d": ({"dimensions": 2}, True),
    "_FBN": ({"bin_width": None, "levels": 64}, False),
    "_combined": ({"aggregate": "merge"}, False),
    "_flatRegion": ({"bin_width": 5000.0}, False),
}


@pytest.mark.parametrize("processing", BASELINE, ids=lambda name: name or "default")
@pytest.mark.parametrize("case", ["brain1", "breast1", "lung1"])
def test_pyradiomics_baseline(data_dir, case, processing):
    """Published values of pyradiomics, to 1e-6. An entropy of -3e-16 there is 0 here: its epsilon."""
    sitk = pytest.importorskip("SimpleITK")
    image, label = (
        sitk.ReadImage(str(data_dir / "pyradiomics" / f"{case}_{part}.nrrd")) for part in ("image", "label")
    )
    array, mask = sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(label) == 1
    if processing == "_flatRegion":
        mask &= array >= 0  # the baseline's own resegmentation
    fields, pool_slices = BASELINE[processing]
    chosen = replace(GLCMSettings.preset("pyradiomics"), **fields)
    published = pyradiomics_values.published(data_dir, case + processing)
    found = roi_features(
        array, list(published), chosen, mask=mask, spacing=image.GetSpacing()[::-1], pool_slices=pool_slices
    )
    for name, value in published.items():
        assert found[name] == pytest.approx(value, rel=1e-6, abs=1e-15), name


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("symmetric", [True, False])
def test_regions_match_naive(rng, aggregation, symmetric):
    levels = rng.integers(0, 9, (3, 6, 7)) ** 2 // 9
    mask = rng.random(levels.shape) < 0.7
    fields, pool_slices = AGGREGATIONS[aggregation]
    chosen = GLCMSettings(**fields, symmetric=symmetric, levels=8, intensity_range=(0, 8))
    found = roi_features(levels, "glcm", chosen, mask=mask, pool_slices=pool_slices)
    for name in NAMES:
        expected = naive.roi(
            levels, mask, name, **fields, pool_slices=pool_slices, symmetric=symmetric, number_of_levels=8
        )
        assert found[name] == pytest.approx(expected, rel=1e-9, abs=1e-7), name


def test_a_region_without_a_pair_is_nan():
    assert np.isnan(list(roi_features(np.zeros((1, 1, 1)), "glcm").values())).all()


def test_names_of_features():
    """Keys are the names that were asked for; a family's are the features' own."""
    found = roi_features([[0, 1], [1, 1]], ["TLU2", "firstorder_Entropy", "stat", "ih_Entropy"])
    assert list(found)[:2] == ["TLU2", "firstorder_Entropy"]
    assert found["TLU2"] == found["firstorder_Entropy"] == found["ih_Entropy"]
    assert list(found)[2:-1] == [feature.name for feature in features_named("stat", region=True)]
    of_family = {name: len(features_named(name, region=True)) for name in ("stat", "ih", "gldzm", "ngldm")}
    assert of_family == {"stat": 18, "ih": 23, "gldzm": 16, "ngldm": 17}
    assert list(roi_features([[0, 1]])) == [feature.name for feature in REGION_FEATURES]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("gldzm", "it takes the distance of zones from the border of a region, which a window cuts"),
        ("gldzm_SmallDistanceEmphasis", "it takes the distance of zones"),
        (
            "12CE",
            "IBSI defines it for regions, and a window fills few bins of it; firstorder has maps",
        ),
        ("stat_ExcessKurtosis", "IBSI defines it for regions, and pyradiomics lacks it; firstorder has maps"),
        ("ngldm", "IBSI defines it for regions"),
    ],
)
def test_features_without_a_map(name, reason):
    line = rf"^{name} has no map, only a value of a whole region \(radsynth roi\): {reason}"
    with pytest.raises(ValueError, match=line):
        feature_maps(np.zeros((4, 5)), ["contrast", name])
    assert roi_features(np.eye(4), name)


def test_total_energy_is_in_cubic_millimetres():
    image = np.arange(8.0).reshape(2, 2, 2)
    found = roi_features(image, ["TotalEnergy", "Energy"], spacing=(2.0, 0.5, 3.0))
    assert found == {"TotalEnergy": 3 * 140.0, "Energy": 140.0}


@pytest.mark.parametrize("shape", [(), (4,), (2, 2, 2, 2)])
def test_other_numbers_of_dimensions_are_refused(shape):
    with pytest.raises(ValueError, match=r"image must have two or three dimensions, got shape \("):
        roi_features(np.zeros(shape), "contrast")


def test_a_slice_axis_needs_a_volume():
    with pytest.raises(ValueError, match=r"slice_axis=1 needs a volume, got shape \(4, 5\)"):
        roi_features(np.zeros((4, 5)), "contrast", GLCMSettings(slice_axis=1))


def test_mcc_of_too_many_levels_is_refused():
    image = np.arange(4100.0).reshape(1, 1, -1)
    with pytest.raises(ValueError, match="mcc allows at most 4096 levels in a region, got 4100"):
        roi_features(image, "mcc", GLCMSettings(levels=5000, bin_width=1))
