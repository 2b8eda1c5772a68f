"""The vector lanes of the CPU backend give the bits of its tally, and name partitions without doubt."""

from __future__ import annotations

from functools import reduce
from math import prod

import numpy as np
import pytest

from glcm_cuda import lanes, tally
from glcm_cuda.offsets import directions

FITTING = [(3, 1), (3, 2), (5, 1), (5, 2), (5, 3), (5, 4), (7, 5)]


def both_maps(levels, window, distance, number_of_levels, symmetric):
    offsets = directions(2, distance)
    radii = (0, window // 2, window // 2)
    assert lanes.fits(offsets, radii, number_of_levels, symmetric)
    maps = []
    for engine in (lanes, tally):
        out = np.full(levels.shape, -1, np.float32)
        engine.map_levels(
            levels, offsets, out, first=(0, 0), radii=radii, number_of_levels=number_of_levels,
            symmetric=symmetric, merge=False, log_unit=1.0,
        )  # fmt: skip
        maps.append(out)
    return maps


@pytest.mark.parametrize(("window", "distance"), FITTING)
@pytest.mark.parametrize(
    ("number_of_levels", "symmetric"), [(64, True), (64, False), (255, False), (256, True)]
)
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 2), (1, 70, 300), (2, 65, 257)])
def test_lanes_have_the_bits_of_the_tally(rng, window, distance, number_of_levels, symmetric, shape):
    levels = rng.integers(0, number_of_levels, shape).astype(np.int16)
    levels[..., :30] %= 3  # some windows of few levels
    levels[:, :20, :20] = number_of_levels - 1  # and of one
    levels[rng.random(shape) < 0.02] = -1
    lane, tallied = both_maps(levels, window, distance, number_of_levels, symmetric)
    np.testing.assert_array_equal(lane, tallied)


@pytest.mark.parametrize(
    ("window", "distance", "number_of_levels", "symmetric"),
    [(7, 1, 64, True), (5, 1, 256, False)],
    ids=["too many pairs for names", "too many codes for 16 bits"],
)
def test_what_does_not_fit(window, distance, number_of_levels, symmetric):
    radii = (0, window // 2, window // 2)
    assert not lanes.fits(directions(2, distance), radii, number_of_levels, symmetric)


def test_volumes_do_not_fit():
    assert not lanes.fits(directions(3, 1), (1, 1, 1), 64, True)


def test_partitions_of_five():
    assert [*lanes.partitions(5)] == [(5,), (4, 1), (3, 2), (3, 1, 1), (2, 2, 1), (2, 1, 1, 1), (1,) * 5]


@pytest.mark.parametrize("pairs", range(1, lanes.MOST_PAIRS + 1))
def test_a_name_belongs_to_one_sum(pairs):
    sums = lanes.sums_by_name(pairs)
    exact = {prod(n**n for n in groups) for groups in lanes.partitions(pairs)}
    assert len(set(sums[sums > 0])) == len(exact) - 1  # all groups of one: the sum is 0
    assert sums.max() == pytest.approx(pairs * np.log2(max(pairs, 1)) * 2**32, abs=pairs / 2)
    all_equal = reduce(lambda name, rank: name * (lanes.UNIT + 2 * rank) % 65536, range(pairs), 1)
    assert sums[all_equal] == sums.max()


def test_a_name_of_two_sums_is_refused(monkeypatch):
    monkeypatch.setattr(lanes, "UNIT", 1)
    lanes.sums_by_name.cache_clear()
    with pytest.raises(
        AssertionError, match=r"two partitions of 20 pairs have the name \d+; choose another UNIT"
    ):
        lanes.sums_by_name(20)
    lanes.sums_by_name.cache_clear()
