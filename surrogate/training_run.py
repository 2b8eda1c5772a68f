"""A training run: its data, settings and folds, and the folder that holds its files."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from glcm_cuda.base.files import replacing
from glcm_cuda.base.version import __version__
from glcm_cuda.settings import GLCMSettings
from glcm_cuda.store.reading import PatchStore
from surrogate.dataset import PatchDataset, Scale
from surrogate.epochs import write_rows
from surrogate.exact import learnable
from surrogate.folds import assign_folds, validation_patients
from surrogate.model import check_two_dimensional, keras_versions
from surrogate.settings import NetworkSettings, TrainingSettings

RUN_FILE = "run.json"
"""Description of a finished run."""

UNFINISHED_FILE = "run.unfinished.json"
"""Description of a run that is not finished."""

FOLDS_FILE = "folds.csv"
"""Fold of every patient."""

_DECISIVE = ("glcm", "features", "network", "training", "store_sha256")
"""Entries of the description that determine the models; the others inform the reader."""


@dataclass(frozen=True)
class TrainingRun:
    """Everything that determines the models of a run.

    Parameters
    ----------
    store, folder : Path
        The patch store, and the folder of the run.
    glcm : GLCMSettings
        Settings of the store.
    network, training : settings
        Settings of the network and of the training.
    groups : mapping
        Group of every patient.
    folds : mapping
        Fold that holds each patient out, or None; see `assign_folds`.
    features : tuple of str
        Names of the features to predict.
    """

    store: Path
    folder: Path
    glcm: GLCMSettings
    network: NetworkSettings
    training: TrainingSettings
    groups: Mapping[str, str]
    folds: Mapping[str, int | None]
    features: tuple[str, ...]
    phantom: bool

    def held_out(self, fold: int) -> list[str]:
        """Return the test patients of a fold, which its model never sees."""
        return [patient for patient, held in self.folds.items() if held == fold]

    def validation(self, fold: int) -> list[str]:
        """Return the validation patients of a fold, which choose the epoch."""
        if not self.training.patience:
            return []
        return validation_patients(self._not_held_out(fold), self.training.seed + fold)

    def learned(self, fold: int) -> list[str]:
        """Return the training patients of a fold."""
        validation = self.validation(fold)
        return [patient for patient in self._not_held_out(fold) if patient not in validation]

    def _not_held_out(self, fold: int) -> dict[str, str]:
        return {patient: self.groups[patient] for patient, held in self.folds.items() if held != fold}

    def datasets(self, fold: int) -> tuple[PatchDataset, PatchDataset | None]:
        """Return the training and the validation data of a fold, both on the scale of the training data."""
        training, patients = self.training, self.validation(fold)
        learned = PatchDataset(
            self.store,
            self.learned(fold),
            training.batch,
            training.seed + fold,
            training.augment,
            self.features,
        )
        # The first minibatch has the same share of every case, so it stands for all.
        learned.scale = Scale.of(learned[0][1], self.features)
        learned.close()
        if not patients:
            return learned, None
        validation = PatchDataset(self.store, patients, training.batch, features=self.features)
        validation.scale = learned.scale
        return learned, validation


def prepare(
    store: Path,
    folder: Path,
    training: TrainingSettings,
    network: NetworkSettings,
    features: str | Iterable[str],
) -> TrainingRun:
    """Return the run, after all checks that can be made before anything is written."""
    names = learnable(features)
    with PatchStore(store) as opened:
        glcm = opened.settings
        groups = {case.patient: case.group for case in opened.cases}
        phantom = opened.is_phantom
        for case in opened.cases:
            opened.read_entropy(case.start, case.start + case.count)  # raises if a value is not finite
    check_two_dimensional(glcm)
    network.check_window(glcm.edge)
    if network.architecture == "analytic":
        msg = (
            "the analytic network has nothing to learn; create it with build_model and save it, or train "
            "another architecture"
        )
        raise ValueError(msg)
    folds = assign_folds(groups, training.folds, training.seed, training.folds_by)
    return TrainingRun(store, folder, glcm, network, training, groups, folds, names, phantom)


def describe(run: TrainingRun) -> dict[str, Any]:
    """Return the description of a run that its folder and its models' cards keep."""
    return {
        "glcm": run.glcm.to_dict(),
        "features": list(run.features),
        "network": run.network.to_dict(),
        "training": run.training.to_dict(),
        "store": str(run.store.resolve()),
        "store_sha256": _sha256(run.store),
        "phantom": run.phantom,
        "seed": run.training.seed,
        "keras_backend": keras.backend.backend(),
        "versions": {
            "radsynth": __version__,
            "python": platform.python_version(),
            **keras_versions(),
            "numpy": np.__version__,
            "h5py": h5py.__version__,
        },
    }


def model_path(run_dir: str | os.PathLike[str], fold: int) -> Path:
    """Return the path of the model of a fold."""
    return Path(run_dir) / f"fold{fold}.keras"


def enter_folder(run: TrainingRun, description: dict[str, Any], *, force: bool) -> None:
    """Prepare the folder: files of this run are kept, those of another one are removed.

    Raises
    ------
    FileExistsError
        If the folder holds models of another run and `force` is False.
    """
    if not _continues(run.folder, description):
        old = _files_of_run(run.folder)
        if any(path.suffix == ".keras" for path in old) and not force:
            msg = (
                f"{run.folder} holds a run of another store or other settings; give --force "
                "(force=True) to replace it, or another folder"
            )
            raise FileExistsError(msg)
        for path in old:
            path.unlink()
    run.folder.mkdir(parents=True, exist_ok=True)
    if not (run.folder / RUN_FILE).exists():
        _write_json(run.folder / UNFINISHED_FILE, description)
    _write_folds(run)


def finish_folder(run: TrainingRun, description: dict[str, Any]) -> None:
    """Write the final description, which marks the run as finished."""
    _write_json(run.folder / RUN_FILE, description)
    (run.folder / UNFINISHED_FILE).unlink(missing_ok=True)


def _continues(folder: Path, description: dict[str, Any]) -> bool:
    """Whether the folder holds this very run, finished or not."""
    path = folder / (RUN_FILE if (folder / RUN_FILE).exists() else UNFINISHED_FILE)
    try:
        old = json.loads(path.read_text(encoding="utf-8"))
        return all(old[key] == description[key] for key in _DECISIVE)
    except (FileNotFoundError, NotADirectoryError, ValueError, LookupError, TypeError):
        return False


def _files_of_run(folder: Path) -> list[Path]:
    """Return the files that `train` has written.

    run.json comes first, so that after an interrupted removal the folder no longer counts as a run.
    """
    models = ("fold*.keras", "fold*.weights.h5", "fold*.card.json", "fold*.card.md")
    patterns = (RUN_FILE, UNFINISHED_FILE, FOLDS_FILE, *models, "history_fold*.csv")
    return [path for pattern in patterns for path in sorted(folder.glob(pattern))]


def _write_folds(run: TrainingRun) -> None:
    rows = [
        (patient, run.groups[patient], "" if fold is None else fold) for patient, fold in run.folds.items()
    ]
    write_rows(run.folder / FOLDS_FILE, ("patient", "group", "fold"), rows)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with replacing(path, force=True) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
