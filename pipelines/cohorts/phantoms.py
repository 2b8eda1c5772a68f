"""The phantom cohort as a folder: images, labels, CSV and a note that none of it is a patient."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy.typing as npt

from glcm_cuda.base.files import refuse_unwritable, replacing
from glcm_cuda.base.version import __version__
from pipelines.cohorts.cohort import PHANTOM_COLUMN
from pipelines.cohorts.phantom_images import (
    FIELD_OF_VIEW_MM,
    GROUPS,
    SLICE_THICKNESS_MM,
    TISSUES,
    phantom_patients,
    phantom_volume,
)
from pipelines.cohorts.tissues import TISSUES_COLUMN, tissues_text
from pipelines.images.volume import Volume
from pipelines.images.writing import write_volume

_README = """PHANTOM - synthetic data, not patients.

These volumes are computed, not acquired: {count} synthetic breasts in the proportions of a published
cohort (10 benign, 10 malignant, 4 normal), with the look of fat-suppressed post-contrast MR.
Use them to try out and test software. They say nothing about patients, and results from them
must be labelled as phantom results.

Made with: radsynth phantom --size {size} --slices {slices} --seed {seed} (radsynth {version})
images/  int16, arbitrary units          labels/  0 background, 1 fatty, 2 glandular, 3 lesion
cohort.csv  the cohort table for the other commands
"""


def write_phantom(
    folder: Path,
    *,
    size: int = 512,
    slices: int = 8,
    seed: int = 0,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the cohort: images/, labels/, cohort.csv and README.txt, whole or not at all.

    Parameters
    ----------
    folder : path
        Created. If it exists and is not empty, `force` must be given.
    size, slices, seed
        See `phantom_volume`.
    force : bool
        Replace a phantom cohort that is there.
    progress : callable (done, total), optional

    Raises
    ------
    FileExistsError
        If the folder is not empty and `force` is False, or if it holds anything but a phantom cohort.
    """
    check_folder(folder, force=force)
    cohort = phantom_patients()
    with replacing(folder, force=True) as temporary:
        for part in ("images", "labels"):
            (temporary / part).mkdir(parents=True)
        for done, (patient, _) in enumerate(cohort, start=1):
            image, labels = phantom_volume(patient, size=size, slices=slices, seed=seed)
            _write(image, temporary / _image_name(patient))
            _write(labels, temporary / _labels_name(patient))
            if progress is not None:
                progress(done, len(cohort))
        _write_texts(temporary, cohort, size=size, slices=slices, seed=seed)


def check_folder(folder: Path, *, force: bool) -> None:
    """Refuse a folder that cannot be written, or whose contents must not be replaced.

    Without `force` that is anything at all; with it, anything but a phantom cohort.
    """
    refuse_unwritable(folder)
    if not folder.exists():
        return
    if not folder.is_dir():
        msg = f"{folder} must be a folder, got a file"
        raise NotADirectoryError(msg)
    present = {path.name for path in folder.iterdir()}
    if present and not force:
        msg = f"{folder} exists and is not empty; give --force to replace it"
        raise FileExistsError(msg)
    foreign = sorted(present - {"images", "labels", "cohort.csv", "README.txt"})
    if foreign:
        msg = (
            f"{folder} must hold only a phantom cohort to be replaced, "
            f"got also {', '.join(foreign[:5])}; choose another folder"
        )
        raise FileExistsError(msg)


def cohort_summary(*, size: int, slices: int, seed: int) -> str:
    """Return one line: how many patients of which groups, of what size."""
    groups = ", ".join(f"{count} {group}" for group, count in GROUPS.items())
    return f"{sum(GROUPS.values())} phantom patients ({groups}), {slices}x{size}x{size} voxels, seed {seed}"


def _image_name(patient: str) -> str:
    return f"images/{patient}.nii.gz"


def _labels_name(patient: str) -> str:
    return f"labels/{patient}_labels.nii.gz"


def _write(array: npt.NDArray[Any], path: Path) -> None:
    edge = FIELD_OF_VIEW_MM / array.shape[1]
    corner = -FIELD_OF_VIEW_MM / 2 + edge / 2
    volume = Volume(
        array=array,
        spacing_mm=(edge, edge, SLICE_THICKNESS_MM),
        origin_mm=(corner, corner, 0.0),
        direction=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
    )
    write_volume(volume, path)


def _write_texts(folder: Path, cohort: list[tuple[str, str]], *, size: int, slices: int, seed: int) -> None:
    tissues = tissues_text(TISSUES)
    rows = [
        f"{patient},{group},{_image_name(patient)},{_labels_name(patient)},true,{tissues}"
        for patient, group in cohort
    ]
    table = "\n".join([f"patient,group,image,labels,{PHANTOM_COLUMN},{TISSUES_COLUMN}", *rows, ""])
    (folder / "cohort.csv").write_text(table, encoding="utf-8")
    text = _README.format(count=len(cohort), size=size, slices=slices, seed=seed, version=__version__)
    (folder / "README.txt").write_text(text, encoding="utf-8")
