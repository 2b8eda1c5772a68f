"""``radsynth evaluate``: agreement of synthetic with exact maps, as tables, figures and a page."""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.shell.options import Command, force_option
from pipelines.shell.outputs import refuse_file


@click.command(cls=Command, needs=("scipy", "matplotlib"))
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder for the tables and figures.",
)
@click.option(
    "--feature", metavar="NAME", help="Feature to evaluate, if the run has several.  [default: the first]"
)
@force_option
def command(run: Path, output: Path, feature: str | None, force: bool) -> None:
    """Compare the synthetic maps of RUN with exact ones.

    RUN is the output folder of `radsynth train`, with the maps of `radsynth synthesize` in RUN/synthetic.
    Writes the paper's Table 1 and Figures 2 and 3, all statistics as CSV, and one HTML report. Results from
    phantoms are labelled as such.

    \b
    Example:
      radsynth evaluate runs/demo/training -o runs/demo/evaluation
    prints Table 1 and ends with
      runs/demo/evaluation/phantom_report.html
    """
    from pipelines.evaluation.agreement_report import run_evaluation

    refuse_file(output)
    report, table = run_evaluation(run, output, feature, force=force)
    click.echo(table)
    click.echo(report)


if __name__ == "__main__":
    command()
