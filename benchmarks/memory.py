"""Peak memory of `entropy_map` on the CPU beyond its input and output.

    python benchmarks/memory.py [--shape Z Y X] [--shape-3d Z Y X] [-o DIR]

Every case runs in a process of its own, which

1. maps a small image with the same settings, so that code, libraries and threads are loaded;
2. makes the input (and the mask) and an array of the size of the output, and writes to every page of them,
   since the system assigns memory only to pages that have been written to;
3. reads its resident memory: the baseline, which includes input and output;
4. frees the array in place of the output, makes the map, and reads the peak of its resident memory. Steps 1
   and 2 never exceed the baseline.

The difference of peak and baseline is the additional memory of the map. Memory that is used and freed
before the output is written is not seen if it is smaller than the output. The numbers come from /proc, so
this runs on Linux only.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from _machine import RESULTS, machine, write_json

from glcm_cuda import GLCMSettings, entropy_map

STATUS = Path("/proc/self/status")
MIB = 1 << 20


def main(arguments: Sequence[str] | None = None) -> None:
    options = parsed(arguments)
    if not STATUS.exists():
        sys.exit("resident memory is read from /proc/self/status, which this system does not have")
    if options.child is not None:
        print(json.dumps(measured(**json.loads(options.child))))
        return
    described = machine()
    cases = []
    for case in (
        {"shape": options.shape, "dimensions": 2, "masked": False},
        {"shape": options.shape, "dimensions": 2, "masked": True},
        {"shape": options.shape_3d, "dimensions": 3, "masked": False},
        {"shape": options.shape_3d, "dimensions": 3, "masked": True},
    ):
        cases.append(case | in_child(case))
        print(sentence(cases[-1]))
    path = (options.output or RESULTS) / "memory.json"
    write_json({"machine": described, "cases": cases}, path)
    print(path)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Peak memory of entropy_map beyond its input and output.")
    for name, default, windows in (("--shape", (512, 512, 512), "2D"), ("--shape-3d", (128, 512, 512), "3D")):
        parser.add_argument(
            name,
            nargs=3,
            type=int,
            default=default,
            metavar=("Z", "Y", "X"),
            help=f"volume for {windows} windows, float32  [default: {'x'.join(map(str, default))}]",
        )
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="folder for memory.json")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def in_child(case: dict[str, Any]) -> dict[str, int]:
    """Measure a case in a new process."""
    command = [sys.executable, __file__, "--child", json.dumps(case)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def measured(shape: Sequence[int], dimensions: int, masked: bool) -> dict[str, int]:
    """Return baseline and peak of this process in bytes; see the top of this file."""
    settings = GLCMSettings(dimensions=dimensions)
    entropy_map(noise((6, 32, 32)), settings, mask=ball((6, 32, 32)) if masked else None, backend="cpu")
    image = noise(shape)
    mask = ball(shape) if masked else None
    stand_in = np.full(shape, np.nan, np.float32)
    baseline = resident("VmRSS")
    assert resident("VmHWM") <= baseline + MIB, "preparing took more memory than was left of it"
    del stand_in
    entropy_map(image, settings, mask=mask, backend="cpu")
    return {"baseline_bytes": baseline, "beyond_bytes": resident("VmHWM") - baseline}


def noise(shape: Sequence[int]) -> npt.NDArray[np.float32]:
    """Return independent noise."""
    return np.random.default_rng(0).random(tuple(shape), np.float32)


def ball(shape: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Return a mask of an ellipsoid that touches the borders, made slice by slice."""
    depth, height, width = shape
    mask = np.empty(tuple(shape), np.bool_)
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    for z, part in zip(np.linspace(-1, 1, depth), mask, strict=True):
        np.less_equal(x * x + y * y, 1 - z * z, out=part)
    return mask


def resident(field: str) -> int:
    """Return the resident memory of this process in bytes: now (VmRSS), or its peak (VmHWM)."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def sentence(case: dict[str, Any]) -> str:
    """Return a case in one line."""
    volume = "x".join(map(str, case["shape"]))
    window = "x".join(["5"] * case["dimensions"])
    return (
        f"{volume} float32, window {window}, {'with' if case['masked'] else 'without'} mask: "
        f"{case['beyond_bytes'] / MIB:.1f} MiB beyond input and output"
    )


if __name__ == "__main__":
    main()
