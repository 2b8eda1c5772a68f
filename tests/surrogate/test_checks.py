"""Spot checks: their numbers, what fails, what is only flagged."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glcm_cuda import GLCMSettings, entropy_map, feature_maps
from surrogate import checks
from surrogate.agreement import summarize
from surrogate.card import (
    HELD_OUT,
    STATISTICS,
    Agreement,
    Card,
    ErrorBand,
    Measured,
)
from surrogate.checks import refuse_other_settings, spot_check

GLCM = GLCMSettings(levels=16)
ENTROPY = "joint_entropy"


@pytest.fixture
def image(rng):
    return rng.integers(0, 16, (2, 60, 50)).astype(np.float32)


@pytest.fixture
def exact(image):
    return entropy_map(image, GLCM, backend="cpu")


def card_of(*, rmse=0.1, largest=0.4, high=99.0, feature=ENTROPY, modalities=None):
    """Return a card that promises these figures."""
    agreement = Agreement(
        samples=1000,
        patients=2,
        pearson=0.9,
        bias=0.01,
        rmse=rmse,
        percent=1.0,
        percent_sd=1.0,
        percentile_99=largest,
        largest=largest,
    )
    return Card(
        basis=HELD_OUT,
        patients=("a", "b"),
        learned=("c",),
        groups={"g": 1},
        modalities=modalities or {"unknown": 1},
        features={feature: Measured("bits", agreement, {}, ErrorBand((), (0.2,), None))},
        training_range=dict.fromkeys(STATISTICS, (0.0, high)),
        voxels_per_second=1.0,
        device="CPU",
        run={},
    )


@pytest.mark.parametrize("feature", [ENTROPY, "contrast", "joint_energy"])
def test_the_sample_of_an_exact_map_has_no_error(image, feature):
    values = feature_maps(image, [feature], GLCM, backend="cpu")[feature]
    check = spot_check(image, values, GLCM, feature, card_of(feature=feature))
    assert check.voxels == checks.VOXELS
    assert check.largest <= 1e-5 * values.max()
    assert check.pearson == pytest.approx(1)
    assert check.warnings == ()


def test_the_sample_depends_on_the_seed_alone(image, exact, rng):
    rough = exact + rng.normal(0, 0.1, exact.shape).astype(np.float32)
    first, again, other = (spot_check(image, rough, GLCM, ENTROPY, None, seed=seed) for seed in (3, 3, 4))
    assert first == again
    assert first.rmse != other.rmse


@pytest.mark.parametrize(("shift", "fails"), [(0.14, False), (0.16, True)])
def test_a_bias_beyond_the_margin_fails(image, exact, shift, fails):
    check = spot_check(image, exact + np.float32(shift), GLCM, ENTROPY, card_of(rmse=0.1, largest=1))
    assert check.bias == pytest.approx(shift, abs=1e-4)
    assert check.failed == fails
    if fails:
        assert check.failures == (
            "RMSE 0.16 in a sample of the map, the model card says 0.1 (r 1.0000 and 0.9000, bias +0.16 and "
            "+0.01)",
        )


@pytest.mark.parametrize(("shift", "fails"), [(0.55, False), (0.65, True)])
def test_one_large_error_fails(image, exact, monkeypatch, shift, fails):
    monkeypatch.setattr(checks, "VOXELS", 10**6)  # the whole inside, so that the voxel is among them
    exact[1, 20, 20] += shift
    check = spot_check(image, exact, GLCM, ENTROPY, card_of())
    assert check.failed == fails
    if fails:
        assert check.failures == ("largest error 0.65 in a sample of the map, the model card says 0.4",)


def test_rounding_is_no_fault(image, exact):
    promise = card_of(rmse=1e-7, largest=1e-7)
    assert not spot_check(image, exact * np.float32(1 + 2e-6), GLCM, ENTROPY, promise).failed
    assert spot_check(image, exact * np.float32(1 + 2e-4), GLCM, ENTROPY, promise).failed


def test_flags_are_no_failures(image, exact):
    check = spot_check(image, exact, GLCM, ENTROPY, card_of(high=1.0))
    assert min(check.outside.values()) > 0.9
    assert not check.failed
    assert len(check.flags) == len(check.warnings) == 3
    assert check.flags[0].endswith("of the image is outside the training range of the mean level")


def test_another_modality_is_flagged_where_both_are_known(image, exact):
    card = card_of(modalities={"MR": 2, "unknown": 1})
    told = "the image is CT, but the model was trained on MR"
    for modality, flags in (("MR", ()), ("", ()), ("CT", (told,))):
        check = spot_check(image, exact, GLCM, ENTROPY, card, modality=modality)
        assert (check.flags, check.failed) == (flags, False)
    assert spot_check(image, exact, GLCM, ENTROPY, card_of(), modality="CT").flags == ()


def test_values_that_are_no_numbers_fail_even_without_a_card(image, exact):
    exact[:, :, ::2] = np.nan
    exact[:, ::2] = np.inf
    check = spot_check(image, exact, GLCM, ENTROPY, None)
    assert 0 < check.voxels < checks.VOXELS
    assert check.largest == 0
    assert check.failures == (f"{2000 - check.voxels} of 2000 voxels checked are NaN or infinite",)
    nothing = spot_check(image, np.full_like(exact, np.nan), GLCM, ENTROPY, card_of())
    assert (nothing.voxels, nothing.failed) == (0, True)
    assert nothing.to_dict()["rmse"] is None


def test_voxels_whose_exact_value_is_undefined_are_left_out(image, exact, monkeypatch):
    def partly(patches, settings, names):
        values = np.full((len(patches), 1), np.nan, np.float32)
        values[::4] = 1
        return values

    monkeypatch.setattr(checks, "exact_values", partly)
    check = spot_check(image, np.ones_like(exact), GLCM, ENTROPY, card_of())
    assert (check.voxels, check.failed, check.largest) == (500, False, 0)
    assert np.isnan(check.pearson)
    assert check.to_dict()["pearson"] is None


def test_a_card_of_other_features_is_refused(image, exact):
    with pytest.raises(ValueError, match="the model card covers contrast, got a map of joint_entropy"):
        spot_check(image, exact, GLCM, ENTROPY, card_of(feature="contrast"))


@given(st.integers(0, 10**6), st.floats(-2, 2), st.floats(0, 3), st.floats(-3, 3))
def test_the_rmse_bounds_bias_and_correlation(seed, slope, noise, shift):
    """Why r and bias have no rules of their own (docs/honesty.md)."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 1, 50)
    found = summarize(truth, shift + slope * truth + rng.normal(0, noise + 1e-3, 50))
    assert abs(found.mean_difference) <= found.rmse * (1 + 1e-9)
    variance = found.ss_exact / found.voxels
    assert found.pearson**2 >= 1 - found.rmse**2 / variance - 1e-9
    if found.rmse**2 < variance:
        assert found.pearson > 0


def test_other_settings_are_named():
    refuse_other_settings(GLCM, dataclasses.replace(GLCM), "m.keras")
    with pytest.raises(
        ValueError, match=r"^m.keras was made with other GLCM settings: levels 16 \(asked for 64\), window 5 "
    ):
        refuse_other_settings(GLCM, GLCMSettings(levels=64, window=7), "m.keras")
