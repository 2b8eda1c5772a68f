"""Intraclass correlation against published values, and figures that are known beforehand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipelines.reliability.noise import noise_level
from pipelines.reliability.repeatability import agreement, concordance, icc_a1, within_variation

SHROUT_FLEISS = np.array(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float
)
"""Shrout and Fleiss 1979, table 2: six targets, four judges."""


def test_the_table_of_shrout_and_fleiss():
    icc, low, high = icc_a1(SHROUT_FLEISS)
    assert icc == pytest.approx(0.2898, abs=5e-5)  # published: 0.29
    assert (low, high) == pytest.approx((0.02, 0.76), abs=5e-3)  # pingouin 0.7.0; psych in R: 0.019, 0.76


def test_the_values_of_pingouin():
    """`pingouin.intraclass_corr` 0.7.0, ICC(A,1), of the same numbers: 0.876653, 0.75 to 0.93."""
    rng = np.random.default_rng(0)
    values = rng.normal(0.0, 1.0, 500)
    icc, low, high = icc_a1(np.stack([values, values + 0.3 + rng.normal(0.0, 0.5, 500)], axis=1))
    assert icc == pytest.approx(0.876653, abs=5e-7)
    assert (low, high) == pytest.approx((0.75, 0.93), abs=5e-3)


def test_an_icc_worked_by_hand():
    """Rows 0, 2, 4 measured again 1 higher: MSR 8, MSC 1.5, MSE 0, so ICC = 8 / (8 + 2 * 1.5 / 3) = 8/9."""
    icc, _, _ = icc_a1(np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]))
    assert icc == pytest.approx(8 / 9)


def test_the_same_map_again_is_perfect():
    values = np.random.default_rng(0).normal(5.0, 1.0, 200)
    found = agreement(values, values.copy(), window_voxels=25)
    assert (found.icc, found.low, found.high, found.rank, found.concordance) == pytest.approx((1,) * 5)
    assert found.within_cv == 0
    assert not found.reason


def test_independent_noise_agrees_by_chance():
    one, other = np.random.default_rng(2).normal(0.0, 1.0, (2, 5000))
    found = agreement(one, other)
    assert abs(found.icc) < 0.05
    assert found.low < 0 < found.high
    assert math.isnan(found.within_cv)  # values of both signs have no coefficient of variation


def test_an_offset_counts_against_agreement_and_not_against_rank():
    values = np.linspace(0.0, 1.0, 100)
    found = agreement(values, values + 1)
    assert found.rank == pytest.approx(1)
    assert found.icc < 0.2
    # Lin: 2 var / (2 var + offset²), by hand.
    assert found.concordance == pytest.approx(2 * values.var() / (2 * values.var() + 1))


def test_voxels_that_share_their_windows_widen_the_interval():
    rng = np.random.default_rng(2)
    values = rng.normal(0.0, 1.0, 1000)
    other = values + rng.normal(0.0, 0.5, 1000)
    alone, shared = agreement(values, other), agreement(values, other, window_voxels=25)
    assert shared.icc == alone.icc
    assert shared.low < alone.low < alone.icc < alone.high < shared.high


@pytest.mark.parametrize(
    ("one", "other", "reason", "constant"),
    [
        (np.ones(50), np.arange(50.0), "constant: the map", True),
        (np.arange(50.0), np.full(50, 7.0), "constant: the perturbed map", True),
        (np.ones(50), np.ones(50), "constant: both maps", True),
        (np.arange(29.0), np.arange(29.0), "29 voxels have a value, 30 are needed", False),
        (np.full(50, np.nan), np.arange(50.0), "0 voxels have a value", False),
    ],
)
def test_what_has_no_icc_has_a_reason_and_no_number(one, other, reason, constant):
    found = agreement(one, other)
    assert reason in found.reason
    assert found.constant == constant
    assert all(math.isnan(value) for value in (found.icc, found.low, found.high, found.concordance))


def test_concordance_and_variation_by_hand():
    one, other = np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 6.0])
    # Covariance 5/3, variances 2/3 and 14/3, means 2 and 3.
    assert concordance(one, other) == pytest.approx((10 / 3) / (16 / 3 + 1))
    # Variances within: 0, 0, 4.5; mean of all 2.5.
    assert within_variation(np.stack([one, other], axis=1)) == pytest.approx(math.sqrt(1.5) / 2.5)


def test_the_noise_of_a_plane_is_found():
    rng = np.random.default_rng(3)
    plane = np.add.outer(np.arange(60.0), 3 * np.arange(70.0))
    mask = np.ones((2, 60, 70), bool)
    mask[:, :2], mask[:, -2:], mask[:, :, :2], mask[:, :, -2:] = False, False, False, False
    image = np.stack([plane, plane])
    assert noise_level(image, mask) == pytest.approx(0, abs=1e-9)
    assert noise_level(image + rng.normal(0.0, 4.0, image.shape), mask) == pytest.approx(4.0, rel=0.05)


def test_an_edge_hardly_moves_the_level_of_the_noise():
    rng = np.random.default_rng(4)
    image = rng.normal(0.0, 4.0, (1, 80, 80))
    image[:, :, 40:] += 1000
    assert noise_level(image, np.ones(image.shape, bool)) == pytest.approx(4.0, rel=0.1)
