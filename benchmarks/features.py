"""Maps of co-occurrence features: RadSynth, another checkout of it, flash-radiomics, pyradiomics in one run.

    python benchmarks/features.py [--before FOLDER] [-o DIR] [--peer NAME ...] [--turns N] [--quick]

Joint entropy, MCC and the other 22 features, on two real images, if RADSYNTH_DATA has them, and a random
walk. How it is measured is in `benchmarks/families.py`: one thread each, processor time per voxel, the tools
in turns after their values have been compared. ``--before`` adds an older checkout of this repository, to
compare old with new. Besides, the first map of single features with an empty cache of machine code.

A full run with ``--before`` and both peers takes five minutes on an idle machine, and writes features.json
and features.md into benchmarks/results; with -o into DIR. Any other run writes results only with -o.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from _family_report import described
from _family_runs import GROUPS, Configuration, Subject, first_map, measure
from _machine import RESULTS, machine, machine_line, write_json
from _peer_tools import Tool
from families import DATA, PEERS, RADSYNTH, random_walk, real_image

from pipelines.images.reading import read_image
from pipelines.reports.tables import markdown_table

SARCOMA, TUMOUR = "sts_mr/STS_001_MR_T1_image.nii.gz", "sts_mr/STS_001_MR_T1_mask.nii.gz"
BEFORE = "radsynth-before"

Shape = tuple[int, int, int]


def _configuration(
    name: str, dimensions: int, radius: int, levels: int, ours: Shape, flash: Shape, pyradiomics: Shape
) -> Configuration:
    """Return a configuration with the region of each tool."""
    regions = {RADSYNTH.name: ours, BEFORE: ours, "flash-radiomics": flash, "pyradiomics": pyradiomics}
    return Configuration(name, dimensions, radius, levels, regions)


FULL = (
    _configuration("5x5, 64 levels", 2, 2, 64, (1, 144, 144), (1, 24, 24), (1, 6, 6)),
    _configuration("3x3x3, 64 levels", 3, 1, 64, (12, 64, 64), (6, 8, 8), (3, 3, 3)),
    _configuration("5x5x5, 64 levels", 3, 2, 64, (12, 48, 48), (4, 5, 5), (2, 3, 3)),
    _configuration("11x11x11, 21 levels", 3, 5, 21, (11, 24, 48), (2, 3, 3), (2, 2, 2)),
)
FULL_MCC = (
    _configuration("5x5, 64 levels", 2, 2, 64, (1, 96, 96), (1, 24, 24), (1, 6, 6)),
    _configuration("3x3x3, 64 levels", 3, 1, 64, (6, 16, 32), (6, 8, 8), (3, 3, 3)),
    _configuration("5x5x5, 64 levels", 3, 2, 64, (5, 12, 24), (4, 5, 5), (2, 3, 3)),
    _configuration("11x11x11, 21 levels", 3, 5, 21, (6, 11, 11), (2, 3, 3), (2, 2, 2)),
)
"""The maximal correlation coefficient takes longer, of smaller regions."""

QUICK = (
    _configuration("5x5, 64 levels", 2, 2, 64, (1, 16, 16), (1, 4, 4), (1, 2, 2)),
    _configuration("3x3x3, 64 levels", 3, 1, 64, (3, 6, 6), (2, 3, 3), (1, 2, 2)),
)
FIRST = (
    "joint_entropy",
    "contrast",
    "cluster_prominence",
    "idm",
    "sum_entropy",
    "joint_energy",
    "imc2",
    "mcc",
)
"""Features whose first map is timed: one of each kind."""


def main(arguments: Sequence[str] | None = None) -> None:
    options = parsed(arguments)
    peers = [tool for tool in PEERS if options.peer is None or tool.name in options.peer]
    tools = [RADSYNTH, *([] if options.before is None else [_before(options.before)]), *peers]
    configurations, of_mcc = (QUICK, QUICK) if options.quick else (FULL, FULL_MCC)
    images = [real_image(), *_sarcoma(), random_walk()]
    document = {
        "machine": machine(),
        **_measured(tools, images, configurations, of_mcc, options.turns),
        "first_map_seconds": {
            one.name: {feature: first_map(one, feature) for feature in FIRST[: 1 if options.quick else None]}
            for one in configurations[:1]
        },
    }
    print(markdown(document))
    full = not options.quick and options.peer is None and options.before is not None
    if options.output is not None or full:
        results = options.output or RESULTS
        write_json(document, results / "features.json")
        (results / "features.md").write_text(markdown(document) + "\n", encoding="utf-8")


def _measured(
    tools: Sequence[Tool],
    images: Sequence[Subject],
    configurations: Sequence[Configuration],
    of_mcc: Sequence[Configuration],
    turns: int,
) -> dict[str, Any]:
    """Return the times of all groups, in each configuration of an image together."""
    *others, last = GROUPS
    document, mcc = (
        measure(tools, images, measured, groups, turns)
        for measured, groups in ((configurations, others), (of_mcc, [last]))
    )
    places = {
        (image.name, one.name): (i, j)
        for i, image in enumerate(images)
        for j, one in enumerate(configurations)
    }
    cases = [*document["cases"], *mcc["cases"]]
    cases.sort(key=lambda case: places[case["image"], case["configuration"]])
    return document | {"families": list(GROUPS), "cases": cases}


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = [tool.name for tool in PEERS]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS
    )
    parser.add_argument("--before", type=Path, metavar="FOLDER", help="an older checkout of this repository")
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="folder for the results")
    parser.add_argument("--peer", nargs="*", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--turns", type=int, default=2, metavar="N", help="turns of each tool (2)")
    parser.add_argument("--quick", action="store_true", help="small regions and windows: a rehearsal")
    return parser.parse_args(arguments)


def _before(folder: Path) -> Tool:
    """Return the tool that is RadSynth in another checkout."""
    if not (folder / "glcm_cuda" / "__init__.py").exists():
        msg = f"--before must be a checkout of this repository, got {folder}, which has no glcm_cuda"
        raise SystemExit(msg)
    script = "families_radsynth_at.py"
    return replace(
        RADSYNTH, name=BEFORE, title="RadSynth before", script=script, arguments=(str(folder.resolve()),)
    )


def _sarcoma() -> list[Subject]:
    """Return a sarcoma with the middle of its mask, if there is such data."""
    if not (DATA / SARCOMA).exists():
        return []
    tumour = np.argwhere(read_image(DATA / TUMOUR).array)
    z, y, x = (int(at) for at in np.median(tumour, axis=0))
    return [Subject("STS_001, T1", read_image(DATA / SARCOMA).array, (z, y, x))]


def markdown(document: Mapping[str, Any]) -> str:
    """Return the results as Markdown: times, medians of the ratios, first maps, tools, machine."""
    tools = {tool["name"]: tool["title"] for tool in document["tools"]}
    rows = [
        [case["image"], case["configuration"], case["family"], *_cells(case, tools)]
        for case in document["cases"]
    ]
    first = [
        [configuration, feature, f"{seconds:.1f}"]
        for configuration, features in document["first_map_seconds"].items()
        for feature, seconds in features.items()
    ]
    return "\n\n".join([
        f"Microseconds of the processor per voxel (times RadSynth's), medians of {document['turns']} turns.",
        markdown_table(["image", "windows", "features", *tools.values()], rows),
        "First map with an empty cache of machine code, seconds of the processor.",
        markdown_table(["windows", "feature", "s"], first),
        "\n".join(described(document, tool) for tool in document["tools"]),
        machine_line(document["machine"]),
    ])  # fmt: skip


def _cells(case: Mapping[str, Any], tools: Mapping[str, str]) -> list[str]:
    """Return a cell for each tool: microseconds, and how many times the first tool's they are."""
    times = {run["tool"]: run["us_per_voxel"] for run in case["runs"]}
    ours = times[next(iter(tools))]
    return [
        "" if name not in times else f"{times[name]:.3g}" + (f" ({times[name] / ours:.3g})" if place else "")
        for place, name in enumerate(tools)
    ]


if __name__ == "__main__":
    main()
