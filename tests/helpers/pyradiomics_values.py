"""The values of regions that pyradiomics publishes."""

from __future__ import annotations

import ast
import csv
from pathlib import Path
from typing import Any

from glcm_cuda.families.registry import FAMILIES


def _column(data_dir: Path, family: str, column: str) -> dict[str, str | None]:
    with (data_dir / "pyradiomics" / f"baseline_{family}.csv").open(newline="") as file:
        return {row["featureName"]: row.get(column) for row in csv.DictReader(file)}


def published(data_dir: Path, column: str) -> dict[str, float]:
    """Return the values of an image and a configuration, of all families that have them."""
    values = {}
    for family in FAMILIES:
        rows = _column(data_dir, family.name, column)
        names = [f"original_{feature.full_name}" for feature in family.features]
        values |= {name: float(rows[name]) for name in names if rows[name] is not None}
    return values


def configuration(data_dir: Path, column: str) -> dict[str, Any]:
    """Return the settings of a configuration, as a parameter file would have them."""
    text = _column(data_dir, "glcm", column)["diagnostics_Configuration_Settings"]
    settings: dict[str, Any] = ast.literal_eval(str(text))
    return settings
