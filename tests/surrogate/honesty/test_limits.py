"""What values are possible, and maps that are held to them."""

from __future__ import annotations

import numpy as np
import pytest

from glcm_cuda import GLCMSettings
from glcm_cuda.families import registry
from glcm_cuda.families.registry import features_named
from surrogate.exact import exact_values
from surrogate.honesty.limits import clip, possible_range

FEATURES = tuple(feature.name for feature in features_named("all") if not feature.is_of_intensities)


def far_reaching_windows(levels, rng):
    """Return windows of chance, of two levels in all shares, of stripes, boards and constants."""
    y, x = np.mgrid[:5, :5]
    patterns = np.array([x % 2, (x + y) % 2, x * 0, x * 0 + 1, x > 1, x + 5 * y]) * (levels - 1)
    extremes = (rng.random((100, 5, 5)) < rng.random((100, 1, 1))) * (levels - 1)
    chance = rng.integers(0, levels, (50, 5, 5))
    return np.concatenate([patterns % levels, extremes, chance]).astype(np.uint8)


@pytest.mark.parametrize(
    "changes",
    [
        {"levels": 2},
        {"levels": 16, "first_level": 0, "aggregate": "merge"},
        {"levels": 16, "symmetric": False, "log_base": 10},
        {"levels": 64, "aggregate": "merge", "symmetric": False},
        {"levels": 8, "distance": (1, 2), "gldm_a": 1, "log_base": "e"},
    ],
)
def test_no_window_exceeds_the_bounds(changes, rng):
    settings = GLCMSettings(**changes)
    values = exact_values(far_reaching_windows(settings.levels, rng), settings, FEATURES)
    for name, column in zip(FEATURES, values.T, strict=True):
        low, high = possible_range(name, settings)
        assert np.nanmin(column) >= low - 1e-5 * max(abs(low), 1), name
        assert np.nanmax(column) <= high + 1e-5 * max(abs(high), 1), name


def test_every_feature_of_levels_has_bounds():
    for feature in registry.FEATURES:
        low, high = possible_range(feature.name, GLCMSettings())
        assert np.isfinite((low, high)).all() != feature.is_of_intensities, feature.name
        assert low < high


@pytest.mark.parametrize(
    ("name", "window", "end"),
    [
        ("firstorder_Entropy", np.arange(25), 1),
        ("firstorder_Uniformity", np.arange(25), 0),
        ("glrlm_RunEntropy", np.arange(25), 1),
        ("glszm_ZoneEntropy", np.arange(25), 1),
        ("glszm_LargeAreaEmphasis", np.zeros(25), 1),
        ("glszm_LargeAreaHighGrayLevelEmphasis", np.full(25, 63), 1),
        ("gldm_HighGrayLevelEmphasis", np.full(25, 63), 1),
        ("glszm_ZonePercentage", np.zeros(25), 0),
    ],
)
def test_bounds_are_reached(name, window, end):
    settings = GLCMSettings(levels=64)
    bounds = possible_range(name, settings)
    (value,) = exact_values(window.astype(np.uint8).reshape(1, 5, 5), settings, (name,))[0]
    assert value == pytest.approx(bounds[end])


def test_the_largest_entropy_is_reached():
    settings = GLCMSettings(levels=64)
    window = np.arange(25, dtype=np.uint8).reshape(1, 5, 5)
    assert exact_values(window, settings, ("joint_entropy",))[0, 0] == pytest.approx(5.160964)
    assert possible_range("joint_entropy", settings) == (0, pytest.approx(5.160964))


def test_impossible_values_are_clipped_and_counted():
    settings = GLCMSettings(levels=64)
    values = np.array([[-0.5, 0, 2, 5.160965, 5.3, 9, np.nan, np.inf]], np.float32)
    clipped = clip(values, "joint_entropy", settings)
    top = np.float32(5.160964)
    np.testing.assert_allclose(clipped.values, [[0, 0, 2, top, top, top, np.nan, np.inf]], rtol=1e-6)
    assert clipped.values.dtype == np.float32
    assert (clipped.below, clipped.above) == (1, 2)  # one was above by no more than rounding
    assert clipped.to_dict() == {"possible": [0, pytest.approx(5.160964)], "below": 1, "above": 2}
    assert values[0, 5] == 9


def test_a_feature_without_bounds_stays_as_it_is():
    values = np.array([-1e9, 1e9], np.float32)
    clipped = clip(values, "firstorder_Mean", GLCMSettings())
    np.testing.assert_array_equal(clipped.values, values)
    assert clipped.to_dict() == {"possible": [None, None], "below": 0, "above": 0}
