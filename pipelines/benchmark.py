"""``radsynth benchmark``: exact against synthetic maps on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.shell.options import Command, force_option
from pipelines.shell.outputs import refuse_file


@click.command(cls=Command, needs=("scipy", "matplotlib"))
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder for the results."
)
@click.option(
    "--image",
    type=click.Path(path_type=Path),
    help="Image whose middle slices are mapped.  [default: a phantom of 512x512]",
)
@click.option(
    "--slices", type=click.IntRange(1), default=1, show_default=True, help="Number of slices to map."
)
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    help="Network to time (.keras); without it, only the exact methods are timed.",
)
@click.option(
    "--repeats", type=click.IntRange(1), default=5, show_default=True, help="Timed calls per method."
)
@click.option(
    "--crossover",
    is_flag=True,
    help="Also time untrained networks and exact maps: windows 3 to 11; 1, 5 and 24 features; 2D and 3D.",
)
@force_option
def command(
    output: Path,
    image: Path | None,
    slices: int,
    model: Path | None,
    repeats: int,
    crossover: bool,
    force: bool,
) -> None:
    """Time exact and synthetic maps of the same slices.

    Times the exact engine on the CPU (all threads, one thread) and on a CUDA device if there is one, the
    paper's dense-matrix algorithm on the same devices, and the network on every device of its Keras
    backend. Writes benchmark.json, .csv, .md and .png; for a phantom, the file names start with phantom_.
    --crossover adds crossover.json, .csv, .md and .png, which show where a network is faster, if anywhere
    (takes some minutes).

    \b
    Example:
      radsynth benchmark -o runs/demo/benchmark --model runs/demo/training/fold0.keras
    prints the table and ends with
      runs/demo/benchmark/phantom_benchmark.md
    """
    from pipelines.evaluation.timing_report import run_benchmark

    refuse_file(output)
    report = run_benchmark(
        output, image, slices, model, repeats=repeats, crossover=crossover, force=force, show=click.echo
    )
    click.echo(report)


if __name__ == "__main__":
    command()
