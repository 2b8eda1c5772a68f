"""``radsynth export``: a trained model for other runtimes."""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.shell.options import Command, force_option


@click.command(cls=Command, needs=("keras",))
@click.argument("model_path", metavar="MODEL", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="FILE.onnx, FILE.tflite (LiteRT), or a folder for a SavedModel.",
)
@force_option
def command(model_path: Path, output: Path, force: bool) -> None:
    """Write a model for other runtimes: ONNX, LiteRT or SavedModel.

    The exported model takes whole slices of grey levels, (N, Y, X, 1), and returns a value for every window
    that fits into the slice, (N, Y-w+1, X-w+1, features). docs/surrogate.md shows how to use it.

    \b
    Example:
      radsynth export runs/demo/training/fold0.keras -o fold0.onnx
      fold0.onnx
    """
    from glcm_cuda.base.files import refuse_existing, refuse_unwritable
    from surrogate import load_model
    from surrogate.export import export_model

    refuse_existing(output, force=force)
    refuse_unwritable(output)
    export_model(load_model(model_path), output, force=force)
    click.echo(output)


if __name__ == "__main__":
    command()
