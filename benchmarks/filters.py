"""Time and memory of filters, beside pyradiomics' in one run.

    .venv-oracles/bin/python benchmarks/filters.py [--size Z,Y,X] [--repeats N]

Both tools derive every image of a filter from one random walk (int16), each image released before the next.
Every measurement is a process of its own. Time is the shortest of the repeats, wall clock, the tools in turn;
memory is the peak beyond that of the process with the image loaded. The environment is that of
`make test-oracles`, which has both. The table goes to stdout; docs/filters.md has one.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

sys.path.insert(0, str(Path(__file__).parents[1]))
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "log:sigma=2,4": ("LoG", {"sigma": [2.0, 4.0]}),
    "wavelet:coif1": ("Wavelet", {}),
    "square": ("Square", {}),
    "logarithm": ("Logarithm", {}),
    "exponential": ("Exponential", {}),
    "gradient": ("Gradient", {}),
    "lbp-2d": ("LBP2D", {}),
}
"""What pyradiomics is asked for, by our specifications; its LBP3D does not run with current SciPy."""

TOOLS = ("radsynth", "pyradiomics")


def walk(shape: tuple[int, ...]) -> sitk.Image:
    """Return steps that add up, on a grid with three spacings."""
    steps = np.random.default_rng(3).integers(-9, 10, shape, dtype=np.int16)
    image = sitk.GetImageFromArray(steps.cumsum(axis=1, dtype=np.int16))
    image.SetSpacing((0.7, 0.9, 2.5))
    return image


def of_radsynth(text: str, image: sitk.Image) -> Callable[[], Iterator[Any]]:
    """Return a function that derives our images."""
    from pipelines.filters.contract import Scope
    from pipelines.filters.specification import filter_of
    from pipelines.images.volume import volume_of

    one, volume = filter_of(text), volume_of(image)
    one.check(volume, Scope())
    return lambda: one.images(volume, Scope())


def of_pyradiomics(text: str, image: sitk.Image) -> Callable[[], Iterator[Any]]:
    """Return a function that derives pyradiomics' images."""
    from radiomics import imageoperations

    kind, told = CASES[text]
    return lambda: getattr(imageoperations, f"get{kind}Image")(image, image, **told)


def measured(tool: str, text: str, shape: tuple[int, ...]) -> dict[str, float]:
    """Derive the images once in this process: return seconds and MiB."""
    function = {"radsynth": of_radsynth, "pyradiomics": of_pyradiomics}[tool]
    for _ in function(text, walk((8, 16, 16)))():  # imports, and whatever else happens once
        pass
    derive = function(text, walk(shape))
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    images = 0
    for one in derive():
        images += 1
        del one
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": seconds, "mib": (peak - before) / 1024, "images": images}


def in_process(tool: str, text: str, size: str) -> dict[str, float]:
    """Return what a process of its own measures."""
    command = [sys.executable, __file__, "--size", size, "--measure", tool, text]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ)
    return json.loads(done.stdout.splitlines()[-1])


def table(size: str, repeats: int) -> Iterator[str]:
    """Yield the rows of the table."""
    yield "| filter | images | RadSynth s | pyradiomics s | RadSynth MiB | pyradiomics MiB |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for text in CASES:
        found: dict[str, list[dict[str, float]]] = {tool: [] for tool in TOOLS}
        for _ in range(repeats):
            for tool in TOOLS:
                found[tool].append(in_process(tool, text, size))
        seconds = [min(one["seconds"] for one in found[tool]) for tool in TOOLS]
        mib = [min(one["mib"] for one in found[tool]) for tool in TOOLS]
        images = found["radsynth"][0]["images"]
        yield f"| `{text}` | {images} | {seconds[0]:.2f} | {seconds[1]:.2f} | {mib[0]:.0f} | {mib[1]:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", default="64,256,256", help="of the image, Z,Y,X")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--measure", nargs=2, metavar=("TOOL", "FILTER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    shape = tuple(int(edge) for edge in options.size.split(","))
    if options.measure:
        print(json.dumps(measured(*options.measure, shape)))
        return
    for row in table(options.size, options.repeats):
        print(row, flush=True)


if __name__ == "__main__":
    main()
