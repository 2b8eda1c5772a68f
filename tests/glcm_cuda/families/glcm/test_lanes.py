"""The vector lanes of the CPU backend give the bits of its tally, and name partitions without doubt."""

from __future__ import annotations

from functools import reduce
from math import prod

import numpy as np
import pytest

from glcm_cuda import GLCMSettings
from glcm_cuda.families.glcm import partitions, vectors
from glcm_cuda.families.glcm.cpu import lanes, tally
from glcm_cuda.families.stage import Task
from glcm_cuda.levels.bins import bins_of_levels

NAMED = [(3, 1), (3, 2), (5, 1), (5, 3), (7, 5)]
SLIDING = [(7, 1), (7, 3), (9, 1), (15, 1)]
MERGED = [(3, 1), (5, 1), (5, 2), (7, 1)]
WINDOWS = [(*window, "mean") for window in NAMED + SLIDING] + [(*window, "merge") for window in MERGED]
QUICK = [(3, 1, "mean"), (5, 1, "mean"), (7, 1, "mean"), (3, 1, "merge"), (5, 1, "merge")]


def both_maps(levels, settings):
    assert lanes.fits(settings, settings.levels)
    maps = []
    for engine in (lanes, tally):
        out = np.full(levels.shape, -1, np.float32)
        engine.map_levels(levels, out, Task(settings, bins_of_levels(settings.levels), ()), (0, 0))
        maps.append(out)
    return maps


def fits(window, distance, **fields):
    settings = GLCMSettings(window=window, distance=distance, **fields)
    return lanes.fits(settings, settings.levels)


@pytest.mark.parametrize(
    ("window", "distance", "aggregate"),
    [pytest.param(*each, marks=() if each in QUICK else pytest.mark.slow) for each in WINDOWS],
)
def test_lanes_have_the_bits_of_the_tally(rng, window, distance, aggregate):
    for number_of_levels, symmetric in ((64, True), (255, False), (256, True), (3, False)):
        for shape in ((1, 1, 1), (2, 3, 2), (1, 70, 300), (2, 65, 257)):
            levels = rng.integers(0, number_of_levels, shape).astype(np.int16)
            levels[..., :30] %= 3  # some windows of few levels
            levels[:, :20, :20] = number_of_levels - 1  # and of one
            levels[rng.random(shape) < 0.02] = -1
            lane, tallied = both_maps(
                levels,
                GLCMSettings(
                    window=window, distance=distance, aggregate=aggregate, levels=number_of_levels,
                    symmetric=symmetric,
                ),
            )  # fmt: skip
            np.testing.assert_array_equal(lane, tallied)


def test_what_does_not_fit():
    assert fits(15, 1)
    assert not fits(17, 1)  # 272 pairs
    assert not fits(17, 16)  # few pairs, but wider than the buffers allow
    assert not fits(65, 64)
    assert fits(7, 1, aggregate="merge")
    assert not fits(9, 1, aggregate="merge")
    assert fits(5, 1, levels=256)
    assert not fits(5, 1, levels=256, symmetric=False)  # the codes fill 16 bits
    assert not fits(5, 1, levels=257)
    assert not fits(5, 2, directions="all")
    assert not fits(5, (1, 2))
    assert not fits(3, 1, dimensions=3)


def test_partitions_of_five():
    assert [*partitions.partitions(5)] == [(5,), (4, 1), (3, 2), (3, 1, 1), (2, 2, 1), (2, 1, 1, 1), (1,) * 5]


@pytest.mark.parametrize("pairs", range(1, partitions.MOST_PAIRS + 1))
def test_a_name_belongs_to_one_sum(pairs):
    sums = partitions.sums_by_name(pairs)
    exact = {prod(n**n for n in groups) for groups in partitions.partitions(pairs)}
    assert len(set(sums[sums > 0])) == len(exact) - 1  # all groups of one: the sum is 0
    assert sums.max() == pytest.approx(pairs * np.log2(max(pairs, 1)) * 2**32, abs=pairs / 2)
    all_equal = reduce(lambda name, rank: name * (vectors.UNIT + 2 * rank) % 65536, range(pairs), 1)
    assert sums[all_equal] == sums.max()


def test_a_name_of_two_sums_is_refused(monkeypatch):
    monkeypatch.setattr(partitions, "UNIT", 1)
    with pytest.raises(
        AssertionError, match=r"two partitions of 20 pairs have the name \d+; choose another UNIT"
    ):
        partitions.sums_by_name(20)
