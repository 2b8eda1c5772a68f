"""What all commands share: errors in one line, options used more than once, progress."""

from __future__ import annotations

import errno
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from glcm_cuda import GLCMSettings

BAD_INPUT = 2
INTERRUPTED = 130
_PACKAGES = ("glcm_cuda", "surrogate", "pipelines")
_BAR_AFTER_SECONDS = 2.0

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])


class BadInput(click.ClickException):
    """What the user can repair: shown as one line, exit code 2."""

    exit_code = BAD_INPUT


class OneLineErrors(click.Command):
    """Mixin of a command or group: every expected error becomes one line and exit code 2."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("context_settings", {"help_option_names": ["-h", "--help"]})
        super().__init__(*args, **kwargs)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse as click does, with the errors in one line."""
        with _one_line(ctx):
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run as click does, with the errors in one line."""
        with _one_line(ctx):
            return super().invoke(ctx)


class Command(OneLineErrors):
    """A command whose errors are one line on stderr (exit code 2) and whose log goes to stderr.

    ValueError, TypeError, OSError, ImportError, MemoryError, RuntimeError (no such device) and wrong
    usage end with exit code 2, an interruption (Ctrl+C) with 130. Anything else is a fault of the
    program and keeps its traceback.
    """

    def invoke(self, ctx: click.Context) -> Any:
        """Run with the packages' log on stderr."""
        with _logging_to_stderr():
            return super().invoke(ctx)


class FilePath(click.Path):
    """A path; the empty one, which pathlib takes for the current folder, is refused."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Convert as click does, but refuse an empty string."""
        if value == "" and param is not None and ctx is not None:
            name = param.get_error_hint(ctx).replace("'", "")
            msg = f"{name} is empty; give a path"
            raise click.UsageError(msg, ctx)
        return super().convert(value, param, ctx)


@contextmanager
def _one_line(ctx: click.Context) -> Iterator[None]:
    try:
        yield
    except click.UsageError as error:
        msg = f"{_joined(error.format_message()).removesuffix('.')} (see {ctx.command_path} --help)"
        raise BadInput(msg) from None
    except KeyboardInterrupt:
        click.echo("Interrupted; finished outputs are whole, unfinished ones were removed", err=True)
        raise click.exceptions.Exit(INTERRUPTED) from None
    except (click.exceptions.Exit, click.Abort, BrokenPipeError):
        raise  # no errors: click ends quietly, also where the reader of our output went away
    except (ValueError, TypeError, OSError, ImportError, MemoryError, RuntimeError) as error:
        raise BadInput(describe(error)) from error


def describe(error: BaseException) -> str:
    """Return the error as one line without codes: what the user reads after ``Error:``."""
    if isinstance(error, MemoryError):
        return f"not enough memory: {_joined(str(error)) or 'try a smaller image or fewer at a time'}"
    if isinstance(error, OSError) and error.errno is not None:
        return _described_os_error(error.errno, error)
    return _joined(str(error)) or type(error).__name__


def _described_os_error(code: int, error: OSError) -> str:
    """Text of the system, the file, and for a full disk what to do."""
    subject = error.filename if error.filename is not None else error.strerror
    text = os.strerror(code)
    if subject and subject != text:
        text = f"{text}: {_joined(os.fsdecode(subject) if isinstance(subject, bytes) else str(subject))}"
    if code in (errno.ENOSPC, errno.EDQUOT):
        text = f"{text}; free some space and run again"
    if code == errno.EFBIG:
        text = f"{text}; free some space, or lift the limit on file size, and run again"
    return text


def _joined(text: str) -> str:
    return " ".join(text.split())


class _StderrHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        click.echo(self.format(record), err=True)


@contextmanager
def _logging_to_stderr() -> Iterator[None]:
    """Show what the three packages log from INFO on, for as long as a command runs."""
    handler = _StderrHandler()
    loggers = [logging.getLogger(name) for name in _PACKAGES]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)


