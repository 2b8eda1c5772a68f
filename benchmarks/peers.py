"""RadSynth's entropy maps compared with other tools': the same slice, checked values, one run.

    python benchmarks/peers.py [-o DIR] [--peer NAME ...] [--quick]

Every tool maps the same grey levels at distance 1 in the directions 0, 45, 90 and 135 degrees, with pairs
inside the window, for several numbers of levels and windows. Its map is compared with RadSynth's in the
settings that mirror the tool's definition; if it differs, its times are shown with a mark. A slow tool maps
a smaller crop, the largest that takes a few seconds; compared are nanoseconds per voxel. A time starts with
the levels in memory and ends with the map (GRASS: with the raster in its database); start-up is measured
separately. The tools take turns.

Each Python tool runs in its own environment, made once under benchmarks/.environments. A full run writes
peers.json and peers.md into benchmarks/results and the plot into docs/figures; with -o everything goes into
DIR. A quick or partial run writes results only with -o.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from _machine import FIGURES, RESULTS, machine, write_json
from _peer_report import draw, markdown
from _peer_runs import Effort, Slice, measure
from _peer_tools import OURS, PEERS

from pipelines.evaluation.timing import phantom_slices
from pipelines.images.reading import read_image

CASES = ((64, 5), (32, 5), (256, 5), (64, 7), (64, 11))
"""Levels and window; the first case is drawn."""

FULL = Effort(call_seconds=6.0, turns=3)
QUICK = Effort(call_seconds=0.6, turns=2)

DATA = Path(os.environ.get("RADSYNTH_DATA", Path(__file__).parents[1] / ".." / "shared" / "data"))
BREAST = "breast_ucsf/UCSF-BR-06_post1.nii.gz"


def main(arguments: Sequence[str] | None = None) -> None:
    options = parsed(arguments)
    tools = [*OURS, *(tool for tool in PEERS if options.peer is None or tool.name in options.peer)]
    image = load_slice()
    effort = QUICK if options.quick else FULL
    document = {
        "quick": options.quick,
        "machine": machine(),
        "image": {"name": image.name, "shape": list(image.array.shape), "phantom": image.phantom},
        **measure(tools, image, CASES, effort),
    }
    print(markdown(document))
    if options.output is not None or (options.peer is None and not options.quick):
        results, figures = (options.output, options.output) if options.output else (RESULTS, FIGURES)
        write_json(document, results / "peers.json")
        (results / "peers.md").write_text(markdown(document) + "\n", encoding="utf-8")
        draw(document, figures / "peers.png")
        print(results / "peers.md")


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = [tool.name for tool in PEERS]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS
    )
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="folder for the results")
    parser.add_argument("--peer", nargs="+", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--quick", action="store_true", help="small crops and two turns: a rehearsal")
    return parser.parse_args(arguments)


def load_slice() -> Slice:
    """Return four neighbouring breast slices side by side, or a phantom slice if there is no such data."""
    path = DATA / BREAST
    if not path.exists():
        slices = phantom_slices(1)
        return Slice(slices.array[0], slices.array.shape[-1] // 2, slices.name, phantom=True)
    volume = read_image(path).array
    middle = len(volume) // 2
    a, b, c, d = volume[middle - 2 : middle + 2]
    name = "UCSF-BR-06, first post-contrast phase, four neighbouring slices side by side"
    return Slice(np.block([[a, b], [c, d]]), volume.shape[-1] // 2, name, phantom=False)


if __name__ == "__main__":
    main()
