"""The CUDA backend: volumes stream through devices in slabs; arrays on a device stay there.

A slab goes through pinned memory to a device, is binned and mapped there (`kernels`), and comes back,
while the next one is on its way. ``NUMBA_ENABLE_CUDASIM=1`` with ``NUMBA_DISABLE_JIT=1`` runs the same in
Numba's simulator.
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
from glcm_cuda.engines.cuda.device_arrays import quiet
from glcm_cuda.engines.cuda.slabs import Job, Slab, copy_in_parallel, prepare, share_blocks
from glcm_cuda.families.launching import compiled, launch
from glcm_cuda.families.stage import Task

_NATIVE = tuple(np.dtype(name) for name in ("uint8", "int16", "uint16", "int32", "float32", "float64"))
"""Types that devices bin; others go there as float64, in which all are binned."""

_TURNS = 2
"""Slabs under way on a device: one is copied while the other is mapped."""


def map_volume(
    image: npt.NDArray[np.generic],
    mask: npt.NDArray[np.generic] | None,
    task: Task,
    out: npt.NDArray[np.float32],
    done: Callable[[int], None],
) -> None:
    """Map a volume that lies in the host's memory; see `cpu.map_volume`.

    Joint entropy has the bits of the CPU; other features are as near as a float64 rounded once or twice more.
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
        line = itertools.cycle(slabs)
        for block, slab in zip(waiting, line, strict=False):
            slab.collect(finish)
            slab.send(image, mask, block)
        for slab in itertools.islice(line, len(slabs)):
            slab.collect(finish)

    with quiet():
        cuda.current_context()  # stays when the devices' are left, for what is freed then
        devices = list(cuda.gpus)
        parts, lines = prepare(job, Slab, devices, _TURNS)
        share_blocks(parts, lines, devices, work)


def probe() -> None:
    """Run a kernel on a device; raises an error if driver, compiler or memory are unfit."""
    with quiet():
        source, out = cuda.to_device(np.ones((1, 1, 1), np.float32)), cuda.device_array((1, 1, 1), np.int16)
        bin_kernel = compiled(kernels.bin_kernel, False, False)
        launch(bin_kernel, out.shape, 0, source, source, source, 1.0, 0.0, 1.0, 2.0, 1.0, out)
        if int(out.copy_to_host()[0, 0, 0]) != 1:
            msg = "a kernel gave a wrong value"
            raise RuntimeError(msg)
