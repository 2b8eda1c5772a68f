#!/usr/bin/env python-real
"""Texture map in 3D Slicer: a command line module that calls the user's RadSynth.

Slicer runs this file in its own Python, which need not have RadSynth: only the standard library is used. The
panel is described in TextureMap.xml (docs/slicer.md).
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

_PREFIX = "progress "
"""Begins the lines in which RadSynth tells its progress."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of what Slicer passes; names and defaults are those of TextureMap.xml."""
    made = argparse.ArgumentParser(description="Texture map of a volume, computed by RadSynth.")
    made.add_argument("input_volume", type=Path)
    made.add_argument("output_volume", type=Path)
    made.add_argument("--mask", type=Path)
    made.add_argument("--mask_label", type=int, default=0)
    made.add_argument("--feature", default="glcm_JointEntropy")
    made.add_argument("--filter", default="")
    made.add_argument("--levels", type=int, default=64)
    made.add_argument("--bin_width", type=float, default=0.0)
    made.add_argument("--window", type=int, default=5)
    made.add_argument("--dimensions", choices=("2", "3"), default="2")
    made.add_argument("--outside", type=float, default=0.0)
    made.add_argument("--params", type=Path)
    made.add_argument("--executable", default="radsynth")
    return made


def options_of(given: argparse.Namespace) -> list[str]:
    """Return the options of ``radsynth map``; a parameter file replaces the settings of the panel."""
    options = ["--feature", given.feature]
    if given.mask is not None:
        options += ["--mask", str(given.mask), "--outside", str(given.outside)]
        if given.mask_label > 0:
            options += ["--mask-label", str(given.mask_label)]
    if given.filter:
        options += ["--filter", given.filter]
    if given.params is not None:
        return [*options, "--params", str(given.params)]
    bins = ["--bin-width", str(given.bin_width)] if given.bin_width > 0 else ["--levels", str(given.levels)]
    return [*options, *bins, "--window", str(given.window), "--dimensions", given.dimensions]


def program(executable: str, path: str | None = None) -> list[str]:
    """Return the command that starts RadSynth: the executable, or a Python that has it.

    Parameters
    ----------
    executable : str
        Path or name of ``radsynth``, or of the Python of the environment where it is installed.
    path : str, optional
        Folders to look in, as in ``PATH``.

    Raises
    ------
    FileNotFoundError
        If there is no such program.
    """
    found = shutil.which(executable, path=path)
    if found is None:
        msg = (
            f"no program {executable!r}; set 'RadSynth' under 'Installation' to the full path of radsynth, "
            "or of the Python of the environment where it is installed"
        )
        raise FileNotFoundError(msg)
    return [found, "-m", "pipelines"] if Path(found).name.startswith("python") else [found]


def environment_outside(home: str | None, variables: Mapping[str, str]) -> dict[str, str]:
    """Return environment variables without the paths below Slicer, whose libraries fit its own Python alone.

    Parameters
    ----------
    home : str or None
        Slicer's folder; None leaves the variables as they are.
    variables : mapping
        The environment.
    """
    if home is None:
        return dict(variables)
    kept = {}
    for name, value in variables.items():
        parts = [part for part in value.split(os.pathsep) if not _is_below(part, home)]
        if parts or not value:
            kept[name] = os.pathsep.join(parts)
    return kept


def _is_below(path: str, home: str) -> bool:
    folder, top = os.path.normcase(os.path.normpath(path)), os.path.normcase(os.path.normpath(home))
    return folder == top or folder.startswith(top + os.sep)


def run(command: Sequence[str], variables: Mapping[str, str]) -> int:
    """Run RadSynth, show its progress as Slicer reads it, and return the exit code.

    Other lines go to the log; if RadSynth fails, the last one, which says why, to stderr.
    """
    last = ""
    with subprocess.Popen(
        command,
        env={**variables, "RADSYNTH_PROGRESS": "lines"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    ) as process:
        for line in process.stdout or ():
            if line.startswith(_PREFIX):
                fraction = line.split()[1]
                print(f"<filter-progress>{fraction}</filter-progress>", flush=True)
            else:
                last = line.strip() or last
                print(line, end="", flush=True)
    if process.returncode:
        print(last, file=sys.stderr)
    return process.returncode


def main(arguments: Sequence[str] | None = None) -> int:
    """Map the input volume into the output volume and return the exit code."""
    given = parser().parse_args(arguments)
    variables = environment_outside(os.environ.get("SLICER_HOME"), os.environ)
    try:
        start = program(given.executable, variables.get("PATH"))
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    print("<filter-start><filter-name>Texture map</filter-name></filter-start>", flush=True)
    # The map is moved where Slicer reads it, so that the file of settings beside it leaves no trace.
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / given.output_volume.name
        code = run([*start, "map", str(given.input_volume), "-o", str(made), *options_of(given)], variables)
        if code == 0 and not made.is_file():
            names = ", ".join(sorted(path.name for path in Path(folder).glob("*.nrrd")))
            print(f"one map is needed, got {names}; give a filter that derives one image", file=sys.stderr)
            code = 1
        elif code == 0:
            shutil.move(made, given.output_volume)
    print("<filter-end><filter-name>Texture map</filter-name></filter-end>", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