@contextmanager
def progress_bar(label: str, total: int | None = None) -> Iterator[Callable[[int, int], None]]:
    """Yield a callable ``(done, total)`` that draws a bar on stderr.

    Nothing is drawn before two seconds have passed, nor where stderr is no terminal.

    Parameters
    ----------
    label : str
        Written before the bar.
    total : int, optional
        Number of steps; the callable's own `total` wins.
    """
    start = time.monotonic()
    shown = 0
    bar: click._termui_impl.ProgressBar[int] | None = None
    with ExitStack() as stack:

        def report(done: int, of: int) -> None:
            nonlocal bar, shown
            if bar is None:
                if not sys.stderr.isatty() or time.monotonic() - start < _BAR_AFTER_SECONDS:
                    return
                bar = stack.enter_context(click.progressbar(length=of or total, label=label, file=sys.stderr))
            bar.update(done - shown)
            shown = done

        yield report


def settings_options(function: _Decorated) -> _Decorated:
    """Add the options of a map's settings; `glcm_settings_from` reads them from the keywords."""
    for option in reversed(_SETTINGS_OPTIONS):
        function = option(function)
    return function


_SETTINGS_OPTIONS = (
    click.option("--preset", default="radsynth", show_default=True, help="Settings to start from."),
    click.option("--levels", type=int, help="Grey levels, 2 to 256 (radsynth: 64)."),
    click.option(
        "--window",
        metavar="EDGE|Z,Y,X",
        help="Edge of the window in voxels, odd, from 3, or three edges if --dimensions is 3 (radsynth: 5).",
    ),
    click.option("--distance", type=int, help="Distance between the voxels of a pair (radsynth: 1)."),
    click.option("--dimensions", type=int, help="2: windows in a slice; 3: in the volume (radsynth: 2)."),
    click.option(
        "--aggregate", metavar="mean|merge", help="Mean over directions, or pooled counts (radsynth: mean)."
    ),
    click.option("--asymmetric", is_flag=True, help="Count each pair in one order only."),
    click.option("--log-base", metavar="2|10|e", help="Base of the logarithm (radsynth: 2, bits)."),
    click.option(
        "--range",
        "intensity_range",
        type=float,
        nargs=2,
        metavar="LOW HIGH",
        help="Intensities of the lowest and highest level; others are clipped.",
    ),
    click.option(
        "--range-over",
        metavar="image|mask",
        help="Where the range is taken when --range is not given (radsynth: image).",
    ),
)


def glcm_settings_from(options: Mapping[str, Any]) -> GLCMSettings:
    """Return the settings that the options of `settings_options` describe.

    Parameters
    ----------
    options : mapping
        The command's keywords; those of no setting are ignored.

    Raises
    ------
    TypeError, ValueError
        If a setting is out of its range.
    """
    from glcm_cuda import GLCMSettings

    fields = GLCMSettings.preset(options["preset"]).to_dict()
    for name in ("levels", "distance", "dimensions", "aggregate", "intensity_range", "range_over"):
        if options[name] is not None:
            fields[name] = options[name]
    if options["window"] is not None:
        fields["window"] = _window(options["window"])
    if options["asymmetric"]:
        fields["symmetric"] = False
    if options["log_base"] is not None:
        fields["log_base"] = _log_base(options["log_base"])
    return GLCMSettings.from_dict(fields)


def _window(text: str) -> int | tuple[int, ...]:
    try:
        edges = tuple(int(edge) for edge in text.split(","))
    except ValueError:
        msg = f"--window must be one odd number, or three with commas between, got {text!r}"
        raise ValueError(msg) from None
    return edges if len(edges) > 1 else edges[0]


def _log_base(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


force_option = click.option("--force", is_flag=True, help="Replace outputs that exist.")
backend_option = click.option(
    "--backend",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="auto: cuda where a device is found, else cpu.",
)
