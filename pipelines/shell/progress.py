"""The progress of a command: a bar, or lines for a program that shows it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar

import click

_BAR_AFTER_SECONDS = 2.0

_VARIABLE = "RADSYNTH_PROGRESS"
"""Environment variable; ``lines`` asks for lines in place of a bar."""

_STEPS = 100
"""Most lines of one bar."""

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

    Nothing is drawn in the first two seconds, with ``--quiet``, nor if stderr is not a terminal. If the
    environment has ``RADSYNTH_PROGRESS=lines``, it writes lines such as ``progress 0.25 map`` instead.

    Parameters
    ----------
    label : str
        Written before the bar.
    total : int, optional
        Number of steps; the callable's own `total` wins.
    """
    if os.environ.get(_VARIABLE) == "lines":
        yield _Lines(label, total).report
        return
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


class _Lines:
    """Progress as lines, each one step further than the last."""

    def __init__(self, label: str, total: int | None) -> None:
        self.label, self.total = label, total
        self.step = -1

    def report(self, done: int, of: int) -> None:
        """Write a line if a step was made."""
        step = _STEPS * done // max(1, of or self.total or 1)
        if step > self.step:
            self.step = step
            click.echo(f"progress {step / _STEPS:.2f} {self.label}", err=True)
