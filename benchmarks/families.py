"""Maps of the families beside the GLCM: RadSynth, flash-radiomics and pyradiomics in one run.

    python benchmarks/families.py [-o DIR] [--peer NAME ...] [--family NAME ...] [--quick]

Every tool maps all features of a family in a region, on one thread, with windows that the mask does not cut.
Their values are compared in the smallest of the regions before anything is timed. Times are those of the
processor, per voxel; the tools take turns. The peers' windows are whole. RadSynth maps a larger region to its
border, and its time is divided by the share of voxels that its windows have there. flash-radiomics is asked
for what its C code computes, and nothing else. The last column is the first map of a family, with an empty
cache of machine code.

The images are a real one, if RADSYNTH_DATA has it, else a phantom, and a random walk. Each peer runs in its
own environment, made once under benchmarks/.environments. A full run writes families.json and families.md
into benchmarks/results; with -o into DIR. A quick or partial run writes results only with -o.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from _family_report import markdown
from _family_runs import FAMILIES, Configuration, Subject, first_map, measure
from _machine import RESULTS, machine, write_json
from _peer_tools import Tool

from pipelines.evaluation.timing import phantom_slices
from pipelines.images.reading import read_image

DATA = Path(os.environ.get("RADSYNTH_DATA", Path(__file__).parents[1] / ".." / "shared" / "data"))
BREAST, LESION = "breast_ucsf/UCSF-BR-06_post1.nii.gz", "breast_ucsf/UCSF-BR-06_enhancing_mask.nii.gz"

RADSYNTH = Tool(name="radsynth", title="RadSynth", script="families_radsynth.py", computes="")
PEERS = (
    Tool(
        name="flash-radiomics",
        title="flash-radiomics",
        script="families_flash_radiomics.py",
        environment="flash_radiomics",
        computes="",
    ),
    Tool(
        name="pyradiomics",
        title="pyradiomics",
        script="families_pyradiomics.py",
        environment="pyradiomics",
        computes="",
    ),
)


def _configuration(
    name: str, dimensions: int, radius: int, levels: int, goal: float, *regions: tuple[int, int, int]
) -> Configuration:
    """Return a configuration with the regions of RadSynth, flash-radiomics and pyradiomics."""
    names = (RADSYNTH.name, *(tool.name for tool in PEERS))
    return Configuration(name, dimensions, radius, levels, dict(zip(names, regions, strict=True)), goal)


FULL = (
    _configuration("5x5, 64 levels", 2, 2, 64, 5, (1, 192, 192), (1, 64, 64), (1, 16, 16)),
    _configuration("3x3x3, 64 levels", 3, 1, 64, 10, (24, 64, 64), (16, 16, 16), (6, 6, 6)),
    _configuration("5x5x5, 64 levels", 3, 2, 64, 60, (24, 48, 48), (9, 9, 9), (5, 5, 5)),
    _configuration("11x11x11, 21 levels", 3, 5, 21, 300, (24, 40, 40), (5, 5, 5), (4, 4, 4)),
)
QUICK = (
    _configuration("5x5, 64 levels", 2, 2, 64, 5, (1, 32, 32), (1, 8, 8), (1, 4, 4)),
    _configuration("3x3x3, 64 levels", 3, 1, 64, 10, (8, 12, 12), (4, 4, 4), (3, 3, 3)),
)
TURNS = {False: 5, True: 2}
"""Turns of a full and of a quick run."""


def main(arguments: Sequence[str] | None = None) -> None:
    options = parsed(arguments)
    tools = [RADSYNTH, *(tool for tool in PEERS if options.peer is None or tool.name in options.peer)]
    configurations = QUICK if options.quick else FULL
    document = {
        "quick": options.quick,
        "machine": machine(),
        **measure(tools, [real_image(), random_walk()], configurations, options.family, TURNS[options.quick]),
        "first_map_seconds": {
            one.name: {family: first_map(one, family) for family in options.family} for one in configurations
        },
    }
    print(markdown(document))
    partial = options.quick or options.peer is not None or options.family != FAMILIES
    if options.output is not None or not partial:
        results = options.output or RESULTS
        write_json(document, results / "families.json")
        (results / "families.md").write_text(markdown(document) + "\n", encoding="utf-8")


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = [tool.name for tool in PEERS]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS
    )
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="folder for the results")
    parser.add_argument("--peer", nargs="+", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--family", nargs="+", choices=FAMILIES, default=FAMILIES, metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="small regions and two turns: a rehearsal")
    return parser.parse_args(arguments)


def real_image() -> Subject:
    """Return a breast with the middle of its lesion, or a phantom if there is no such data."""
    path = DATA / BREAST
    if not path.exists():
        slices = phantom_slices(27)
        z, y, x = (size // 2 for size in slices.array.shape)
        return Subject(slices.name, slices.array, (z, y, x), phantom=True)
    lesion = np.argwhere(read_image(DATA / LESION).array)
    z, y, x = (int(at) for at in np.median(lesion, axis=0))
    return Subject("UCSF-BR-06, first post-contrast phase", read_image(path).array, (z, y, x))


def random_walk() -> Subject:
    """Return steps that add up along all three axes, as integers from 0 to 4095."""
    steps = np.random.default_rng(0).integers(-9, 10, (27, 200, 200))
    heights = steps.cumsum(axis=0).cumsum(axis=1).cumsum(axis=2)
    heights = (heights - heights.min()) * 4095 // np.ptp(heights)
    return Subject("random walk", heights.astype(np.int16), (13, 100, 100))


if __name__ == "__main__":
    main()
