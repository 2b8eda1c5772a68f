"""The tools of `benchmarks/peers.py`: what each computes, its environment, and the process that runs it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).parent / "peers"
ENVIRONMENTS = Path(__file__).parent / ".environments"

SYMMETRIC_MEAN = "mean of the entropies of the four symmetric matrices, in bits"


class ToolError(Exception):
    """A tool cannot be run, or has ended; the message is one line."""


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A tool that makes maps, and the settings of RadSynth that it is compared with.

    Parameters
    ----------
    name, title : str
        Name in options and results; name in tables and plots.
    script : str
        The adapter in `benchmarks/peers`, started with `arguments`.
    environment : str, optional
        Name of the virtual environment and of the list of its packages; None for the project's own.
    program, how_to_install : str, optional
        A required program, and how to get it.
    definition, computes : str
        What its map holds, and what else it computes in the same time.
    settings : dict
        Fields of `GLCMSettings` with which RadSynth computes the same map.
    reference : str
        The tool, one of RadSynth's, whose time it is compared with.
    inside_only : bool
        Whether the definition is the same only for windows inside the image.
    """

    name: str
    title: str
    script: str
    arguments: tuple[str, ...] = ()
    environment: str | None = None
    program: str | None = None
    how_to_install: str = ""
    definition: str = SYMMETRIC_MEAN
    computes: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    reference: str = "radsynth"
    inside_only: bool = False


MERGED = {"symmetric": False, "aggregate": "merge"}

OURS = (
    Tool(
        name="radsynth",
        title="RadSynth",
        script="run_radsynth.py",
        arguments=("mean",),
        computes="the quantisation",
    ),
    Tool(
        name="radsynth-merged",
        title="RadSynth, merged",
        script="run_radsynth.py",
        arguments=("merge",),
        definition="entropy of the pooled counts of the four directions, not symmetric, in bits",
        computes="the quantisation",
        settings=MERGED,
        reference="radsynth-merged",
    ),
    Tool(
        name="dense",
        title="dense matrices (the paper's algorithm)",
        script="run_dense.py",
        computes="the quantisation",
    ),
)
PEERS = (
    Tool(
        name="grass",
        title="GRASS r.texture",
        script="run_grass.py",
        program="grass",
        how_to_install="apt-get install grass-core",
        computes="reading and writing a raster",
    ),
    Tool(
        name="flash-radiomics",
        title="flash-radiomics",
        script="run_flash_radiomics.py",
        environment="flash_radiomics",
        computes="22 other features",
    ),
    Tool(
        name="itk",
        title="ITK texture filter",
        script="run_itk.py",
        environment="itk",
        definition=(
            "entropy of the pooled counts of the four directions, not symmetric, in bits; windows at the "
            "border repeat its pixels, so that only windows inside the image are compared"
        ),
        computes="7 other features",
        settings=MERGED,
        reference="radsynth-merged",
        inside_only=True,
    ),
    Tool(
        name="mahotas",
        title="mahotas, a call per window",
        script="run_mahotas.py",
        environment="mahotas",
        computes="12 other features",
    ),
    Tool(
        name="scikit-image",
        title="scikit-image, a call per window",
        script="run_skimage.py",
        environment="skimage",
        definition=SYMMETRIC_MEAN.replace("bits", "nats"),
        computes="nothing",
        settings={"log_base": "e"},
    ),
    Tool(
        name="pyradiomics",
        title="pyradiomics, voxel-based",
        script="run_pyradiomics.py",
        environment="pyradiomics",
        computes="the marginals and sums that its 24 features share",
    ),
)


def command_of(tool: Tool) -> list[str]:
    """Return the command that starts a tool's adapter; its environment is made if necessary.

    Raises
    ------
    ToolError
        If the tool is not available here.
    """
    if tool.program is not None and shutil.which(tool.program) is None:
        msg = f"{tool.title} is not installed: {tool.how_to_install}"
        raise ToolError(msg)
    python = sys.executable if tool.environment is None else str(environment(tool.environment))
    return [python, str(SCRIPTS / tool.script), *tool.arguments]


def environment(name: str, folder: Path = ENVIRONMENTS) -> Path:
    """Return the Python of a virtual environment with the packages that ``peers/<name>.txt`` lists.

    An environment made from the same list is used again. A new one is made under a temporary name, so that an
    interrupted installation is never taken for a complete one.

    Raises
    ------
    ToolError
        If it cannot be made; the message ends with the last line of pip's output.
    """
    wanted = (SCRIPTS / f"{name}.txt").read_text(encoding="utf-8")
    place = folder / name
    listed = place / "requirements.txt"
    if not (listed.exists() and listed.read_text(encoding="utf-8") == wanted):
        temporary = folder / f"{name}.tmp"
        for old in (temporary, place):
            shutil.rmtree(old, ignore_errors=True)
        _install(wanted, temporary, name)
        temporary.rename(place)
    return place / "bin" / "python"


def _install(requirements: str, place: Path, name: str) -> None:
    print(f"making the environment of {name}", file=sys.stderr)
    place.mkdir(parents=True)
    listed = place / "requirements.txt"
    listed.write_text(requirements, encoding="utf-8")
    # The lists are complete, so dependencies are not installed in addition.
    pip = ["-m", "pip", "install", "--quiet", "--no-deps", "-r", str(listed)]
    for command in ([sys.executable, "-m", "venv", str(place)], [str(place / "bin" / "python"), *pip]):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            msg = f"the environment of {name} cannot be made: {_last_line(done.stderr)}"
            raise ToolError(msg)


class Adapter:
    """A running adapter; see `peers/_adapter.py` for the protocol.

    Parameters
    ----------
    tool : Tool
    command : list of str
        See `command_of`.
    folder : path
        Folder for the log of the tool's output.
    environment : mapping, optional
        Variables of the tool's process, beside those of this one.
    """

    def __init__(
        self, tool: Tool, command: list[str], folder: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.tool = tool
        self._log = (folder / f"{tool.name}.log").open("w+", encoding="utf-8")
        start = time.perf_counter()
        self._process = subprocess.Popen(
            command,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        greeting = self._answer()
        self.startup_seconds = time.perf_counter() - start
        self.versions: dict[str, str] = greeting["versions"]
        self.parallel: bool = greeting["parallel"]

    def seconds(
        self, levels_file: Path, levels: int, window: int, threads: int | None, map_file: Path | None = None
    ) -> float:
        """Return the seconds of one map, from levels in the tool's form; write the map if a file is given."""
        request = {
            "levels_file": str(levels_file),
            "levels": levels,
            "window": window,
            "threads": threads,
            "map_file": None if map_file is None else str(map_file),
        }
        return float(self.ask(request)["seconds"])

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the adapter's answer to a request; raise ToolError if it has ended."""
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None
        return self._answer()

    def close(self) -> None:
        """Stop the adapter."""
        self._process.communicate()
        self._log.close()

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            raise self._ended()
        return json.loads(line)

    def _ended(self) -> ToolError:
        self._process.wait()
        self._log.seek(0)
        said = _last_line(self._log.read())
        self.close()
        return ToolError(f"{self.tool.title} ended: {said}")


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2] or "it said nothing"
