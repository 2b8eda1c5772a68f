"""Saturation, redundancy, verdict: cases whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from glcm_cuda import GLCMSettings, feature_maps
from pipelines.reliability.bounds import bounds_of
from pipelines.reliability.perturbations import Case
from pipelines.reliability.redundancy import SIMPLE, clusters, monotone_fit, redundancy, simple_properties
from pipelines.reliability.repeatability import Agreement
from pipelines.reliability.saturation import Saturation, levels_used, saturation
from pipelines.reliability.verdict import Thresholds, Verdict, survivors, verdict, with_clusters

RNG = np.random.default_rng(0)


def case_of(image, mask=None, **settings):
    mask = np.ones(image.shape, bool) if mask is None else mask
    return Case(image=image, mask=mask, spacing_mm=(3.0, 2.0, 1.0), settings=GLCMSettings(**settings))


@pytest.fixture(scope="module")
def case():
    mask = np.zeros((2, 30, 40), bool)
    mask[:, 5:25, 5:35] = True
    return case_of(RNG.normal(100.0, 10.0, mask.shape), mask)


def test_a_map_says_the_same_as_itself_turned_around_and_not_as_noise(case):
    one, other = RNG.normal(0.0, 1.0, (2, int(case.mask.sum())))
    found = redundancy({"one": one, "turned": -(one**3), "other": other}, case, seed=0)
    assert found.correlation[0, 1] == pytest.approx(-1)
    assert abs(found.correlation[0, 2]) < 0.1
    assert clusters(found, 0.9) == {"one": 1, "turned": 1, "other": 2}


def test_maps_without_spread_or_values_are_left_out_and_said(case):
    count = int(case.mask.sum())
    empty = np.full(count, np.nan)
    maps = {"flat": np.ones(count), "empty": empty, "one": RNG.normal(0.0, 1.0, count)}
    found = redundancy(maps, case, seed=0)
    assert found.features == ("one",)
    assert found.left_out["flat"].startswith("constant")
    assert found.left_out["empty"] == f"0 of {count} voxels have a value"
    assert clusters(found, 0.9) == {"one": 1}


def test_the_simple_properties_are_those_of_the_windows(case):
    """Mean and variance are those of the first-order maps, which the engine computes on its own."""
    found = simple_properties(case)
    names = ["firstorder_Mean", "firstorder_Variance"]
    mean, variance = feature_maps(case.image, names, case.settings, mask=case.mask, backend="cpu").values()
    np.testing.assert_allclose(found["local mean"], mean[case.mask], rtol=1e-5)
    np.testing.assert_allclose(found["local standard deviation"] ** 2, variance[case.mask], rtol=1e-4)


def test_gradient_and_distance_to_the_edge_are_in_mm():
    ramp = np.broadcast_to(np.arange(9.0) * 5, (3, 9, 9))
    found = simple_properties(case_of(ramp))
    shape = dict(zip(SIMPLE, (found[name].reshape(3, 9, 9) for name in SIMPLE), strict=True))
    assert shape["local gradient"][1, 4, 4] == 5.0  # 5 per voxel of 1 mm
    # From the middle: 2 slices of 3 mm, 5 rows of 2 mm, 5 columns of 1 mm to the outside.
    assert shape["distance to the edge"][1, 4, 4] == 5.0
    assert shape["distance to the edge"][0, 4, 4] == 3.0


def test_a_monotone_function_is_found_and_noise_is_not():
    quantity = RNG.uniform(0.0, 3.0, 2000)
    for values in (np.exp(quantity), -np.sqrt(quantity)):
        fit = monotone_fit(quantity, values)
        assert fit.r == pytest.approx(1)
        assert fit.residual == pytest.approx(0, abs=1e-6)
    noise = monotone_fit(quantity, RNG.normal(0.0, 1.0, 2000))
    assert noise.r < 0.2
    assert noise.r**2 + noise.residual**2 == pytest.approx(1)


def test_equal_values_of_the_quantity_have_one_value_of_the_fit():
    """Steps 0 and 1 with values 0, 2 and 4, 6: the fit is 1 and 5, and a fifth of the variance is left."""
    fit = monotone_fit(np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.0, 2.0, 4.0, 6.0]))
    assert fit.residual == pytest.approx(math.sqrt(1 / 5))


@pytest.mark.slow
def test_bounds_hold_for_every_window(case):
    settings = GLCMSettings(levels=8)
    maps = feature_maps(case.image, "all", settings, mask=case.mask, backend="cpu")
    known = {name: bounds_of(name, settings, 8) for name in maps}
    for name, bounds in known.items():
        if bounds is not None:
            values = maps[name][np.isfinite(maps[name])]
            assert bounds[0] - 1e-6 <= values.min() <= values.max() <= bounds[1] + 1e-6, name
    assert sum(bounds is not None for bounds in known.values()) == 27


def test_shares_at_the_bounds_and_spread_against_noise():
    values = np.array([0.0, 0.04, 0.5, 0.5, 0.5, 0.96, 1.0, 1.0, np.nan])
    found = saturation(values, (0.0, 1.0), Agreement(voxels=8, within_sd=0.1))
    assert (found.at_floor, found.at_ceiling, found.commonest) == (2 / 8, 3 / 8, 3 / 8)
    assert found.at_bounds == 5 / 8
    assert found.spread_to_noise == pytest.approx(np.nanstd(values) / 0.1)
    unknown = saturation(values, None, None)
    assert math.isnan(unknown.at_ceiling)
    assert unknown.at_bounds == 0


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_levels_are_counted_in_windows_along_the_slices(axis):
    """Four levels in stripes across the slices' first axis, two voxels wide: 5 voxels hold three of them."""
    stripes = np.broadcast_to((np.arange(20) // 2 % 4)[None, :, None].astype(float), (20, 20, 20))
    image = np.moveaxis(stripes, 0, axis)
    found = levels_used(case_of(image, levels=4, slice_axis=axis))
    assert (found.of_levels, found.in_mask, found.in_window) == (4, 4, 3)


def agreements(low, rank=1.0, kind="noise"):
    return {(kind, kind): Agreement(voxels=100, icc=low, low=low, high=1.0, rank=rank)}


@pytest.mark.parametrize(
    ("found", "at_ceiling", "r", "word", "reason"),
    [
        (agreements(0.8), 0.0, 0.0, "keep", None),
        (agreements(0.7), 0.0, 0.0, "doubtful", "noise: ICC 0.70, from 0.70"),
        (agreements(0.4), 0.0, 0.0, "drop", "noise: ICC 0.40, from 0.40"),
        (
            {("noise", "noise"): Agreement(voxels=9, icc=0.97, low=0.1)},
            0.0,
            0.0,
            "doubtful",
            "0.97, from 0.10",
        ),
        (agreements(0.8), 0.3, 0.0, "doubtful", "30 % of the voxels at floor or ceiling"),
        (agreements(0.8), 0.0, 0.97, "doubtful", "local standard deviation under another name"),
        (agreements(0.8) | agreements(0.1, 0.9, "bins"), 0.0, 0.0, "keep", None),
        (agreements(0.8) | agreements(0.9, 0.5, "bins"), 0.0, 0.0, "doubtful", "bins: rank correlation 0.50"),
        ({}, 0.0, 0.0, "doubtful", "no change of the acquisition"),
        (
            {("noise", "noise"): Agreement(voxels=9, reason="constant: x", constant=True)},
            0.0,
            0.0,
            "drop",
            "x",
        ),
        ({("noise", "noise"): Agreement(voxels=9, reason="9 voxels")}, 0.0, 0.0, "doubtful", "9 voxels"),
    ],
)
def test_verdicts(found, at_ceiling, r, word, reason):
    saturated = Saturation(floor=0.0, ceiling=1.0, at_floor=0.0, at_ceiling=at_ceiling)
    fit = monotone_fit(np.arange(5.0), np.arange(5.0))
    one = verdict(found, saturated, type(fit)(r, 0.0), Thresholds())
    assert one.word == word
    assert reason is None or any(reason in text for text in one.reasons)


def test_a_cluster_is_represented_by_its_best_map():
    words = {
        "a": ("doubtful", 0.9),
        "b": ("keep", 0.8),
        "c": ("keep", 0.85),
        "d": ("drop", 0.1),
        "e": ("drop", math.nan),
    }
    verdicts = {name: Verdict(word=word, lowest=low) for name, (word, low) in words.items()}
    found = with_clusters(verdicts, {"a": 1, "b": 1, "c": 1, "d": 2})
    assert {name: one.representative for name, one in found.items()} == {
        "a": "c", "b": "c", "c": "c", "d": "d", "e": "e",
    }  # fmt: skip
    assert survivors(found) == ["c"]


@pytest.mark.parametrize(
    ("limits", "message"),
    [({"keep": 1.5}, "keep must be from 0 to 1"), ({"keep": 0.4}, "drop must not be above keep")],
)
def test_thresholds_that_make_no_sense_are_refused(limits, message):
    with pytest.raises(ValueError, match=message):
        Thresholds(**limits)
