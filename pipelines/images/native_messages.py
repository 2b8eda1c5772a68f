"""What native readers and writers print past Python, kept off the terminal and in the log."""

from __future__ import annotations

import logging
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

_log = logging.getLogger(__name__)

_one_at_a_time = threading.RLock()


@contextmanager
def native_messages_logged() -> Iterator[None]:
    """Log what is written to standard error while the block runs, at level DEBUG.

    MetaIO and the NIfTI library print to file descriptor 2 themselves: ITK's own switch for warnings
    (``SetGlobalWarningDisplay``) does not reach them, nor can Python redirect them. Their text is about their
    inside, and our error says in one line what it means for the user.

    The descriptor belongs to the whole process. So one thread at a time redirects it, and what others
    write meanwhile is in the log as well, rather than lost.
    """
    with _one_at_a_time, _scratch_file() as written:
        terminal = os.dup(2)
        try:
            os.dup2(written.fileno(), 2)
            yield
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
            _log_lines(written)


def _scratch_file() -> IO[bytes]:
    """Return an unnamed file, or the null device where no folder takes one: the image can still be read."""
    try:
        return tempfile.TemporaryFile()
    except OSError:
        return open(os.devnull, "w+b")  # noqa: PTH123 - the caller closes it


def _log_lines(written: IO[bytes]) -> None:
    written.seek(0)
    for line in written.read().decode(errors="replace").splitlines():
        _log.debug("native code printed: %s", line)
