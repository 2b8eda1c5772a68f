"""How long the steps of a run take: each is logged when it ends, for whoever listens.

A record of the log has the attribute `step`: the name and the seconds.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_log = logging.getLogger(__name__)

_inner = threading.local()
"""In each thread: for every step that has begun, the seconds of the steps inside it."""


@contextmanager
def step(name: str) -> Iterator[None]:
    """Log the seconds of a block, without those of the steps inside it; also a decorator.

    Steps of threads that were started inside the block are theirs, and count twice: start steps outside.

    Parameters
    ----------
    name : str
        Such as "reading" or "N4".
    """
    stack: list[float] = _inner.__dict__.setdefault("stack", [])
    stack.append(0.0)
    start = time.perf_counter()
    try:
        yield
    finally:
        whole = time.perf_counter() - start
        own = whole - stack.pop()
        if stack:
            stack[-1] += whole
        _log.debug("%s: %.2f s", name, own, extra={"step": (name, own)})
