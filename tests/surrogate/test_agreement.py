"""Agreement statistics against plain formulas on all voxels and against scipy."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from surrogate import agreement as subject


@pytest.fixture
def patients(rng):
    """Return exact and synthetic values of five patients of different size, offset and noise."""
    pairs = []
    for index in range(5):
        exact = rng.normal(3.0 + 0.2 * index, 0.5, size=50 + 40 * index)
        synthetic = exact + 0.02 * index + rng.normal(0, 0.05 + 0.02 * index, exact.size)
        pairs.append((exact.astype(np.float32), synthetic.astype(np.float32)))
    return pairs


def moments(pairs):
    return [subject.summarize(exact, synthetic) for exact, synthetic in pairs]


def concatenated(pairs):
    exact = np.concatenate([pair[0] for pair in pairs]).astype(np.float64)
    return exact, np.concatenate([pair[1] for pair in pairs]).astype(np.float64)


def test_pooled_statistics_equal_those_of_all_voxels(patients):
    exact, synthetic = concatenated(patients)
    result = subject.agreement(moments(patients))
    percent = 100 * np.abs(synthetic - exact) / exact
    difference = synthetic - exact
    assert (result.voxels, result.patients, result.zeros_left_out) == (exact.size, 5, 0)
    assert result.pearson == pytest.approx(stats.pearsonr(exact, synthetic)[0], abs=1e-12)
    assert result.rmse == pytest.approx(np.sqrt(np.mean(difference**2)), rel=1e-12)
    assert result.percent_mean == pytest.approx(percent.mean(), rel=1e-12)
    assert result.percent_sd == pytest.approx(percent.std(ddof=1), rel=1e-12)
    assert result.bias == pytest.approx(difference.mean(), rel=1e-9)
    half = 1.96 * difference.std(ddof=1)
    assert result.limit_low == pytest.approx(difference.mean() - half, rel=1e-9)
    assert result.limit_high == pytest.approx(difference.mean() + half, rel=1e-9)


def test_bias_is_tested_over_patients_not_voxels(patients):
    means = [float(np.mean(s.astype(np.float64) - e.astype(np.float64))) for e, s in patients]
    expected = stats.ttest_1samp(means, 0.0).pvalue
    assert subject.agreement(moments(patients)).bias_p == pytest.approx(expected, rel=1e-9)


def test_interval_equals_a_plain_bootstrap_over_patients(patients):
    low, high = subject.pearson_interval(moments(patients), seed=3, resamples=200)
    draws = np.random.default_rng(3).multinomial(5, [0.2] * 5, size=200)
    correlations = []
    for draw in draws:
        drawn = [pair for pair, times in zip(patients, draw, strict=True) for _ in range(times)]
        correlations.append(np.corrcoef(*concatenated(drawn))[0, 1])
    assert (low, high) == pytest.approx(tuple(np.percentile(correlations, [2.5, 97.5])), abs=1e-12)


@pytest.fixture
def grouped(rng):
    """Return pairs of five patients in two groups: means far apart, and little correlation within."""
    pairs = []
    for mean in (1.0, 1.2, 4.0, 4.1, 4.3):
        exact = rng.normal(mean, 0.3, 80)
        pairs.append((exact, exact.mean() + 0.5 * (exact - exact.mean()) + rng.normal(0, 0.3, 80)))
    return pairs, ["a", "a", "b", "b", "b"]


def within(pairs, groups):
    """Return exact and synthetic values less the means of their group."""
    parts = []
    for group in dict.fromkeys(groups):
        x, y = concatenated([pair for pair, other in zip(pairs, groups, strict=True) if other == group])
        parts.append((x - x.mean(), y - y.mean()))
    return concatenated(parts)


def test_over_groups_the_correlation_is_that_within_them(grouped):
    pairs, groups = grouped
    together, apart = subject.agreement(moments(pairs)), subject.agreement(moments(pairs), groups)
    assert together.pearson > 0.9
    assert apart.pearson == pytest.approx(np.corrcoef(*within(pairs, groups))[0, 1], abs=1e-12)
    assert apart.pearson < 0.8
    assert apart.pearson_low < apart.pearson < apart.pearson_high
    for name in ("bias", "rmse", "limit_low", "percent_mean"):
        assert getattr(apart, name) == pytest.approx(getattr(together, name), rel=1e-12)
    assert subject.agreement(moments(pairs), ["a"] * 5).pearson == pytest.approx(together.pearson, rel=1e-12)


def test_the_interval_over_groups_equals_a_plain_bootstrap(grouped):
    pairs, groups = grouped
    low, high = subject.pearson_interval(moments(pairs), groups, seed=3, resamples=100)
    correlations = []
    for draw in np.random.default_rng(3).multinomial(5, [0.2] * 5, size=100):
        chosen = [index for index, times in enumerate(draw) for _ in range(times)]
        correlations.append(
            np.corrcoef(*within([pairs[i] for i in chosen], [groups[i] for i in chosen]))[0, 1]
        )
    assert (low, high) == pytest.approx(tuple(np.percentile(correlations, [2.5, 97.5])), abs=1e-12)


def test_explained_variance_by_hand(patients):
    exact, synthetic = patients[0]
    found = subject.summarize(exact, synthetic).explained
    exact, synthetic = exact.astype(np.float64), synthetic.astype(np.float64)
    expected = 1 - np.sum((synthetic - exact) ** 2) / np.sum((exact - exact.mean()) ** 2)
    assert found == pytest.approx(expected, rel=1e-9)
    assert subject.summarize([1.0, 3.0], [2.0, 2.0]).explained == 0
    assert math.isnan(subject.summarize([2.0, 2.0], [2.0, 3.0]).explained)


def test_within_parts_means_do_not_count():
    low, high = subject.summarize([0.0, 2.0], [1.0, 1.0]), subject.summarize([10.0, 12.0], [11.0, 11.0])
    assert subject.pool([low, high]).explained == pytest.approx(1 - 4 / 104)
    pooled = subject.pool_within([low, high])
    assert pooled.explained == 0
    assert math.isnan(pooled.pearson)
    assert (pooled.voxels, pooled.rmse) == (4, 1)


def test_interval_is_seeded_and_holds_the_estimate(patients):
    first = subject.agreement(moments(patients), seed=1, resamples=50)
    assert first == subject.agreement(moments(patients), seed=1, resamples=50)
    assert first != subject.agreement(moments(patients), seed=2, resamples=50)
    assert first.pearson_low < first.pearson < first.pearson_high


def test_blocks_do_not_change_the_result(patients, monkeypatch):
    whole = subject.summarize(*patients[4])
    monkeypatch.setattr(subject, "_BLOCK", 7)
    blocks = subject.summarize(*patients[4])
    assert blocks.voxels == whole.voxels
    assert blocks.pearson == pytest.approx(whole.pearson, abs=1e-12)
    assert blocks.percent == pytest.approx(whole.percent, rel=1e-12)
    assert blocks.limits == pytest.approx(whole.limits, rel=1e-12)


def test_bland_altman_by_hand():
    result = subject.agreement([subject.summarize([1.0, 2.0, 3.0, 4.0], [2.0, 2.0, 4.0, 4.0])])
    half = 1.96 * math.sqrt(1 / 3)
    assert result.bias == 0.5
    assert (result.limit_low, result.limit_high) == pytest.approx((0.5 - half, 0.5 + half))
    assert result.percent_mean == pytest.approx((100 + 0 + 100 / 3 + 0) / 4)


def test_one_patient_has_no_interval_and_no_p_value(patients):
    result = subject.agreement(moments(patients)[:1])
    assert math.isfinite(result.pearson)
    assert math.isnan(result.pearson_low)
    assert math.isnan(result.pearson_high)
    assert math.isnan(result.bias_p)


def test_zeros_are_left_out_of_the_percentage_and_counted():
    result = subject.agreement([subject.summarize([0.0, 0.0, 2.0, 4.0], [1.0, 0.0, 3.0, 4.0])])
    assert result.zeros_left_out == 2
    assert result.percent_mean == pytest.approx(25.0)
    assert result.bias == pytest.approx(0.5)


def test_all_zeros_give_no_percentage():
    result = subject.agreement([subject.summarize([0.0, 0.0], [1.0, 2.0])] * 2)
    assert result.zeros_left_out == 4
    assert math.isnan(result.percent_mean)
    assert math.isnan(result.percent_sd)


@pytest.mark.parametrize(("exact", "synthetic"), [(4.1, None), (None, 4.1), (4.1, 4.1), (0.0, 0.0)])
def test_correlation_of_constant_values_is_nan(exact, synthetic, rng):
    values = rng.normal(3, 1, 1001).astype(np.float32)
    pair = [np.full_like(values, v) if v is not None else values for v in (exact, synthetic)]
    result = subject.agreement([subject.summarize(*pair)] * 3)
    assert math.isnan(result.pearson)
    assert math.isnan(result.pearson_low)


def test_patients_that_are_constant_each_still_correlate_together():
    parts = [subject.summarize([level] * 3, [level + 0.1] * 3) for level in (1.0, 2.0, 3.0)]
    result = subject.agreement(parts)
    assert result.pearson == pytest.approx(1.0)
    assert result.pearson_low == pytest.approx(1.0)


def test_a_large_mean_does_not_cost_the_correlation(rng):
    x = 1e4 + rng.normal(0, 1, 2000)
    y = x + rng.normal(0, 1, 2000)
    parts = [subject.summarize(x[:900], y[:900]), subject.summarize(x[900:], y[900:])]
    assert subject.agreement(parts).pearson == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-10)


@pytest.mark.parametrize(("differences", "p"), [([0.0, 0.0], 1.0), ([0.5, 0.5, 0.5], 0.0)])
def test_equal_differences_give_the_limit_of_the_test(differences, p):
    assert subject.bias_p_value(differences) == p


@pytest.mark.parametrize(
    ("exact", "synthetic", "message"),
    [
        ([1.0, 2.0], [1.0], "the same shape"),
        ([], [], "at least one voxel"),
        ([1.0, np.nan], [1.0, 2.0], "exact values must be finite, got NaN or infinity in 1 of 2"),
        ([1.0, 2.0], [np.inf, np.nan], "synthetic values must be finite, got NaN or infinity in 2 of 2"),
    ],
)
def test_bad_values_are_refused(exact, synthetic, message):
    with pytest.raises(ValueError, match=message):
        subject.summarize(exact, synthetic)


def test_no_patient_is_refused():
    with pytest.raises(ValueError, match="at least one patient"):
        subject.agreement([])


def test_import_needs_no_keras():
    code = "import sys, surrogate.agreement; sys.exit('keras' in sys.modules or 'tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
