"""Maps of every backend against the oracle, a case worked by hand, and properties.

Without a CUDA device the CUDA backend runs in Numba's simulator: ``make test`` calls this file a
second time with NUMBA_ENABLE_CUDASIM=1 and NUMBA_DISABLE_JIT=1.
"""

from __future__ import annotations

import logging
import math
import subprocess
import sys
import zlib

import naive
import numba
import numpy as np
import pytest
from helpers.simulator import slow_if_simulated

from glcm_cuda import GLCMSettings, entropy_map, feature_maps, quantize
from glcm_cuda.engines.choice import available_backends
from glcm_cuda.families import fixed_point
from glcm_cuda.families.fixed_point import fixed_log2
from glcm_cuda.families.offsets import largest_entropy
from glcm_cuda.maps import entropy_of_levels


def assert_nearest(got, expected):
    """The map is the float32 next to the true value: half a step away, but for 2**-32 bits of fixed point.

    Half a step is 1.2e-7 below 4 bits and 2.4e-7 above.
    """
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
    half_a_step = np.spacing(np.abs(expected).astype(np.float32)) / 2
    excess = np.abs(got - expected) - half_a_step
    assert np.all(np.isnan(excess) | (excess < 2.0**-32 + 1e-14))


BACKENDS = [
    pytest.param(
        name,
        marks=[] if name in available_backends() else pytest.mark.skip(reason="no CUDA device or simulator"),
    )
    for name in ("cpu", "cuda")
]
needs_cuda = pytest.mark.skipif("cuda" not in available_backends(), reason="no CUDA device or simulator")

needs_machine_code = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="slow without machine code")


SETTINGS = [
    {},
    {"window": 3},
    {"window": 7},
    {"distance": 2},
    {"window": 3, "distance": 2},
    {"symmetric": False},
    {"aggregate": "merge"},
    {"aggregate": "merge", "symmetric": False, "distance": 2},
    {"log_base": "e"},
    {"log_base": 10, "levels": 256},
    {"levels": 2},
    {"dimensions": 3, "window": 3},
    pytest.param(
        {"dimensions": 3, "window": 3, "aggregate": "merge", "symmetric": False}, marks=slow_if_simulated
    ),
    pytest.param({"dimensions": 3, "window": (3, 5, 5)}, marks=slow_if_simulated),
]


def images():
    rng = np.random.default_rng(0)
    return {
        "random": rng.random((6, 7)),
        "few levels": rng.integers(0, 3, (2, 5, 6)),
        "constant": np.full((4, 4), 3.5),
        "checkerboard": np.indices((6, 5)).sum(axis=0) % 2,
        "single row": rng.random((1, 9)),
        "single column": rng.random((9, 1)),
        "one voxel": np.ones((1, 1)),
        "smaller than the window": rng.random((2, 3)),
        "volume": rng.random((3, 4, 5)),
    }


# In the simulator a map takes seconds, by the number of its windows
LARGE = ("few levels", "constant", "single column", "volume")
QUICK = [name for name in images() if name not in LARGE]


def oracle(image, chosen, mask=None):
    levels = naive.quantize(image, chosen.levels)
    names = ("window", "distance", "dimensions", "symmetric", "aggregate", "log_base")
    return naive.entropy_map(levels, mask=mask, **{name: getattr(chosen, name) for name in names})


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("fields", SETTINGS, ids=str)
@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=slow_if_simulated) for name in LARGE)])
def test_matches_naive(backend, fields, name):
    chosen = GLCMSettings(**fields)
    image = images()[name]
    got = entropy_map(image, chosen, backend=backend)
    assert got.dtype == np.float32
    assert_nearest(got, oracle(image, chosen))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("fields", [{}, {"aggregate": "merge"}, {"dimensions": 3, "window": 3}], ids=str)
