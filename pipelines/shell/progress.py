"""The progress bar."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar

import click

_BAR_AFTER_SECONDS = 2.0

_hidden = ContextVar("_hidden", default=False)


@contextmanager
def bars_hidden() -> Iterator[None]:
    """Draw no bar while the block runs."""
    token = _hidden.set(True)
    try:
        yield
    finally:
        _hidden.reset(token)


@contextmanager
def progress_bar(label: str, total: int | None = None) -> Iterator[Callable[[int, int], None]]:
    """Yield a callable ``(done, total)`` that draws a bar on stderr.

    Nothing is drawn in the first two seconds, with ``--quiet``, nor if stderr is not a terminal.

    Parameters
    ----------
    label : str
        Written before the bar.
    total : int, optional
        Number of steps; the callable's own `total` wins.
    """
    start = time.monotonic()
    shown = 0
    bar: click._termui_impl.ProgressBar[int] | None = None
    with ExitStack() as stack:

        def report(done: int, of: int) -> None:
            nonlocal bar, shown
            if bar is None:
                if _hidden.get() or not sys.stderr.isatty() or time.monotonic() - start < _BAR_AFTER_SECONDS:
                    return
                bar = stack.enter_context(click.progressbar(length=of or total, label=label, file=sys.stderr))
            bar.update(done - shown)
            shown = done

        yield report
