"""``radsynth map``: the exact entropy map of one image."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import (
    Command,
    backend_option,
    force_option,
    glcm_settings_from,
    progress_bar,
    settings_options,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from glcm_cuda import GLCMSettings
    from glcm_cuda.maps import Backend

    from .imaging import Volume


@click.command(cls=Command)
@click.argument("source", metavar="INPUT", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="Map to write: .nii, .nii.gz, .nrrd or .mha; OUTPUT.json beside it says how it was made.",
)
@click.option(
    "--mask", "mask_path", type=click.Path(path_type=Path), help="Only voxels where it is not zero."
)
@click.option("--mask-label", type=int, help="Of the mask, only the voxels with this label.")
@settings_options
@backend_option
@click.option("--preview", type=click.Path(path_type=Path), help="Draw a slice of image and map to this PNG.")
@force_option
def command(
    source: Path,
    output: Path,
    mask_path: Path | None,
    mask_label: int | None,
    backend: Backend,
    preview: Path | None,
    force: bool,
    **options: Any,
) -> None:
    """Exact entropy map of one image, on the image's own grid.

    INPUT is NIfTI, NRRD, MHA or MHD, a DICOM file, or a folder that holds one DICOM series.

    \b
    Example:
      radsynth map breast.nii.gz -o entropy.nii.gz --preview entropy.png
      entropy.nii.gz
      60x256x256 voxels, range 0 to 219, 64 levels, 1.01 s on cpu
    """
    from glcm_cuda import intensity_range

    from .imaging import (
        check_map_path,
        provenance,
        read_image,
        read_mask,
        write_map,
    )
    from .preview import check_preview_path, write_preview

    settings = glcm_settings_from(options)
    _check_mask_options(settings, mask_path, mask_label)
    check_map_path(output, force=force)
    if preview is not None:
        check_preview_path(preview, force=force)
    volume = read_image(source)
    mask = None if mask_path is None else read_mask(mask_path, volume, mask_label)
    used = intensity_range(volume.array, settings, mask=mask)
    entropy, seconds, taken = _timed_map(volume, settings, mask, backend)
    record = provenance(
        source=source,
        settings=settings,
        intensity_range=used,
        backend=taken,
        **_mask_record(mask_path, mask_label),
    )
    write_map(entropy, volume, output, provenance=record, force=force)
    if preview is not None:
        write_preview(volume, entropy, preview, settings, region=mask, force=force)
    click.echo(output)
    click.echo(_summary(volume, used, settings, seconds, taken))


def _check_mask_options(settings: GLCMSettings, mask_path: Path | None, mask_label: int | None) -> None:
    if mask_path is None and mask_label is not None:
        msg = "--mask-label needs --mask FILE"
        raise ValueError(msg)
    if mask_path is None and settings.range_over == "mask":
        msg = "--range-over mask needs --mask FILE"
        raise ValueError(msg)


def _timed_map(
    volume: Volume, settings: GLCMSettings, mask: npt.NDArray[np.bool_] | None, backend: Backend
) -> tuple[npt.NDArray[np.float32], float, str]:
    """Map, seconds that it took (compiling included), and the backend that computed it."""
    from glcm_cuda import entropy_map
    from glcm_cuda.maps import available_backends

    start = time.perf_counter()
    with progress_bar("map") as progress:
        entropy = entropy_map(volume.array, settings, mask=mask, backend=backend, progress=progress)
    seconds = time.perf_counter() - start
    return entropy, seconds, available_backends()[-1] if backend == "auto" else backend


def _mask_record(mask_path: Path | None, mask_label: int | None) -> dict[str, Any]:
    from .imaging import sha256_of

    if mask_path is None:
        return {}
    return {"mask": mask_path.name, "mask_sha256": sha256_of(mask_path), "mask_label": mask_label}


def _summary(
    volume: Volume, used: tuple[float, float], settings: GLCMSettings, seconds: float, backend: str
) -> str:
    shape = "x".join(str(edge) for edge in volume.array.shape)
    return (
        f"{shape} voxels, range {used[0]:g} to {used[1]:g}, {settings.levels} levels, "
        f"{seconds:.2f} s on {backend}"
    )


if __name__ == "__main__":
    command()
