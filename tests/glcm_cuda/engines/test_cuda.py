"""What the CUDA backend does beside the kernels: slabs, memory, devices, arrays that lie on a device.

`test_entropy_map` holds the kernels. Without a device both run in Numba's simulator: see there.
"""

from __future__ import annotations

import contextlib
import os
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers.simulator import slow_if_simulated

from glcm_cuda import GLCMSettings, entropy_map
from glcm_cuda.base.checks import is_device_array
from glcm_cuda.engines import choice
from glcm_cuda.engines.choice import available_backends

if "cuda" not in available_backends():
    pytest.skip("no CUDA device or simulator", allow_module_level=True)

from numba import config, cuda

from glcm_cuda.engines.cuda import device_arrays, engine, pinned
from glcm_cuda.engines.cuda import slabs as slabs_module
from glcm_cuda.families import kept, launching
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
        pytest.param({"window": 17, "levels": 4}, marks=slow_if_simulated),
        pytest.param({"window": 15, "aggregate": "merge", "symmetric": False}, marks=slow_if_simulated),
        pytest.param({"dimensions": 3, "window": (3, 3, 15)}, marks=slow_if_simulated),
        pytest.param({"dimensions": 3, "window": (3, 3, 15), "distance": 2}, marks=slow_if_simulated),
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


@slow_if_simulated
@pytest.mark.parametrize("fields", [{}, {"dimensions": 3, "window": 3}, {"aggregate": "merge"}], ids=str)
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


class Fragile:
    """A kernel that warns as Numba's do, and that breaks where two threads start it at the same time."""

    def __init__(self):
        self.grids = []
        self._busy = threading.Lock()

    def __getitem__(self, grid):
        if config.CUDA_LOW_OCCUPANCY_WARNINGS:
            warnings.warn(f"Grid size {grid[0]} will likely result in low occupancy", stacklevel=2)
        return lambda *_: self._run(grid)

    def _run(self, grid):
        if not self._busy.acquire(blocking=False):
            msg = "key already in dictionary"
            raise AssertionError(msg)
        self.grids.append(grid)
        self._busy.release()


@pytest.mark.parametrize("setting", [0, 1])
def test_kernels_start_in_threads_without_advice_on_small_grids(monkeypatch, setting):
    """As an error, which it is in these tests, it would end a map."""
    monkeypatch.setattr(config, "CUDA_LOW_OCCUPANCY_WARNINGS", setting)
    kernel, together = Fragile(), threading.Barrier(4)

    def start(_):
        together.wait()
        for _ in range(1000):
            launching.start(kernel, 1, 32, 0)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(start, range(4)))
    assert kernel.grids == [(1, 32, 0)] * 4000
    assert setting == config.CUDA_LOW_OCCUPANCY_WARNINGS


def test_maps_in_threads(rng):
    """Each map has other grids, for which Numba has not warned yet, and other sizes of buffers."""
    images = [rng.random((1 + turn % 2, 2, 2 + turn)) for turn in range(3 if SIMULATED else 12)]
    with ThreadPoolExecutor(4) as pool:
        maps = list(pool.map(lambda image: entropy_map(image, backend="cuda"), images))
    for image, found in zip(images, maps, strict=True):
        np.testing.assert_array_equal(found, entropy_map(image, backend="cpu"))


@pytest.fixture
def counted(monkeypatch):
    """Return the list of sizes of the pinned arrays that are allocated in a test, which begins with none."""
    allocate, sizes = cuda.pinned_array, []

    def pinned_array(size, dtype):
        sizes.append(size)
        return allocate(size, dtype)

    memory = pinned.PinnedMemory()
    monkeypatch.setattr(slabs_module, "pinned_memory", lambda: memory)
    monkeypatch.setattr(cuda, "pinned_array", pinned_array)
    return sizes


def test_pinned_memory_is_used_again(counted, volume):
    image = volume[:2, :2, :2]
    for _ in range(2):
        found = entropy_map(image, backend="cuda")
        np.testing.assert_array_equal(found, entropy_map(image, backend="cpu"))
        assert counted == [32, 1, 32]  # image, no mask, map
    image, mask = image[:1], image[:1] < 8
    for _ in range(2):
        found = entropy_map(image, mask=mask, backend="cuda")
        np.testing.assert_array_equal(found, entropy_map(image, mask=mask, backend="cpu"))
        assert counted == [32, 1, 32, 16]  # the mask takes a buffer that is large enough, the map a new one


def test_pinned_memory_that_waits_is_bounded(monkeypatch, counted):
    monkeypatch.setattr(pinned, "MOST_WAITING", 100)
    memory = pinned.PinnedMemory()
    for size in (30, 40, 50):
        memory.give_back(np.empty(size, np.uint8))
    assert [memory.take(size).size for size in (1, 41, 1)] == [40, 50, 1]  # the oldest, of 30, was freed
    memory.give_back(np.empty(101, np.uint8))
    memory.take(2)
    assert counted == [1, 2]


def test_after_an_error_no_pinned_memory_is_used_again(monkeypatch, counted, volume):
    def broken(*_, **__):
        msg = "the device fell off the bus"
        raise OSError(msg)

    with monkeypatch.context() as patch:
        patch.setattr(slabs_module, "map_block", broken)
        with pytest.raises(OSError, match="fell off the bus"):
            entropy_map(volume, backend="cuda")
    entropy_map(volume[:1, :1], backend="cuda")
    assert counted == [240, 1, 240, 16, 1, 16]


def test_tables_are_copied_to_a_device_once(monkeypatch, volume):
    copied, copy = [], cuda.to_device
    monkeypatch.setattr(cuda, "to_device", lambda array: (copied.append(array.nbytes), copy(array))[1])
    for _ in range(2):
        first = kept.device_table(np.arange, 1, 4)
        np.testing.assert_array_equal(first.copy_to_host(), [1, 2, 3])
        entropy_map(volume[0, :1, :2], backend="cuda")
        copied.append("next")
    before, after = " ".join(map(str, copied)).split("next")[:2]
    assert "24" in before.split()
    assert after.split() == []


@pytest.mark.skipif(SIMULATED, reason="the simulator's contexts are not closed")
def test_what_is_kept_goes_with_the_context(volume):
    expected = entropy_map(volume, backend="cpu")
    for _ in range(3):
        np.testing.assert_array_equal(entropy_map(volume, backend="cuda"), expected)
        cuda.close()


@pytest.mark.parametrize("shape", [(6, 7), pytest.param((3, 4, 5), marks=slow_if_simulated)])
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


def test_a_device_without_a_compiler(monkeypatch):
    def missing():
        msg = 'Failure finding "libnvvm.so": No such file: libnvvm.so\n  listdir of 40 lines'
        raise OSError(msg)

    advice = (
        "; install radsynth[cuda], or set CUDA_HOME to the folder of a CUDA toolkit, such as /usr/local/cuda)"
    )
    with monkeypatch.context() as patch:
        patch.setattr(engine, "probe", missing)
        assert choice.why_no_cuda.__wrapped__() == (
            f'CUDA\'s compiler was not found (Failure finding "libnvvm.so": No such file: libnvvm.so{advice}'
        )
    monkeypatch.setattr(cuda, "is_available", lambda: False)  # what older versions of numba-cuda say
    assert choice.why_no_cuda.__wrapped__() == f"CUDA's compiler was not found (libnvvm{advice}"
    monkeypatch.setattr(cuda, "cuda_error", lambda: "CUDA_ERROR_NO_DEVICE")
    assert choice.why_no_cuda.__wrapped__() == "the CUDA driver found no device (CUDA_ERROR_NO_DEVICE)"
