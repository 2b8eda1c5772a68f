"""What native readers and writers print past Python, kept off the terminal and in the log."""

from __future__ import annotations

import itertools
import logging
import os
import re
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO

_log = logging.getLogger(__name__)

_one_at_a_time = threading.RLock()


@contextmanager
def native_messages_logged() -> Iterator[list[str]]:
    """Log what is written to standard error while the block runs, at level DEBUG.

    Yields a list that holds the lines after the block; `warnings_in` finds ITK's warnings there.

    MetaIO and the NIfTI library print to file descriptor 2 themselves: ITK's own switch for warnings
    (``SetGlobalWarningDisplay``) does not reach them, nor can Python redirect them. Their text is about their
    inside, and our error says in one line what it means for the user.

    The descriptor belongs to the whole process. So one thread at a time redirects it, and what others
    write meanwhile is in the log as well, rather than lost.
    """
    lines: list[str] = []
    with _one_at_a_time, _scratch_file() as written:
        terminal = os.dup(2)
        try:
            os.dup2(written.fileno(), 2)
            yield lines
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
            written.seek(0)
            lines += written.read().decode(errors="replace").splitlines()
            for line in lines:
                _log.debug("native code printed: %s", line)


def warnings_in(lines: Sequence[str]) -> list[str]:
    """Return the texts of ITK's warnings, each once, without the names of its source files and objects.

    Examples
    --------
    >>> warnings_in(["WARNING: In itkNiftiImageIO.cxx, line 20", "NiftiImageIO (0x55): odd scales", ""])
    ['odd scales']
    """
    texts = []
    for header, text in itertools.pairwise(lines):
        if header.startswith("WARNING: In "):
            texts.append(re.sub(r"^\w+ \(0x[0-9a-f]+\): ", "", text))
    return list(dict.fromkeys(texts))


def _scratch_file() -> IO[bytes]:
    """Return an unnamed file, or the null device where no folder takes one: the image can still be read."""
    try:
        return tempfile.TemporaryFile()
    except OSError:
        return open(os.devnull, "w+b")  # noqa: PTH123 - the caller closes it
