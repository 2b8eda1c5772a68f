"""Grey-tone differences on the CPU: the oracle, cases worked by hand, properties, and what is refused."""

from __future__ import annotations

import math

import naive_families as oracle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from glcm_cuda import GLCMSettings, feature_maps
from glcm_cuda.families.ngtdm import differences, values
from glcm_cuda.families.ngtdm.cpu.boxes import FRAMES, add_boxes, boxes_of
from glcm_cuda.families.ngtdm.differences import Around
from glcm_cuda.families.registry import features_named
from glcm_cuda.families.stage import Task
from glcm_cuda.families.windows import MARGIN, NOTHING, Window, frame_of
from glcm_cuda.levels.bins import bins_of_levels

CASES = [
    {},
    {"window": 3},
    {"window": 7, "distance": (1, 3)},
    {"distance": 2},
    {"distance": (1, 2)},
    {"first_level": 0, "ngtdm_isolated": False},
    {"dimensions": 3, "window": 3},
    {"dimensions": 3, "window": (3, 5, 7)},
    {"dimensions": 3, "window": 5, "distance": 2},
    {"dimensions": 3, "window": 5, "distance": (1, 2), "ngtdm_isolated": False},
    {"slice_axis": 2},
]


def found(levels, chosen, mask=None, names="ngtdm"):
    bins = bins_of_levels(chosen.levels)
    return feature_maps(levels, names, chosen, mask=mask, bins=bins, backend="cpu")


def expected(levels, chosen, mask):
    """Return the oracle's maps by our names."""
    moved, inside = (np.moveaxis(array, chosen.slice_axis, 0) for array in (levels, mask))
    maps = oracle.maps(
        "ngtdm",
        moved,
        moved.astype(int) + 1,
        window=chosen.window,
        dimensions=chosen.dimensions,
        mask=inside,
        masked_window=chosen.masked_window,
        distances=chosen.distances,
        isolated=chosen.ngtdm_isolated,
    )
    return {f"ngtdm_{name}": np.moveaxis(one, 0, chosen.slice_axis) for name, one in maps.items()}


def assert_equal(maps, wanted):
    """To half a step of float32."""
    assert set(maps) == set(wanted)
    for name, one in wanted.items():
        np.testing.assert_allclose(maps[name], one, rtol=1e-7, err_msg=name)


@pytest.mark.parametrize("density", [1.0, 0.7, 0.15], ids=["whole", "dense", "isolated"])
@pytest.mark.parametrize("fields", CASES, ids=str)
def test_oracle(rng, fields, density):
    levels, chosen = rng.integers(0, 6, (3, 6, 7)).astype(np.uint8), GLCMSettings(levels=6, **fields)
    mask = rng.random(levels.shape) < density
    assert_equal(found(levels, chosen, mask), expected(levels, chosen, mask))


@pytest.mark.parametrize("fields", [{}, {"dimensions": 3, "window": 3}], ids=str)
def test_unmasked_windows(rng, fields):
    levels, mask = rng.integers(0, 6, (3, 6, 7)).astype(np.uint8), rng.random((3, 6, 7)) < 0.3
    chosen = GLCMSettings(levels=6, masked_window=False, **fields)
    assert_equal(found(levels, chosen, mask), expected(levels, chosen, mask))


