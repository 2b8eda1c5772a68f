"""``radsynth map``: the exact entropy map of one image."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import (
    Command,
    FilePath,
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
@click.argument("source", metavar="INPUT", type=FilePath())
@click.option(
    "-o",
    "--output",
    required=True,
    type=FilePath(),
    help="Map to write: .nii, .nii.gz, .nrrd or .mha; OUTPUT.json beside it says how it was made.",
)
@click.option("--mask", "mask_path", type=FilePath(), help="Only voxels where it is not zero.")
@click.option("--mask-label", type=int, help="Of the mask, only the voxels with this label.")
@settings_options
@backend_option
@click.option("--preview", type=FilePath(), help="Draw a slice of image and map to this PNG.")
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
    from .imaging import provenance, read_image, read_mask, write_map

    settings = glcm_settings_from(options)
    _check_mask_options(settings, mask_path, mask_label)
    inputs = [source] if mask_path is None else [source, mask_path]
    _check_outputs(output, preview, inputs, force=force)
    volume = read_image(source)
    _check_dimensions(source, volume, settings)
    mask = None if mask_path is None else read_mask(mask_path, volume, mask_label)
    used = _intensity_range(source, volume, settings, mask)
    entropy, seconds, taken = _timed_map(volume, settings, mask, backend)
    record = provenance(
        source=source,
        settings=settings,
        intensity_range=used,
        backend=taken,
        **_mask_record(mask_path, mask_label),
    )
    with _drawn(preview, volume, entropy, settings, mask, force=force):
        write_map(entropy, volume, output, provenance=record, force=force)
    click.echo(output)
    click.echo(_summary(volume, used, settings, seconds, taken))


def _check_mask_options(settings: GLCMSettings, mask_path: Path | None, mask_label: int | None) -> None:
    if mask_path is None and mask_label is not None:
        msg = "--mask-label needs --mask FILE"
        raise ValueError(msg)
    if mask_path is None and settings.range_over == "mask":
        msg = "--range-over mask needs --mask FILE"
        raise ValueError(msg)
    if mask_label is not None and mask_label < 1:
        msg = f"--mask-label must be 1 or more, got {mask_label} (0 is what lies outside)"
        raise ValueError(msg)


def _check_outputs(output: Path, preview: Path | None, inputs: Sequence[Path], *, force: bool) -> None:
    from .imaging import check_map_path, refuse_input_as_output, sidecar_path
    from .preview import check_preview_path

    refuse_input_as_output(output, *inputs)
    refuse_input_as_output(sidecar_path(output), *inputs)
    check_map_path(output, force=force)
    if preview is not None:
        refuse_input_as_output(preview, *inputs)
        check_preview_path(preview, force=force)


def _check_dimensions(source: Path, volume: Volume, settings: GLCMSettings) -> None:
    if volume.array.ndim < settings.dimensions:
        msg = (
            f"--dimensions {settings.dimensions} needs a volume, got the {volume.array.ndim}D image {source}"
        )
        raise ValueError(msg)


def _intensity_range(
    source: Path, volume: Volume, settings: GLCMSettings, mask: npt.NDArray[np.bool_] | None
) -> tuple[float, float]:
    from glcm_cuda import intensity_range

    try:
        return intensity_range(volume.array, settings, mask=mask)
    except ValueError as error:
        msg = f"{source}: {error}"
        raise ValueError(msg) from None


@contextmanager
def _drawn(
    preview: Path | None,
    volume: Volume,
    entropy: npt.NDArray[np.float32],
    settings: GLCMSettings,
    mask: npt.NDArray[np.bool_] | None,
    *,
    force: bool,
) -> Iterator[None]:
    """Draw the preview, if one is wanted, and keep it if the block, which writes the map, ends well."""
    from glcm_cuda.files import replacing

    from .preview import write_preview

    if preview is None:
        yield
        return
    with replacing(preview, force=force) as temporary:
        write_preview(volume, entropy, temporary, settings, region=mask)
        yield


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
