"""Errors that end a command: one line and an exit code."""

from __future__ import annotations

import errno
import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import click

from glcm_cuda.base.extras import EXTRAS, require

BAD_INPUT = 2
SOME_FAILED = 3
INTERRUPTED = 130
TERMINATED = 143

_LONGEST_WORD = 512
"""Characters without a space; most paths have fewer."""


class BadInput(click.ClickException):
    """An error that the user can fix: shown as one line, exit code 2."""

    exit_code = BAD_INPUT


class _SomeFailed(BadInput):
    exit_code = SOME_FAILED


class CasesFailedError(ValueError):
    """Some cases of a cohort failed, and what the others gave is kept: shown as one line, exit code 3."""


class Terminated(KeyboardInterrupt):
    """The process was asked to end (SIGTERM); it cleans up as after Ctrl+C."""


class OneLineErrors(click.Command):
    """Base of commands and groups: every expected error ends as one line and exit code 2.

    Parameters
    ----------
    needs : sequence of str
        Optional packages without which the command cannot run (keys of `glcm_cuda.base.extras.EXTRAS`).
    """

    def __init__(self, *args: Any, needs: Sequence[str] = (), **kwargs: Any) -> None:
        kwargs.setdefault("context_settings", {"help_option_names": ["-h", "--help"]})
        super().__init__(*args, **kwargs)
        self.needs = needs

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse as click does, but refuse an option that is given again; errors become one line."""
        with one_line_errors(ctx):
            self._refuse_repeated(ctx, args)
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run as click does; errors become one line, and so does the end by a signal."""
        with terminating(), one_line_errors(ctx):
            if self.needs:
                require(ctx.command_path, *self.needs)
            return super().invoke(ctx)

    def _refuse_repeated(self, ctx: click.Context, args: list[str]) -> None:
        """Refuse an option that is given again, of which click would drop all but the last."""
        _, _, order = self.make_parser(ctx).parse_args(list(args))
        for parameter, times in Counter(order).items():
            if times > 1 and isinstance(parameter, click.Option) and _holds_one_value(parameter):
                name = "/".join(
                    max(names, key=len) for names in (parameter.opts, parameter.secondary_opts) if names
                )
                msg = f"{name} is given {times} times; give it once"
                raise click.UsageError(msg, ctx)


def _holds_one_value(option: click.Option) -> bool:
    """Whether an option that is given again would overrule itself; a flag says the same again."""
    is_plain_flag = option.is_flag and not option.secondary_opts
    return not (option.multiple or option.count or is_plain_flag)


@contextmanager
def terminating() -> Iterator[None]:
    """Raise `Terminated` in the block when the process is asked to end, so that nothing is left behind.

    Python handles signals in the main thread alone; elsewhere nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _raise_terminated)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def _raise_terminated(number: int, frame: object) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)  # so that a second one does not disturb the cleaning up
    raise Terminated


@contextmanager
def one_line_errors(ctx: click.Context) -> Iterator[None]:
    """End the block, and the command, in one line and an exit code for every expected error."""
    try:
        yield
    except click.UsageError as error:
        msg = f"{one_line(error.format_message()).removesuffix('.')} (see {ctx.command_path} --help)"
        raise BadInput(msg) from None
    except KeyboardInterrupt as interruption:
        terminated = isinstance(interruption, Terminated)
        word = "Terminated" if terminated else "Interrupted"
        click.echo(f"{word}: finished outputs are complete, unfinished ones were removed", err=True)
        raise click.exceptions.Exit(TERMINATED if terminated else INTERRUPTED) from None
    except (click.exceptions.Exit, click.Abort, BrokenPipeError):
        raise  # not errors: click ends quietly, also if the reader of our output went away
    except CasesFailedError as error:
        raise _SomeFailed(describe(error)) from error
    except (ValueError, TypeError, OSError, ImportError, MemoryError, RuntimeError) as error:
        raise BadInput(describe(error)) from error


def describe(error: BaseException) -> str:
    """Return the text of an error as one line without error codes; the user reads it after ``Error:``."""
    if isinstance(error, MemoryError):
        return (
            f"not enough memory: {one_line(str(error)) or 'try a smaller image, or fewer images at a time'}"
        )
    if isinstance(error, ModuleNotFoundError) and error.name is not None:
        return _described_missing(error)
    if isinstance(error, OSError) and error.errno is not None:
        return _described_os_error(error.errno, error)
    return one_line(str(error)) or type(error).__name__


def _described_missing(error: ModuleNotFoundError) -> str:
    """Return how to install the package that is missing, if an extra has it; else the text as it is."""
    package = str(error.name).partition(".")[0]
    if package in EXTRAS and str(error).startswith("No module named"):
        try:
            require("this", package)
        except ModuleNotFoundError as told:
            error = told
    return one_line(str(error))


def _described_os_error(code: int, error: OSError) -> str:
    """Return the system's text, the file, and what to do about a full disk."""
    subject = error.filename if error.filename is not None else error.strerror
    text = os.strerror(code)
    if subject and subject != text:
        text = f"{text}: {one_line(os.fsdecode(subject) if isinstance(subject, bytes) else str(subject))}"
    if code in (errno.ENOSPC, errno.EDQUOT):
        text = f"{text}; free some disk space and run again"
    if code == errno.EFBIG:
        text = f"{text}; free some disk space, or raise the file size limit, and run again"
    return text


def one_line(text: str) -> str:
    """Return a text as one line that a terminal shows as it is, with very long words shortened.

    Messages quote values of files, which may hold anything.

    Examples
    --------
    >>> one_line(chr(27) + "[2J is " + chr(10) + "escaped") == r"\\x1b[2J is escaped"
    True
    """
    shown = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in " ".join(text.split())
    )
    return re.sub(
        rf"\S{{{_LONGEST_WORD},}}",
        lambda word: f"{word[0][: _LONGEST_WORD // 2]}...{word[0][-_LONGEST_WORD // 4 :]}",
        shown,
    )
