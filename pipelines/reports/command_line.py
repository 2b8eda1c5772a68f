"""The command that is running, for the records of what it writes."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

_running: list[str] = []
"""Command lines, the innermost last. Not of a thread: the threads of a command write its outputs too."""


@contextmanager
def running_command(words: Sequence[str]) -> Iterator[None]:
    """Let `command_line` return a command while the block runs."""
    _running.append(shlex.join(words))
    try:
        yield
    finally:
        _running.pop()


def command_line() -> str | None:
    """Return the command that is running, with file names in place of paths; None outside commands."""
    return _running[-1] if _running else None
