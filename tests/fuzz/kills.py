"""Commands killed at random moments, run again, and compared with a run that nobody disturbed.

``make crash`` is ``python -m fuzz.kills``. Commands run in forks of a process that has imported everything,
so that a moment is drawn from their work, not from their imports.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import importlib
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import SimpleITK as sitk
from helpers.networks import SMALL
from helpers.stores import write_store

SIGNALS = (signal.SIGKILL, signal.SIGTERM)
PRECIOUS = b"precious"
MOST_SECONDS = 600

_CHANGING = {
    "created",
    "date",
    "seconds",
    "voxels_per_second",
    "software",
    "versions",
    "store",
    "store_sha256",
    "file_sha256",
}
"""What records say of the run itself."""

_SHAPE = (6, 90, 90)


@dataclass(frozen=True)
class Killed:
    """A command to kill.

    Parameters
    ----------
    write : callable (folder)
        Writes the inputs.
    command : str
        Arguments of ``radsynth``; ``IN`` and ``OUT`` are folders.
    imports : tuple of str
        Modules that the command imports when it is called.
    outputs : tuple of str
        Outputs that exist before, and must be whole at any time: as before, or finished.
    resumes : bool
        Whether an interrupted run may leave files from which the next goes on.
    tolerance : float
        Relative difference of numbers that floating-point sums in another order explain.
    """

    write: Callable[[Path], object]
    command: str
    imports: tuple[str, ...]
    outputs: tuple[str, ...] = ()
    resumes: bool = False
    tolerance: float = 0.0


def _write_image(path: Path, seed: int, shape: tuple[int, ...] = _SHAPE) -> None:
    image = sitk.GetImageFromArray(np.random.default_rng(seed).integers(0, 500, shape).astype(np.int16))
    image.SetSpacing((0.7, 0.8, 2.5))
    sitk.WriteImage(image, str(path))


def _write_cohort(folder: Path) -> None:
    rows = ["patient,group,image,labels"]
    for number, name in enumerate(("A", "B", "C")):
        _write_image(folder / f"{name}.nii", number)
        rows.append(f"{name},benign,{name}.nii,")
    (folder / "cohort.csv").write_text("\n".join(rows) + "\n")


def _write_channels(folder: Path) -> None:
    _write_cohort(folder)
    mask = sitk.ReadImage(str(folder / "A.nii")) > 0
    sitk.WriteImage(mask, str(folder / "mask.nii"))
    text = (folder / "cohort.csv").read_text().replace("labels\n", "labels,mask\n")
    (folder / "cohort.csv").write_text(text.replace(".nii,\n", ".nii,mask.nii,\n"))
    (folder / "params.yaml").write_text("featureClass: {firstorder: [Mean], glcm: [JointEntropy]}\n")


def _write_store(folder: Path) -> None:
    write_store(folder / "store.h5", dict.fromkeys("ABCD", 300))


def _write_model(folder: Path) -> None:
    import keras

    from glcm_cuda import GLCMSettings
    from surrogate import build_model

    _write_image(folder / "image.nii", 1)
    keras.utils.set_random_seed(1)
    build_model(GLCMSettings(levels=16), SMALL).save(folder / "model.keras")


def _write_archive(folder: Path) -> None:
    _write_image(folder / "image.nii", 1)
    with zipfile.ZipFile(folder / "image.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(folder / "image.nii", "image.nii")


COMMANDS = {
    "groundtruth": Killed(
        _write_cohort,
        "groundtruth IN/cohort.csv -o OUT/store.h5 --maps OUT/maps --samples-per-case 500 --force",
        ("pipelines.groundtruth", "pipelines.maps.exact_cohort"),
        ("store.h5",),
        resumes=True,
    ),
    "train": Killed(
        _write_store,
        "train IN/store.h5 -o OUT/run --folds 1 --epochs 3 --batch 150 --patience 0 --augment 0",
        ("pipelines.train", "pipelines.cohorts.training"),
        resumes=True,
        tolerance=5e-3,
    ),
    "synthesize": Killed(
        _write_model,
        "synthesize IN/image.nii -o OUT/map.nrrd --model IN/model.keras --preview OUT/map.png --force",
        ("pipelines.synthesize", "pipelines.maps.synthetic"),
        ("map.nrrd", "map.png"),
        tolerance=1e-4,
    ),
    "map": Killed(
        _write_archive,
        "map IN/image.zip -o OUT/map.nii.gz --feature joint_entropy --feature contrast --feature mcc --force",
        ("pipelines.map", "pipelines.maps.exact"),
        ("map_joint_entropy.nii.gz", "map_mcc.nii.gz"),
    ),
    "study": Killed(
        _write_cohort,
        "map IN/cohort.csv -o OUT/maps --feature joint_entropy,contrast",
        ("pipelines.map", "pipelines.maps.study"),
        resumes=True,
    ),
    "channels": Killed(
        _write_channels,
        "channels IN/cohort.csv --params IN/params.yaml -o OUT/Dataset101_Test --resample 0.8,0.8,0",
        ("pipelines.channels", "pipelines.maps.channels"),
        resumes=True,
    ),
    "preprocess": Killed(
        _write_cohort,
        "cohort preprocess IN/cohort.csv -o OUT/prepared --normalize zscore --resample 0.5,0.5,0",
        ("pipelines.manifest", "pipelines.cohorts.preparation"),
        resumes=True,
    ),
}


def run_kills(name: str, times: int, seed: int, folder: Path) -> tuple[Counter[str], list[str]]:
    """Kill a command this many times and return how it ended each time, and what was wrong.

    Parameters
    ----------
    name : str
        One of `COMMANDS`.
    times : int
        How often; every second time with SIGTERM, else with SIGKILL.
    seed : int
        Of the moments.
    folder : Path
        Work is done here.
    """
    killed, rng = COMMANDS[name], random.Random(f"{seed}-{name}")
    shutil.rmtree(folder, ignore_errors=True)
    for part in ("in", "whole"):
        (folder / part).mkdir(parents=True)
    assert _forked(lambda: killed.write(folder / "in"), folder) == 0, "the inputs could not be written"
    started = time.monotonic()
    assert _run(killed, folder, folder / "whole") == 0, (folder / "stderr").read_text()
    seconds = time.monotonic() - started
    ends, wrong = Counter[str](), []
    for number in range(times):
        moment, sent = rng.uniform(0, seconds), SIGNALS[number % 2]
        code, faults = _killed_once(killed, folder, moment, sent)
        ends[f"{sent.name} {code}"] += 1
        wrong += [f"{name}, {sent.name} after {moment:.2f} s: {fault}" for fault in faults]
    return ends, wrong


def _killed_once(killed: Killed, folder: Path, moment: float, sent: signal.Signals) -> tuple[int, list[str]]:
    """Kill a run, run again, and return the first one's code and what is wrong."""
    out = folder / "out"
    for place in (out, folder / "tmp"):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
    for output in killed.outputs:
        (out / output).write_bytes(PRECIOUS)
    code, faults = _run(killed, folder, out, after=moment, sent=sent), []
    if code not in (0, -sent, 143):
        faults.append(f"exit code {code}: {(folder / 'stderr').read_text()[-2000:]}")
    for output in killed.outputs:
        if (out / output).read_bytes() != PRECIOUS:
            faults += differences(out / output, folder / "whole" / output, killed.tolerance)
    if sent == signal.SIGTERM and code == 143:
        faults += [f"left behind after SIGTERM: {name}" for name in _left(folder, killed)]
    again = _run(killed, folder, out)
    if again:
        faults.append(f"the next run ended with {again}: {(folder / 'stderr').read_text()[-2000:]}")
    names, expected = _names(out), _names(folder / "whole")
    if names != expected:
        faults.append(
            f"after the next run there is too much {names - expected} or too little {expected - names}"
        )
    faults += [f"left behind in the temporary folder: {name}" for name in _names(folder / "tmp")]
    for shared in sorted(names & expected):
        faults += differences(out / shared, folder / "whole" / shared, killed.tolerance)
    return code, faults


