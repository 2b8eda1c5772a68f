"""``radsynth explain``: what a network sees, as figures and a table."""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.shell.options import Command, FilePath, force_option
from pipelines.shell.outputs import refuse_file


@click.command(cls=Command, needs=("keras", "matplotlib"))
@click.argument("model_path", metavar="MODEL", type=FilePath())
@click.argument("store_path", metavar="STORE", type=FilePath())
@click.option("-o", "--output", required=True, type=FilePath(), help="Folder for the figures and the table.")
@click.option(
    "--patches",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    metavar="N",
    help="Patches to explain per tissue.",
)
@click.option("--feature", metavar="NAME", help="Output of the model to explain.  [default: the first]")
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Random seed for the patches to explain and for the searches.",
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
    """Show what the network of a .keras file responds to in the patches of a store.

    Writes four things. filters.png: the filters of the first layer. extremes.png: the patches with the
    highest and lowest output, from the store and from a search. patch_TISSUE_ROW.png, for some patches of
    each tissue: the voxels and the parts of the texture (edges, blobs, noise) that raise the predicted and
    the exact value. explanation.csv: the contribution of each part as a table.

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
            msg = f"{path} is inside the output folder {folder}, which would be replaced; choose another"
            raise ValueError(msg)


if __name__ == "__main__":
    command()
