"""Which maps repeat in open images: runs `radsynth stability` on each, and prints the tables of the page.

    python benchmarks/stability.py -o DIR [--case NAME ...] [--setting NAME ...] > tables.md

Runs are kept in DIR and continued. Of the images that RADSYNTH_DATA has; the phantom is made here, with a
second scan of the same anatomy. docs/results/stability.md holds what it printed.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from glcm_cuda import GLCMSettings
from glcm_cuda.families.registry import FEATURES
from pipelines.cohorts.phantom_images import FIELD_OF_VIEW_MM, LESION, SLICE_THICKNESS_MM, phantom_volume
from pipelines.images.volume import Volume
from pipelines.images.writing import write_volume
from pipelines.maps.inputs import Inputs
from pipelines.reliability.perturbations import CHOSEN, OF_SETTINGS
from pipelines.reliability.study import StudySettings, run_stability
from pipelines.reports.tables import markdown_table

DATA = Path(os.environ.get("RADSYNTH_DATA", Path(__file__).parents[1] / ".." / "shared" / "data"))
PHANTOM = "phantom-malignant-01"
FIXED = tuple(kind for kind in CHOSEN if kind not in OF_SETTINGS)


@dataclass(frozen=True)
class Case:
    """Image, mask, and a second scan where there is one."""

    image: Path
    mask: Path
    second: Path | None = None


CASES = {
    "lung1": Case(DATA / "pyradiomics/lung1_image.nrrd", DATA / "pyradiomics/lung1_label.nrrd"),
    "brain1": Case(DATA / "pyradiomics/brain1_image.nrrd", DATA / "pyradiomics/brain1_label.nrrd"),
    **{
        f"STS_00{n}": Case(
            DATA / f"sts_mr/STS_00{n}_MR_T1_image.nii.gz", DATA / f"sts_mr/STS_00{n}_MR_T1_mask.nii.gz"
        )
        for n in (2, 3, 1)
    },
    "UCSF-BR-06": Case(
        DATA / "breast_ucsf/UCSF-BR-06_post1.nii.gz", DATA / "breast_ucsf/UCSF-BR-06_enhancing_mask.nii.gz"
    ),
}

SETTINGS = {
    "64 levels, image": (GLCMSettings(), CHOSEN),
    "32 levels, mask": (GLCMSettings(levels=32, range_over="mask"), FIXED),
    "16 levels, mask": (GLCMSettings(levels=16, range_over="mask"), FIXED),
}
"""Settings, and what is perturbed; the first is the preset."""


def phantom(folder: Path) -> Case:
    """Write a phantom, its lesion and a second scan of it."""
    edge = FIELD_OF_VIEW_MM / 512
    paths = [folder / f"{name}.nii.gz" for name in ("first", "second", "lesion")]
    if not all(path.exists() for path in paths):
        folder.mkdir(parents=True, exist_ok=True)
        first, labels = phantom_volume(PHANTOM)
        second, _ = phantom_volume(PHANTOM, acquisition=1)
        for array, path in zip((first, second, (labels == LESION).astype(np.uint8)), paths, strict=True):
            spacing = (edge, edge, SLICE_THICKNESS_MM)
            volume = Volume(array, spacing, (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
            write_volume(volume, path, force=True)
    return Case(paths[0], paths[2], paths[1])


def run(name: str, case: Case, setting: str, folder: Path) -> Path:
    """Run one case with one setting; return the folder of its report."""
    glcm, kinds = SETTINGS[setting]
    output = folder / f"{name}, {setting}"
    if not (output / "report" / "report.html").exists():
        inputs = Inputs(image=case.image, mask=case.mask)
        second = None if case.second is None else Inputs(image=case.second, mask=case.mask)
        settings = StudySettings(glcm=glcm, features=FEATURES, kinds=kinds, backend="cpu")
        start = time.perf_counter()
        run_stability(inputs, second, settings, output, force=True)
        (output / "seconds.txt").write_text(f"{time.perf_counter() - start:.0f}\n")
    return output


def rows_of(folder: Path, table: str) -> list[dict[str, str]]:
    """Return a table of a run."""
    with (folder / "report" / table).open(newline="") as file:
        return list(csv.DictReader(file))


def verdict_counts(runs: dict[tuple[str, str], Path]) -> str:
    """Return how many maps are kept, and how long a run took, by case and setting."""
    rows = []
    for (name, setting), folder in runs.items():
        words = [row["verdict"] for row in rows_of(folder, "verdict.csv")]
        seconds = (folder / "seconds.txt").read_text().strip()
        voxels = json.loads((folder / "report" / "stability.json").read_text())["voxels"]
        rows.append([name, setting, str(voxels), str(words.count("keep")), seconds])
    return markdown_table(["image", "levels and range", "voxels", "maps kept", "seconds"], rows)


def saturation_table(runs: dict[tuple[str, str], Path]) -> str:
    """Return what the joint entropy uses of its range at the setting of each run."""
    rows = []
    for (name, setting), folder in runs.items():
        own = rows_of(folder, "curve.csv")[0]
        entropy = next(row for row in rows_of(folder, "verdict.csv") if row["feature"] == "joint_entropy")
        shares = [f"{100 * float(own[key]):.0f} %" for key in ("at_floor", "at_ceiling")]
        levels = [f"{own['levels_in_mask']} of {own['of_levels']}", own["levels_in_window"]]
        figures = [f"{float(own['spread_to_noise']):.1f}", f"{float(entropy['local_sd_r']):.2f}"]
        rows.append([name, setting, *levels, *shares, *figures, f"{float(entropy['lowest_icc_low']):.2f}"])
    header = [
        "image",
        "levels and range",
        "levels in the mask",
        "in the window",
        "at the floor",
        "at the ceiling",
    ]
    return markdown_table([*header, "spread / noise", "r local SD", "lowest bound"], rows)


def survivors_table(runs: dict[tuple[str, str], Path], setting: str) -> str:
    """Return for each feature in how many images it is kept, and its lowest bound in each."""
    folders = {name: folder for (name, of), folder in runs.items() if of == setting}
    tables = {name: rows_of(folder, "verdict.csv") for name, folder in folders.items()}
    rows = []
    for feature in (one.name for one in FEATURES):
        of_feature = [next(r for r in table if r["feature"] == feature) for table in tables.values()]
        kept = sum(row["verdict"] == "keep" for row in of_feature)
        like_sd = sum(float(row["local_sd_r"] or 0) >= 0.95 for row in of_feature)
        bounds = [f"{float(row['lowest_icc_low'] or 'nan'):.2f}" for row in of_feature]
        rows.append([feature, str(kept), str(like_sd), *bounds])
    rows.sort(key=lambda row: (-int(row[1]), -min(map(float, row[3:]))))
    return markdown_table(["map", "kept in", "like local SD in", *tables], rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the cases and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--case", action="append", choices=[*CASES, "phantom"])
    parser.add_argument("--setting", action="append", choices=list(SETTINGS))
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    cases = {"phantom": phantom(given.output / "phantom")} | CASES
    runs = {
        (name, setting): run(name, cases[name], setting, given.output)
        for setting in given.setting or SETTINGS
        for name in given.case or cases
    }
    print(verdict_counts(runs), saturation_table(runs), sep="\n\n")
    for setting in dict.fromkeys(setting for _, setting in runs):
        print(f"\n### {setting}\n\n{survivors_table(runs, setting)}")


if __name__ == "__main__":
    main()
