"""The oracle itself: published values, a matrix worked by hand, and its other parts."""

from __future__ import annotations

import csv
import math

import naive
import numpy as np
import pytest
import SimpleITK as sitk

AGGREGATIONS = {
    "2D_avg": {"dimensions": 2, "aggregate": "mean"},
    "2D_comb": {"dimensions": 2, "aggregate": "merge"},
    "2_5D_avg": {"dimensions": 2, "aggregate": "mean", "pool_slices": True},
    "2_5D_comb": {"dimensions": 2, "aggregate": "merge", "pool_slices": True},
    "3D_avg": {"dimensions": 3, "aggregate": "mean"},
    "3D_comb": {"dimensions": 3, "aggregate": "merge"},
}

# The features of the Image Biomarker Standardisation Initiative (IBSI); two of them have a name here already
IBSI = {
    "joint_max": "maximum_probability",
    "joint_avg": "joint_average",
    "joint_var": "sum_squares",
    "joint_entr": "joint_entropy",
    "diff_avg": "difference_average",
    "diff_var": "difference_variance",
    "diff_entr": "difference_entropy",
    "sum_avg": "sum_average",
    "sum_var": "cluster_tendency",
    "sum_entr": "sum_entropy",
    "energy": "joint_energy",
    "contrast": "contrast",
    "dissimilarity": "difference_average",
    "inv_diff": "id",
    "inv_diff_norm": "idn",
    "inv_diff_mom": "idm",
    "inv_diff_mom_norm": "idmn",
    "inv_var": "inverse_variance",
    "corr": "correlation",
    "auto_corr": "autocorrelation",
    "clust_tend": "cluster_tendency",
    "clust_shade": "cluster_shade",
    "clust_prom": "cluster_prominence",
    "info_corr1": "imc1",
    "info_corr2": "imc2",
}


@pytest.fixture
def phantom(data_dir):
    """Return the levels of the IBSI digital phantom, 1 to 6 in its region, and the region."""
    paths = [data_dir / "ibsi" / f"digital_phantom_{part}.nii.gz" for part in ("image", "mask")]
    image, mask = (sitk.GetArrayFromImage(sitk.ReadImage(path)) for path in paths)
    return image.astype(int), mask > 0


