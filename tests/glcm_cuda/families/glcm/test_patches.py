"""The patches of the CPU backend give the bits of its tally."""

from __future__ import annotations

import numpy as np
import pytest

from glcm_cuda import GLCMSettings
from glcm_cuda.families.glcm.cpu import patches, tally
from glcm_cuda.families.stage import Task
from glcm_cuda.levels.bins import bins_of_levels

QUICK = {"window": 3}
SLOW = [
    {"window": 7, "distance": (1, 3)},
    {"window": (3, 5, 7), "directions": "all", "distance": 2},
    {"window": 3, "aggregate": "merge"},
    {"window": (5, 15, 3)},
]


def fits(levels=64, **fields):
    return patches.fits(GLCMSettings(dimensions=3, **fields), levels)


def levels_of(rng, number, shape):
    levels = rng.integers(0, number, shape).astype(np.int16)
    levels[..., :30] %= 3  # some windows of few levels
    levels[:, :9, :20] = number - 1  # and of one
    levels[rng.random(shape) < 0.02] = -1
    return levels


@pytest.mark.parametrize("fields", [QUICK, *(pytest.param(each, marks=pytest.mark.slow) for each in SLOW)])
def test_patches_have_the_bits_of_the_tally(rng, fields):
    # From 256 or 257 levels on in a tile, codes are numbered.
    for number, symmetric in ((64, True), (3, False), (255, False), (256, True), (256, False), (2000, True)):
        settings = GLCMSettings(dimensions=3, levels=number, symmetric=symmetric, **fields)
        task = Task(settings, bins_of_levels(number), ())
        if not patches.fits(settings, number):
            assert number > 255
            continue
        for shape in ((1, 1, 1), (7, 21, 258)):
            levels, maps = levels_of(rng, number, shape), []
            for loops in (patches, tally):
                out = np.full(levels.shape, -1, np.float32)
                loops.map_levels(levels, out, task, (0, 0))
                maps.append(out)
            np.testing.assert_array_equal(*maps)


def test_what_fits():
    assert fits(window=(3, 15, 3))
    assert not fits(window=(3, 17, 3))
    assert fits(window=13, aggregate="merge")
    assert not fits(window=15, aggregate="merge")  # counts of more than 32,767 pairs
    assert fits(levels=257, window=5)
    assert not fits(levels=257, window=5, aggregate="merge")  # 13 buffers may have more codes than 16 bits
    assert fits(levels=255, window=5, symmetric=False, aggregate="merge")
    assert not fits(levels=256, window=5, symmetric=False, aggregate="merge")
    assert not patches.fits(GLCMSettings(), 64)