def _left(folder: Path, killed: Killed) -> list[str]:
    """Return what an interrupted run left that it should not have."""
    names = _names(folder / "out") - set(killed.outputs)
    return [*_names(folder / "tmp"), *(() if killed.resumes else sorted(names - _names(folder / "whole")))]


def _run(
    killed: Killed, folder: Path, out: Path, after: float | None = None, sent: signal.Signals = signal.SIGKILL
) -> int:
    """Run the command, with a signal after so many seconds; return its code, as `subprocess` does."""
    words = killed.command.split()
    places = {"IN": folder / "in", "OUT": out}
    arguments = [
        str(places[word.split("/")[0]] / word.split("/", 1)[1]) if word.split("/")[0] in places else word
        for word in words
    ]

    def call() -> None:
        from pipelines.__main__ import main

        main(arguments, prog_name="radsynth")

    return _forked(call, folder, after, sent)


def _forked(
    call: Callable[[], object],
    folder: Path,
    after: float | None = None,
    sent: signal.Signals = signal.SIGKILL,
) -> int:
    """Call in a fork of this process, and end it by a signal after so many seconds; return its code."""
    (folder / "tmp").mkdir(exist_ok=True)
    process = os.fork()
    if process == 0:
        _call_and_end(call, folder)
    if after is not None:
        time.sleep(after)
        os.kill(process, sent)
    deadline = time.monotonic() + MOST_SECONDS
    while time.monotonic() < deadline:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    msg = f"not done after {MOST_SECONDS} s"
    raise TimeoutError(msg)


