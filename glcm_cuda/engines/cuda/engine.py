"""The CUDA backend for volumes in the host's memory, which pass through the devices in slabs.

A slab is copied through pinned memory to a device, binned and mapped there, and copied back, while the next
slab is already being copied. Arrays on a device are mapped by `device_arrays`. The same code runs in Numba's
simulator with ``NUMBA_ENABLE_CUDASIM=1`` and ``NUMBA_DISABLE_JIT=1``.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
from numba import cuda

from glcm_cuda.base.blocks import Block, size_of
from glcm_cuda.engines.cuda import kernels
from glcm_cuda.engines.cuda.slabs import Job, Slab, copy_in_parallel, prepare, share_blocks
from glcm_cuda.families.launching import compiled, launch
from glcm_cuda.families.stage import Task

_NATIVE = tuple(np.dtype(name) for name in ("uint8", "int16", "uint16", "int32", "float32", "float64"))
"""Types that the kernels bin; others are converted to float64 first, in which all kernels compute."""

_TURNS = 2
"""Slabs in flight per device: one is copied while the other is mapped."""


def map_volume(
    image: npt.NDArray[np.generic],
    mask: npt.NDArray[np.generic] | None,
    task: Task,
    out: npt.NDArray[np.float32],
    done: Callable[[int], None],
) -> None:
    """Write the maps of a volume in the host's memory; see `cpu.map_volume`.

    Joint entropy has the same bits as on the CPU. Other features may differ by one or two roundings of a
    float64.

    Raises
    ------
    ValueError
        If the settings or the number of levels exclude a feature.
    RuntimeError
        If a device has too little memory for one row of voxels.
    """
    if image.dtype not in _NATIVE:
        image = image.astype(np.float64)
    job = Job(task, image.dtype, mask is not None, out.shape[1:])
    lock = threading.Lock()

    def finish(block: Block, maps: npt.NDArray[np.float32]) -> None:
        for target, source in zip(out, maps, strict=True):
            copy_in_parallel(target[block], source)
        with lock:
            done(size_of(block, out.shape[3]))

    def work(waiting: Iterator[Block], slabs: Sequence[Slab]) -> None:
        turns = itertools.cycle(slabs)
        for block, slab in zip(waiting, turns, strict=False):
            slab.collect(finish)  # its previous block
            slab.send(image, mask, block)
        for slab in itertools.islice(turns, len(slabs)):
            slab.collect(finish)

    # A context that stays current after those of the devices are left: arrays are freed only then.
    cuda.current_context()
    devices = list(cuda.gpus)
    parts, slabs = prepare(job, Slab, devices, _TURNS)
    share_blocks(parts, slabs, devices, work)
    # Not after an error: a device may still write to its slabs.
    for slab in itertools.chain.from_iterable(slabs):
        slab.give_back()


def probe() -> None:
    """Run a small kernel on the current device; raise an error if driver, compiler or memory do not work."""
    source, out = cuda.to_device(np.ones((1, 1, 1), np.float32)), cuda.device_array((1, 1, 1), np.int16)
    bin_kernel = compiled(kernels.bin_kernel, False, False)
    launch(bin_kernel, out.shape, 0, source, source, source, 1.0, 0.0, 1.0, 2.0, 1.0, out)
    if int(out.copy_to_host()[0, 0, 0]) != 1:
        msg = "a test kernel returned a wrong value"
        raise RuntimeError(msg)
