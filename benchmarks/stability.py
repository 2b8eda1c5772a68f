"""Which maps repeat in open images: runs `radsynth stability` on each, and prints the tables of the page.

    python benchmarks/stability.py -o DIR [--case NAME ...] > tables.md

Settings are those of the preset. Runs are kept in DIR and continued. The images are those that RADSYNTH_DATA
has; the phantom is made here, with a second scan of the same anatomy. docs/results/stability.md holds what it
printed.
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
from pipelines.reliability.study import StudySettings, run_stability
from pipelines.reports.tables import markdown_table

DATA = Path(os.environ.get("RADSYNTH_DATA", Path(__file__).parents[1] / ".." / "shared" / "data"))
PHANTOM = "phantom-malignant-01"


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


def run(name: str, case: Case, folder: Path) -> Path:
    """Run one case; return its folder."""
    output = folder / name
    if not (output / "report" / "report.html").exists():
        inputs = Inputs(image=case.image, mask=case.mask)
        second = None if case.second is None else Inputs(image=case.second, mask=case.mask)
        settings = StudySettings(glcm=GLCMSettings(), features=FEATURES, backend="cpu")
        start = time.perf_counter()
        run_stability(inputs, second, settings, output, force=True)
        (output / "seconds.txt").write_text(f"{time.perf_counter() - start:.0f}\n")
    return output


def rows_of(folder: Path, table: str) -> list[dict[str, str]]:
    """Return a table of a run."""
    with (folder / "report" / table).open(newline="") as file:
        return list(csv.DictReader(file))


def cases_table(runs: dict[str, Path]) -> str:
    """Return how many maps are kept, what the joint entropy uses of its range, and how long a run took."""
    rows = []
    for name, folder in runs.items():
        verdicts, own = rows_of(folder, "verdict.csv"), rows_of(folder, "curve.csv")[0]
        entropy = next(row for row in verdicts if row["feature"] == "joint_entropy")
        kept = sum(row["verdict"] == "keep" for row in verdicts)
        voxels = json.loads((folder / "report" / "stability.json").read_text())["voxels"]
        figures = [f"{float(entropy['local_sd_r']):.2f}", f"{float(entropy['lowest_icc_low']):.2f}"]
        levels = [f"{own['levels_in_mask']} of {own['of_levels']}", own["levels_in_window"]]
        seconds = (folder / "seconds.txt").read_text().strip()
        rows.append([name, str(voxels), str(kept), *levels, *figures, seconds])
    header = ["image", "voxels", "maps kept", "levels in the mask", "in the window"]
    return markdown_table([*header, "entropy: r local SD", "lowest bound", "seconds"], rows)


TRIED = [("image", 64), ("mask", 8), ("mask", 16), ("mask", 32), ("mask", 64), ("mask", 128)]


def curve_table(runs: dict[str, Path]) -> str:
    """Return the share of voxels at floor or ceiling, and spread over noise, of the joint entropy."""
    rows = []
    for name, folder in runs.items():
        curve = [row for row in rows_of(folder, "curve.csv") if row["window"] == "5"]
        points = {(row["range_over"], row["bins"]): row for row in curve}
        cells = [points[over, f"{levels} levels"] for over, levels in TRIED]
        figures = [f"{_at_bounds(cell):.0f} %, {float(cell['spread_to_noise']):.1f}" for cell in cells]
        rows.append([name, *figures])
    return markdown_table(["image", *(f"{levels}, {over}" for over, levels in TRIED)], rows)


def _at_bounds(row: dict[str, str]) -> float:
    return 100 * (float(row["at_floor"]) + float(row["at_ceiling"]))


def survivors_table(runs: dict[str, Path]) -> str:
    """Return for each map in how many images it is kept, and its lowest bound in each."""
    tables = {
        name: {row["feature"]: row for row in rows_of(folder, "verdict.csv")} for name, folder in runs.items()
    }
    rows = []
    for feature in (one.name for one in FEATURES):
        found = [table[feature] for table in tables.values()]
        kept = sum(row["verdict"] == "keep" for row in found)
        like_sd = sum(float(row["local_sd_r"] or 0) >= 0.95 for row in found)
        bounds = [f"{float(row['lowest_icc_low'] or 'nan'):.2f}" for row in found]
        rows.append([feature, str(kept), str(like_sd), *bounds])
    rows.sort(key=lambda row: (-int(row[1]), -min(map(float, row[3:]))))
    return markdown_table(["map", "kept in", "like local SD in", *tables], rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the cases and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--case", action="append", choices=["phantom", *CASES])
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("pipelines").setLevel(logging.INFO)
    cases = {"phantom": phantom(given.output / "phantom images")} | CASES
    runs = {name: run(name, cases[name], given.output) for name in given.case or cases}
    print(cases_table(runs), curve_table(runs), survivors_table(runs), sep="\n\n")


if __name__ == "__main__":
    main()
