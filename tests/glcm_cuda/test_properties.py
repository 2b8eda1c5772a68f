"""Properties of every map, on images that hypothesis thinks of."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from glcm_cuda import GLCMSettings
from glcm_cuda.maps import entropy_of_levels


def volumes(depth=3):
    return arrays.arrays(np.uint8, (depth, 6, 7), elements=st.integers(0, 5))


def cpu_map(levels, **fields):
    return entropy_of_levels(np.ascontiguousarray(levels), GLCMSettings(levels=64, **fields), backend="cpu")


fast = settings(max_examples=15, deadline=None)


@fast
@given(volumes(), st.sampled_from([{}, {"aggregate": "merge"}, {"dimensions": 3, "window": 3}]))
def test_flips_and_transposition_move_the_map(levels, fields):
    expected = cpu_map(levels, **fields)
    np.testing.assert_array_equal(cpu_map(levels[:, :, ::-1], **fields)[:, :, ::-1], expected)
    np.testing.assert_array_equal(cpu_map(levels[:, ::-1], **fields)[:, ::-1], expected)
    np.testing.assert_allclose(
        cpu_map(levels.transpose(0, 2, 1), **fields).transpose(0, 2, 1), expected, rtol=0, atol=5e-7
    )


@fast
@given(volumes(), st.permutations(range(6)))
def test_names_of_levels_do_not_matter(levels, names):
    renamed = np.array(names, np.uint8)[levels]
    np.testing.assert_array_equal(cpu_map(renamed, symmetric=False), cpu_map(levels, symmetric=False))
    np.testing.assert_array_equal(cpu_map(renamed), cpu_map(levels))


@fast
@given(volumes(), st.integers(1, 4))
def test_a_part_with_its_halo_has_the_bits_of_the_whole(levels, column):
    whole = cpu_map(levels, window=3)
    part = cpu_map(levels[:, :, max(column - 1, 0) : column + 2], window=3)
    np.testing.assert_array_equal(part[:, :, 1], whole[:, :, column])


@fast
@given(volumes())
def test_bounds(levels):
    values = cpu_map(levels)
    assert (values >= 0).all()
    assert (values <= 2 * np.log2(6) + 1e-6).all()
