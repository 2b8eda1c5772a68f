"""What commands share: their class, and the options that several of them have."""

from __future__ import annotations

import codecs
import functools
import io
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click

from pipelines.reports.command_line import running_command
from pipelines.shell.errors import OneLineErrors, one_line_errors
from pipelines.shell.messages import telling, usage_as_json
from pipelines.shell.usage import COMMON_OPTIONS, messages_of, words_of, write_options

if TYPE_CHECKING:
    from glcm_cuda.families.feature import Feature
    from pipelines.images.dicom.series import Choice

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


class Command(OneLineErrors):
    """A command whose errors are one line on stderr (exit code 2) and whose log goes to stderr.

    ValueError, TypeError, OSError, ImportError, MemoryError, RuntimeError (no such device) and wrong
    usage end with exit code 2, an interruption (Ctrl+C) with 130, SIGTERM with 143. Anything else is a bug
    in the program and keeps its traceback.
    """

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the command's own parameters, and those that every command has."""
        *own, asked_help = super().get_params(ctx)
        return [*own, *COMMON_OPTIONS, asked_help]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse; with ``--json`` a wrong call is told in JSON too."""
        try:
            return super().parse_args(ctx, list(args))
        except click.ClickException as error:
            if "--json" in args:
                click.echo(usage_as_json(ctx.command_path.split(), error))
            raise

    def invoke(self, ctx: click.Context) -> Any:
        """Run with the log of our packages alone on stderr, and with any name of a file on stdout."""
        with ExitStack() as stack:
            stack.enter_context(_encodable_output())
            with one_line_errors(ctx):
                messages = messages_of(ctx)
                words = words_of(ctx)
                stack.enter_context(telling(messages, words, ctx.params))
            stack.enter_context(running_command(words))
            stack.enter_context(_library_warnings_hidden())
            return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the options as click does, but settings under their own headings."""
        write_options(self, ctx, formatter)


class FilePath(click.Path):
    """A path; the empty string is refused, which pathlib takes for the current folder."""

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
def _library_warnings_hidden() -> Iterator[None]:
    """Keep Python's warnings off the terminal: they are a library's, about its inside; we log ours."""
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)


@contextmanager
def _encodable_output() -> Iterator[None]:
    """Let stdout take any text: names of files in their own bytes, what the terminal lacks escaped."""
    stream = sys.stdout
    if not isinstance(stream, io.TextIOWrapper):
        yield
        return
    before = stream.errors
    codecs.register_error("radsynth", _bytes_or_escapes)
    stream.reconfigure(errors="radsynth")
    try:
        yield
    finally:
        stream.reconfigure(errors=before)


def _bytes_or_escapes(error: UnicodeError) -> tuple[str | bytes, int]:
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.backslashreplace_errors(error)


def features_from(
    names: Iterable[str], default: str | Iterable[str], *, region: bool = False
) -> tuple[Feature, ...]:
    """Return the features that ``--feature`` names, by any synonym; without names, the default.

    `region` allows those that only whole regions have.
    """
    from glcm_cuda.families.registry import features_named

    wanted = [part.strip() for name in names for part in name.split(",")]
    return features_named(wanted or default, region=region)


