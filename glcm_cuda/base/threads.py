"""Compiled loops on all cores, in Python threads.

The loops release Python's global lock. Numba's own parallel loops would be compiled twice, which takes
twice as long, and must not be entered by two threads of a program at once; these may be.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

from numba import get_num_threads

_PARTS_PER_THREAD = 8
"""So that a thread that is held up leaves work to the others."""


def run_in_parts(task: Callable[[int, int], object], count: int) -> None:
    """Call ``task(start, stop)`` for ranges that make up ``range(count)``, on Numba's number of threads.

    An exception, an interrupt among them, is raised when the parts that have begun are done.
    """
    threads = min(get_num_threads(), count)
    parts = min(count, threads * _PARTS_PER_THREAD) if threads > 1 else 1
    waiting = iter(range(parts))

    def work() -> None:
        try:
            for part in waiting:
                task(part * count // parts, (part + 1) * count // parts)
        finally:
            for _ in waiting:  # after an exception nobody begins another part
                pass

    helpers = [_pool(threads - 1).submit(work) for _ in range(threads - 1)]
    try:
        work()
    finally:
        begun = [helper for helper in helpers if not helper.cancel()]  # others are busy for someone else
        wait(begun)
    for helper in begun:
        helper.result()


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="glcm")


# A forked process has the pool but not its threads.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)
