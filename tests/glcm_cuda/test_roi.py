"""Features of whole regions: the IBSI digital phantom, pyradiomics' published baseline, the oracle."""

from __future__ import annotations

import csv
from dataclasses import replace

import naive
import numpy as np
import pytest
from helpers.ibsi import PHANTOM

from glcm_cuda import GLCMSettings
from glcm_cuda.families.registry import FEATURES, NAMES
from glcm_cuda.roi import roi_features

AGGREGATIONS = {
    "2D_avg": ({"dimensions": 2, "aggregate": "mean"}, False),
    "2D_comb": ({"dimensions": 2, "aggregate": "merge"}, False),
    "2_5D_avg": ({"dimensions": 2, "aggregate": "mean"}, True),
    "2_5D_comb": ({"dimensions": 2, "aggregate": "merge"}, True),
    "3D_avg": ({"dimensions": 3, "aggregate": "mean"}, False),
    "3D_comb": ({"dimensions": 3, "aggregate": "merge"}, False),
}
# Consensus values of joint entropy and contrast (IBSI reference manual), to three digits.
PUBLISHED = {
    "2D_avg": (2.05, 5.28),
    "2D_comb": (2.24, 5.19),
    "2_5D_avg": (2.48, 5.39),
    "2_5D_comb": (2.61, 5.29),
    "3D_avg": (2.40, 5.32),
    "3D_comb": (2.57, 5.12),
}
# What the table of reference values calls the features.
IBSI = {
    "joint_max": "maximum_probability", "joint_avg": "joint_average", "joint_var": "sum_squares",
    "joint_entr": "joint_entropy", "diff_avg": "difference_average", "diff_var": "difference_variance",
    "diff_entr": "difference_entropy", "sum_avg": "sum_average", "sum_var": "cluster_tendency",
    "sum_entr": "sum_entropy", "energy": "joint_energy", "contrast": "contrast",
    "dissimilarity": "difference_average", "inv_diff": "id", "inv_diff_norm": "idn", "inv_diff_mom": "idm",
    "inv_diff_mom_norm": "idmn", "inv_var": "inverse_variance", "corr": "correlation",
    "auto_corr": "autocorrelation", "clust_tend": "cluster_tendency", "clust_shade": "cluster_shade",
    "clust_prom": "cluster_prominence", "info_corr1": "imc1", "info_corr2": "imc2",
}  # fmt: skip


def of_phantom(aggregation, names="all"):
    """Levels as they are: bins of width 1 from the lowest, whose number is 1."""
    fields, pool_slices = AGGREGATIONS[aggregation]
    chosen = GLCMSettings(**fields, bin_width=1, range_over="mask")
    return roi_features(PHANTOM, names, chosen, mask=PHANTOM > 0, pool_slices=pool_slices)


def digits(value, number=3):
    return float(f"{value:.{number}g}")


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_ibsi_digital_phantom(aggregation):
    found = of_phantom(aggregation, ["TU9B", "ACUI"])
    assert tuple(map(digits, found.values())) == PUBLISHED[aggregation]


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_all_ibsi_features_of_the_digital_phantom(data_dir, aggregation):
    found = of_phantom(aggregation)
    with (data_dir / "ibsi" / "ibsi1_glcm_reference_values.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["aggregation"] == aggregation]
    assert len(rows) == len(IBSI)
    for row in rows:
        assert digits(found[IBSI[row["feature"]]]) == float(row["reference_value"]), row["feature"]


BASELINE = {
    "": ({}, False),
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
        sitk.GetArrayFromImage(sitk.ReadImage(str(data_dir / "pyradiomics" / f"{case}_{part}.nrrd")))
        for part in ("image", "label")
    )
    mask = label == 1
    if processing == "_flatRegion":
        mask &= image >= 0  # the baseline's own resegmentation
    fields, pool_slices = BASELINE[processing]
    chosen = replace(GLCMSettings.preset("pyradiomics"), **fields)
    found = roi_features(image, "all", chosen, mask=mask, pool_slices=pool_slices)
    with (data_dir / "pyradiomics" / "baseline_glcm.csv").open() as file:
        values = {row["featureName"]: row[case + processing] for row in csv.DictReader(file)}
    for feature in FEATURES:
        published = float(values[f"original_glcm_{feature.pyradiomics}"])
        assert found[feature.name] == pytest.approx(published, rel=1e-6, abs=1e-15), feature.name


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("symmetric", [True, False])
def test_regions_match_naive(rng, aggregation, symmetric):
    levels = rng.integers(0, 9, (3, 6, 7)) ** 2 // 9
    mask = rng.random(levels.shape) < 0.7
    fields, pool_slices = AGGREGATIONS[aggregation]
    chosen = GLCMSettings(**fields, symmetric=symmetric, levels=8, intensity_range=(0, 8))
    found = roi_features(levels, "all", chosen, mask=mask, pool_slices=pool_slices)
    for name in NAMES:
        expected = naive.roi(
            levels, mask, name, **fields, pool_slices=pool_slices, symmetric=symmetric, number_of_levels=8
        )
        assert found[name] == pytest.approx(expected, rel=1e-9, abs=1e-7), name


def test_a_region_without_a_pair_is_nan():
    assert np.isnan(list(roi_features(np.zeros((1, 1, 1))).values())).all()


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