def test_matches_naive_inside_a_mask(rng, backend, fields):
    chosen = GLCMSettings(**fields)
    image = rng.random((2, 6, 6))
    mask = rng.random(image.shape) < 0.4
    got = entropy_map(image, chosen, mask=mask, backend=backend)
    assert np.isnan(got[~mask]).all()
    assert_nearest(got, oracle(image, chosen, mask))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_case_worked_by_hand(backend):
    """docs/definition.md, section 8: levels 0 0 1 / 0 0 1 / 0 2 2 in a 3x3 window."""
    levels = np.array([[0, 0, 1], [0, 0, 1], [0, 2, 2]], np.uint8)
    chosen = GLCMSettings(levels=3, window=3)
    matrices = [
        {"00": 4 / 12, "01": 2 / 12, "10": 2 / 12, "02": 1 / 12, "20": 1 / 12, "22": 2 / 12},  # to the right
        {"00": 3 / 6, "02": 1 / 12, "20": 1 / 12, "11": 1 / 6, "12": 1 / 12, "21": 1 / 12},  # down
        {"00": 2 / 8, "01": 1 / 8, "10": 1 / 8, "02": 2 / 8, "20": 2 / 8},  # down and to the right
        {"00": 4 / 8, "01": 1 / 8, "10": 1 / 8, "12": 1 / 8, "21": 1 / 8},  # down and to the left
    ]
    expected = np.mean([-sum(p * math.log2(p) for p in matrix.values()) for matrix in matrices])
    assert entropy_of_levels(levels, chosen, backend=backend)[1, 1] == pytest.approx(expected, abs=2.5e-7)


@pytest.mark.parametrize("fields", SETTINGS, ids=str)
def test_largest_entropy(rng, fields):
    """Reached where every level of the window is another, as far as there are levels."""
    chosen = GLCMSettings(**{"levels": 256, **fields})
    image = rng.permutation(math.prod(chosen.edges)).reshape(chosen.edges)
    reached = entropy_map(image, chosen, backend="cpu")[chosen.radii]
    if image.size <= chosen.levels:
        assert reached == pytest.approx(largest_entropy(chosen), abs=2.5e-7)
    assert reached <= largest_entropy(chosen) + 2.5e-7


