"""GRASS: the module r.texture, method ``entr``, on a raster in a location of its own.

The module is a program that reads a raster from GRASS's database and writes another. Its time includes all of
this, some hundredths of a second in addition to the computation.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from _adapter import Levels, Mapper, serve


class Session:
    """A GRASS location without coordinates, in a folder that the caller removes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        base = output(["grass", "--config", "path"])
        output(["grass", "-e", "-c", "XY", str(folder / "benchmark")])
        settings = folder / "gisrc"
        settings.write_text(f"GISDBASE: {folder}\nLOCATION_NAME: benchmark\nMAPSET: PERMANENT\n")
        self.environment = dict(os.environ, GISBASE=base, GISRC=str(settings), GRASS_VERBOSE="0")
        for name, part in (("PATH", "bin"), ("LD_LIBRARY_PATH", "lib")):
            before = [os.environ[name]] if name in os.environ else []
            self.environment[name] = os.pathsep.join([f"{base}/{part}", *before])
        self.parallel = "nprocs" in self.module("r.texture", "--interface-description")

    def module(self, *command: str) -> str:
        """Return what a module prints; its error message ends the adapter."""
        return output(list(command), self.environment)

    def prepare(self, levels: Levels, number_of_levels: int, window: int, threads: int | None) -> Mapper:
        """Import the levels as a raster; with ``-n``, windows are clipped at the border.

        The module uses integers from 0 to 255 as levels, unless all are 0 or 1.
        """
        rows, columns = levels.shape
        raw = self.folder / "levels.raw"
        raw.write_bytes(levels.tobytes())
        bounds = (f"rows={rows}", f"cols={columns}", f"north={rows}", "south=0", f"east={columns}", "west=0")
        self.module("r.in.bin", f"input={raw}", "output=levels", "bytes=1", *bounds, "--overwrite")
        self.module("g.region", "raster=levels")
        command = ["r.texture", "-n", "input=levels", "output=map", "method=entr", f"size={window}"]
        if self.parallel and threads is not None:
            command.append(f"nprocs={threads}")
        return lambda: self.module(*command, "--overwrite")

    def read(self, _: object) -> np.ndarray:
        """Return the raster that the module wrote."""
        raw = self.folder / "map.raw"
        names = ("input=map_Entr", f"output={raw}")
        self.module("r.out.bin", "-f", *names, "bytes=4", "null=nan", "--overwrite")
        size = dict(line.split("=") for line in self.module("g.region", "-g").splitlines())
        return np.fromfile(raw, np.float32).reshape(int(size["rows"]), int(size["cols"]))


def output(command: list[str], environment: dict[str, str] | None = None) -> str:
    """Return what a program prints; its error message ends the adapter."""
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed: {done.stderr.strip()}")
    return done.stdout.strip()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        session = Session(Path(folder))
        version = output(["grass", "--config", "version"])
        serve(session.prepare, {"GRASS": version}, parallel=session.parallel, read=session.read)
