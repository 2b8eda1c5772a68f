"""Cases processed one after another: a failure is reported, and the rest go on."""

from __future__ import annotations

import csv
import errno
import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from glcm_cuda.base.files import replacing
from pipelines.shell.errors import CasesFailedError, describe

_log = logging.getLogger(__name__)

_OF_INPUT = (TypeError, ValueError, FileNotFoundError, PermissionError)
"""Errors that bad input of a case raises."""

_OF_ALL = (errno.ENOSPC, errno.EDQUOT)
"""A full disk fails every case that follows."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """What ended a case: the name of its error, and one line."""

    kind: str
    message: str


class Attempts:
    """Cases processed one after another; bad input of one does not stop the rest.

    Parameters
    ----------
    number : int
        Number of cases.
    kept : str
        What the message says about the cases that succeeded.
    table : Path, optional
        CSV that lists the cases that failed; removed where none did. With it the outputs of the others count,
        and the run goes on after every error of a case.
    """

    def __init__(self, number: int, kept: str = " are done and kept", table: Path | None = None) -> None:
        self.number = number
        self.kept = kept
        self.table = table
        self.failures: dict[str, Failure] = {}

    @contextmanager
    def of(self, patient: str) -> Iterator[None]:
        """Record an error of a patient; what would fail the others too ends the run."""
        try:
            with naming(patient):
                yield
        except _OF_INPUT as error:
            self._failed(patient, error)
        except ImportError:
            raise
        except Exception as error:
            if self.table is None or getattr(error, "errno", None) in _OF_ALL:
                raise
            self._failed(patient, error)

    def _failed(self, patient: str, error: Exception) -> None:
        self.failures[patient] = Failure(kind=_kind(error), message=_message(patient, error))
        self.write_table()

    def write_table(self) -> None:
        """Write the table of failures, if there is to be one and a case failed; else remove it."""
        if self.table is None:
            return
        if not self.failures:
            self.table.unlink(missing_ok=True)
            return
        with (
            suppress(FileExistsError),  # of another run that is writing its own at this moment
            replacing(self.table, force=True) as temporary,
            temporary.open("w", encoding="utf-8", newline="") as file,
        ):
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("case", "error", "message"))
            writer.writerows((case, one.kind, one.message) for case, one in self.failures.items())

    def finish(self, *, told: bool = False) -> None:
        """Raise if cases failed, naming all of them; `told` says that the log has their errors.

        Raises
        ------
        CasesFailedError
            If there is a table.
        ValueError
            Otherwise.
        """
        if not self.failures:
            return
        error = ValueError if self.table is None else CasesFailedError
        done = self.number - len(self.failures)
        kept = f"; the other {done}{self.kept}" if done else ""
        if len(self.failures) == 1:
            raise error(next(iter(self.failures.values())).message + kept)
        for failure in () if told else self.failures.values():
            _log.warning("%s", failure.message)
        msg = (
            f"{len(self.failures)} of {self.number} patients failed (errors above): "
            f"{', '.join(self.failures)}{kept}; fix or remove the failed patients and run again"
        )
        raise error(msg)


@contextmanager
def naming(patient: str) -> Iterator[None]:
    """Name the patient in errors in the input."""
    try:
        yield
    except (TypeError, ValueError) as error:
        msg = f"patient {patient}: {error}"
        raise (ValueError if isinstance(error, ValueError) else TypeError)(msg) from error


def _kind(error: Exception) -> str:
    """Return the name of an error, or of the one that `naming` gave the patient's name."""
    return type(error.__cause__ if error.__cause__ is not None else error).__name__


def _message(patient: str, error: Exception) -> str:
    """Return an error in one line that names the patient, and the place of a fault of the program."""
    text = describe(error)
    if not text.startswith(f"patient {patient}: "):
        text = f"patient {patient}: {text}"
    if isinstance(error, (*_OF_INPUT, OSError, MemoryError, RuntimeError)):
        return text
    place = traceback.extract_tb(error.__traceback__)[-1]
    fault = f"{type(error).__name__} in {Path(place.filename).name}, line {place.lineno}"
    return f"{text} (a fault of the program: {fault}; please report it)"
