"""Exact maps of a cohort into a patch store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipelines.maps.store_plan import SAMPLES_PER_CASE, Plan
from pipelines.shell.options import Command, backend_option, force_option
from pipelines.shell.settings import glcm_settings_from, settings_options

if TYPE_CHECKING:
    from glcm_cuda.engines.choice import Backend

SUFFIXES = (".h5", ".hdf5")


def _check_cohort_range(options: Mapping[str, Any]) -> None:
    for name in ("intensity_range", "percentiles", "deviations"):
        if options[name] is not None:
            option = "--range" if name == "intensity_range" else f"--{name}"
            msg = f"--range-over cohort and {option} are mutually exclusive"
            raise ValueError(msg)


@click.command(cls=Command)
@click.argument("cohort", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Patch store to write, *.h5 or *.hdf5.",
)
@click.option(
    "--samples-per-case",
    type=int,
    default=SAMPLES_PER_CASE,
    show_default=True,
    help="Voxels sampled per case, shared equally among tissues.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed for the choice of voxels.")
@click.option(
    "--maps",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder in which to save the full exact maps as NIfTI.",
)
@click.option(
    "--range-over",
    metavar="image|cohort",
    help="Take the intensity range from each image, or from all images together (radsynth: image).",
)
@settings_options(without=("masked_window", "range_over", "intensity_shift"))
@backend_option
@force_option
def command(
    cohort: Path,
    output: Path,
    samples_per_case: int,
    seed: int,
    maps: Path | None,
    backend: Backend,
    force: bool,
    **settings: Any,
) -> None:
    """Compute exact maps of a cohort and sample them into a patch store.

    COHORT is a CSV with the columns patient, group, image and labels; paths are relative to it.
    A store holds windows within a slice. The number of grey levels is fixed, and levels depend on the image
    alone, as the network needs: --dimensions 3, --slice-axis, --bin-width and --range-over mask or crop are
    refused. --range-over cohort takes one range from all images, so a level means the same in each of them.
    An interrupted run resumes where it stopped.

    \b
    Example:
      radsynth groundtruth runs/demo/phantom/cohort.csv -o runs/demo/store.h5
      runs/demo/store.h5
      24 cases, 480000 samples of 5x5 voxels at 64 levels; 1000 recomputed and found equal
    """
    if output.suffix.lower() not in SUFFIXES:
        msg = f"-o must end in {' or '.join(SUFFIXES)}, got {output.name}"
        raise ValueError(msg)
    range_over_cohort = settings["range_over"] == "cohort"
    if range_over_cohort:
        _check_cohort_range(settings)
        settings["range_over"] = "image"
    plan = Plan(
        settings=glcm_settings_from(settings), seed=seed, samples_per_case=samples_per_case, backend=backend
    )
    from pipelines.maps.exact_cohort import write_ground_truth

    summary = write_ground_truth(
        cohort, output, plan, range_over_cohort=range_over_cohort, maps=maps, force=force
    )
    click.echo(output)
    click.echo(summary)


if __name__ == "__main__":
    command()
