"""What all commands share: errors in one line, options used more than once, progress."""

from __future__ import annotations

import errno
import functools
import logging
import os
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from glcm_cuda import GLCMSettings
    from glcm_cuda.features import Feature

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

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the options as click does, those of settings under titles of their own."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                sections.setdefault(getattr(parameter, "section", "Options"), []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


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


class _Setting(click.Option):
    """An option of the settings, listed in help under what it is about."""

    def __init__(self, *args: Any, section: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section


# Written here, so that help costs no import of the library.
PRESETS = (
    "radsynth", "haralick", "ibsi", "ibsi-merge", "ibsi-3d", "ibsi-3d-merge", "pyradiomics", "skimage",
    "mahotas", "itk",
)  # fmt: skip
_PAIRS = "Settings of windows and pairs"
_LEVELS = "Settings of grey levels"


def _setting(*names: str, section: str, **kwargs: Any) -> Callable[[_Decorated], _Decorated]:
    return click.option(*names, cls=_Setting, section=section, **kwargs)


_SETTINGS_OPTIONS = {
    "preset": _setting(
        "--preset",
        section=_PAIRS,
        metavar="NAME",
        help=f"Settings to start from: {', '.join(PRESETS)} (default radsynth). The options below "
        "change them.",
    ),
    "window": _setting(
        "--window",
        section=_PAIRS,
        metavar="EDGE|Z,Y,X",
        help="Edge of the window in voxels, odd, from 3, or three edges if --dimensions is 3 (radsynth: 5).",
    ),
    "dimensions": _setting(
        "--dimensions",
        section=_PAIRS,
        type=int,
        metavar="2|3",
        help="2: windows in a slice; 3: in the volume (radsynth: 2).",
    ),
    "slice_axis": _setting(
        "--slice-axis",
        section=_PAIRS,
        type=int,
        metavar="0|1|2",
        help="Axis across the slices of 2D windows: 0 (z), 1 (y) or 2 (x) (radsynth: 0).",
    ),
    "distance": _setting(
        "--distance",
        section=_PAIRS,
        multiple=True,
        metavar="D[,D...]",
        help="Distance between the voxels of a pair, or several (radsynth: 1).",
    ),
    "directions": _setting(
        "--directions",
        section=_PAIRS,
        metavar="scaled|all",
        help="Unit offsets times the distance, or every offset of that length (radsynth: scaled).",
    ),
    "symmetric": _setting(
        "--symmetric/--asymmetric",
        section=_PAIRS,
        default=None,
        help="Count each pair in both orders, or in one only (radsynth: symmetric).",
    ),
    "aggregate": _setting(
        "--aggregate",
        section=_PAIRS,
        metavar="mean|merge",
        help="Mean over directions, or pooled counts (radsynth: mean).",
    ),
    "masked_window": _setting(
        "--masked-window/--unmasked-window",
        section=_PAIRS,
        default=None,
        help="Whether both voxels of a pair must be inside the mask (radsynth: masked).",
    ),
    "log_base": _setting(
        "--log-base",
        section=_PAIRS,
        metavar="2|10|e",
        help="Base of the logarithm of entropies (radsynth: 2, bits).",
    ),
    "levels": _setting("--levels", section=_LEVELS, type=int, help="How many, 2 to 65536 (radsynth: 64)."),
    "bin_width": _setting(
        "--bin-width",
        section=_LEVELS,
        type=float,
        metavar="WIDTH",
        help="Width of a bin in the image's unit, instead of --levels.",
    ),
    "bin_edges": _setting(
        "--bin-edges",
        section=_LEVELS,
        metavar="ibsi|pyradiomics",
        help="Where bins begin: at the lowest intensity, or as pyradiomics has them (radsynth: ibsi).",
    ),
    "range_over": _setting(
        "--range-over",
        section=_LEVELS,
        metavar="image|mask|crop",
        help="Where the range of intensities is taken: over the image, the mask, or the box that the mask's "
        "windows reach (radsynth: image).",
    ),
    "intensity_range": _setting(
        "--range",
        "intensity_range",
        section=_LEVELS,
        type=float,
        nargs=2,
        metavar="LOW HIGH",
        help="The range itself; intensities outside are clipped.",
    ),
    "percentiles": _setting(
        "--percentiles",
        section=_LEVELS,
        type=float,
        nargs=2,
        metavar="LOW HIGH",
        help="Clip the range to these percentiles, 0 to 100.",
    ),
    "deviations": _setting(
        "--deviations",
        section=_LEVELS,
        type=float,
        metavar="K",
        help="Clip the range to the mean plus or minus K standard deviations.",
    ),
    "first_level": _setting(
        "--first-level",
        section=_LEVELS,
        type=int,
        metavar="0|1",
        help="Number of the lowest level, seen in autocorrelation and averages (radsynth: 1).",
    ),
}
_RANGES = {"intensity_range": "--range", "percentiles": "--percentiles", "deviations": "--deviations"}


def settings_options(*, without: Collection[str] = ()) -> Callable[[_Decorated], _Decorated]:
    """Return a decorator that adds the options of settings, but for some without meaning to a command.

    `glcm_settings_from` reads them from the command's keywords.
    """

    def decorate(function: _Decorated) -> _Decorated:
        for name, option in reversed(_SETTINGS_OPTIONS.items()):
            if name not in without:
                function = option(function)
        return function

    return decorate


def glcm_settings_from(options: Mapping[str, Any], base: GLCMSettings | None = None) -> GLCMSettings:
    """Return the settings that the options of `settings_options` describe.

    What the base says otherwise gives way to an option: a number of levels replaces a bin width, and one
    way to give the range another.

    Parameters
    ----------
    options : mapping
        The command's keywords; those of no setting are ignored.
    base : GLCMSettings, optional
        What the options change, instead of a preset.

    Raises
    ------
    TypeError, ValueError
        If a setting is out of its range, or two options exclude each other.
    """
    from glcm_cuda import GLCMSettings

    if base is not None and options.get("preset") is not None:
        msg = "--params and --preset exclude each other: give one of them"
        raise ValueError(msg)
    fields = (base or GLCMSettings.preset(options.get("preset") or "radsynth")).to_dict()
    given = _given(options)
    _refuse_exclusive(given)
    if "levels" in given:
        fields["bin_width"] = None
    if given.keys() & {*_RANGES, "range_over"}:
        fields |= dict.fromkeys(_replaced_ranges(given))
    if given.get("dimensions") == 3:
        fields["slice_axis"] = 0
    return GLCMSettings.from_dict(fields | given)


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that were given, as the library wants them."""
    given = {name: options[name] for name in _SETTINGS_OPTIONS if options.get(name) not in (None, ())}
    given.pop("preset", None)
    if "window" in given:
        given["window"] = _window(given["window"])
    if "distance" in given:
        given["distance"] = _distances(given["distance"])
    if "log_base" in given:
        given["log_base"] = _log_base(given["log_base"])
    return given


def _refuse_exclusive(given: Mapping[str, Any]) -> None:
    ways = [option for name, option in _RANGES.items() if name in given]
    pairs = [("--levels", "--bin-width")] if "levels" in given and "bin_width" in given else []
    pairs += [(ways[0], ways[1])] if len(ways) > 1 else []
    pairs += [("--range", "--range-over")] if {"intensity_range", "range_over"} <= given.keys() else []
    for one, other in pairs:
        msg = f"{one} and {other} exclude each other: give one of them"
        raise ValueError(msg)


def _replaced_ranges(given: Mapping[str, Any]) -> list[str]:
    """Return what the base may say of the range that the given options replace."""
    if given.keys() & _RANGES.keys():
        return list(_RANGES)
    return ["intensity_range"]  # --range-over alone: of where it is taken, not of how it is clipped


def _window(text: str) -> int | tuple[int, ...]:
    try:
        edges = tuple(int(edge) for edge in text.split(","))
    except ValueError:
        msg = f"--window must be one odd number, or three with commas between, got {text!r}"
        raise ValueError(msg) from None
    return edges if len(edges) > 1 else edges[0]


def _distances(texts: Iterable[str]) -> tuple[int, ...]:
    text = ",".join(texts)
    try:
        return tuple(int(distance) for distance in text.split(","))
    except ValueError:
        msg = f"--distance must be whole numbers with commas between, got {text!r}"
        raise ValueError(msg) from None


def _log_base(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def features_from(names: Iterable[str], default: str | Iterable[str]) -> tuple[Feature, ...]:
    """Return the features that ``--feature`` names, by any synonym, or the default ones."""
    from glcm_cuda.features import features_named

    wanted = [part.strip() for name in names for part in name.split(",")]
    return features_named(wanted or default)


def reading_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which volume of DICOM is meant; the command gets them as `choice`."""

    @click.option("--series", help="Of several DICOM series, a number of `inspect`, a UID or a description.")
    @click.option("--phase", type=int, help="Of several phases in one series, which, from 1.")
    @click.option("--allow-gaps", is_flag=True, help="Take slices as they follow, though some are missing.")
    @click.option("--correct-tilt", is_flag=True, help="Move slices of a tilted gantry upright.")
    @functools.wraps(function)
    def packed(
        *arguments: Any,
        series: str | None,
        phase: int | None,
        allow_gaps: bool,
        correct_tilt: bool,
        **named: Any,
    ) -> Any:
        from .dicom import Choice

        choice = Choice(series=series, phase=phase, allow_gaps=allow_gaps, correct_tilt=correct_tilt)
        return function(*arguments, choice=choice, **named)

    return packed


def preprocessing_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of preprocessing; the command gets them as `steps`."""

    @click.option("--subtract", type=FilePath(), help="First subtract this image: post less pre.")
    @click.option("--n4", is_flag=True, help="Correct the bias field of MR (N4).")
    @click.option("--resample", metavar="X,Y,Z", help="Resample to these spacings in mm, 0 to leave; or one.")
    @click.option("--standardize", type=FilePath(), help="Map intensities to this standard.")
    @click.option("--normalize", metavar="zscore", help="Less the mean, over the standard deviation.")
    @click.option("--clip-outliers", type=float, help="Clip beyond so many standard deviations.")
    @functools.wraps(function)
    def packed(
        *arguments: Any,
        subtract: Path | None,
        n4: bool,
        resample: str | None,
        standardize: Path | None,
        normalize: Any,
        clip_outliers: float | None,
        **named: Any,
    ) -> Any:
        from .preprocessing import Preprocessing

        steps = Preprocessing(
            subtract=subtract,
            n4=n4,
            spacing_mm=None if resample is None else _spacing(resample),
            standardize=standardize,
            normalize=normalize,
            outliers=clip_outliers,
        )
        return function(*arguments, steps=steps, **named)

    return packed


def _spacing(text: str) -> tuple[float, float, float]:
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) == 1:
        return numbers[0], numbers[0], numbers[0]
    if len(numbers) != 3:
        msg = f"--resample must be one spacing in mm or three with commas (x,y,z), got {text!r}"
        raise ValueError(msg)
    return numbers[0], numbers[1], numbers[2]


def mask_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which voxels of a mask are meant; the command gets them as `inside`."""

    @click.option("--mask-label", type=int, help="Of the mask, only the voxels with this label.")
    @click.option("--segment", help="Of a DICOM SEG or RTSTRUCT, or a mask with names: number or name.")
    @click.option("--resample-mask", is_flag=True, help="Resample the mask to the image (nearest neighbour).")
    @functools.wraps(function)
    def packed(
        *arguments: Any, mask_label: int | None, segment: str | None, resample_mask: bool, **named: Any
    ) -> Any:
        from .masks import MaskChoice

        inside = MaskChoice(label=mask_label, segment=segment, resample=resample_mask)
        return function(*arguments, inside=inside, **named)

    return packed


def feature_option(default: str) -> Callable[[_Decorated], _Decorated]:
    """Return the option ``--feature``; `features_from` reads it."""
    return click.option(
        "--feature",
        "features",
        multiple=True,
        metavar="NAME",
        help="Feature, by its name or that of pyradiomics, IBSI (contrast, JointEntropy, TU9B) or Haralick "
        f"(f1 to f14); may be given again; all: every one.  [default: {default}]",
    )


params_option = click.option(
    "--params",
    type=FilePath(),
    metavar="YAML",
    help="Parameter file of pyradiomics to start from, instead of --preset; needs no pyradiomics.",
)
force_option = click.option("--force", is_flag=True, help="Replace outputs that exist.")
backend_option = click.option(
    "--backend",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="auto: cuda where a device is found, else cpu.",
)
