"""Damaged files through the commands: each ends well, or in one line that leaves everything as it was."""

from __future__ import annotations

import hashlib
import json
import random
import re
import shutil
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fuzz.mutations import damage
from fuzz.readers import differs
from fuzz.scenarios import SCENARIOS, Scenario
from fuzz.workers import DeadWorkerError, Ended, Worker

CODES = (0, 2, 3, 130)
MOST_LINES = 8
MOST_SECONDS = 30.0
"""Of the processor, without what was compiled; a file takes less than a second."""

MOST_MB = 500
PRECIOUS = b"precious"


@dataclass
class Campaign:
    """Files that were damaged, and what came of it."""

    ends: Counter[str] = field(default_factory=Counter)
    failures: list[Path] = field(default_factory=list)
    slowest: float = 0.0
    largest_mb: float = 0.0
    seconds: float = 0.0

    def report(self) -> str:
        """Return the figures in lines."""
        by_code: Counter[str] = Counter()
        for end, number in self.ends.items():
            by_code[end.split()[1]] += number
        codes = ", ".join(f"{number} ended with {code}" for code, number in sorted(by_code.items()))
        lines = [
            f"{sum(self.ends.values())} damaged files in {self.seconds / 60:.1f} minutes: {codes}",
            f"slowest {self.slowest:.1f} s, largest {self.largest_mb:.0f} MB beyond the start",
            f"{len(self.failures)} failures",
        ]
        return "\n".join([*lines, *(f"  {path}" for path in self.failures)])


def run_files(number: int, seed: int, folder: Path, *, only: str = "", keras: bool = True) -> Campaign:
    """Damage this many files and run the commands on them.

    Parameters
    ----------
    number : int
        How many.
    seed : int
        File `i` follows from the seed and `i` alone.
    folder : Path
        Work is done here; what failed is in ``failures/SEED-NUMBER``.
    only : str
        Part of the names of the scenarios to use.
    keras : bool
        Whether scenarios that import Keras are among them.
    """
    names = [name for name, one in SCENARIOS.items() if only in name and (keras or not one.keras)]
    weights = [SCENARIOS[name].weight for name in names]
    for name in names:
        _write_sound(name, folder)
    workers = {False: Worker(), True: Worker(keras=True)}
    campaign, started = Campaign(), time.monotonic()
    for index in range(number):
        if index % 1000 == 0 and index:
            print(f"{index} files, {len(campaign.failures)} failures", flush=True)
        rng = random.Random(f"{seed}-{index}")
        (name,) = rng.choices(names, weights)
        case = folder / "case"
        _prepare(name, case, folder, rng)
        reason = _judged(case, workers[SCENARIOS[name].keras], campaign)
        if reason:
            campaign.failures.append(_kept(case, folder / "failures" / f"{seed}-{index}", reason))
            print(f"{campaign.failures[-1]}: {reason.splitlines()[0]}", flush=True)
    for worker in workers.values():
        worker.close()
    campaign.seconds = time.monotonic() - started
    return campaign


def replay(kept: Path, folder: Path) -> str:
    """Run a kept failure again and return what is wrong, or "" if nothing is."""
    case = folder / "case"
    shutil.rmtree(case, ignore_errors=True)
    case.mkdir(parents=True)
    shutil.copytree(kept / "in", case / "in")
    shutil.copy(kept / "case.json", case)
    _lay_out(case)
    worker = Worker(keras=_scenario(case).keras)
    reason = _judged(case, worker, Campaign())
    worker.close()
    return reason


def _write_sound(name: str, folder: Path) -> None:
    """Write the sound inputs of a scenario, once."""
    place = folder / "sound" / name
    if not place.exists():
        place.mkdir(parents=True)
        SCENARIOS[name].write(place, np.random.default_rng(1))


def check_sound(folder: Path, *, keras: bool = True) -> list[str]:
    """Run all commands on the sound inputs, and return what did not end with 0: a fault of the fuzzer."""
    wrong, workers = [], {False: Worker(), True: Worker(keras=True)}
    for name, scenario in SCENARIOS.items():
        if scenario.keras and not keras:
            continue
        _write_sound(name, folder)
        worker = workers[scenario.keras]
        for command in scenario.commands:
            case = folder / "case"
            shutil.rmtree(case, ignore_errors=True)
            shutil.copytree(folder / "sound" / name, case / "in")
            (case / "case.json").write_text(json.dumps({"scenario": name, "command": command}))
            _lay_out(case)
            ended = worker.run(_arguments(case), case)
            if ended.code != 0:
                wrong.append(f"{name}: {command}: {ended.code} {ended.stderr}")
    for worker in workers.values():
        worker.close()
    return wrong