@pytest.fixture
def published(data_dir):
    with (data_dir / "ibsi" / "ibsi1_glcm_reference_values.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["dataset"] == "dig_phantom"]
    return {(row["feature"], row["aggregation"]): float(row["reference_value"]) for row in rows}


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("name", IBSI)
def test_ibsi_digital_phantom(phantom, published, name, aggregation):
    image, mask = phantom
    value = naive.roi(image - 1, mask, IBSI[name], number_of_levels=6, **AGGREGATIONS[aggregation])
    assert float(f"{value:.3g}") == published[name, aggregation]  # three significant digits are published


def test_every_published_value_is_compared(published):
    assert set(published) == {(name, aggregation) for name in IBSI for aggregation in AGGREGATIONS}


# The pairs to the right in docs/definition.md, section 8
PAIRS = [(0, 0), (0, 0), (0, 1), (0, 1), (0, 2), (2, 2)]
LOG3 = math.log2(3)
HX = (7 * math.log2(12 / 7) + 2 * math.log2(12 / 2) + 3 * math.log2(12 / 3)) / 12
GAIN = 2 * HX - (5 / 6 + LOG3)  # HXY1 - HXY and HXY2 - HXY

# Symmetric, in twelfths:    4 2 1    levels 1, 2, 3      p_x = p_y = 7 2 3
#                            2 0 0    |i - j| = 0, 1, 2:  6 4 2
#                            1 0 2    i + j = 2 ... 6:    4 4 2 0 2
BY_HAND = {
    "autocorrelation": 3,  # (4 * 1 + 2 * 2 * 2 + 2 * 1 * 3 + 2 * 9) / 12 = 36 / 12
    "joint_average": 5 / 3,  # mu = (7 * 1 + 2 * 2 + 3 * 3) / 12 = 20 / 12
    "cluster_prominence": 257 / 27,  # (4 * 4^4 + 4 * 1^4 + 2 * 2^4 + 2 * 8^4) / (3^4 * 12) = 9252 / 972
    "cluster_shade": 65 / 27,  # (-4 * 4^3 - 4 * 1^3 + 2 * 2^3 + 2 * 8^3) / (3^3 * 12) = 780 / 324
    "cluster_tendency": 17 / 9,  # i + j - 2 mu = -4/3, -1/3, 2/3, 8/3: (64 + 4 + 8 + 128) / (9 * 12)
    "contrast": 1,  # (4 * 1 + 2 * 4) / 12
    "correlation": 4 / 13,  # (autocorrelation - mu^2) / variance = (27/9 - 25/9) / (13/18)
    "difference_average": 2 / 3,  # (4 * 1 + 2 * 2) / 12
    "difference_entropy": 2 / 3 + LOG3 / 2,  # of 1/2, 1/3, 1/6: 1/2 + LOG3 / 3 + (1 + LOG3) / 6
    "difference_variance": 5 / 9,  # 1 - (2/3)^2
    "joint_energy": 5 / 24,  # (16 + 4 + 1 + 4 + 1 + 4) / 144
    "joint_entropy": 5 / 6 + LOG3,  # LOG3 / 3 + 3 * (1 + LOG3) / 6 + 2 * (2 + LOG3) / 12
    "imc1": -GAIN / HX,
    "imc2": math.sqrt(1 - math.exp(-2 * GAIN)),
    "idm": 7 / 10,  # 1/2 + 1/3 / 2 + 1/6 / 5
    # D^-1 P has trace 4/7 + 2/3 = 26/21 and determinant -8/42; besides 1 its eigenvalues are 4/7 and -1/3
    "mcc": 4 / 7,
    "idmn": 119 / 130,  # 1/2 + 1/3 / (1 + 1/9) + 1/6 / (1 + 4/9) = 1/2 + 3/10 + 3/26
    "id": 13 / 18,  # 1/2 + 1/3 / 2 + 1/6 / 3
    "idn": 17 / 20,  # 1/2 + 1/3 / (1 + 1/3) + 1/6 / (1 + 2/3) = 1/2 + 1/4 + 1/10
    "inverse_variance": 3 / 8,  # 1/3 / 1 + 1/6 / 4
    "maximum_probability": 1 / 3,  # 4 / 12
    "sum_average": 10 / 3,  # (4 * 2 + 4 * 3 + 2 * 4 + 2 * 6) / 12 = 40 / 12
    "sum_entropy": 1 / 3 + LOG3,  # of 1/3, 1/3, 1/6, 1/6: 2 * LOG3 / 3 + 2 * (1 + LOG3) / 6
    "sum_squares": 13 / 18,  # (7 * 4/9 + 2 * 1/9 + 3 * 16/9) / 12 = 78 / 108
}

# Not symmetric, in sixths:    2 2 1    p_x = 5 0 1, mu_x = 8/6, variance 5/9
#                              0 0 0    p_y = 2 2 2, mu_y = 2, variance 2/3
#                              0 0 1    |i - j| = 0, 1, 2: 3 2 1
BY_HAND_ORDERED = {
    "autocorrelation": 3,  # (2 * 1 + 2 * 2 + 1 * 3 + 1 * 9) / 6 = 18 / 6
    "joint_average": 4 / 3,
    "correlation": math.sqrt(3 / 10),  # (3 - 8/3) / sqrt(5/9 * 2/3)
    "sum_average": 10 / 3,
    "sum_squares": 5 / 9,  # (5 * 1/9 + 1 * 25/9) / 6 = 30 / 54
    "cluster_tendency": 17 / 9,  # 5/9 + 2/3 + 2 * 1/3
    "mcc": math.sqrt(
        2 / 5
    ),  # the squares of the two singular values: 1, and sum p^2 / (p_x p_y) - 1 = 1.4 - 1
    "contrast": 1,  # (2 * 1 + 1 * 4) / 6
    "joint_energy": 5 / 18,  # (4 + 4 + 1 + 1) / 36
}


def test_by_hand():
    p = naive.matrix(PAIRS, 3, symmetric=True)
    np.testing.assert_allclose(p * 12, [[4, 2, 1], [2, 0, 0], [1, 0, 2]], rtol=1e-15)
    assert {name: naive.feature(name, p) for name in naive.FEATURES} == pytest.approx(BY_HAND, rel=1e-13)


def test_by_hand_without_symmetry():
    p = naive.matrix(PAIRS, 3, symmetric=False)
    np.testing.assert_allclose(p * 6, [[2, 2, 1], [0, 0, 0], [0, 0, 1]], rtol=1e-15)
    got = {name: naive.feature(name, p) for name in BY_HAND_ORDERED}
    assert got == pytest.approx(BY_HAND_ORDERED, rel=1e-13)


def test_settings_of_a_feature():
    p = naive.matrix(PAIRS, 3, symmetric=True)
    assert naive.feature("joint_entropy", p, log_base="e") == pytest.approx((5 / 6 + LOG3) * math.log(2))
    assert naive.feature("sum_entropy", p, log_base=10) == pytest.approx((1 / 3 + LOG3) * math.log10(2))
    assert naive.feature("imc1", p, log_base=10) == pytest.approx(BY_HAND["imc1"])  # a ratio has no unit
    assert naive.feature("imc2", p, log_base="e") == pytest.approx(
        math.sqrt(1 - math.exp(-2 * GAIN * math.log(2)))
    )
    assert naive.feature("idn", p, number_of_levels=1) == pytest.approx(BY_HAND["id"])
    assert naive.feature("idmn", p, number_of_levels=1) == pytest.approx(BY_HAND["idm"])
    # Numbered from 0: mu is one less, ij is E[(i - 1)(j - 1)] = 3 - 10/3 + 1, and what is about a mean stays
    shifted = BY_HAND | {"autocorrelation": 2 / 3, "joint_average": 2 / 3, "sum_average": 4 / 3}
    got = {name: naive.feature(name, p, first_level=0) for name in naive.FEATURES}
    assert got == pytest.approx(shifted, rel=1e-13)


def test_a_flat_matrix():
    p = naive.matrix([(2, 2)] * 7, 4, symmetric=True)
    zero = {"cluster_prominence", "cluster_shade", "cluster_tendency", "contrast", "difference_average"}
    zero |= {"difference_entropy", "difference_variance", "joint_entropy", "imc1", "imc2", "mcc"}
    zero |= {"inverse_variance", "sum_entropy", "sum_squares"}
    expected = {name: 0 if name in zero else 1 for name in naive.FEATURES}
    expected |= {"autocorrelation": 9, "joint_average": 3, "sum_average": 6}
    assert {name: naive.feature(name, p) for name in naive.FEATURES} == expected
    assert naive.feature("mcc", p, image_levels=1) == 1


def test_one_marginal_of_a_single_level():
    p = naive.matrix([(0, 1), (0, 2), (0, 2)], 3, symmetric=False)
    assert naive.feature("correlation", p) == 1
    assert naive.feature("mcc", p) == 0
    assert naive.feature("imc1", p) == pytest.approx(0, abs=1e-15)
    assert naive.feature("imc2", p) == pytest.approx(0, abs=1e-7)


def eigenvalues_of_q(p):
    """Return those of Q(i, j) = sum_k p(i, k) p(j, k) / (p_x(i) p_y(k)), in descending order."""
    px, py = p.sum(axis=1), p.sum(axis=0)
    q = np.zeros(p.shape)
    for i, j, k in np.ndindex(len(p), len(p), len(p)):
        if px[i] > 0 and py[k] > 0:
            q[i, j] += p[i, k] * p[j, k] / (px[i] * py[k])
    return np.sort(np.linalg.eigvals(q).real)[::-1]


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("number_of_pairs", [1, 2, 4, 8, 20, 100])
def test_mcc_two_ways(rng, number_of_pairs, symmetric):
    for _ in range(20):
        pairs = rng.integers(0, 6, (number_of_pairs, 2))
        p = naive.matrix(pairs, 8, symmetric)  # levels 6 and 7 never occur
        largest, second = eigenvalues_of_q(p)[:2]
        assert largest == pytest.approx(1)
        assert naive.feature("mcc", p) ** 2 == pytest.approx(second, abs=1e-12)


def test_directions():
    assert naive.directions(2, 1) == [(0, 0, 1), (0, 1, -1), (0, 1, 0), (0, 1, 1)]
    assert naive.directions(2, 3) == [(0, 0, 3), (0, 3, -3), (0, 3, 0), (0, 3, 3)]
    assert len(naive.directions(3, 2)) == 13
    for dimensions, distance, number in [
        (2, 1, 4),
        (3, 1, 13),
        (2, 2, 8),
        (3, 2, 49),
        (2, 3, 12),
        (3, 3, 109),
    ]:
        every = naive.directions(dimensions, distance, every=True)
        assert len(every) == len({*every, *(tuple(-c for c in a) for a in every)}) / 2 == number
        assert {max(map(abs, a)) for a in every} == {distance}
        assert set(naive.directions(dimensions, distance)) <= set(every)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("aggregate", ["mean", "merge"])
@pytest.mark.parametrize("fields", [{}, {"distance": 2}, {"dimensions": 3, "window": (3, 3, 5)}], ids=str)
def test_two_ways_to_the_entropy(rng, fields, aggregate, symmetric):
    levels, mask = rng.integers(0, 5, (2, 4, 5)), rng.random((2, 4, 5)) < 0.7
    settings = {"symmetric": symmetric, "aggregate": aggregate, "mask": mask, "log_base": 10, **fields}
    got = naive.feature_map(levels, "joint_entropy", **settings)
    np.testing.assert_allclose(got, naive.entropy_map(levels, **settings), rtol=1e-13)


def test_a_map_at_a_centre_is_the_value_of_the_region(rng):
    levels = rng.integers(0, 4, (3, 3, 3))
    found = naive.maps(levels, naive.FEATURES, window=3, dimensions=3)
    for name, values in found.items():
        assert values[1, 1, 1] == naive.roi(levels, None, name, dimensions=3)


def test_what_the_mask_does():
    levels = np.array([[0, 1, 1, 0]])
    mask = levels == 1
    nan = np.nan
    settings = {"window": 3, "mask": mask, "offsets": [(0, 0, 1)]}
    assert naive.feature_map(levels, "contrast", **settings)[0] == pytest.approx(
        [nan, 0, 0, nan], nan_ok=True
    )
    assert naive.feature_map(levels, "mcc", **settings)[0] == pytest.approx([nan, 1, 1, nan], nan_ok=True)
    settings |= {"masked_window": False}
    got = naive.feature_map(levels, "contrast", **settings)[0]
    assert got == pytest.approx([nan, 1 / 2, 1 / 2, nan], nan_ok=True)
    got = naive.feature_map(levels, "mcc", **settings)[0]
    assert got == pytest.approx(
        [nan, 1 / 3, 1 / 3, nan], nan_ok=True
    )  # of 0 1/4; 1/4 1/2: eigenvalues 1, -1/3
    assert naive.feature_map(levels, "mcc", image_levels=1, **settings)[0, 1] == 1


def test_no_pair_is_nan():
    assert np.isnan(naive.feature_map([[0]], "contrast")).all()
    assert np.isnan(naive.roi([[0, 1]], [[1, 0]], "contrast"))
    assert np.isnan(naive.roi([[0, 1]], [[1, 1]], "contrast", offsets=[(0, 1, 0)]))


def test_quantize_width():
    image = [-3.0, 0, 0.9, 1, 2.5, 9]
    assert naive.quantize_width(image, 2.0).tolist() == [0, 1, 1, 2, 2, 6]
    assert naive.quantize_width(image, 1.0, low=0, high=2.5).tolist() == [0, 0, 0, 1, 2, 2]


def test_quantize_pyradiomics():
    # Edges 2.5, 5, 7.5 ... up to below 7.5 + 2 * 2.5: the first is the multiple of the width below 3
    image = np.array([0, 3, 4, 5, 7.4, 7.5])
    assert naive.quantize_pyradiomics(image, image[1:], bin_width=2.5).tolist() == [0, 0, 0, 1, 1, 2]
    # Edges 3, 5, 8: the last one raised by 1, so that 7 falls in the last bin; above it is one bin more
    image = np.array([0, 3, 4.9, 5, 7, 7.9, 8])
    assert naive.quantize_pyradiomics(image, image[1:5], bin_count=2).tolist() == [0, 0, 0, 1, 1, 1, 2]
    flat = np.full(3, 50)
    assert naive.quantize_pyradiomics(flat, flat, bin_width=25).tolist() == [0, 0, 0]
    assert naive.quantize_pyradiomics(flat, flat, bin_count=8).tolist() == [4, 4, 4]