def _call_and_end(call: Callable[[], object], folder: Path) -> None:
    """Call in this process, which ends."""
    code = 1
    try:
        tempfile.tempdir = str(folder / "tmp")
        for number, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), number)
        call()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def differences(path: Path, whole: Path, tolerance: float) -> list[str]:
    """Return in what a file differs from that of a run that nobody disturbed."""
    try:
        if not whole.exists() or _equal(_content(path), _content(whole), tolerance):
            return []
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        return [f"{path.name} cannot be read: {error}"]
    return [f"{path.name} differs"]


def _content(path: Path) -> Any:
    """Return what is compared of a file."""
    data = path.read_bytes()
    if path.suffix == ".gz":
        return gzip.decompress(data)
    if path.suffix == ".json":
        return _without_changing(json.loads(data))
    if path.suffix == ".csv":
        rows = csv.DictReader(io.StringIO(data.decode()))
        return [{key: _number(value) for key, value in row.items() if key != "seconds"} for row in rows]
    if path.suffix == ".h5":
        return _hdf5_content(data)
    if path.suffix == ".keras":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _hdf5_content(archive.read("model.weights.h5"))
    if path.suffix == ".nrrd":
        return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    return None if path.suffix in (".md", ".png") else data


def _hdf5_content(data: bytes) -> dict[str, Any]:
    """Return the datasets and attributes of a file by their names."""
    found: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item[()]
        for key, value in item.attrs.items():
            if key not in _CHANGING:
                found[f"{name}@{key}"] = value

    with h5py.File(io.BytesIO(data), "r") as file:
        visit("", file)
        file.visititems(visit)
    return found


def _without_changing(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _without_changing(value) for key, value in tree.items() if key not in _CHANGING}
    return [_without_changing(value) for value in tree] if isinstance(tree, list) else tree


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _equal(one: Any, other: Any, tolerance: float) -> bool:
    """Whether two trees are equal, their numbers to a relative difference."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key], tolerance) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(
            _equal(a, b, tolerance) for a, b in zip(one, other, strict=True)
        )
    a, b = np.asarray(one), np.asarray(other)
    if a.dtype.kind == "f" and b.dtype.kind == "f":
        return a.shape == b.shape and np.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True)
    return bool(np.array_equal(a, b))


def main(arguments: Sequence[str] | None = None) -> int:
    """Kill every command, print the figures, and return 1 if something was wrong."""
    parser = argparse.ArgumentParser(prog="fuzz.kills", description=__doc__)
    parser.add_argument("--times", type=int, default=20, help="kills of each command")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other moments")
    parser.add_argument("--folder", type=Path, default=Path("runs/crash"), help="where it works")
    parser.add_argument("--only", default="", help="part of the names of the commands to kill")
    options = parser.parse_args(arguments)
    failed = False
    for name, killed in COMMANDS.items():
        if options.only not in name:
            continue
        for module in killed.imports:
            importlib.import_module(module)
        started = time.monotonic()
        ends, wrong = run_kills(name, options.times, options.seed, options.folder.resolve() / name)
        codes = ", ".join(f"{number} x {end}" for end, number in sorted(ends.items()))
        print(f"{name}: {codes}; {len(wrong)} faults, {time.monotonic() - started:.0f} s", flush=True)
        print("".join(f"  {fault}\n" for fault in wrong), end="", flush=True)
        failed = failed or bool(wrong)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
