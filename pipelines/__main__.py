"""``radsynth``: all commands under one name; each is imported only when it is called."""

from __future__ import annotations

import difflib
import importlib
from typing import Any

import click

from pipelines.shell.errors import OneLineErrors

# Written out, so that the list needs no import.
COMMANDS = {
    "map": "Exact entropy map of an image, or maps of any of 93 texture features.",
    "inspect": "List what a file, folder or archive contains: series, phases, geometry, problems.",
    "channels": "Images and maps of a cohort as the channels of nnU-Net.",
    "roi": "Texture and first-order features of regions, as a table.",
    "stability": "Which maps repeat, which are at their ceiling, which say the same as another.",
    "cohort": "Cohort lists (CSV) from folders of DICOM or NIfTI; standards; preprocessing.",
    "download": "Download public series from the Imaging Data Commons, with their licences.",
    "phantom": "Phantom cohort: 24 synthetic breast volumes with tissue labels.",
    "groundtruth": "Exact maps of a cohort, sampled into a patch store for training.",
    "train": "Train the surrogate on a patch store, in two folds by patient.",
    "synthesize": "Synthetic maps from a trained model.",
    "evaluate": "Agreement between synthetic and exact maps: tables and figures.",
    "explain": "What a trained network responds to: filters, extreme patches, texture components.",
    "export": "Export a trained model to ONNX, LiteRT or SavedModel.",
    "benchmark": "Time exact against synthetic maps on this machine.",
}

_MODULES = {"inspect": "inspection", "cohort": "manifest"}
"""Modules of commands whose name was taken: `inspect` is Python's, `cohort` is a folder of ours."""


class _Commands(OneLineErrors, click.Group):
    """A group that lists its commands by name and imports only the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(
            f"pipelines.{_MODULES.get(cmd_name, cmd_name)}"
        ).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"did you mean '{close[0]}'? " if close else ""
            ctx.fail(f"no command '{args[0]}'; {hint}the commands are {', '.join(COMMANDS)}")
        return super().resolve_command(ctx, args)


def _print_version(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    if not asked or ctx.resilient_parsing:
        return
    import glcm_cuda

    click.echo(f"radsynth {glcm_cuda.__version__}")
    ctx.exit()


@click.group(cls=_Commands, invoke_without_command=True, subcommand_metavar="COMMAND [ARGS]...")
@click.pass_context
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version and exit.",
)
def main(ctx: click.Context, /, **_: Any) -> None:
    """Exact texture maps of medical images, and neural surrogates trained on them.

    \b
    Each command has its own help: radsynth map --help
    A first map:                   radsynth map image.nii.gz -o entropy.nii.gz
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


if __name__ == "__main__":
    main(prog_name="radsynth")
