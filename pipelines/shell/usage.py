"""How commands are called: options that all of them have, help in two layers, the line for records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from pipelines.shell.messages import Messages

_MESSAGES = "Messages"

_COMMON_SETTINGS = (
    "--preset", "--window", "--dimensions", "--aggregate", "--levels", "--bin-width", "--range-over",
    "--range",
)  # fmt: skip
"""Of the options under headings of their own, those that `--help` lists too."""

_RARE = (
    "--allow-gaps", "--augment", "--batch", "--clip-outliers", "--correct-tilt", "--error-map", "--folds-by",
    "--interpolator", "--learning-rate", "--mask-interpolator", "--outside", "--padding", "--patience",
    "--phase", "--pool-stride", "--precision", "--resample-mask", "--round", "--runtime", "--standardize",
    "--subtract", "--tile",
)  # fmt: skip
"""Of the other options, those that only `--help-all` lists."""


class SectionOption(click.Option):
    """An option that the help text lists under a heading of its own."""

    def __init__(self, *args: Any, section: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section


def _show_all(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        ctx.meta[_MESSAGES] = True
        click.echo(ctx.get_help())
        ctx.exit()


COMMON_OPTIONS: tuple[click.Option, ...] = (
    SectionOption(
        ["-v", "--verbose"], section=_MESSAGES, is_flag=True, help="Also say each step and its seconds."
    ),
    SectionOption(
        ["-q", "--quiet"],
        section=_MESSAGES,
        is_flag=True,
        help="Say warnings and errors only.",
    ),
    SectionOption(
        ["--log-file"],
        section=_MESSAGES,
        type=click.Path(path_type=Path, dir_okay=False),
        help="File to which all messages are added, with their time.",
    ),
    SectionOption(
        ["--json", "as_json"],
        section=_MESSAGES,
        is_flag=True,
        help="Print one JSON object: what was written and how, seconds by step, warnings.",
    ),
    click.Option(
        ["--help-all"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_show_all,
        help="Show all options and exit.",
    ),
)
"""Options that every command has, after its own."""


def messages_of(ctx: click.Context) -> Messages:
    """Take the options of messages out of those of a command.

    Raises
    ------
    click.UsageError
        If two of them contradict each other.
    """
    names = ("verbose", "quiet", "log_file", "as_json")
    messages = Messages(**{name: ctx.params.pop(name) for name in names})
    if messages.verbose and messages.quiet:
        msg = "--verbose and --quiet are mutually exclusive; give one of them"
        raise click.UsageError(msg, ctx)
    return messages


def words_of(ctx: click.Context) -> list[str]:
    """Return the command as it was called, with the names of files in place of their paths.

    Folders often carry names of people. Options of messages are left out once `messages_of` took them.
    """
    words = ctx.command_path.split()
    for parameter in ctx.command.get_params(ctx):
        name = str(parameter.name)
        if name in ctx.params and ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            words += _words(parameter, ctx.params[name])
    return words


def _words(parameter: click.Parameter, value: Any) -> list[str]:
    """Return a parameter and its value, or values."""
    if not isinstance(parameter, click.Option):
        return [_word(one) for one in (value if parameter.nargs != 1 else (value,))]
    option = max(parameter.opts, key=len)
    if parameter.is_flag:
        return [option if value else max(parameter.secondary_opts, key=len, default=option)]
    values = value if parameter.multiple else (value,)
    return [word for one in values for word in (option, *map(_word, one if parameter.nargs != 1 else (one,)))]


def _word(value: Any) -> str:
    """Return a value as text; of a path the name."""
    text = value.name if isinstance(value, Path) else str(value)
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def write_options(command: click.Command, ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """List options under their headings: the common ones, or all if `--help-all` asks for them."""
    sections: dict[str, list[tuple[str, str]]] = {}
    hidden = 0
    for parameter in command.get_params(ctx):
        record = parameter.get_help_record(ctx)
        if record is None or not isinstance(parameter, click.Option):
            continue
        if _is_rare(parameter) and _MESSAGES not in ctx.meta:
            hidden += 1
            continue
        sections.setdefault(getattr(parameter, "section", "Options"), []).append(record)
    for title, records in sections.items():
        with formatter.section(title):
            formatter.write_dl(records)
    if hidden:
        formatter.write_paragraph()
        formatter.write_text(
            f"{hidden} more options with --help-all, among them -v, -q, --log-file and --json."
        )


def _is_rare(option: click.Option) -> bool:
    if isinstance(option, SectionOption):
        return not any(name in _COMMON_SETTINGS for name in option.opts)
    return any(name in _RARE for name in option.opts)
