"""What the CUDA backend does beside the kernels: slabs, memory, devices, arrays that lie on a device.

`test_entropy_map` holds the kernels. Without a device both run in Numba's simulator: see there.
"""

from __future__ import annotations

import contextlib
import os
import threading

import numpy as np
import pytest

from glcm_cuda import GLCMSettings, entropy_map
from glcm_cuda.base.checks import is_device_array
from glcm_cuda.engines import choice
from glcm_cuda.engines.choice import available_backends

if "cuda" not in available_backends():
    pytest.skip("no CUDA device or simulator", allow_module_level=True)

from numba import cuda

from glcm_cuda.engines.cuda import device_arrays, engine
from glcm_cuda.engines.cuda import slabs as slabs_module
from glcm_cuda.families import launching
from glcm_cuda.families.glcm.cuda import stages
from glcm_cuda.families.glcm.cuda.entropy_kernels import marches

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"


@pytest.fixture(autouse=True)
def few_threads(monkeypatch):
    """The simulator takes a thread of its own for each."""
    monkeypatch.setattr(device_arrays, "_EXTENT_THREADS", 128)


@pytest.fixture
def volume(rng):
    return rng.integers(0, 9, (3, 5, 4)).astype(np.float32)


@pytest.mark.parametrize(
    "fields",
    [
        {"window": 13, "levels": 4},
        {"window": 17, "levels": 4},
        pytest.param({"window": 15, "aggregate": "merge", "symmetric": False}, marks=pytest.mark.slow),
        {"dimensions": 3, "window": (3, 3, 15)},
        pytest.param({"dimensions": 3, "window": (3, 3, 15), "distance": 2}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_rows_of_more_pairs_than_registers(rng, fields):
    chosen = GLCMSettings(**fields)
    image = rng.random((3, 3, 16) if fields.get("distance") else (3, 16))
    np.testing.assert_array_equal(
        entropy_map(image, chosen, backend="cuda"), entropy_map(image, chosen, backend="cpu")
    )


def test_blocks_whose_sums_fill_the_shared_memory():
    for window, block in ((5, (32, 4)), (31, (32, 3)), (95, (32, 1)), (97, (8, 3)), (255, (8, 1))):
        assert {march.block for march in marches(GLCMSettings(window=window))} == {block}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        pytest.param({"dimensions": 3, "window": 3}, marks=pytest.mark.slow),
        pytest.param({"aggregate": "merge"}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_slabs_do_not_change_a_bit(monkeypatch, rng, volume, fields):
    chosen = GLCMSettings(**fields)
    mask = rng.random(volume.shape) < 0.8
    expected = entropy_map(volume, chosen, mask=mask, backend="cpu")
    for voxels, steps in ((40, [40, 60]), (8, [8, 16, 20, 28, 36, 40, 48, 56, 60]), (1, range(4, 61, 4))):
        monkeypatch.setattr(slabs_module, "_SLAB_VOXELS", dict.fromkeys((2, 3), voxels))
        seen = []
        slabs = entropy_map(
            volume, chosen, mask=mask, backend="cuda", progress=lambda done, _, seen=seen: seen.append(done)
        )
        np.testing.assert_array_equal(slabs, expected)
        assert seen == list(steps)


def test_strips_do_not_change_a_bit(monkeypatch, rng):
    image = rng.random((9, 3))
    expected = entropy_map(image, backend="cpu")
    for longest in (1, 2, 5):
        monkeypatch.setattr(stages, "_LONGEST_STRIP", longest)
        np.testing.assert_array_equal(entropy_map(image, backend="cuda"), expected)


@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "uint16", "int32", "int64", "float16", "float64", ">i2", "?"]
)
def test_types_of_images(rng, dtype):
    image = rng.integers(0, 100, (4, 5)).astype(dtype)
    np.testing.assert_array_equal(entropy_map(image, backend="cuda"), entropy_map(image, backend="cpu"))


def test_memory_is_bounded_by_the_environment(monkeypatch, volume):
    expected = entropy_map(volume, backend="cpu")
    seen = []
    monkeypatch.setenv(slabs_module.MEMORY_VARIABLE, "0.0015")
    bounded = entropy_map(volume, backend="cuda", progress=lambda done, _: seen.append(done))
    np.testing.assert_array_equal(bounded, expected)
    assert len(seen) > 1
    monkeypatch.setenv(slabs_module.MEMORY_VARIABLE, "0.0001")
    with pytest.raises(RuntimeError, match=r"a row of 4 voxels needs .* MiB .*use backend 'cpu'"):
        entropy_map(volume, backend="cuda")
    monkeypatch.setenv(slabs_module.MEMORY_VARIABLE, "all")
    with pytest.raises(ValueError, match=r"GLCM_CUDA_MEMORY must be a number of MiB, got 'all'"):
        entropy_map(volume, backend="cuda")


def test_a_device_without_memory_gets_smaller_slabs(monkeypatch, volume):
    allocate, refused = cuda.device_array, []

    class OutOfMemoryError(Exception):
        code = slabs_module._OUT_OF_MEMORY

    def meagre(shape, *arguments, **options):
        if np.prod(shape) > 100:
            refused.append(shape)
            raise OutOfMemoryError
        return allocate(shape, *arguments, **options)

    monkeypatch.setattr(cuda, "device_array", meagre)
    np.testing.assert_array_equal(entropy_map(volume, backend="cuda"), entropy_map(volume, backend="cpu"))
    assert refused


def test_other_errors_of_the_device_are_not_taken_for_a_lack_of_memory(monkeypatch, volume):
    def broken(*_, **__):
        msg = "the device fell off the bus"
        raise OSError(msg)

    monkeypatch.setattr(cuda, "device_array", broken)
    with pytest.raises(OSError, match="fell off the bus"):
        entropy_map(volume, backend="cuda")


def test_devices_share_the_slabs(monkeypatch, volume):
    """Two names for one device, whose threads take turns, since the simulator has one."""
    turn, drivers = threading.Lock(), set()

    class Device:
        def __init__(self, name):
            self.name = name

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    launch = launching.launch

    def one_at_a_time(*arguments, **options):
        drivers.add(threading.current_thread())
        with turn:
            launch(*arguments, **options)

    class Patient(slabs_module.Slab):
        """The first device waits for the second to take a slab, or it might do all of them."""

        def send(self, *arguments):
            super().send(*arguments)
            if threading.current_thread() is threading.main_thread():
                other.wait(timeout=60)
            else:
                other.set()

    other = threading.Event()
    monkeypatch.setattr(engine, "Slab", Patient)
    for module in (slabs_module, stages):
        monkeypatch.setattr(module, "launch", one_at_a_time)
    monkeypatch.setattr(slabs_module, "_SLAB_VOXELS", dict.fromkeys((2, 3), 8))
    monkeypatch.setattr(cuda, "gpus", [Device("first"), Device("second")])
    np.testing.assert_array_equal(entropy_map(volume, backend="cuda"), entropy_map(volume, backend="cpu"))
    assert len(drivers) == 2


def test_an_error_on_one_device_ends_the_map(monkeypatch, volume):
    def broken(*_):
        msg = "no such kernel"
        raise OSError(msg)

    monkeypatch.setattr(slabs_module, "map_block", broken)
    monkeypatch.setattr(slabs_module, "_SLAB_VOXELS", dict.fromkeys((2, 3), 8))
    monkeypatch.setattr(cuda, "gpus", [contextlib.nullcontext(), contextlib.nullcontext()])
    with pytest.raises(OSError, match="no such kernel"):
        entropy_map(volume, backend="cuda")


@pytest.mark.parametrize("shape", [(6, 7), pytest.param((3, 4, 5), marks=pytest.mark.slow)])
@pytest.mark.parametrize("masked", [False, True])
def test_arrays_on_a_device_stay_there(rng, shape, masked):
    image = rng.integers(0, 50, shape).astype(np.int16)
    mask = rng.random(shape) < 0.8 if masked else None
    chosen = GLCMSettings(range_over="mask" if masked else "image")
    expected = entropy_map(image, chosen, mask=mask, backend="cpu")
    inside = None if mask is None else cuda.to_device(mask)
    found = entropy_map(cuda.to_device(image), chosen, mask=inside)
    assert is_device_array(found)
    np.testing.assert_array_equal(found.copy_to_host(), expected)
    out = cuda.device_array(shape, np.float32)
    assert entropy_map(cuda.to_device(image), chosen, mask=mask, out=out, stream=cuda.stream()) is out
    np.testing.assert_array_equal(out.copy_to_host(), expected)


def test_slabs_of_an_array_on_a_device(monkeypatch, volume):
    monkeypatch.setattr(slabs_module, "_SLAB_VOXELS", dict.fromkeys((2, 3), 8))
    found = entropy_map(cuda.to_device(volume))
    np.testing.assert_array_equal(found.copy_to_host(), entropy_map(volume, backend="cpu"))


def test_range_of_an_array_on_a_device(rng):
    image = rng.random((5, 6))
    image[0, 0] = np.nan
    on_device = cuda.to_device(image)
    with pytest.raises(ValueError, match="must hold finite intensities, got 1 NaN or infinite voxel"):
        entropy_map(on_device)
    mask = np.isfinite(image)
    for chosen in (GLCMSettings(), GLCMSettings(range_over="image"), GLCMSettings(intensity_range=(0, 0.5))):
        np.testing.assert_array_equal(
            entropy_map(on_device, chosen, mask=mask).copy_to_host(),
            entropy_map(image, chosen, mask=mask, backend="cpu"),
        )


@pytest.mark.parametrize(
    "fields",
    [
        {"levels": 300},
        {"bin_width": 4.0},
        {"levels": 8, "bin_edges": "pyradiomics", "masked_window": False},
        {"range_over": "crop", "intensity_range": (1.0, 7.0)},
    ],
    ids=str,
)
def test_bins_of_an_array_on_a_device(rng, volume, fields):
    mask = rng.random(volume.shape) < 0.8
    chosen = GLCMSettings(window=3, **fields)
    found = entropy_map(cuda.to_device(volume), chosen, mask=cuda.to_device(mask))
    np.testing.assert_array_equal(found.copy_to_host(), entropy_map(volume, chosen, mask=mask, backend="cpu"))


def test_settings_that_need_the_host(volume):
    on_device, mask = cuda.to_device(volume), np.ones(volume.shape)
    for fields, message in (
        ({"percentiles": (1, 99)}, "percentiles needs an image in host memory; set intensity_range"),
        ({"deviations": 3}, "deviations needs an image in host memory"),
        ({"range_over": "crop"}, 'range_over="crop" needs an image in host memory'),
        ({"slice_axis": 1}, "slice_axis=1 needs an image in host memory; copy the image"),
    ):
        with pytest.raises(ValueError, match=message):
            entropy_map(on_device, GLCMSettings(**fields), mask=mask)
    volume[0, 0, 0], mask[0, 0, 0] = np.nan, 0
    with pytest.raises(ValueError, match=r"masked_window=False .* got 1 NaN or infinite"):
        entropy_map(cuda.to_device(volume), GLCMSettings(masked_window=False), mask=mask)


def test_bad_arrays_on_a_device(volume):
    on_device = cuda.to_device(volume)
    for wrong, message in (
        ({"mask": np.ones((2, 2))}, r"mask must have the image's shape \(3, 5, 4\), got \(2, 2\)"),
        ({"mask": np.zeros(volume.shape)}, "mask must have voxels inside, got none"),
        ({"out": cuda.device_array((3, 5, 4), np.float64)}, "out must be float32 .* got float64"),
        (
            {"out": cuda.device_array((5, 4), np.float32)},
            r"out must be float32 .* got float32 of shape \(5, 4\)",
        ),
        ({"out": on_device}, "out must not be the image"),
        ({"mask": np.full(volume.shape, np.nan)}, "mask must hold finite numbers"),
        ({"out": np.empty((3, 5, 4), np.float32)}, "out must be on the CUDA device"),
        ({"backend": "cpu"}, "is on a CUDA device, which backend 'cpu' cannot read"),
    ):
        with pytest.raises(ValueError, match=message):
            entropy_map(on_device, **wrong)
    with pytest.raises(TypeError, match="image must hold real numbers, got dtype complex64"):
        entropy_map(cuda.to_device(volume.astype(np.complex64)))
    with pytest.raises(ValueError, match="must have two or three dimensions"):
        entropy_map(cuda.to_device(np.ones(4, np.float32)))
    with pytest.raises(ValueError, match="stream requires an image on a CUDA device"):
        entropy_map(volume, stream=1)
    with pytest.raises(ValueError, match="out must be a float32 NumPy array"):
        entropy_map(volume, out=cuda.device_array((3, 5, 4), np.float32))


def test_a_map_into_an_array_of_ones_own(volume):
    out = np.empty((3, 5, 8), np.float32)[:, :, ::2]
    assert entropy_map(volume, backend="cuda", out=out) is out
    np.testing.assert_array_equal(out, entropy_map(volume, backend="cpu"))


@pytest.mark.skipif(SIMULATED, reason="the simulator has no devices that are broken")
def test_a_kernel_runs():
    engine.probe()


def test_a_device_on_which_no_kernel_runs(monkeypatch):
    def broken():
        msg = "the provided PTX was compiled with an unsupported toolchain\nand so on"
        raise OSError(msg)

    monkeypatch.setattr(engine, "probe", broken)
    reason = choice.why_no_cuda.__wrapped__()
    assert reason.startswith("a CUDA kernel failed to run (the provided PTX")
    assert "\n" not in reason
    monkeypatch.setattr(choice, "why_no_cuda", lambda: reason)
    with pytest.raises(RuntimeError, match="update the driver"):
        entropy_map(np.ones((3, 3)), backend="cuda")
    np.testing.assert_array_equal(entropy_map(np.ones((3, 3))), np.zeros((3, 3)))
