"""``radsynth stability``: which maps repeat, which are at their ceiling, which say the same as another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipelines.shell.options import (
    Command,
    FilePath,
    backend_option,
    echo_outcome,
    feature_option,
    features_from,
    force_option,
    mask_options,
    params_option,
    preprocessing_options,
    reading_options,
    refuse_options_of_one_image,
)
from pipelines.shell.settings import glcm_settings_from, settings_options

if TYPE_CHECKING:
    from pipelines.images.dicom.series import Choice
    from pipelines.images.masks import MaskChoice
    from pipelines.images.preprocessing import Preprocessing

# Written out, so that the help text needs no import of the library.
_KINDS = ("noise", "shift", "resample", "mask", "bins", "window", "range")

_THRESHOLDS = {
    "keep": (0.75, "Keep: lower bound of the ICC from which a map is kept."),
    "drop": (0.5, "Drop: ICC below which a map is dropped."),
    "rank": (0.75, "Doubtful: rank correlation under other settings below this."),
    "at_bounds": (0.25, "Doubtful: part of the voxels at floor or ceiling above this."),
    "local_sd": (0.95, "Doubtful: r with a monotone function of the local standard deviation from this on."),
    "same": (0.9, "Same: absolute rank correlation within a cluster of maps."),
}


def _threshold_options(function: Any) -> Any:
    for name, (default, text) in reversed(_THRESHOLDS.items()):
        option = f"--{name.replace('_', '-')}"
        function = click.option(
            option, f"limit_{name}", type=float, default=default, show_default=True, help=text
        )(function)
    return function


@click.command(cls=Command, needs=("scipy", "matplotlib"))
@click.argument("source", metavar="IMAGE", type=FilePath())
@click.option(
    "--mask",
    "mask_path",
    type=FilePath(),
    help="Mask: its non-zero voxels are judged. Of a cohort, its CSV's.",
)
@mask_options
@click.option(
    "--retest", "second_path", type=FilePath(), help="A second scan, registered to IMAGE and on its grid."
)
@click.option(
    "--mask2", "second_mask", type=FilePath(), help="Mask of the second scan.  [default: that of --mask]"
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=FilePath(),
    help="Folder for the report, and for the maps, with which a run continues where it stopped.",
)
@feature_option("all, or those of --params")
@click.option(
    "--perturb",
    "kinds",
    multiple=True,
    metavar="KIND",
    help=f"What is changed: {', '.join(_KINDS)}. Several: separate by commas, or repeat.  [default: all]",
)
@click.option(
    "--repeats",
    type=click.IntRange(min=1, max=100),
    default=1,
    show_default=True,
    help="How often noise and shift are drawn.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Random seed of what is drawn."
)
@_threshold_options
@params_option
@settings_options()
@backend_option
@preprocessing_options
@reading_options
@force_option
def command(
    source: Path,
    mask_path: Path | None,
    mask_choice: MaskChoice,
    second_path: Path | None,
    second_mask: Path | None,
    output: Path,
    features: Sequence[str],
    kinds: Sequence[str],
    repeats: int,
    seed: int,
    params: Path | None,
    backend: Any,
    steps: Preprocessing,
    choice: Choice,
    force: bool,
    **options: Any,
) -> None:
    """Judge maps: which repeat, which are at their ceiling, and which say the same as another.

    Each map is computed again from the image with added noise, shifted, resampled, with another mask and
    with other settings, and from a second scan if there is one. The report has the agreement of every map
    under every change, clusters of maps that say the same, a verdict (keep, doubtful, drop), and a parameter
    file of the maps that survive, which `radsynth map --params` takes. IMAGE may be a cohort's CSV: then
    every case has a report, and verdicts.csv says in how many each map is kept.

    \b
    Example:
      radsynth stability tumour.nii.gz --mask mask.nii.gz -o stability
      stability/report/report.html
      93 maps, 4137 voxels, 11 perturbations: 23 keep, 67 doubtful, 3 drop
    """
    from pipelines.cohorts.sources import cases_of, is_study
    from pipelines.maps.inputs import Inputs
    from pipelines.maps.study import Study
    from pipelines.reliability.cohort import judge_study
    from pipelines.reliability.study import StudySettings, run_stability
    from pipelines.reliability.verdict import Thresholds
    from pipelines.shell.parameter_file import read_parameter_file

    limits = {name: options.pop(f"limit_{name}") for name in _THRESHOLDS}
    inputs = Inputs(image=source, choice=choice, mask=mask_path, mask_choice=mask_choice, steps=steps)
    several = is_study([source], alone=True)
    if several:
        single = {
            "--mask": mask_path,
            "--retest": second_path,
            "--mask2": second_mask,
            "--subtract": steps.subtract,
        }
        refuse_options_of_one_image(single, choice.of_one_volume)
        inputs = inputs.with_parameters(None if params is None else read_parameter_file(params))
    else:
        inputs = inputs.following(params)
    if second_mask is not None and second_path is None:
        msg = "--mask2 needs --retest IMAGE"
        raise ValueError(msg)
    settings = StudySettings(
        glcm=glcm_settings_from(options, inputs.settings),
        features=features_from(features, inputs.features or "all"),
        kinds=_kinds(kinds),
        seed=seed,
        repeats=repeats,
        thresholds=Thresholds(**limits),
        backend=backend,
        fit_dimensions=options["dimensions"] is None,
    )
    second = (
        None if second_path is None else replace(inputs, image=second_path, mask=second_mask or mask_path)
    )
    if several:
        study = Study(cases=cases_of([source]), common=inputs)
        echo_outcome(output, judge_study(study, settings, output, force=force))
        return
    judged = run_stability(inputs, second, settings, output, force=force)
    click.echo(judged.page)
    click.echo(judged.summary)


def _kinds(names: Sequence[str]) -> tuple[str, ...]:
    """Return the kinds of perturbations that were asked for, in their own order; all by default."""
    wanted = [part.strip() for name in names for part in name.split(",")] or list(_KINDS)
    for name in wanted:
        if name not in _KINDS:
            msg = f"--perturb must be of {', '.join(_KINDS)}, got {name!r}"
            raise ValueError(msg)
    return tuple(kind for kind in _KINDS if kind in wanted)


if __name__ == "__main__":
    command()
