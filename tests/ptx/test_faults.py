"""The emulator sees races, and accesses out of bounds, misaligned ones and those to uninitialised memory.

Runs where the CUDA driver is the emulator (`make test-ptx`).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ptx.faults import take_faults, why_not_emulated

if why_not_emulated():
    pytest.skip("the CUDA driver is not the emulator: make test-ptx", allow_module_level=True)

from numba import cuda

from glcm_cuda.families.launching import start

ROOT = Path(__file__).parents[2]


def faults_of(kernel, *arguments, threads=4):
    """Return the faults of a launch, and take them away, so that the plugin sees none."""
    start(cuda.jit(kernel), 1, threads, 0, *arguments)
    return take_faults()


def numbers(size, dtype=np.int32):
    return cuda.to_device(np.arange(size, dtype=dtype))


def test_a_kernel_without_faults():
    def kernel(values, out):
        x = cuda.grid(1)
        out[x] = values[x] + values[0]

    out = cuda.device_array(4, np.int32)
    assert faults_of(kernel, numbers(4), out) == []
    np.testing.assert_array_equal(out.copy_to_host(), np.arange(4))


def test_two_threads_that_write():
    def kernel(out):
        out[cuda.grid(1) // 2] = 1

    (fault,) = faults_of(kernel, numbers(4))
    assert fault.startswith("race (two threads write) at 0x")
    assert "by thread (1, 0, 0) of block (0, 0, 0), PTX line " in fault


def test_a_thread_that_reads_what_another_one_writes():
    def kernel(out):
        x = cuda.grid(1)
        out[x] = out[(x + 3) % 4]

    (fault,) = faults_of(kernel, numbers(4))
    assert "thread (0, 0, 0)" not in fault
    assert "race (" in fault


def test_a_thread_that_writes_what_several_have_read():
    def kernel(values):
        if values[0] == 0 and cuda.grid(1) == 3:
            values[0] = 1

    (fault,) = faults_of(kernel, numbers(4))
    assert fault.startswith("race (write of what another thread reads)")


def test_a_race_in_shared_memory():
    def kernel(out):
        x = cuda.grid(1)
        shared = cuda.shared.array(4, np.int32)
        shared[x] = x
        out[x] = shared[x ^ 1]

    (fault,) = faults_of(kernel, numbers(4))
    assert fault.startswith(("race in shared memory", "read of uninitialised shared memory"))
    assert faults_of(kernel, numbers(4))[0].startswith(fault[:20])


@pytest.mark.parametrize("whole", [True, False], ids=["an allocation", "a part of one"])
def test_accesses_out_of_bounds(whole):
    def write(out):
        out[cuda.grid(1) + 1] = 0

    def read(values, out):
        x = cuda.grid(1)
        out[x] = values[x + 1]

    array = numbers(4) if whole else numbers(10)[:4]
    (fault,) = faults_of(write, array)
    assert fault.startswith("write out of bounds")
    assert "by thread (3, 0, 0)" in fault
    assert faults_of(read, array, numbers(4))[0].startswith("read out of bounds")


def test_bounds_of_an_array_with_gaps_are_those_of_its_allocation():
    def kernel(values, out):
        x = cuda.grid(1)
        out[x] = values[x, 2]

    values = cuda.to_device(np.arange(20, dtype=np.int32).reshape(4, 5))
    out = cuda.device_array(4, np.int32)
    assert faults_of(kernel, values[:, 1:4], out) == []
    np.testing.assert_array_equal(out.copy_to_host(), [3, 8, 13, 18])


def test_an_array_of_another_launch_is_out_of_bounds():
    def kernel(values, distance):
        values[cuda.grid(1) + distance] = 0

    first, second = numbers(4), numbers(4)
    distance = (second.device_ctypes_pointer.value - first.device_ctypes_pointer.value) // 4
    assert faults_of(kernel, first, distance)[0].startswith("write out of bounds")


def test_misaligned_accesses():
    def kernel(values):
        values[cuda.grid(1)] = 0

    bytes_on_device = cuda.to_device(np.zeros(17, np.uint8))
    (fault,) = faults_of(kernel, bytes_on_device[1:].view(np.int32))
    assert fault.startswith("misaligned access")


def test_uninitialised_device_memory():
    def kernel(values, out):
        x = cuda.grid(1)
        out[x] = values[x] + 1

    values, out = cuda.device_array(4, np.int32), cuda.device_array(4, np.int32)
    values[:3].copy_to_device(np.zeros(3, np.int32))
    (fault,) = faults_of(kernel, values, out)
    assert fault.startswith("read of uninitialised device memory")
    assert "by thread (3, 0, 0)" in fault
    values[:3].copy_to_host()
    with pytest.raises(Exception, match="ILLEGAL_ADDRESS"):
        values.copy_to_host()
    assert take_faults() == ["copy to the host of uninitialised device memory"]


def test_uninitialised_shared_memory():
    def kernel(out):
        x = cuda.grid(1)
        shared = cuda.shared.array(8, np.int32)
        shared[x] = x
        out[x] = shared[x + 4]

    (fault,) = faults_of(kernel, numbers(4))
    assert fault.startswith("read of uninitialised shared memory")


def test_beyond_a_local_array():
    """What is uninitialised in local memory: see `test_generation`, since numba-cuda writes zeros there."""

    def kernel(places, out):
        x = cuda.grid(1)
        local = cuda.local.array(64, np.int32)
        for i in range(40):
            local[i + places[0]] = i * x
        out[x] = local[places[x + 4]]

    places, out = np.zeros(8, np.int32), cuda.device_array(4, np.int32)
    assert faults_of(kernel, cuda.to_device(places), out) == []
    places[6] = 64
    (fault,) = faults_of(kernel, cuda.to_device(places), out)
    assert fault.startswith("read out of bounds")
    assert "by thread (2, 0, 0)" in fault


def test_what_is_not_emulated_is_refused():
    def kernel(out):
        cuda.syncthreads()
        out[cuda.grid(1)] = 0

    with pytest.raises(Exception, match=r"line \d+ of the PTX is not emulated: bar\.sync"):
        faults_of(kernel, numbers(4))


def test_work_waits_until_somebody_waits_for_it():
    def kernel(values, out):
        out[cuda.grid(1)] = values[cuda.grid(1)]

    stream, pinned = cuda.stream(), cuda.pinned_array(4, np.int32)
    pinned[:] = 1
    values, out = cuda.device_array(4, np.int32), cuda.device_array(4, np.int32)
    values.copy_to_device(pinned, stream)
    start(cuda.jit(kernel), 1, 4, stream, values, out)
    pinned[:] = 2  # too early: the copy has not been waited for
    stream.synchronize()
    np.testing.assert_array_equal(out.copy_to_host(), 2)


def test_a_fault_that_nobody_looks_for_fails_the_test(tmp_path):
    (tmp_path / "test_it.py").write_text(
        "import numpy as np\nfrom numba import cuda\n\n"
        "def kernel(out):\n    out[cuda.grid(1) + 1] = 0\n\n"
        "def test_it():\n    cuda.jit(kernel)[1, 4](cuda.to_device(np.zeros(4)))\n\n"
        "def test_another_one():\n    pass\n"
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "ptx.plugin",
        "-p",
        "no:cacheprovider",
        "test_it.py",
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.environ["PYTHONPATH"], str(ROOT)])}
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "write out of bounds at 0x" in ran.stdout
    assert "1 failed, 1 passed" in ran.stdout


def test_two_devices_share_the_slabs_of_a_map():
    code = """
import numpy as np
from numba import cuda
from glcm_cuda import entropy_map
from glcm_cuda.engines.cuda import slabs
slabs._SLAB_VOXELS = {2: 40, 3: 40}
image = np.random.default_rng(0).random((6, 5, 4))
np.testing.assert_array_equal(entropy_map(image, backend="cuda"), entropy_map(image, backend="cpu"))
print(len(cuda.gpus))
"""
    environment = {**os.environ, "PTX_EMULATOR_DEVICES": "2"}
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout == "2\n"