def _prepare(name: str, case: Path, folder: Path, rng: random.Random) -> None:
    """Lay out the inputs of one run, one of them damaged."""
    shutil.rmtree(case, ignore_errors=True)
    shutil.copytree(folder / "sound" / name, case / "in")
    victim = damage(case / "in", SCENARIOS[name].victims, rng)
    record = {
        "scenario": name,
        "command": rng.choice(SCENARIOS[name].commands),
        "victim": str(victim.relative_to(case / "in")),
    }
    (case / "case.json").write_text(json.dumps(record))
    _lay_out(case)


def _lay_out(case: Path) -> None:
    """Make the output folder; where outputs may be replaced, one that must outlive a failure is there."""
    out = case / "out"
    out.mkdir()
    arguments = _arguments(case)
    if "--force" in arguments:
        Path(arguments[arguments.index("-o") + 1]).write_bytes(PRECIOUS)


def _scenario(case: Path) -> Scenario:
    return SCENARIOS[json.loads((case / "case.json").read_text())["scenario"]]


def _arguments(case: Path) -> list[str]:
    words = json.loads((case / "case.json").read_text())["command"].split()
    return [word.replace("IN", str(case / "in"), 1).replace("OUT", str(case / "out"), 1) for word in words]


def _judged(case: Path, worker: Worker, campaign: Campaign) -> str:
    """Run a case and return what is wrong, or ""."""
    inputs, outputs = _content(case / "in"), _content(case / "out")
    name = json.loads((case / "case.json").read_text())["scenario"]
    try:
        ended = worker.run(_arguments(case), case)
    except DeadWorkerError as error:
        campaign.ends[f"{name} died"] += 1
        return str(error)
    campaign.ends[f"{name} {ended.code}"] += 1
    campaign.slowest = max(campaign.slowest, ended.seconds)
    campaign.largest_mb = max(campaign.largest_mb, ended.grown_mb)
    code = ended.code
    return wrong_end(ended) or _wrong_files(case, code, inputs, outputs) or _wrong_voxels(case, code)


def wrong_end(ended: Ended) -> str:
    """Return what is wrong with how a command ended."""
    lines = ended.stderr.splitlines()
    if ended.code not in CODES or "Traceback" in ended.stderr or re.search(r"\.py:\d|Warning:", ended.stderr):
        return f"exit code {ended.code}: {lines[-1] if lines else ''}\n{ended.stderr}"
    if len(lines) > MOST_LINES or max(map(len, lines), default=0) > 1500:
        return f"{len(lines)} lines of messages, the longest of {max(map(len, lines))}\n{ended.stderr}"
    if ended.code and not (lines and lines[-1].startswith("Error: ") and len(lines[-1]) > 12):
        return f"exit code {ended.code} without a word\n{ended.stderr}"
    if ended.code and sum(line.startswith("Error: ") for line in lines) > 1:
        return f"several errors\n{ended.stderr}"
    if ended.seconds > MOST_SECONDS:
        return f"{ended.seconds:.1f} s"
    if ended.grown_mb > MOST_MB:
        return f"{ended.grown_mb:.0f} MB of memory"
    return ""


def _wrong_files(case: Path, code: int, inputs: dict[str, str], outputs: dict[str, str]) -> str:
    """Return what a command left that it should not have."""
    if _content(case / "in") != inputs:
        return "an input was changed"
    left = sorted(path.name for path in (case / "tmp").iterdir())
    if left:
        return f"left behind in the temporary folder: {left}"
    now = _content(case / "out")
    unfinished = [name for name in now if ".tmp-" in name]
    keeps = _scenario(case).keeps
    if unfinished and not (code and keeps):
        return f"left behind: {unfinished}"
    if code and now != outputs and not keeps:
        changed = sorted(set(now.items()) ^ set(outputs.items()))
        return f"the outputs changed though the command failed: {changed}"
    if not code and "OUT" in json.loads((case / "case.json").read_text())["command"] and now == outputs:
        return "exit code 0 and no output"
    return ""


def _wrong_voxels(case: Path, code: int) -> str:
    """Return how a damaged image that was read differs from what another reader finds."""
    victim = case / "in" / json.loads((case / "case.json").read_text())["victim"]
    known = victim.name.endswith((".nii", ".nii.gz")) or victim.name == "slice.dcm"
    return differs(victim) if code == 0 and known else ""


def _content(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _kept(case: Path, place: Path, reason: str) -> Path:
    """Keep a failure: the damaged input, the command and what went wrong."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(case, place)
    (place / "reason.txt").write_text(reason)
    return place
