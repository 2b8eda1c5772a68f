"""Values and speed of the CUDA backend on this machine's device.

    python benchmarks/bench_gpu.py

Runs cases in the order of their worth and writes ``<device>.json`` after each, so that an interrupt loses
only the case that runs. A check that fails is recorded, the others go on, and the exit code is 1.

- start-up: the first map of a process, with an empty cache of machine code and with a filled one.
- bits: entropy maps against the CPU's, bit by bit; features: all others, family by family, to 1e-6.
- kernel: device events around all kernels of a map, with inputs that take turns, so that none is still in
  the cache. map: wall clock, device to device or NumPy to NumPy. host: images too small for a device, so that
  the time is that of Python and of launches. cpu: for comparison.
- profiler and sanitizers: Nsight Compute on one launch, compute-sanitizer on small maps, at most 45 s each.
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from _gpu_cases import (
    ALL_BUT_MCC,
    OTHER_FAMILIES,
    REHEARSAL,
    SIMULATOR,
    WAYS,
    Sizes,
    all_but_mcc,
    bits,
    dense_on_cuda,
    device_to_device,
    entropy,
    features_near,
    host_to_host,
    into_an_array,
    kernel_times,
    profile,
    sanitised,
    start_up,
    way_times,
)
from _gpu_report import Case, Report, run_cases
from numba import config

from glcm_cuda import GLCMSettings
from glcm_cuda.engines.choice import why_no_cuda

RESULTS = Path(__file__).parent / "results"


def all_cases(sizes: Sizes, folder: Path) -> list[Case]:
    """Return all cases, those worth most first; the profiler's numbers go into a file in `folder`."""
    return [
        *_first(sizes), *_windows(sizes), *_families(sizes), *_rest(sizes), *_tools(sizes, folder)
    ]  # fmt: skip


def _first(sizes: Sizes) -> list[Case]:
    """Return the cases that tell most: 5x5 at 64 levels."""
    return [
        Case("start-up", "first", "start-up", start_up),
        *_bits(sizes, "first", {}),
        _kernel(sizes, "first", "5x5"),
        Case("device to device", "first", "map", functools.partial(device_to_device, sizes)),
        Case("NumPy to NumPy", "first", "map", functools.partial(host_to_host, sizes, entropy("cuda"), 5)),
        Case("NumPy to NumPy, into an array", "first", "map", functools.partial(into_an_array, sizes)),
    ]


def _windows(sizes: Sizes) -> list[Case]:
    """Return the kernels of other windows and of the other features."""
    return [
        _kernel(sizes, "windows", "5x5x5", dimensions=3),
        _kernel(sizes, "windows", "5x5, merged", aggregate="merge"),
        _kernel(sizes, "windows", "7x7", window=7),
        _kernel(sizes, "windows", "11x11", window=11),
        _kernel(sizes, "windows", "all but MCC", ALL_BUT_MCC),
        _kernel(sizes, "windows", "MCC", ("mcc",)),
    ]


def _families(sizes: Sizes) -> list[Case]:
    """Return the values of the families beside the GLCM, and the kernels of each in some windows."""
    windows: dict[str, dict[str, object]] = {
        "5x5": {},
        "3x3x3": {"dimensions": 3, "window": 3},
        "5x5x5": {"dimensions": 3},
        "11x11x11, 21 levels": {"dimensions": 3, "window": 11, "levels": 21},
    }
    checked = ({}, {"dimensions": 3, "window": 3})
    return [
        *(_near(sizes, "families", family, fields) for fields in checked for family in OTHER_FAMILIES),
        *(
            _kernel(sizes, "families", f"{family}, {name}", (family,), **fields)
            for name, fields in windows.items()
            for family in OTHER_FAMILIES
        ),
    ]


