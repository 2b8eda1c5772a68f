"""Spot checks: their numbers, what fails, what is only flagged."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glcm_cuda import GLCMSettings, entropy_map, feature_maps
from surrogate.agreement import summarize
from surrogate.honesty import checks, sampling
from surrogate.honesty.card import (
    HELD_OUT,
    STATISTICS,
    Agreement,
    Card,
    ErrorBand,
    Measured,
)
from surrogate.honesty.checks import refuse_other_settings, spot_check

GLCM = GLCMSettings(levels=16)
ENTROPY = "joint_entropy"


@pytest.fixture
def image(rng):
    """Texture everywhere, of more levels to the right; no background."""
    image = np.floor(rng.random((2, 60, 50)) * np.linspace(8, 16, 50))
    image[0, 0, :2] = 0, 15
    return image.astype(np.float32)


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
    assert (check.voxels, check.where, list(check.parts)) == (checks.VOXELS, "image", ["image"])
    assert check.largest <= 1e-5 * values.max()
    assert check.pearson == pytest.approx(1)
    assert check.warnings == ()


def test_the_sample_depends_on_the_seed_alone(image, exact, rng):
    rough = exact + rng.normal(0, 0.1, exact.shape).astype(np.float32)
    first, again, other = (spot_check(image, rough, GLCM, ENTROPY, None, seed=seed) for seed in (3, 3, 4))
    assert first == again
    assert first.rmse != other.rmse


@pytest.mark.parametrize(("shift", "fails"), [(0.07, False), (0.08, True)])
def test_a_bias_beyond_the_margin_fails(image, exact, shift, fails):
    check = spot_check(image, exact + np.float32(shift), GLCM, ENTROPY, card_of(rmse=0.05, largest=1))
    assert check.bias == pytest.approx(shift, abs=1e-4)
    assert check.failed == fails
    if fails:
        assert check.failures == (
            "RMSE 0.08 in a sample of the map, the model card says 0.05 (r 1.0000 and 0.9000, bias +0.08 and "
            "+0.01)",
        )


@pytest.mark.parametrize(("shift", "fails"), [(0.55, False), (0.65, True)])
def test_one_large_error_fails(image, exact, monkeypatch, shift, fails):
    monkeypatch.setattr(sampling, "VOXELS", 10**6)  # the whole inside, so that the voxel is among them
    exact[1, 20, 20] += shift
    check = spot_check(image, exact, GLCM, ENTROPY, card_of())
    assert check.failed == fails
    if fails:
        assert check.failures == ("largest error 0.65 in a sample of the map, the model card says 0.4",)


@pytest.fixture
def body(rng):
    """An image of which 9 in 10 voxels are flat background, and the labels of two tissues in it."""
    image = rng.integers(0, 2, (2, 120, 120)).astype(np.float32)
    labels = np.zeros(image.shape, np.uint8)
    labels[:, 40:80, 30:70], labels[:, 40:80, 70:80] = 1, 2
    image[labels == 1] = rng.integers(2, 10, (labels == 1).sum())
    image[labels == 2] = rng.integers(2, 16, (labels == 2).sum())
    return image, labels


@pytest.fixture
def vague(body, rng):
    """Return the exact map of the body, and one that is right in the background and vague in the tissues."""
    image, labels = body
    exact = entropy_map(image, GLCM, backend="cpu")
    spread = exact[labels > 0].std()
    return exact, np.where(labels > 0, exact + rng.normal(0, spread, exact.shape), exact).astype(np.float32)


def correlation(exact, synthetic, chosen):
    inner = np.zeros(chosen.shape, bool)
    inner[:, 2:-2, 2:-2] = True
    return np.corrcoef(exact[chosen & inner], synthetic[chosen & inner])[0, 1]


def test_the_background_does_not_hide_a_vague_map(body, vague):
    image, labels = body
    exact, synthetic = vague
    assert correlation(exact, synthetic, labels >= 0) > 0.95
    check = spot_check(image, synthetic, GLCM, ENTROPY, card_of(rmse=1, largest=9))
    assert (check.where, list(check.parts)) == ("texture", ["texture", "background"])
    assert check.pearson == pytest.approx(correlation(exact, synthetic, labels > 0), abs=0.1)
    assert check.pearson < 0.85
    assert check.parts["background"].voxels == check.voxels == 2000
    assert check.failures == (
        f"R2 {check.explained:.2f} (r {check.pearson:.4f}) in a sample of the map: it explains less than 50% "
        "of the variance of the exact values",
    )
    assert not spot_check(image, exact, GLCM, ENTROPY, card_of()).failed


def test_errors_in_the_background_count(body, vague):
    image, labels = body
    exact, _ = vague
    check = spot_check(image, exact + np.float32(0.2) * (labels == 0), GLCM, ENTROPY, card_of(largest=9))
    assert check.explained > 0.9
    assert len(check.failures) == 1
    assert "in a sample of the map (background), the model card says 0.1 " in check.failures[0]


def test_the_mask_is_where_the_map_is_checked(body, vague):
    image, labels = body
    exact, synthetic = vague
    outside = np.where(labels == 2, exact, exact + 9).astype(np.float32)
    check = spot_check(image, outside, GLCM, ENTROPY, card_of(), mask=labels == 2)
    assert (check.where, list(check.parts), check.largest) == ("mask", ["mask"], 0)
    assert check.voxels == np.count_nonzero(labels == 2)
    assert spot_check(image, synthetic, GLCM, ENTROPY, None, mask=labels > 0).failed
    flat = image[0]  # in two dimensions, too
    assert spot_check(flat, exact[0], GLCM, ENTROPY, card_of(), mask=labels[0] == 2).largest == 0


def test_a_mask_without_a_whole_window_fails(body, vague):
    image, labels = body
    edge = np.zeros(labels.shape, bool)
    edge[:, :2] = True
    check = spot_check(image, vague[0], GLCM, ENTROPY, card_of(), mask=edge)
    assert (check.voxels, check.failures) == (0, ("no voxel could be compared with the exact engine",))


def test_each_tissue_counts_alike_and_differences_between_them_do_not(body, vague):
    image, labels = body
    exact, _ = vague
    check = spot_check(image, exact, GLCM, ENTROPY, card_of(), labels=labels, tissues={2: "lesion"})
    assert (check.where, {name: part.voxels for name, part in check.parts.items()}) == (
        "tissues",
        {"label 1": 1000, "lesion": 800},
    )
    means = np.choose(labels, [0, exact[labels == 1].mean(), exact[labels == 2].mean()]).astype(np.float32)
    between = spot_check(image, means, GLCM, ENTROPY, None, labels=labels)
    assert np.corrcoef(exact[labels > 0], means[labels > 0])[0, 1] > 0.5
    assert between.explained == pytest.approx(0, abs=0.1)
    assert between.failed


def test_a_tissue_is_judged_by_the_cards_figures_of_it(body, vague):
    image, labels = body
    exact, _ = vague
    off = exact + np.float32(0.1) * (labels == 2)
    card = card_of(rmse=0.05, largest=9)
    strict = spot_check(image, off, GLCM, ENTROPY, card, labels=labels)
    assert [line.split(", the")[0] for line in strict.failures] == [
        "RMSE 0.1 in a sample of the map (label 2)"
    ]
    assert strict.criteria["rmse_at_most"] == pytest.approx({"label 1": 0.075, "label 2": 0.075})
    measured = card.features[ENTROPY]
    known = {"2": dataclasses.replace(measured.agreement, rmse=0.07)}
    lenient = dataclasses.replace(card, features={ENTROPY: dataclasses.replace(measured, tissues=known)})
    assert not spot_check(image, off, GLCM, ENTROPY, lenient, labels=labels).failed


def test_texture_is_judged_by_the_cards_figures_of_texture(body, vague):
    image, labels = body
    off = vague[0] + np.float32(0.1) * (labels > 0)
    card = card_of(rmse=0.05, largest=9)
    assert spot_check(image, off, GLCM, ENTROPY, card).failed
    measured = card.features[ENTROPY]
    known = dataclasses.replace(measured.agreement, rmse=0.07)
    lenient = dataclasses.replace(card, features={ENTROPY: dataclasses.replace(measured, textured=known)})
    assert not spot_check(image, off, GLCM, ENTROPY, lenient).failed


@pytest.mark.parametrize("card", [None, card_of(rmse=9, largest=9)])
def test_a_map_that_explains_nothing_fails(rng, card):
    noise = rng.random((3, 60, 60))
    exact = entropy_map(noise, GLCM, backend="cpu")
    guess = (exact.mean() + rng.normal(0, 4 * exact.std(), exact.shape)).astype(np.float32)
    check = spot_check(noise, guess, GLCM, ENTROPY, card)
    assert abs(check.pearson) < 0.1
    assert check.explained < -10
    assert check.failures[0].startswith(f"R2 {check.explained:.2f} (r ")
    flat = spot_check(noise, np.full_like(exact, exact[:, 2:-2, 2:-2].mean()), GLCM, ENTROPY, card)
    assert flat.explained == pytest.approx(0, abs=0.01)
    assert flat.failed
    opposite = spot_check(noise, 2 * exact.mean() - exact, GLCM, ENTROPY, card)
    assert opposite.pearson == pytest.approx(-1)
    assert opposite.failed


def test_where_nothing_varies_the_errors_decide():
    constant, exact = np.full((20, 20), 7.0), np.zeros((20, 20), np.float32)
    for off, fails in ((0.1, False), (0.2, True)):
        check = spot_check(constant, exact + np.float32(off), GLCM, ENTROPY, card_of())
        assert np.isnan(check.explained)
        assert check.failed == fails
    assert check.to_dict()["explained"] is None
    assert not spot_check(constant, exact, GLCM, ENTROPY, None).failed


def test_the_criteria_are_recorded(image, exact):
    record = spot_check(image, exact, GLCM, ENTROPY, card_of(rmse=0.1, largest=0.4)).to_dict()
    assert record["criteria"] == {
        "explained_at_least": 0.5,
        "rmse_at_most": {"image": pytest.approx(0.15)},
        "largest_at_most": pytest.approx(0.6),
    }
    assert record["parts"]["image"]["explained"] == record["explained"] == 1
    alone = spot_check(image, exact, GLCM, ENTROPY, None).to_dict()
    assert alone["criteria"] == {"explained_at_least": 0.5}


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
