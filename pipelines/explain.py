"""``radsynth explain``: what a network sees, as figures and a table."""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.shell.options import Command, FilePath, force_option
from pipelines.shell.outputs import refuse_file


@click.command(cls=Command)
@click.argument("model_path", metavar="MODEL", type=FilePath())
@click.argument("store_path", metavar="STORE", type=FilePath())
@click.option("-o", "--output", required=True, type=FilePath(), help="Folder for figures and table.")
@click.option(
    "--patches",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    metavar="N",
    help="Patches to explain of each tissue.",
)
@click.option("--feature", metavar="NAME", help="Output of the model.  [default: its first]")
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Chooses patches to explain, starts of the searches and their order.",
)
@force_option
def command(
    model_path: Path,
    store_path: Path,
    output: Path,
    patches: int,
    feature: str | None,
    seed: int,
    force: bool,
) -> None:
    """Show what the network of a .keras file sees in the patches of a store.

    Writes the filters of its first layer (filters.png), the patches of highest and lowest output, among
    those of the store and found by search (extremes.png), for some patches of every tissue which voxels
    and which parts of the texture (edges, blobs, noise) raise the output, predicted and exact
    (patch_TISSUE_ROW.png), and the same parts as a table (explanation.csv).

    \b
    Example:
      radsynth explain runs/demo/training/fold0.keras runs/demo/store.h5 -o runs/demo/explanation
      runs/demo/explanation
      6 patches of 3 tissues: fatty, glandular, lesion
    """
    from glcm_cuda.base.files import refuse_existing

    # Refused before the library, which loads Keras, is imported.
    refuse_file(output)
    refuse_existing(output, force=force)
    _refuse_inputs_inside(output, model_path, store_path)
    from pipelines.evaluation.explanation import explain_model

    summary = explain_model(
        model_path, store_path, output, patches=patches, feature=feature, seed=seed, force=force
    )
    click.echo(output)
    click.echo(summary)


def _refuse_inputs_inside(folder: Path, *inputs: Path) -> None:
    """Refuse an output folder that contains an input: the folder is replaced as a whole."""
    for path in inputs:
        if folder.resolve() in path.resolve().parents:
            msg = f"{path} lies in the output folder {folder}, which is replaced as a whole; choose another"
            raise ValueError(msg)


if __name__ == "__main__":
    command()
