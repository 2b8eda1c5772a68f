"""What each perturbation changes, that seeds fix it, and what cannot be made."""

from __future__ import annotations

import numpy as np
import pytest

from glcm_cuda import GLCMSettings
from pipelines.reliability.perturbations import CHOSEN, SHIFT_VOXELS, Case, perturbations_of


def case_of(image, settings=None, mask=None):
    image = np.asarray(image)
    mask = np.ones(image.shape, bool) if mask is None else mask
    return Case(image=image, mask=mask, spacing_mm=(3.0, 1.0, 1.0), settings=settings or GLCMSettings())


@pytest.fixture
def case():
    return case_of(np.random.default_rng(0).normal(100.0, 10.0, (3, 24, 30)).astype(np.float32))


def made(case, kind, **options):
    return {one.name: one for one in perturbations_of(case, [kind], **{"seed": 0, **options})}


def test_seeds_fix_what_is_drawn_whatever_else_is_chosen(case):
    alone = made(case, "noise")["noise"].change(case).image
    among = {one.name: one for one in perturbations_of(case, CHOSEN, seed=0)}
    np.testing.assert_array_equal(alone, among["noise"].change(case).image)
    assert not np.array_equal(alone, made(case, "noise", seed=1)["noise"].change(case).image)


def test_repeats_draw_anew(case):
    images = [one.change(case).image for one in made(case, "noise", repeats=2).values()]
    assert len(images) == 2
    assert not np.array_equal(*images)


def test_added_noise_has_the_level_that_is_recorded(case):
    one = made(case, "noise")["noise"]
    added = one.change(case).image - case.image
    assert added.std() == pytest.approx(one.details["standard_deviation"], rel=0.05)


def test_a_shift_moves_a_ramp_within_the_slice():
    ramp = np.broadcast_to(np.arange(40.0, dtype=np.float32), (3, 40, 40))
    one = made(case_of(ramp), "shift")["shift"]
    assert [abs(step) for step in one.details["voxels"]] == [0, SHIFT_VOXELS, SHIFT_VOXELS]
    moved = one.change(case_of(ramp)).image
    inner = (slice(None), slice(10, -10), slice(10, -10))
    np.testing.assert_allclose(moved[inner], ramp[inner] - one.details["voxels"][2], atol=1e-3)


def test_resampling_there_and_back_keeps_what_is_smooth_and_the_grid():
    ramp = np.broadcast_to(np.arange(40.0, dtype=np.float32), (3, 41, 40))
    back = made(case_of(ramp), "resample")["resample"].change(case_of(ramp)).image
    assert back.shape == ramp.shape
    np.testing.assert_allclose(back[:, 10:-10, 10:-10], ramp[:, 10:-10, 10:-10], atol=0.01)


def test_the_mask_grows_and_shrinks_by_a_voxel_in_the_slice():
    mask = np.zeros((3, 20, 20), bool)
    mask[1, 5:15, 5:15] = True
    case = case_of(np.zeros(mask.shape), mask=mask)
    sizes = {name: int(one.change(case).mask.sum()) for name, one in made(case, "mask").items()}
    assert sizes == {"mask grown": 100 + 4 * 10, "mask shrunk": 8 * 8}


def test_settings_are_changed_one_at_a_time(case):
    def changed(kind, of):
        return {name: one.change(of).settings for name, one in made(of, kind).items() if not one.unfit}

    base = GLCMSettings()
    assert changed("bins", case) == {
        "32 levels": GLCMSettings(levels=32),
        "128 levels": GLCMSettings(levels=128),
    }
    assert changed("window", case) == {"window 3": GLCMSettings(window=3), "window 7": GLCMSettings(window=7)}
    assert changed("range", case)["range over the mask"] == GLCMSettings(range_over="mask")
    width = case_of(case.image, GLCMSettings(bin_width=4.0))
    assert [one.bin_width for one in changed("bins", width).values()] == [2.0, 8.0]
    fixed = case_of(case.image, GLCMSettings(intensity_range=(0.0, 100.0)))
    assert changed("range", fixed)["range 10 % wider"].intensity_range == (-5.0, 105.0)
    volume = case_of(case.image, GLCMSettings(dimensions=3, window=(3, 5, 5)))
    assert changed("window", volume) == {
        "window 5x7x7": GLCMSettings(dimensions=3, window=(5, 7, 7)),
    }
    assert case.settings == base


@pytest.mark.parametrize(
    ("settings", "image", "kind", "reason"),
    [
        (GLCMSettings(window=3), np.eye(20), "window", "window must be from 3"),
        (GLCMSettings(), np.ones((20, 20)), "noise", "estimated as 0"),
        (GLCMSettings(), np.eye(2), "resample", "too few voxels"),
        (GLCMSettings(), np.eye(6), "mask", "16 voxels of the mask are left, 30 are needed"),
    ],
)
def test_what_cannot_be_made_has_a_reason(settings, image, kind, reason):
    reasons = [one.unfit for one in made(case_of(image, settings), kind).values() if one.unfit]
    assert any(reason in one for one in reasons), reasons