def _rest(sizes: Sizes) -> list[Case]:
    """Return everything else that needs no tool."""
    checked = (
        {"window": 11},
        {"aggregate": "merge"},
        {"dimensions": 3, "window": 3},
        {"levels": sizes.most_levels},
    )
    near = ({}, {"symmetric": False, "aggregate": "merge"}, {"dimensions": 3, "window": 3})
    one_slice = functools.partial(host_to_host, sizes, slices=1)
    return [
        *(case for fields in checked for case in _bits(sizes, "rest", fields)),
        *(_near(sizes, "rest", "glcm", fields) for fields in near),
        _kernel(sizes, "rest", "5x5, 256 levels", levels=256),
        _kernel(sizes, "rest", f"5x5, {sizes.most_levels} levels", levels=sizes.most_levels),
        _kernel(sizes, "rest", "5x5, distance 2", distance=2),
        _kernel(sizes, "rest", "3x3", window=3),
        _kernel(sizes, "rest", "3x3x3", dimensions=3, window=3),
        _kernel(sizes, "rest", "7x7x7", dimensions=3, window=7),
        _kernel(sizes, "rest", "contrast", ("contrast",)),
        _kernel(sizes, "rest", "joint energy", ("joint_energy",)),
        _kernel(sizes, "rest", "all but MCC, merged", ALL_BUT_MCC, aggregate="merge"),
        _kernel(sizes, "rest", "all but MCC, 3x3x3", ALL_BUT_MCC, dimensions=3, window=3),
        *(
            Case(f"5x5: {name}", "rest", "kernel", functools.partial(way_times, sizes, way))
            for name, way in WAYS.items()
        ),
        Case("one slice", "rest", "host", functools.partial(one_slice, entropy("cuda"), 20)),
        Case("one slice, all but MCC", "rest", "host", functools.partial(one_slice, all_but_mcc("cuda"), 5)),
        Case("one slice, dense matrices", "rest", "map", functools.partial(one_slice, dense_on_cuda, 3)),
        Case("one slice, CPU", "rest", "cpu", functools.partial(one_slice, entropy("cpu"), 20)),
        Case(
            "one slice, all but MCC, CPU", "rest", "cpu", functools.partial(one_slice, all_but_mcc("cpu"), 3)
        ),
        Case("NumPy to NumPy, CPU", "rest", "cpu", functools.partial(host_to_host, sizes, entropy("cpu"), 3)),
    ]


def _tools(sizes: Sizes, folder: Path) -> list[Case]:
    """Return the profiler and the sanitizers, which may hang or refuse a device."""
    return [
        Case("ncu", "tools", "profile", functools.partial(profile, sizes, folder / "ncu.csv")),
        *(
            Case(tool, "tools", "memory", functools.partial(sanitised, tool))
            for tool in ("memcheck", "racecheck", "initcheck")
        ),
    ]


def _bits(sizes: Sizes, group: str, fields: dict[str, object]) -> list[Case]:
    """Return the comparison of bits for some settings, without a mask and with one."""
    name = f"bits, {fields or '5x5'}"
    return [
        Case(name + ", mask" * masked, group, "values", functools.partial(bits, sizes, fields, masked))
        for masked in (False, True)
    ]


def _near(sizes: Sizes, group: str, family: str, fields: dict[str, object]) -> Case:
    """Return the comparison of a family's values for some settings."""
    name = f"features, {family}, {fields or '5x5'}"
    return Case(name, group, "values", functools.partial(features_near, sizes, family, fields))


def _kernel(
    sizes: Sizes, group: str, name: str, features: Sequence[str] = ("joint_entropy",), **fields: object
) -> Case:
    """Return the timing of the kernels for some settings and features."""
    settings = GLCMSettings(**fields)
    if group == "families":
        shape = sizes.families
    elif settings.dimensions == 3:
        shape = sizes.volume
    else:
        shape = sizes.stack if features == ("joint_entropy",) else sizes.features
    return Case(
        f"kernel, {name}", group, "kernel", functools.partial(kernel_times, sizes, settings, shape, features)
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="folder of the report [benchmarks/results]"
    )
    parser.add_argument("--minutes", type=float, help="stop after this time, with the cases worth most done")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="groups (first, windows, families, rest, tools) or cases"
    )
    parser.add_argument("--resume", action="store_true", help="add to the report that the folder holds")
    parser.add_argument(
        "--rehearse", action="store_true", help="tiny images, to try the script; needs --output"
    )
    options = parser.parse_args()
    ends = None if options.minutes is None else time.monotonic() + 60 * options.minutes
    rehearsal = options.rehearse or bool(config.ENABLE_CUDASIM)
    if rehearsal and options.output is None:
        parser.error("a rehearsal needs --output DIR: its times are none of a device")
    sizes = SIMULATOR if config.ENABLE_CUDASIM else REHEARSAL if rehearsal else Sizes()
    folder = options.output or RESULTS
    cases = all_cases(sizes, folder)
    names = {name for case in cases for name in (case.name, case.group)}
    if unknown := set(options.only or ()) - names:
        parser.error(
            f"--only knows no {', '.join(sorted(unknown))}; expected some of: {', '.join(sorted(names))}"
        )
    if reason := why_no_cuda():
        parser.error(reason)
    chosen = [case for case in cases if options.only is None or {case.name, case.group} & set(options.only)]
    try:
        report = Report(folder, rehearsal=rehearsal, resume=options.resume)
    except ValueError as error:
        parser.error(str(error))
    passed = run_cases(chosen, report, ends)
    print(report.path)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