def reading_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose a volume of DICOM; the command receives them as `choice`."""

    @click.option("--series", help="DICOM series: its number in `inspect`, UID, or description.")
    @click.option("--phase", type=int, help="Phase of the series, counted from 1.")
    @click.option("--allow-gaps", is_flag=True, help="Accept missing or unevenly spaced slices.")
    @click.option("--correct-tilt", is_flag=True, help="Shift the slices of a CT with tilted gantry.")
    @functools.wraps(function)
    def packed(
        *arguments: Any,
        series: str | None,
        phase: int | None,
        allow_gaps: bool,
        correct_tilt: bool,
        **named: Any,
    ) -> Any:
        from pipelines.images.dicom.series import Choice

        choice = Choice(series=series, phase=phase, allow_gaps=allow_gaps, correct_tilt=correct_tilt)
        return function(*arguments, choice=choice, **named)

    return packed


def refuse_options_of_one_image(paths: Mapping[str, Path | None], choice: Choice) -> None:
    """Raise ValueError if an option is given that a cohort has no use for.

    Parameters
    ----------
    paths : mapping
        Options and their values.
    choice : Choice
        Of a volume; a cohort's CSV has columns for it.
    """
    for option, value in paths.items():
        if value is not None:
            msg = f"{option} applies to a single image, got a cohort"
            raise ValueError(msg)
    if choice.to_dict():
        options = " and ".join(f"--{name.replace('_', '-')}" for name in choice.to_dict())
        msg = f"{options}: for a single image, got a cohort; its CSV has the columns series and phase"
        raise ValueError(msg)


class Ended(Protocol):
    """How a run through a cohort ended."""

    def summary(self) -> str:
        """Return a line about it."""

    def finish(self) -> None:
        """Raise an error if cases failed."""


def echo_outcome(output: Path, outcome: Ended) -> None:
    """Print where the outputs of a cohort are, if there are any, and a line about them; then end.

    Raises
    ------
    CasesFailedError
        If cases failed.
    """
    if output.exists():
        click.echo(output)
    click.echo(outcome.summary())
    outcome.finish()


def preprocessing_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of preprocessing; the command receives them as `steps`."""

    @click.option("--subtract", type=FilePath(), help="Image to subtract, e.g. the pre-contrast phase.")
    @click.option("--n4", is_flag=True, help="Correct the MR bias field with N4.")
    @click.option("--resample", metavar="X,Y,Z", help="Resample to this spacing in mm; 0 keeps an axis.")
    @click.option(
        "--interpolator",
        type=click.Choice(["nearest", "linear", "spline"]),
        help="How images are resampled; spline: cubic B-spline.  [default: linear, or that of --params]",
    )
    @click.option(
        "--mask-interpolator",
        type=click.Choice(["nearest", "linear"]),
        help="How masks are resampled with the image; linear: 0.5 or more is inside, as in IBSI.  [default: "
        "nearest]",
    )
    @click.option("--round", "rounded", is_flag=True, help="Round intensities to whole numbers then (CT).")
    @click.option("--clip", type=float, nargs=2, metavar="LOW HIGH", help="Clip intensities: -160 240.")
    @click.option("--standardize", type=FilePath(), help="Intensity standard of `cohort standard`.")
    @click.option("--normalize", metavar="zscore", help="Normalise to mean 0, standard deviation 1.")
    @click.option("--clip-outliers", type=float, help="Clip beyond this many standard deviations.")
    @functools.wraps(function)
    def packed(
        *arguments: Any,
        subtract: Path | None,
        n4: bool,
        resample: str | None,
        interpolator: str | None,
        mask_interpolator: str | None,
        rounded: bool,
        clip: tuple[float, float] | None,
        standardize: Path | None,
        normalize: Any,
        clip_outliers: float | None,
        **named: Any,
    ) -> Any:
        from pipelines.images.preprocessing import Preprocessing
        from pipelines.images.resampling import INTERPOLATORS, MASK_INTERPOLATORS

        steps = Preprocessing(
            subtract=subtract,
            n4=n4,
            spacing_mm=None if resample is None else _spacing(resample),
            interpolator=None if interpolator is None else INTERPOLATORS[interpolator],
            mask_interpolator=None if mask_interpolator is None else MASK_INTERPOLATORS[mask_interpolator],
            rounded=rounded,
            clip=clip,
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
        msg = f"--resample must be one spacing in mm, or three separated by commas (x,y,z), got {text!r}"
        raise ValueError(msg)
    return numbers[0], numbers[1], numbers[2]


def mask_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose voxels of a mask; the command receives them as `mask_choice`."""

    @click.option(
        "--mask-label",
        metavar="N[,N...]|all",
        help="Use only the mask's voxels with this label, these, or all labels.  [default: all, or that of "
        "--params]",
    )
    @click.option("--segment", help="Segment, structure or named label of the mask: number or name.")
    @click.option("--resample-mask", is_flag=True, help="Resample the mask to the image grid (nearest).")
    @functools.wraps(function)
    def packed(
        *arguments: Any, mask_label: str | None, segment: str | None, resample_mask: bool, **named: Any
    ) -> Any:
        from pipelines.images.masks import MaskChoice, label_of

        label = None if mask_label is None else label_of(mask_label)
        mask_choice = MaskChoice(label=label, segment=segment, resample=resample_mask)
        return function(*arguments, mask_choice=mask_choice, **named)

    return packed


def feature_option(default: str) -> Callable[[Decorated], Decorated]:
    """Return the option ``--feature``, which `features_from` reads; `default` is for the help text."""
    return click.option(
        "--feature",
        "features",
        multiple=True,
        metavar="NAME",
        help="Feature, by its name here, in pyradiomics or in IBSI (contrast, glrlm_RunEntropy, TU9B), or in "
        "Haralick's paper (f1 to f14); a family for all of it: firstorder, glcm, glrlm, glszm, gldm, ngtdm; "
        f"or all. Several: separate by commas, or repeat the option.  [default: {default}]",
    )


filter_option = click.option(
    "--filter",
    "filters",
    multiple=True,
    metavar="SPEC",
    help="Filter the image first, as in pyradiomics: log:sigma=2,4 (mm), wavelet:coif1, square, squareroot, "
    "logarithm, exponential, gradient, lbp-2d, lbp-3d, original; or one of IBSI (ibsi-log:sigma=3; see "
    "docs/filters.md). Repeat the option for several; names then begin with that of the filtered image.",
)
params_option = click.option(
    "--params",
    type=FilePath(),
    metavar="YAML",
    help="pyradiomics parameter file to start from, instead of --preset (pyradiomics is not needed).",
)
force_option = click.option("--force", is_flag=True, help="Replace existing outputs.")
backend_option = click.option(
    "--backend",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="auto: cuda if a device is found, otherwise cpu.",
)
