"""Folders of nnU-Net: their rules for names and labels, and what ``dataset.json`` says.

References
----------
nnU-Net v2, documentation/dataset_format.md.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.cohorts.cohort import Case
from pipelines.cohorts.tissues import tissue_name

_log = logging.getLogger(__name__)

FILE_ENDING = ".nii.gz"
IMAGES, TEST_IMAGES, LABELS = "imagesTr", "imagesTs", "labelsTr"
BACKGROUND = "background"

_DATASET = re.compile(r"Dataset(?!000)\d{3}_[A-Za-z0-9][A-Za-z0-9_-]*")
_CASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_CHANNEL = re.compile(r".*_\d{4}")


def check_dataset_name(folder: Path) -> None:
    """Raise ValueError if a folder is not called as nnU-Net's datasets are."""
    if not _DATASET.fullmatch(folder.name):
        msg = (
            "-o must be named as a dataset of nnU-Net, with three digits (not 000) and letters, digits, "
            f"- or _, such as Dataset101_Pancreas; got {folder.name}"
        )
        raise ValueError(msg)


def check_case_names(cases: Iterable[Case]) -> None:
    """Raise ValueError if a patient's name cannot be that of a case of nnU-Net."""
    for case in cases:
        if not _CASE.fullmatch(case.patient) or _CHANNEL.fullmatch(case.patient):
            msg = (
                f"patient {case.patient}: a case of nnU-Net has a name of letters, digits, -, _ and ., which "
                "does not end in _ and four digits: these number channels; rename it in the CSV"
            )
            raise ValueError(msg)


def image_path(folder: Path, case: str, channel: int) -> Path:
    """Return the file of a channel.

    Examples
    --------
    >>> image_path(Path("imagesTr"), "P1", 3).name
    'P1_0003.nii.gz'
    """
    return folder / f"{case}_{channel:04d}{FILE_ENDING}"


def label_path(folder: Path, case: str) -> Path:
    """Return the file of a case's labels."""
    return folder / f"{case}{FILE_ENDING}"


def label_names(cases: Sequence[Case], present: Iterable[int]) -> dict[str, int]:
    """Return the labels by name as nnU-Net wants them: the background, and every number to the highest.

    Parameters
    ----------
    cases : sequence of Case
        With the names that the cohort's column tissues gives.
    present : iterable of int
        Labels that some case has.

    Raises
    ------
    ValueError
        If the cases give a label two names, or two labels one name.
    """
    names: dict[int, str] = {}
    for case in cases:
        for label, name in case.tissues.items():
            if names.setdefault(label, name) != name:
                msg = (
                    f"patient {case.patient}: label {label} is called {name}, for patients before "
                    f"{names[label]}; a label of nnU-Net means one thing: correct the column tissues"
                )
                raise ValueError(msg)
    for label, name in names.items():
        first = next(other for other, called in names.items() if called == name)
        if first != label:
            msg = f"labels {first} and {label} are both called {name}; correct the column tissues"
            raise ValueError(msg)
    present = set(present)
    highest = max(present, default=0)
    missing = sorted(set(range(1, highest)) - present)
    if missing:
        _log.warning("labels must count on for nnU-Net: %s is in no case", ", ".join(map(str, missing)))
    return {BACKGROUND: 0} | {tissue_name(label, names): label for label in range(1, highest + 1)}


def dataset_description(
    folder: Path, channels: Sequence[str], labels: Mapping[str, int], training: int
) -> dict[str, Any]:
    """Return the content of ``dataset.json``.

    Parameters
    ----------
    folder : Path
        The dataset's.
    channels : sequence of str
        Names, in order; that of a channel chooses its normalisation ("CT" has one of its own).
    labels : mapping of str to int
        See `label_names`.
    training : int
        Number of cases with labels.
    """
    return {
        "channel_names": {str(number): name for number, name in enumerate(channels)},
        "labels": dict(labels),
        "numTraining": training,
        "file_ending": FILE_ENDING,
        "name": folder.name,
    }
