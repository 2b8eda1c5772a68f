"""What a training run left behind: folds, models, index of synthetic maps."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glcm_cuda import GLCMSettings
from pipelines.cohorts.cohort import Case, read_cohort
from pipelines.images.provenance import sha256_of, sidecar_path
from surrogate.exact import ENTROPY


@dataclass(frozen=True)
class Run:
    """What a training run left: its name, the maps' settings and features, run.json, and the folds."""

    name: str
    settings: GLCMSettings
    features: tuple[str, ...]
    description: dict[str, Any]
    folds: dict[str, str]


@dataclass(frozen=True)
class Entry:
    """One patient of a run: the case, the synthetic map, and the model that made it."""

    case: Case
    synthetic: Path
    model: str
    fold: str
    held_out: bool


def read_run(run_dir: Path) -> Run:
    """Return what run.json and folds.csv of a run say.

    Raises
    ------
    FileNotFoundError, ValueError
        If a file is missing or unreadable.
    """
    path = run_dir / "run.json"
    _require(path, "run `radsynth train` first and give its output folder")
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        settings = GLCMSettings.from_dict(description["glcm"])
        features = tuple(description.get("features", ENTROPY))
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        got = f"{type(error).__name__}: {error}"  # the representation has all bytes that are no text
        msg = f'{path} must be JSON with the settings of the maps under "glcm", got {got}; train again'
        raise ValueError(msg) from error
    _require(run_dir / "folds.csv", "it records who was held out; train again")
    folds = {row["patient"]: row["fold"] for row in _rows(run_dir / "folds.csv", ("patient", "fold"))}
    # The parent tells runs apart whose folders are all called "training".
    name = "/".join(run_dir.resolve().parts[-2:])
    return Run(name, settings, features, description, folds)


def read_index(run_dir: Path, run: Run, feature: str) -> list[Entry]:
    """Return the patients with a synthetic map of the feature; the index is a cohort with more columns.

    A patient counts as held out if the map was made by the model of the fold that folds.csv gives them,
    or if they were not part of the training.

    Raises
    ------
    FileNotFoundError, ValueError
        If a file is missing or unreadable, or a map is not of the image and model that exist now.
    """
    path = run_dir / "synthetic" / "index.csv"
    _require(path, f"run `radsynth synthesize COHORT.csv -o {path.parent} --model {run_dir}` first")
    entries = []
    column = synthetic_column(feature, run.features)
    for case, row in zip(read_cohort(path), _rows(path, (column, "model", "fold")), strict=True):
        synthetic = path.parent / row[column]
        _require(synthetic, "run `radsynth synthesize` again")
        model = path.parent / row["model"]
        _check_current(synthetic, case, model)
        held_out = _is_held_out(case.patient, row["fold"], model.name, run.folds)
        entries.append(Entry(case, synthetic, model.name, row["fold"], held_out))
    return entries


def synthetic_column(feature: str, features: Sequence[str]) -> str:
    """Return the index column with the maps of a feature; that of the first feature has no suffix."""
    return "synthetic" if feature == features[0] else f"synthetic_{feature}"


def _require(path: Path, advice: str) -> None:
    if not path.is_file():
        msg = f"{path} does not exist; {advice}"
        raise FileNotFoundError(msg)


def _rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, restval="")
        missing = [name for name in columns if name not in (reader.fieldnames or ())]
        if missing:
            msg = f"{path} lacks the columns {', '.join(missing)}; create it again"
            raise ValueError(msg)
        return list(reader)


def _is_held_out(patient: str, fold: str, model: str, folds: dict[str, str]) -> bool:
    """Whether the model was not trained on the patient; an empty fold means that nobody was held out."""
    if patient not in folds:
        return True
    return fold != "" and folds[patient] == fold and model == f"fold{fold}.keras"


def _check_current(synthetic: Path, case: Case, model: Path) -> None:
    """Refuse a map of another image or model than exist now, or one that no network made."""
    sidecar = sidecar_path(synthetic)
    if not sidecar.is_file():
        return
    record = json.loads(sidecar.read_text(encoding="utf-8"))
    for key, path in (("source_sha256", case.image), ("model_sha256", model)):
        if key in record and not (path.exists() and record[key] == sha256_of(path)):
            msg = f"{synthetic} was not made from the present {path}; run `radsynth synthesize` again"
            raise ValueError(msg)
    if record.get("fallback"):
        msg = (
            f"{synthetic} is an exact map, not a synthetic one; run `radsynth synthesize` without --fallback"
        )
        raise ValueError(msg)
