"""Cases processed one after another: a failure is reported, and the rest go on."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

_log = logging.getLogger(__name__)


class Attempts:
    """Cases processed one after another; bad input of one does not stop the rest.

    Parameters
    ----------
    number : int
        Number of cases.
    kept : str
        What the message says about the cases that succeeded.
    """

    def __init__(self, number: int, kept: str = " are done and kept") -> None:
        self.number = number
        self.kept = kept
        self.failures: dict[str, str] = {}

    @contextmanager
    def of(self, patient: str) -> Iterator[None]:
        """Record an error in the input of a patient; other errors end the run."""
        try:
            with naming(patient):
                yield
        except (TypeError, ValueError, FileNotFoundError, PermissionError) as error:
            self.failures[patient] = str(error)

    def finish(self) -> None:
        """Raise ValueError if cases failed, naming all of them."""
        if not self.failures:
            return
        done = self.number - len(self.failures)
        kept = f"; the other {done}{self.kept}" if done else ""
        if len(self.failures) == 1:
            raise ValueError(next(iter(self.failures.values())) + kept)
        for failure in self.failures.values():
            _log.warning("%s", failure)
        msg = (
            f"{len(self.failures)} of {self.number} patients failed (errors above): "
            f"{', '.join(self.failures)}{kept}; fix or remove the failed patients and run again"
        )
        raise ValueError(msg)


@contextmanager
def naming(patient: str) -> Iterator[None]:
    """Name the patient in errors in the input."""
    try:
        yield
    except (TypeError, ValueError) as error:
        msg = f"patient {patient}: {error}"
        raise (ValueError if isinstance(error, ValueError) else TypeError)(msg) from error
