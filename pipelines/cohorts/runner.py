"""The one way through a cohort: case after case in the order of the list; what is done with this key is kept.

Nothing is remembered but the outputs: a run may be killed, started again, or run twice at a time.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import glcm_cuda
from glcm_cuda.base.files import replacing
from pipelines.cohorts.attempts import Attempts
from pipelines.cohorts.cohort import Case
from pipelines.images.provenance import sha256_of, shown_name
from pipelines.reports.tables import counted
from pipelines.shell.progress import progress_bar

_log = logging.getLogger(__name__)

FAILED = "failed.csv"
"""Lists the cases that failed, in a folder of outputs."""


_OF_ANOTHER_RUN = FileExistsError.__name__
"""The error of an output that another run is writing."""


def failed_beside(output: Path) -> Path:
    """Return where the cases that failed are listed if the output is one file."""
    return output.with_name(f"{output.name}.{FAILED}")


def each_case(label: str, cases: Sequence[Case], work: Callable[[Case], Any], table: Path) -> None:
    """Work on every case, with a bar; those that fail are listed in a table.

    Parameters
    ----------
    label : str
        Written before the bar.
    cases : sequence of Case
        In their order.
    work : callable
        Makes and keeps the outputs of a case.
    table : Path
        CSV of the cases that failed: case, error, message.

    Raises
    ------
    CasesFailedError
        At the end, if cases failed.
    OSError, ImportError
        At once, what would fail every case: a full disk, a missing library.
    """
    attempts = Attempts(len(cases), table=table)
    with progress_bar(label, len(cases)) as progress:
        for done, case in enumerate(cases, start=1):
            with attempts.of(case.patient):
                work(case)
            progress(done, len(cases))
    attempts.write_table()
    attempts.finish()


@dataclass(frozen=True, kw_only=True)
class Made:
    """What was made of a case: the files, a line, and what a table needs of it, in types of JSON."""

    summary: str
    outputs: tuple[Path, ...] = ()
    result: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Journal:
    """What is done: the settings that all cases share, and a record of every case, written last.

    Parameters
    ----------
    place : Path
        File of the settings.
    records : Path
        Folder of the records, ``<case>.json``.
    settings : dict
        Everything but a case's own files that its outputs depend on, in types of JSON.
    """

    place: Path
    records: Path
    settings: dict[str, Any]

    @classmethod
    def in_folder(cls, folder: Path, settings: Mapping[str, Any]) -> Journal:
        """Return the journal of a folder of outputs."""
        return cls(place=folder / "settings.json", records=folder / "cases", settings=_with_version(settings))

    @classmethod
    def beside(cls, table: Path, settings: Mapping[str, Any]) -> Journal:
        """Return the journal of a table."""
        place, records = (table.with_name(f"{table.name}.{name}") for name in ("json", "cases"))
        return cls(place=place, records=records, settings=_with_version(settings))

    def open(self, *, force: bool) -> None:
        """Write the settings; refuse outputs of other settings, naming the first that differs.

        Raises
        ------
        FileExistsError
            If there are such and `force` is False.
        """
        there = _read(self.place)
        if there is not None and not force:
            differing = list(_differences(there, self.settings))
            if differing:
                more = f" (and {len(differing) - 1} more)" if len(differing) > 1 else ""
                msg = (
                    f"{self.place.parent} was made with other settings: {differing[0]}{more}; choose "
                    "another output, or give --force to make this one anew"
                )
                raise FileExistsError(msg)
        if there != self.settings:
            with suppress(FileExistsError):  # of another run that writes the same at this moment
                _write(self.place, self.settings)

    def result(self, identity: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return what was kept of a case that is done with the same key; None if it is not done.

        `identity` is what `identity_of` returns of the case.
        """
        record = _read(self._record_of(identity["patient"]))
        try:
            if record is None or record["key"] != self._key(identity):
                return None
            present = all((self.place.parent / name).is_file() for name in record["outputs"])
            return dict(record["result"]) if present else None
        except (LookupError, TypeError):
            return None

    def keep(self, identity: Mapping[str, Any], made: Made) -> None:
        """Write the record of a case that is done; remove what else an earlier run made of it."""
        outputs = [path.relative_to(self.place.parent).as_posix() for path in made.outputs]
        self._remove_outputs(identity["patient"], kept=outputs)
        record = {"case": identity, "key": self._key(identity), "outputs": outputs, "result": made.result}
        _write(self._record_of(identity["patient"]), record)

    def drop(self, patient: str) -> None:
        """Remove the record and the outputs of a case: they are of another image or of other settings."""
        self._remove_outputs(patient, kept=())
        self._record_of(patient).unlink(missing_ok=True)

    def _remove_outputs(self, patient: str, kept: Collection[str]) -> None:
        record = _read(self._record_of(patient)) or {}
        folder = self.place.parent.resolve()
        for name in record.get("outputs", ()):
            path = (folder / str(name)).resolve()
            if name not in kept and path.is_relative_to(folder):
                path.unlink(missing_ok=True)

    def _record_of(self, patient: str) -> Path:
        return self.records / f"{patient}.json"

    def _key(self, identity: Mapping[str, Any]) -> str:
        """Return the hash of all that the outputs of a case depend on: its files, its row, the settings."""
        content = {"case": identity, "settings": self.settings}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended: what was kept of every case that is done, by case, and the attempts."""

    results: dict[str, dict[str, Any]]
    earlier: int
    attempts: Attempts

    def summary(self) -> str:
        """Return a line: how many cases are done, of which how many were before, and how many failed."""
        earlier = f", {self.earlier} of them before" if self.earlier else ""
        failures = len(self.attempts.failures)
        failed = f"; {failures} failed" if failures else ""
        return f"{counted(self.attempts.number, 'case')}: {len(self.results)} done{earlier}{failed}"

    def finish(self) -> None:
        """Raise `CasesFailedError` if cases failed, naming all of them."""
        self.attempts.finish(told=True)


def run_cohort(
    cases: Sequence[Case], journal: Journal, table: Path, make: Callable[[Case], Made], *, force: bool
) -> Outcome:
    """Make the outputs of every case that is not done; go on where one fails.

    Parameters
    ----------
    cases : sequence of Case
        In their order.
    journal : Journal
        What is done.
    table : Path
        CSV of the cases that failed.
    make : callable
        Makes the outputs of a case, each whole or not at all, over those that are there.
    force : bool
        Accept outputs of other settings; the cases are made anew.

    Returns
    -------
    Outcome
        `finish` raises `CasesFailedError` if a case failed.

    Raises
    ------
    FileExistsError
        If the outputs were made with other settings and `force` is False.
    OSError, ImportError
        At once, what would fail every case: a full disk, a missing library.
    """
    journal.open(force=force)
    attempts, results, earlier = Attempts(len(cases), table=table), {}, 0
    with _notes_once():
        for number, case in enumerate(cases, start=1):
            with attempts.of(case.patient):
                identity = identity_of(case)
                there = journal.result(identity)
                if there is not None:
                    results[case.patient], earlier = there, earlier + 1
                    continue
                mask = "" if case.region is None else f", mask {shown_name(case.region)}"
                _log.info("[%d/%d] %s%s", number, len(cases), case.patient, mask)
                made = make(case)
                journal.keep(identity, made)
                _log.info("    %s", made.summary)
                results[case.patient] = made.result
            if case.patient in attempts.failures:
                _log.warning("    %s", attempts.failures[case.patient].message)
                if attempts.failures[case.patient].kind != _OF_ANOTHER_RUN:
                    journal.drop(case.patient)
    _drop_done_elsewhere(cases, journal, attempts, results)
    attempts.write_table()
    return Outcome(results=results, earlier=earlier, attempts=attempts)


def _drop_done_elsewhere(
    cases: Sequence[Case], journal: Journal, attempts: Attempts, results: dict[str, dict[str, Any]]
) -> None:
    """Take off the failures cases that another run on the same outputs has done in the meantime."""
    for case in cases:
        failure = attempts.failures.get(case.patient)
        if failure is not None and failure.kind == _OF_ANOTHER_RUN:
            there = journal.result(identity_of(case))
            if there is not None:
                del attempts.failures[case.patient]
                results[case.patient] = there


def _with_version(settings: Mapping[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(json.dumps({**settings, "radsynth": glcm_cuda.__version__}))
    return content


def identity_of(case: Case) -> dict[str, Any]:
    """Return the files of a case by their content, and which volume of them is meant."""
    files = {"image": case.image, "labels": case.labels, "mask": case.mask}
    return {
        "patient": case.patient,
        **{
            name: None if path is None else {"name": shown_name(path), "sha256": sha256_of(path)}
            for name, path in files.items()
        },
        **case.choice.to_dict(),
    }


def _differences(there: Any, here: Any, place: str = "") -> Iterator[str]:
    """Yield the settings that differ, with both values."""
    if isinstance(there, dict) and isinstance(here, dict):
        for name in {**there, **here}:
            inside = f"{place}.{name}" if place else name
            yield from _differences(there.get(name), here.get(name), inside)
    elif isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        for index, (one, other) in enumerate(zip(there, here, strict=True)):
            yield from _differences(one, other, f"{place}[{index}]")
    elif there != here:
        yield f"{place} is {json.dumps(there)} there, {json.dumps(here)} here"


def _read(path: Path) -> dict[str, Any] | None:
    """Return the content of a JSON file of ours; None if there is none that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _write(path: Path, content: Mapping[str, Any]) -> None:
    with replacing(path, force=True) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


@contextmanager
def _notes_once() -> Iterator[None]:
    """Show a note that every case would repeat in the same words with the first of them alone."""
    said: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        new = record.levelno > logging.INFO or record.name == __name__ or text not in said
        said.add(text)
        return new

    handlers = [
        handler for name in ("glcm_cuda", "pipelines") for handler in logging.getLogger(name).handlers
    ]
    for handler in handlers:
        handler.addFilter(is_new)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(is_new)