def test_smooth_levels_in_a_large_window(rng):
    levels = (np.add.outer(np.arange(12), np.arange(13)) // 3 + rng.integers(0, 2, (12, 13))).astype(np.uint8)
    chosen = GLCMSettings(levels=16, window=11)
    assert_equal(found(levels[None], chosen), expected(levels[None], chosen, np.ones((1, 12, 13), bool)))


@pytest.mark.slow
@pytest.mark.parametrize("fields", [{}, {"dimensions": 3, "window": 3}], ids=str)
def test_as_many_levels_as_there_can_be(rng, fields):
    levels = rng.integers(0, 65_536, (3, 5, 6)).astype(np.uint16)
    levels[:, :, 3] = [0, 65_535, 65_534, 65_535, 0]
    chosen = GLCMSettings(levels=65_536, **fields)
    assert_equal(found(levels, chosen), expected(levels, chosen, np.ones(levels.shape, bool)))


def test_the_example_of_pyradiomics():
    """The sums of level 3 are 2.63 in its table, and 3.03 in its text."""
    image = np.array([[1, 2, 5, 2], [3, 5, 1, 3], [1, 3, 5, 5], [3, 1, 1, 1]])
    numbers, sums = oracle.differences(dict(np.ndenumerate(image[np.newaxis])), 2)
    assert numbers == {1: 6, 2: 2, 3: 4, 5: 4}
    assert [sums[i] for i in (1, 2, 5)] == pytest.approx([13.35, 2.0, 10.075])
    sums = {1: 13.35, 2: 2.0, 3: sums[3], 5: 10.075}
    weighted = sum(numbers[i] * sums[i] for i in sums) / 16
    # abs(i n_i - j n_j) with the products 6, 4, 12 and 20
    apart = 2 * (2 + 6 + 14 + 8 + 16 + 8) / 16
    # 5 of the 25 windows have the image in full; that of edge 7 around (1, 1) is one
    maps = found(image - 1, GLCMSettings(levels=5, window=7))
    assert maps["ngtdm_Coarseness"][1, 1] == pytest.approx(1 / weighted, rel=1e-6)
    assert maps["ngtdm_Busyness"][1, 1] == pytest.approx(weighted / apart, rel=1e-6)


def test_a_row_worked_by_hand():
    """Of 1 3 2, neighbours have the means 3, 1.5 and 3: differences 2, 1.5 and 1, of one voxel each."""
    maps = found(np.array([[0, 2, 1]]), GLCMSettings(levels=3))
    # contrast: pairs (i - j)**2 are 4, 1, 1, twice each; complexity: abs(i - j) times the mean of two sums
    complexity = 2 * (2 * (2 + 1.5) / 2 + 1 * (2 + 1) / 2 + 1 * (1.5 + 1) / 2) / 3
    values = {
        "Coarseness": 3 / 4.5,
        "Contrast": 12 / 9 / 6 * 4.5 / 3,
        "Busyness": 4.5 / 3 / (8 / 3),
        "Complexity": complexity,
        "Strength": 2 / 3 * 12 / 4.5,
    }
    for name, value in values.items():
        assert maps[f"ngtdm_{name}"][0, 1] == pytest.approx(value, rel=1e-7), name


def test_equal_products_have_no_busyness():
    """Of 1 1 2, level times number is 2 for both levels; a rounded difference need not be 0."""
    maps = found(np.array([[0, 0, 1]]), GLCMSettings(levels=2))
    assert maps["ngtdm_Busyness"][0, 1] == 0
    assert maps["ngtdm_Coarseness"][0, 1] == np.float32(1 / (2 / 3 * 0.5 + 1 / 3 * 1))


def test_one_level():
    maps = found(np.full((5, 5), 3), GLCMSettings(levels=4))
    assert {name: set(one.ravel().tolist()) for name, one in maps.items()} == {
        name: {1e6 if name == "ngtdm_Coarseness" else 0.0} for name in maps
    }


@pytest.mark.parametrize(("isolated", "coarseness"), [(True, 1e6), (False, math.nan)])
def test_a_voxel_without_neighbours(isolated, coarseness):
    mask = np.zeros((5, 5), bool)
    mask[2, 2] = True
    maps = found(np.full((5, 5), 3), GLCMSettings(levels=4, ngtdm_isolated=isolated), mask)
    np.testing.assert_equal(maps["ngtdm_Coarseness"][2, 2], np.float32(coarseness))
    assert all(np.isnan(one[~mask]).all() for one in maps.values())


def test_what_else_is_asked_for_does_not_matter(rng):
    levels, chosen = rng.integers(0, 64, (9, 9)).astype(np.uint8), GLCMSettings()
    for name, one in found(levels, chosen).items():
        np.testing.assert_array_equal(found(levels, chosen, names=name)[name], one)


def test_only_what_is_asked_for_is_computed():
    task = Task(GLCMSettings(), bins_of_levels(64), features_named("ngtdm"))
    counted = differences.counted_by(boxes_of, FRAMES)
    for name in ("Busyness", "Complexity", "Contrast"):
        plan = counted.counting(
            task, [(0, feature) for feature in features_named(f"ngtdm_{name}")]
        ).make_plan()
        assert (plan.busyness, plan.complexity) == (name == "Busyness", name == "Complexity")


volumes = arrays.arrays(np.uint8, (3, 6, 7), elements=st.integers(0, 5))
masks = arrays.arrays(np.bool_, (3, 6, 7)).filter(np.any)
few = settings(max_examples=15)
KINDS = [{}, {"dimensions": 3, "window": 3}, {"dimensions": 3, "window": 5, "distance": (1, 2)}]


@few
@given(volumes, masks, st.sampled_from(KINDS))
def test_mirrored_images_have_the_same_bits(levels, mask, fields):
    chosen = GLCMSettings(levels=6, **fields)
    maps = found(levels, chosen, mask)
    for axes in [(slice(None), slice(None, None, -1)), (..., slice(None, None, -1))]:
        turned = found(np.ascontiguousarray(levels[axes]), chosen, mask[axes])
        for name, one in maps.items():
            np.testing.assert_array_equal(turned[name][axes], one)


@few
@given(volumes, st.integers(1, 5), st.sampled_from(["ngtdm_isolated", "first_level"]))
def test_a_part_with_its_halo_has_the_bits_of_the_whole(levels, column, field):
    chosen = GLCMSettings(levels=6, window=3, **{field: 0 if field == "first_level" else False})
    whole = found(levels, chosen)
    part = found(np.ascontiguousarray(levels[:, :, column - 1 : column + 2]), chosen)
    for name, one in whole.items():
        np.testing.assert_array_equal(part[name][:, :, 1], one[:, :, column])


def test_threads_and_bands_do_not_change_a_bit(rng, monkeypatch):
    levels, chosen = rng.integers(0, 64, (2, 40, 9)).astype(np.uint8), GLCMSettings()
    whole = found(levels, chosen)
    monkeypatch.setattr("glcm_cuda.base.threads.get_num_threads", lambda: 3)
    monkeypatch.setattr("glcm_cuda.families.counted_cpu._MATRICES", 30)
    monkeypatch.setattr("glcm_cuda.engines.cpu._BLOCK_VOXELS", 9 * 16)
    for name, one in found(levels, chosen).items():
        np.testing.assert_array_equal(one, whole[name])


@pytest.mark.parametrize("neighbours", [1, 8, 26, 30, 31, 124])
def test_shares(neighbours):
    unit, shares = differences.shares_of(neighbours)
    assert shares[0] == 0
    errors = [abs(share * number - unit) for number, share in enumerate(map(int, shares[1:]), 1)]
    assert max(errors) == 0 if neighbours <= 30 else max(errors) <= neighbours / 2
    assert unit * 65_535 < 2**63  # the largest difference


@pytest.mark.parametrize("fields", [{}, {"distance": (1, 2)}, {"dimensions": 3, "distance": (1, 3)}], ids=str)
def test_numbers_of_neighbours(fields):
    chosen = GLCMSettings(window=7, directions="all", **fields)
    assert differences.most_neighbours(chosen) == len(oracle.neighbours(chosen.dimensions, chosen.distances))


@pytest.mark.parametrize("distance", [1, 2, (1, 2), (1, 3)], ids=str)
@pytest.mark.parametrize("dimensions", [2, 3])
def test_box_sums_and_visits_are_the_same(rng, dimensions, distance):
    """What the CPU and CUDA devices do for the same window."""
    kernels = pytest.importorskip("glcm_cuda.families.ngtdm.cuda.kernels")
    chosen = GLCMSettings(window=5, dimensions=dimensions, distance=distance)
    reach = max(chosen.distances)
    frame, inside = frame_of(chosen, reach), np.full((1 if dimensions == 2 else 5, 5, 5), True)
    margins = [(0, 0) if dimensions == 2 else (reach, reach), (reach, reach), (reach, reach)]
    places = np.flatnonzero(np.pad(inside, margins)).astype(np.int32)
    levels = np.full(frame.size, MARGIN, np.int32)
    levels[places] = np.where(rng.random(places.size) < 0.7, rng.integers(0, 9, places.size), NOTHING)
    places = places[levels[places] >= 0]
    window, found = Window(levels, places, places, places), []
    for add, of in ((add_boxes, boxes_of), (kernels.visit_neighbours, kernels.neighbour_jumps)):
        sums = np.zeros((2, places.size), np.int32)
        add(
            window,
            places.size,
            of(chosen, frame),
            frame,
            Around(*sums, np.zeros(FRAMES * frame.size, np.int32)),
        )
        found.append(sums)
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("kinds", [1, 2, 400, 700])
def test_distance_of_products(rng, kinds):
    """By all pairs, and for many levels by sorting."""
    numbers = rng.integers(1, 9, kinds).astype(float)
    table = values.Table(np.arange(1.0, kinds + 1), numbers, numbers, numbers)
    products = (table.levels * table.numbers).astype(int)
    wanted = np.abs(products[:, None] - products).sum()
    assert values.distance_of_products(table, kinds, np.empty(kinds, np.int32)) == wanted


def test_windows_that_are_too_large():
    chosen = GLCMSettings(window=255, dimensions=3)
    with pytest.raises(
        ValueError,
        match=r"ngtdm_Contrast in windows of 16581375 voxels allows at most 129 levels, got 130; use fewer",
    ):
        feature_maps(np.zeros((2, 2)), "ngtdm_Contrast", chosen, bins=bins_of_levels(130), backend="cpu")


def test_a_distance_beyond_the_image(rng):
    levels = rng.integers(0, 6, (4, 4))
    maps = found(levels, GLCMSettings(window=11, distance=10, levels=6))
    assert (maps["ngtdm_Coarseness"] == 1e6).all()
