"""What a command says while it runs, and where: the terminal, a log file, one JSON object."""

from __future__ import annotations

import io
import json
import logging
import math
import re
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import click

from glcm_cuda.base.version import __version__
from pipelines.shell.errors import one_line
from pipelines.shell.progress import bars_hidden

_PACKAGES = ("glcm_cuda", "surrogate", "pipelines", "radsynth")

_log = logging.getLogger(__name__)

TOLD_AFTER_SECONDS = 2.0
"""A run that takes longer says at its end how long, and what took the time."""

_LOG_FILE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d DEBUG radsynth ")
"""How every log file begins, so that no other file is taken for one."""


@dataclass(frozen=True, kw_only=True)
class Messages:
    """What the options of messages ask for."""

    verbose: bool = False
    quiet: bool = False
    log_file: Path | None = None
    as_json: bool = False

    @property
    def level(self) -> int:
        """Level of the log from which the terminal shows it."""
        if self.quiet:
            return logging.WARNING
        return logging.DEBUG if self.verbose else logging.INFO


class _Run(logging.Handler):
    """What the log says of a run: its steps, outputs and warnings; and how it ended."""

    def __init__(self) -> None:
        super().__init__()
        self.start = time.perf_counter()
        self.steps: dict[str, float] = {}
        self.compiling = 0.0
        self.written: list[str] = []
        self.warnings: list[str] = []
        self.exit_code = 0
        self.error: str | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what a record carries."""
        if hasattr(record, "step"):
            name, seconds = record.step
            self.steps[name] = self.steps.get(name, 0.0) + seconds
        self.compiling += getattr(record, "compiled", 0.0)
        if hasattr(record, "written"):
            self.written.append(record.written)
        if record.levelno >= logging.WARNING:
            self.warnings.append(one_line(record.getMessage()))

    def fail(self, error: BaseException) -> None:
        """Note with which error, if it is one, the run ends."""
        if isinstance(error, click.exceptions.Exit):
            self.exit_code = error.exit_code
        elif isinstance(error, click.ClickException):
            self.exit_code, self.error = error.exit_code, error.format_message()
        else:
            self.exit_code, self.error = 1, f"{type(error).__name__}: {one_line(str(error))}"

    @property
    def seconds(self) -> float:
        """Seconds since the run began."""
        return time.perf_counter() - self.start

    def told(self) -> str:
        """Return how long the run took, and what took the time."""
        parts = {**self.steps, "other": self.seconds - sum(self.steps.values())}
        listed = ", ".join(f"{name} {seconds:.2f}" for name, seconds in parts.items() if seconds >= 0.01)
        compiling = f" ({self.compiling:.2f} of it compiling)" if self.compiling else ""
        return f"took {self.seconds:.2f} s{compiling}: {listed}"


class _Terminal(logging.Handler):
    """Standard error, a line for each record."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        click.echo(one_line(self.format(record)), err=True)


class _LogFile(logging.StreamHandler[IO[str]]):
    """The log with dates, at every level, at the end of a file."""

    def __init__(self, path: Path) -> None:
        super().__init__(_opened_log(path))
        self.setFormatter(
            logging.Formatter("%(asctime)s %(levelname)s %(message)s", datefmt="%Y-%m-%dT%H:%M:%S")
        )

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as one line."""
        return one_line(super().format(record))

    def close(self) -> None:
        """Close the file."""
        self.stream.close()
        super().close()


def _opened_log(path: Path) -> IO[str]:
    """Return a log file, open at its end.

    Raises
    ------
    ValueError
        If it is a file that no command of ours began.
    OSError
        If it cannot be written.
    """
    if path.is_file() and path.stat().st_size:
        with path.open("rb") as file:
            if not _LOG_FILE.match(file.read(64).decode("utf-8", "replace")):
                msg = f"--log-file {path} exists and is no log of radsynth; choose another name"
                raise ValueError(msg)
    return path.open("a", encoding="utf-8", errors="backslashreplace")


@contextmanager
def telling(messages: Messages, words: Sequence[str], options: Mapping[str, Any]) -> Iterator[None]:
    """Send the log of our packages where the options ask for it while the block runs.

    Parameters
    ----------
    messages : Messages
        The options of messages.
    words : sequence of str
        The command, for the log file and the JSON object.
    options : mapping
        The other options and arguments, for the JSON object.

    Raises
    ------
    ValueError, OSError
        If the log file is another file, or cannot be written.
    """
    run, printed = _Run(), io.StringIO()
    with ExitStack() as stack:
        handlers: list[logging.Handler] = [run, _Terminal(messages.level)]
        if messages.log_file is not None:
            handlers.append(_LogFile(messages.log_file))
        stack.enter_context(_listening(handlers))
        stack.enter_context(bars_hidden() if messages.quiet else nullcontext())
        if messages.as_json:
            stack.callback(lambda: click.echo(_as_json(run, words, options, printed.getvalue())))
            stack.enter_context(redirect_stdout(printed))
        _log.debug("radsynth %s: %s", __version__, shlex.join(words))
        try:
            yield
        except BaseException as error:
            run.fail(error)
            if messages.log_file is not None and run.error:
                handlers[-1].handle(logging.makeLogRecord({"levelname": "ERROR", "msg": run.error}))
            raise
        slow = run.seconds >= TOLD_AFTER_SECONDS
        _log.log(logging.INFO if slow else logging.DEBUG, run.told())


@contextmanager
def _listening(handlers: Sequence[logging.Handler]) -> Iterator[None]:
    """Let handlers have all that our packages log while the block runs, and close them."""
    loggers = [logging.getLogger(name) for name in _PACKAGES]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
        for handler in handlers:
            logger.addHandler(handler)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
            for handler in handlers:
                logger.removeHandler(handler)
        for handler in handlers:
            handler.close()


def _as_json(run: _Run, words: Sequence[str], options: Mapping[str, Any], printed: str) -> str:
    return json.dumps(
        {
            "command": shlex.join(words),
            "version": __version__,
            "exit_code": run.exit_code,
            "error": run.error,
            "options": plain(options),
            "written": run.written,
            "records": _records(run.written),
            "seconds": {
                "total": round(run.seconds, 3),
                "compiling": round(run.compiling, 3),
                "steps": {name: round(seconds, 3) for name, seconds in run.steps.items()},
            },
            "warnings": run.warnings,
            "output": printed.splitlines(),
        },
        indent=2,
    )


def _records(written: Sequence[str]) -> dict[str, Any]:
    """Return what the sidecars among the outputs say, by the output that each describes."""
    names = {f"{name}.json": name for name in written}
    sidecars = [name for name in written if name in names]
    return {names[name]: plain(json.loads(Path(name).read_text(encoding="utf-8"))) for name in sidecars}


def usage_as_json(words: Sequence[str], error: click.ClickException) -> str:
    """Return the JSON object of a command that was called in a wrong way."""
    run = _Run()
    run.fail(error)
    return _as_json(run, words, {}, "")


def plain(value: Any) -> Any:
    """Return a value of types that JSON has; numbers that are not finite as text."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, (str, bool, int, float)) else str(value)
