"""A file object that reports write errors of HDF5 as Python exceptions."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Sink(io.RawIOBase):
    """A file for HDF5 to write into that outlives a full disk.

    When HDF5 cannot write what it has buffered it tries again at exit, and crashes the interpreter.
    So from the first error on everything is accepted and dropped, and the error is kept.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.error: OSError | None = None
        self._file = path.open("w+b", buffering=0)

    def seekable(self) -> bool:
        """Return True."""
        return True

    def readable(self) -> bool:
        """Return True."""
        return True

    def writable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move the position in the file."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the position in the file."""
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        """Read; what was dropped reads as zeros, never as what the buffer happened to hold."""
        view = memoryview(buffer)
        got = self._file.readinto(view)
        view[got:] = bytes(len(view) - got)
        return len(view)

    def write(self, data: Any) -> int:
        """Write all of `data`, or drop it if an earlier write failed."""
        view = memoryview(data)
        self._try(lambda: self._write_all(view))
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Change the size of the file."""
        self._try(lambda: self._file.truncate(size))
        return self.tell() if size is None else size

    def close(self) -> None:
        """Close the file."""
        super().close()
        self._file.close()

    def _write_all(self, view: memoryview) -> None:
        while view:
            view = view[self._file.write(view) :]

    def _try(self, action: Callable[[], object]) -> None:
        if self.error is None:
            try:
                action()
            except OSError as error:
                self.error = error


@contextmanager
def written_bytes(path: Path, *, shown_as: Path) -> Iterator[Sink]:
    """Yield a sink for `path`; raise OSError afterwards if not all could be written."""
    with Sink(path) as sink:
        try:
            yield sink
        except (OSError, RuntimeError):
            # HDF5 stumbling over what was dropped; the first error tells why.
            if sink.error is None:
                raise
    if sink.error is not None:
        raise OSError(sink.error.errno, sink.error.strerror, str(shown_as)) from sink.error