def test_largest_value():
    image = np.arange(25).reshape(5, 5)
    assert entropy_map(image, backend="cpu")[2, 2] == pytest.approx(
        math.log2(40) / 2 + math.log2(32) / 2, abs=2.5e-7
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_real_slice_matches_naive(backend):
    """A post-contrast MR slice that pydicom ships: 12 bits, with texture and background."""
    examples = pytest.importorskip("pydicom.examples")
    crop = examples.overlay.pixel_array[200:212, 150:164]
    assert_nearest(entropy_map(crop, backend=backend), oracle(crop, GLCMSettings()))


@slow_if_simulated
@needs_cuda
@pytest.mark.parametrize("fields", SETTINGS, ids=str)
def test_backends_give_the_same_bits(rng, fields):
    chosen = GLCMSettings(**fields)
    image = rng.integers(0, 40, (2, 6, 7))
    mask = rng.random(image.shape) < 0.8
    for inside in (None, mask):
        cpu = entropy_map(image, chosen, mask=inside, backend="cpu")
        np.testing.assert_array_equal(entropy_map(image, chosen, mask=inside, backend="cuda"), cpu)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("fields", "checksum"),
    [
        ({}, 0xB3A05AB6),
        ({"window": 7, "levels": 256}, 0x0C369217),
        ({"aggregate": "merge", "symmetric": False}, 0x67FB2EE8),
        pytest.param({"dimensions": 3, "window": 3, "log_base": "e"}, 0x43FDF4D0, marks=slow_if_simulated),
    ],
    ids=str,
)
def test_the_bits_of_a_map_are_these(backend, fields, checksum):
    """Recorded, so that machine code and the simulator, which runs without, are held to one another."""
    image = (np.arange(2 * 9 * 11) * 7919 % 61 // 4).reshape(2, 9, 11)
    assert zlib.crc32(entropy_map(image, GLCMSettings(**fields), backend=backend).tobytes()) == checksum


@needs_machine_code
@pytest.mark.parametrize("fields", [{}, {"window": 7}, {"aggregate": "merge"}], ids=str)
@pytest.mark.parametrize("corner", [(3, 5), (50, 240), (61, 251)])
def test_the_place_in_a_larger_image_does_not_change_a_bit(rng, fields, corner):
    chosen = GLCMSettings(**fields, intensity_range=(0, 64))
    part = rng.integers(0, 30, (40, 45))
    image = rng.integers(0, 64, (110, 330))
    y, x = corner
    image[y : y + 40, x : x + 45] = part
    radius = chosen.radius
    whole = entropy_map(image, chosen, backend="cpu")[y : y + 40, x : x + 45]
    inner = (slice(radius, -radius), slice(radius, -radius))
    np.testing.assert_array_equal(whole[inner], entropy_map(part, chosen, backend="cpu")[inner])


@pytest.mark.parametrize("fields", [{}, {"window": 7}, {"dimensions": 3, "window": 3}], ids=str)
def test_blocks_do_not_change_a_bit(rng, monkeypatch, fields):
    image = rng.random((9, 8, 8))
    mask = rng.random(image.shape) < 0.9
    chosen = GLCMSettings(**fields)
    whole = entropy_map(image, chosen, mask=mask, backend="cpu")
    by_rows = [z * 64 + y for z in range(9) for y in (24, 48, 64)]
    by_row = range(8, 577, 8)
    if chosen.dimensions == 3 and not numba.config.DISABLE_JIT:  # rows of four slices, and of the last one
        by_rows = by_row = [*range(32, 513, 32), *range(520, 577, 8)]
    for voxels, steps in ((4 * 64, [256, 512, 576]), (24, by_rows), (1, by_row)):
        seen = []
        monkeypatch.setattr("glcm_cuda.engines.cpu._BLOCK_VOXELS", voxels)
        blocks = entropy_map(
            image,
            chosen,
            mask=mask,
            backend="cpu",
            progress=lambda done, total, seen=seen: seen.append((done, total)),
        )
        np.testing.assert_array_equal(blocks, whole)
        assert seen == [(step, 576) for step in steps]


@needs_machine_code
@pytest.mark.parametrize("fields", [{}, {"window": 7}, {"window": 17}], ids=str)
def test_threads_do_not_change_a_bit(rng, fields):
    image, chosen = rng.random((200, 300)), GLCMSettings(**fields)
    several = entropy_map(image, chosen, backend="cpu")
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        np.testing.assert_array_equal(entropy_map(image, chosen, backend="cpu"), several)
    finally:
        numba.set_num_threads(before)


def test_memory_layout_does_not_matter(rng):
    image = rng.integers(0, 99, (6, 8)).astype(np.int16)
    expected = entropy_map(image, backend="cpu")
    frozen = image.copy()
    frozen.flags.writeable = False
    for same in (np.asfortranarray(image), image.astype(">i2"), image.astype("f2"), frozen, image.tolist()):
        np.testing.assert_array_equal(entropy_map(same, backend="cpu"), expected)


def test_entropy_of_levels_is_the_map_of_the_quantised_image(rng):
    image = rng.random((5, 6))
    np.testing.assert_array_equal(
        entropy_of_levels(quantize(image), backend="cpu"), entropy_map(image, backend="cpu")
    )


def test_levels_may_lie_in_any_order(rng):
    levels = rng.integers(0, 64, (3, 5, 6)).astype(np.uint8)
    expected = entropy_of_levels(levels, backend="cpu")
    np.testing.assert_array_equal(entropy_of_levels(np.asfortranarray(levels), backend="cpu"), expected)


def test_feature_maps_are_maps_by_name(rng):
    image = rng.random((5, 6))
    found = feature_maps(image, ["joint_entropy"], GLCMSettings(levels=8), backend="cpu")
    assert list(found) == ["joint_entropy"]
    expected = entropy_map(image, GLCMSettings(levels=8), backend="cpu")
    np.testing.assert_array_equal(found["joint_entropy"], expected)
    with pytest.raises(ValueError, match=r"no feature 'roughness'.*name of the families .*glcm \(24\)"):
        feature_maps(image, ["roughness"])


@pytest.mark.parametrize("shape", [(5,), (2, 2, 2, 2)])
def test_dimensions_of_the_image(shape):
    with pytest.raises(ValueError, match="must have two or three dimensions"):
        entropy_map(np.ones(shape))


def test_levels_are_checked():
    with pytest.raises(TypeError, match="levels must be uint8 or uint16, got int64"):
        entropy_of_levels(np.zeros((3, 3), np.int64))
    with pytest.raises(ValueError, match="levels must be below 4, got 9"):
        entropy_of_levels(np.full((3, 3), 9, np.uint8), GLCMSettings(levels=4))


def test_backend_names():
    with pytest.raises(ValueError, match=r"backend must be one of .* got 'gpu'"):
        entropy_map(np.ones((3, 3)), backend="gpu")


def test_auto_says_which_backend_it_took(caplog):
    with caplog.at_level(logging.INFO, "glcm_cuda"):
        entropy_map(np.ones((3, 3)))
    assert caplog.text.count(f"backend auto chose {available_backends()[-1]}") == 1


@pytest.mark.skipif("cuda" in available_backends(), reason="there is a CUDA device or simulator")
def test_cuda_without_a_device_is_refused():
    with pytest.raises(RuntimeError, match=r"backend 'cuda' cannot be used: .* use backend 'cpu'"):
        entropy_map(np.ones((3, 3)), backend="cuda")


@needs_machine_code
def test_an_interrupt_ends_a_map_early():
    """One that would take minutes; it stops after the block it is in."""
    code = """
import numpy as np, signal
from glcm_cuda import GLCMSettings, entropy_map
image = np.random.default_rng(0).random((64, 512, 512), dtype=np.float32)
def report(done, total):
    print(done, total, flush=True)
    signal.raise_signal(signal.SIGINT)
entropy_map(image, GLCMSettings(dimensions=3, window=17), backend="cpu", progress=report)
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.stderr.rstrip().endswith("KeyboardInterrupt")
    (done, total) = map(int, ended.stdout.split())
    assert done < total / 100


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_map_goes_into_any_writable_array(rng, backend):
    image = rng.integers(0, 9, (3, 4, 5))
    expected = entropy_map(image, backend="cpu")
    gaps, columns = np.empty((3, 4, 10), np.float32)[..., ::2], np.empty(image.shape, np.float32, order="F")
    plane = np.empty((5, 4), np.float32).T
    for out in (gaps, columns):
        assert entropy_map(image, out=out, backend=backend) is out
        np.testing.assert_array_equal(out, expected)
    entropy_map(image[0], out=plane, backend=backend)
    np.testing.assert_array_equal(plane, entropy_map(image[0], backend="cpu"))


def test_a_map_does_not_go_into_a_read_only_array(rng):
    out = np.empty((3, 4, 5), np.float32)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="out must be writable, got a read-only array"):
        entropy_map(rng.integers(0, 9, out.shape), out=out, backend="cpu")


@pytest.mark.slow
@slow_if_simulated
@pytest.mark.parametrize("aggregate", ["mean", "merge"])
def test_windows_beyond_the_image_need_no_larger_tables(rng, monkeypatch, aggregate):
    """Of the three million pairs of a 63x63x63 window, this image has room for a few hundred."""
    logarithms = []
    monkeypatch.setattr(
        fixed_point,
        "fixed_log2",
        lambda counts, *one: logarithms.append(len(counts)) or fixed_log2(counts, *one),
    )
    fixed_point.log_table.cache_clear()
    image, names = rng.integers(0, 9, (3, 4, 5)), ["joint_entropy", "contrast", "sum_entropy", "imc1", "mcc"]
    small, large = (
        feature_maps(
            image,
            names,
            GLCMSettings(window=window, dimensions=3, aggregate=aggregate, levels=9),
            backend="cpu",
        )
        for window in (9, 63)
    )
    np.testing.assert_array_equal(large["joint_entropy"], small["joint_entropy"])
    for name in names:  # with coarser fixed-point numbers in the larger window
        np.testing.assert_allclose(large[name], small[name], rtol=1e-5, atol=2e-7)
    assert 0 < max(logarithms) < 30_000
