"""Compiled loops on all cores, run by Python threads.

The loops release Python's global lock. Numba's own parallel loops (``prange``) are not used: they are
compiled twice, which takes twice as long, and two threads of a program must not enter them at the same
time.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

from numba import get_num_threads

_PARTS_PER_THREAD = 8
"""Several parts per thread, so that the others take over work when one thread is delayed."""


def run_in_parts(task: Callable[[int, int], object], count: int) -> None:
    """Call ``task(start, stop)`` for consecutive ranges that cover ``range(count)``, in parallel.

    The number of threads is Numba's (``NUMBA_NUM_THREADS``). The calling thread does its share. After an
    exception, also an interrupt, no new part begins; the exception is raised once the running parts are done.

    Parameters
    ----------
    task : callable (start, stop)
        Must be safe to call from several threads.
    count : int
        Number of items, at least 1.
    """
    threads = min(get_num_threads(), count)
    parts = min(count, threads * _PARTS_PER_THREAD) if threads > 1 else 1
    waiting = iter(range(parts))

    def work() -> None:
        try:
            for part in waiting:
                task(part * count // parts, (part + 1) * count // parts)
        finally:
            for _ in waiting:  # after an exception no thread begins another part
                pass

    helpers = [_pool(threads - 1).submit(work) for _ in range(threads - 1)]
    try:
        work()
    finally:
        # A helper may not have begun: the pool is shared with other calls.
        begun = [helper for helper in helpers if not helper.cancel()]
        wait(begun)
    for helper in begun:
        helper.result()


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Return the pool of helpers, made once and kept."""
    return ThreadPoolExecutor(threads, thread_name_prefix="glcm")


# A forked process inherits the pool but not its threads.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)
